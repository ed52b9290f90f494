"""The judges shared by all tests: bare definitions, difference quotients, bounded comparison.

A definition here is written as nested loops over the terms of its sum, on Python floats, with no
thought of speed and nothing taken from the library.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SEED = 1998


# --- what may be missing  ---


def missing(reason: str) -> None:
    """Leave a test out for want of something: skipped on a laptop, failed where all is required."""
    if os.environ.get("LENET_FAST_REQUIRE_ALL") == "1":
        pytest.fail(f"LENET_FAST_REQUIRE_ALL=1, but {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def require(module: str) -> ModuleType:
    """Import a module that a test needs, or leave the test out as :func:`missing` does."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing(f"{module} cannot be imported: {error}")
        raise


# --- backends  ---


def _cython_builds() -> list[str]:
    try:
        module = importlib.import_module("lenet_fast.backends.cython_backend")
    except ImportError:
        return ["cython"]  # one place-holder, which says why it is left out
    return [f"cython-{isa}" for isa in module.instruction_sets()]


def compiled_kernels() -> ModuleType:
    """Return the extension whose kernels are in use, or leave the test out."""
    backend = require("lenet_fast.backends.cython_backend")
    return importlib.import_module(f"{backend.__name__}._{backend.isa()}")


BACKENDS = ["numpy", "numba", *_cython_builds()]
"""Every backend; the compiled one with each instruction set of this machine."""

LANE_BACKENDS = [build for build in BACKENDS if build != "numpy"]
"""Those with kernels for the lane engine: NumPy has none, by design."""


@contextlib.contextmanager
def using(build: str) -> Iterator[str]:
    """Run a ``with`` block on one of the BACKENDS; yields what to pass as ``backend=``."""
    name, _, isa = build.partition("-")
    try:
        module = importlib.import_module(f"lenet_fast.backends.{name}_backend")
    except ImportError as error:
        missing(f"the {name} backend cannot be used: {error}")
    with module.use_isa(isa) if isa else contextlib.nullcontext():
        yield name


@contextlib.contextmanager
def using_lanes(build: str) -> Iterator[str]:
    """Likewise, for the lane engine. Kernels that are there and do not work are no reason to leave
    a test out: whatever they raise comes through."""
    with using(build) as name:
        module = importlib.import_module(f"lenet_fast.backends.{name}_backend")
        if module.lane_kernels() is None:
            missing(f"the {name} backend has no lane kernels")
        yield name


@contextlib.contextmanager
def using_online(build: str) -> Iterator[str]:
    """Likewise, for the online engine."""
    with using_lanes(build) as name:
        module = importlib.import_module(f"lenet_fast.backends.{name}_backend")
        if not hasattr(module, "online_kernels"):
            missing(f"the {name} backend has no online kernels")
        yield name


# --- numbers  ---


def new_rng() -> np.random.Generator:
    """Return a fresh generator from the one seed of the tests."""
    return np.random.default_rng(SEED)


def normal(rng: np.random.Generator, *shape: int, dtype: object = np.float64) -> np.ndarray:
    """Return normal numbers of one dtype."""
    return rng.standard_normal(shape).astype(dtype)


def layouts(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield one array's values in every layout that a caller may come with."""
    readonly = array.copy()
    readonly.flags.writeable = False
    yield "read-only", readonly
    yield "Fortran order", np.asfortranarray(array)
    if array.ndim == 0:
        return
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    yield "strided", wide[..., ::2]
    yield "negative strides", np.ascontiguousarray(array[::-1])[::-1]
    sparse = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    sparse[::2] = array
    yield "strided batch", sparse[::2]
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
    unaligned = raw.view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    yield "unaligned", unaligned


# --- comparison  ---


def assert_within(
    actual: object, expected: object, bound: object, dtype: object = None, what: str = ""
) -> None:
    """Fail unless each element differs from the expected one by no more than its bound.

    The shape must match, and the dtype where one is given; NaN only matches NaN, and an infinity
    only itself.
    """
    assert type(actual) is np.ndarray, f"{what}: {type(actual).__name__} is not a plain array"
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if dtype is not None:
        assert actual.dtype == np.dtype(dtype), f"{what}: dtype {actual.dtype}, not {dtype}"
    wide = actual.astype(np.result_type(actual.dtype, expected.dtype, np.float64))
    expected = expected.astype(wide.dtype)
    bound = np.broadcast_to(np.asarray(bound, np.float64), expected.shape)
    assert not np.isnan(bound).any(), f"{what}: a bound that is NaN lets nothing fail"
    same = (wide == expected) | (np.isnan(wide) & np.isnan(expected))
    finite = np.isfinite(wide) & np.isfinite(expected)
    error = np.zeros(expected.shape)
    np.subtract(wide, expected, out=error, where=finite, casting="same_kind")
    wrong = ~same & ~(finite & (np.abs(error) <= bound))
    if wrong.any():
        worst = np.unravel_index(np.argmax(np.where(wrong, np.abs(error), -1.0)), wrong.shape)
        at = tuple(int(index) for index in worst)
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {wrong.size} elements are off; at {at} "
            f"{wide[worst]!r} instead of {expected[worst]!r}, allowed {float(bound[worst]):.3g}"
        )


def summed(terms: int, dtype: object, magnitude: object) -> np.ndarray:
    """Return the error bound of a sum of `terms` products, in any order, in a dtype.

    ``gamma_n sum |a_i b_i|`` with gamma_n = n u / (1 - n u) (Higham, *Accuracy and Stability of
    Numerical Algorithms*, section 3.1), n counted two larger for the rounding of a factor and of
    the bias, and doubled for a float64 judge, whose own sum is bounded likewise. `magnitude` is
    the sum of the absolute terms: the definition on the absolute values of its inputs.
    """
    unit = np.finfo(np.dtype(dtype)).eps / 2
    n = terms + 2
    return 2 * n * unit / (1 - n * unit) * np.asarray(magnitude, np.float64) + np.finfo(dtype).tiny


def assert_summed(
    actual: object, expected: object, magnitude: object, terms: int, dtype: object, what: str = ""
) -> None:
    """Compare within :func:`summed`, and the dtype exactly."""
    assert_within(actual, expected, summed(terms, dtype, magnitude), dtype, what)


# --- difference quotients  ---


def slopes(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Return df/dx by central differences of the fourth order, for float64 `x`.

    The error is about ``step^4 f^(5) / 30`` and ``f eps / step``: 1e-10 is within reach.
    """
    return _differences(f, x, step, ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)), 1)


def curvatures(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-2) -> np.ndarray:
    """Return the diagonal of the Hessian by central second differences of the fourth order.

    The error is about ``step^4 f^(6) / 90`` and ``5 f eps / step^2``.
    """
    weights = ((0, -30 / 12), (1, 16 / 12), (-1, 16 / 12), (2, -1 / 12), (-2, -1 / 12))
    return _differences(f, x, step, weights, 2)


def jacobian(f: Callable[[], np.ndarray], array: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Return df/d(array), (numbers of f, numbers of the array), by central differences.

    `f` reads the float64 array, which is moved in place, a number at a time. The differences are of
    the fourth order, as in :func:`slopes`: exact for polynomials up to that degree.
    """
    assert array.dtype == np.float64
    columns = []
    for at in np.ndindex(array.shape):
        original, column = array[at], 0.0
        for steps, weight in ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)):
            array[at] = original + steps * step
            column = column + weight * f().ravel()
        array[at] = original
        columns.append(column / step)
    return np.array(columns).T


def _differences(
    f: Callable[[np.ndarray], float],
    x: np.ndarray,
    step: float,
    weights: Sequence[tuple[int, float]],
    order: int,
) -> np.ndarray:
    assert x.dtype == np.float64
    result = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        total = 0.0
        for steps, weight in weights:
            moved = x.copy()
            moved[at] += steps * step
            total += weight * f(moved)
        result[at] = total / step**order
    return result


# --- messages  ---


def complains(
    argument: str, *errors: type[Exception], about: str = "", got: str = ""
) -> AbstractContextManager[object]:
    """Expect an error whose message reads ``argument: expected ..., got ...``."""
    expected = rf"{re.escape(argument)}: expected .*{re.escape(about)}.*"
    return pytest.raises(errors or (ValueError,), match=rf"(?s)^{expected}, got .*{re.escape(got)}")


# --- definitions: windows  ---


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _sides(padding: int | tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    if len(padding) == 2:
        return padding[0], padding[0], padding[1], padding[1]
    return padding


def places(size: int, kernel: int, stride: int, dilation: int = 1) -> list[list[int]]:
    """Return the positions that each window along one axis sees, sliding until it falls off."""
    found = []
    start = 0
    while start + (kernel - 1) * dilation < size:
        found.append([start + tap * dilation for tap in range(kernel)])
        start += stride
    return found


# --- definitions: convolution  ---


class Convolution:
    """A convolution by its definition: the list of every product in it."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        w_shape: tuple[int, ...],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        connections: np.ndarray | None = None,
        pad_value: float = 0.0,
    ) -> None:
        n, _, h_in, w_in = x_shape
        c_out, width, kh, kw = w_shape
        (sv, sh), (dv, dh) = _pair(stride), _pair(dilation)
        top, bottom, left, right = _sides(padding)
        rows = places(h_in + top + bottom, kh, sv, dv)
        columns = places(w_in + left + right, kw, sh, dh)
        self.pad_value = pad_value
        self.x_shape, self.w_shape = x_shape, w_shape
        self.y_shape = (n, c_out, len(rows), len(columns))
        # One entry a product: index in y, index in x (None: in the border), index in w.
        self.products = []
        for i, o, r, s in itertools.product(*map(range, self.y_shape)):
            for c, u, v in itertools.product(range(width), range(kh), range(kw)):
                if connections is not None and not connections[o, c]:
                    continue
                seen = o // (c_out // groups) * width + c
                row, column = rows[r][u] - top, columns[s][v] - left
                inside = 0 <= row < h_in and 0 <= column < w_in
                at = (i, seen, row, column) if inside else None
                self.products.append(((i, o, r, s), at, (o, c, u, v)))

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        y = np.zeros(self.y_shape)
        for at_y, at_x, at_w in self.products:
            y[at_y] += (self.pad_value if at_x is None else float(x[at_x])) * float(w[at_w])
        if b is not None:
            for i, o, r, s in np.ndindex(self.y_shape):
                y[i, o, r, s] += float(b[o] if b.ndim == 1 else b[o, r, s])
        return y

    def backward(
        self, dy: np.ndarray, x: np.ndarray, w: np.ndarray, bias: str, power: int = 1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dx, dw, db; with power 2 the Hessian's diagonal, the same sums over squares."""
        dx, dw = np.zeros(self.x_shape), np.zeros(self.w_shape)
        db = np.zeros(self.y_shape[1:] if bias == "unit" else self.y_shape[1:2])
        for at_y, at_x, at_w in self.products:
            incoming = float(dy[at_y])
            seen = self.pad_value if at_x is None else float(x[at_x])
            dw[at_w] += incoming * seen**power
            if at_x is not None:
                dx[at_x] += incoming * float(w[at_w]) ** power
        for i, o, r, s in np.ndindex(self.y_shape):
            db[(o, r, s) if bias == "unit" else (o,)] += float(dy[i, o, r, s])
        return dx, dw, db

    def magnitude(self) -> Convolution:
        """Return the same convolution with a border of the absolute value."""
        twin = object.__new__(Convolution)
        twin.__dict__.update(self.__dict__, pad_value=abs(self.pad_value))
        return twin


# --- definitions: pooling and sub-sampling  ---


def windows(
    shape: tuple[int, ...], kernel: int | tuple[int, int], stride: int | tuple[int, int] | None
) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], list[tuple[int, ...]]]]]:
    """Return the output's shape, and for each output its index and those it sees in scan order."""
    n, c, h_in, w_in = shape
    kh, kw = _pair(kernel)
    sv, sh = _pair(kernel if stride is None else stride)
    rows, columns = places(h_in, kh, sv), places(w_in, kw, sh)
    seen = [
        ((i, m, r, s), [(i, m, row, column) for row in rows[r] for column in columns[s]])
        for i, m, r, s in itertools.product(
            range(n), range(c), range(len(rows)), range(len(columns))
        )
    ]
    return (n, c, len(rows), len(columns)), seen


def winner(x: np.ndarray, seen: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the index of a window's maximum: the first NaN, else the first of the largest."""
    best = seen[0]
    for at in seen:
        if np.isnan(x[at]):
            return at
        if x[at] > x[best]:
            best = at
    return best


def max_pool_by_definition(
    x: np.ndarray, dy: np.ndarray | None, kernel: object, stride: object, ties: str = "first"
) -> tuple[np.ndarray, np.ndarray]:
    """Return y, and dx for a dy."""
    shape, all_windows = windows(x.shape, kernel, stride)
    y, dx = np.zeros(shape), np.zeros(x.shape)
    for at_y, seen in all_windows:
        best = winner(x, seen)
        y[at_y] = x[best]
        if dy is not None:
            winners = [best] if ties == "first" else [at for at in seen if x[at] == x[best]]
            for at in winners:
                dx[at] += float(dy[at_y])
    return y, dx


def subsample_by_definition(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    dy: np.ndarray,
    kernel: object,
    stride: object,
    share: float,
    power: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y, dx, dw, db of ``y = w s + b`` with s = share * sum of the window.

    With m times as many coefficients as maps of x, output map o sees map o // m. Average pooling is
    the same with w = 1, b = 0. With power 2 it is the Hessian pass (papers: sum of h s^2, sum of h,
    (c share)^2 h).
    """
    (n, c_in, h_out, w_out), all_windows = windows(x.shape, kernel, stride)
    y, dx = np.zeros((n, w.size, h_out, w_out)), np.zeros(x.shape)
    dw, db = np.zeros(w.shape), np.zeros(w.shape)
    for (i, c, r, k), seen in all_windows:
        s = share * sum(float(x[at]) for at in seen)
        for o in range(w.size):
            if o // (w.size // c_in) != c:
                continue
            y[i, o, r, k] = float(w[o]) * s + float(b[o])
            incoming = float(dy[i, o, r, k])
            dw[o] += incoming * s**power
            db[o] += incoming
            for at in seen:
                dx[at] += incoming * (float(w[o]) * share) ** power
    return y, dx, dw, db


# --- other processes  ---


def in_child(function: Callable[[], int], seconds: float = 10) -> int:
    """Return the exit status of a forked process that runs a function: 99 for an exception, -1 if
    it hangs."""
    if not hasattr(os, "fork"):
        missing("this system has no fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the fork of a process with threads
        child = os.fork()
    if child == 0:
        status = 99
        try:
            status = function()
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@contextlib.contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that ends with the ``with`` block at the latest, whatever happens in it; its
    outputs are piped."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes | options) as process:
        try:
            yield process
        finally:
            process.kill()  # does nothing if it has ended


def mpiexec(ranks: int, *words: str) -> tuple[str, ...]:
    """Return the command that starts Python with these words on several ranks."""
    require("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        missing("there is no mpiexec")
    return (found, "-n", str(ranks), sys.executable, *words)


def run_python(
    code: str, *arguments: str, path: object = None, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a process of its own, with warnings as errors.

    `path` is the folder that holds lenet_fast, by default that of the package under test; the
    folder the tests run in is kept out (-P). An environment variable of None is taken away.
    """
    import lenet_fast

    folder = Path(lenet_fast.__file__).parents[1] if path is None else path
    variables: dict[str, str | None] = {
        **os.environ,
        "LENET_FAST_BACKEND": None,
        "LENET_FAST_ISA": None,
        "PYTHONPATH": str(folder),
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code, *arguments],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def printed_by(code: str, *arguments: str, path: object = None, **environment: str | None) -> str:
    """Return what a piece of Python prints, which must end well."""
    done = run_python(code, *arguments, path=path, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
