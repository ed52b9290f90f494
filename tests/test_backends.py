"""Choosing a backend, one interface in all of them, and what passes from the ops to the kernels."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import complains, layouts, normal, printed_by, require, run_python
from op_cases import ALL

import lenet_fast
from lenet_fast import backends, ops

# The interface that every backend answers to, written out: names, parameters, order.
CONV = "stride_v, stride_h, dilation_v, dilation_h"
POOL = "kh, kw, stride_v, stride_h"
INTEGERS = {*CONV.split(", "), *POOL.split(", ")}
KERNELS = {
    **{f"conv2d_{a}": f"x, w, b, connections, y, {CONV}" for a in ("direct", "im2col")},
    **{
        f"conv2d_input_gradient_{a}": f"dy, w, connections, dx, {CONV}"
        for a in ("direct", "im2col")
    },
    **{
        f"conv2d_weight_gradient_{a}": f"dy, x, connections, dw, db, {CONV}"
        for a in ("direct", "im2col")
    },
    "max_pool2d": f"x, y, {POOL}",
    "max_pool2d_backward": f"dy, x, dx, {POOL}, every",
    "avg_pool2d": f"x, y, {POOL}",
    "avg_pool2d_backward": f"dy, dx, {POOL}, scale",
    "subsample2d": f"x, w, b, y, {POOL}, scale",
    "subsample2d_backward": f"dy, x, w, dx, dw, db, {POOL}, scale",
    "subsample2d_hessian": f"hy, x, w, hx, hw, hb, {POOL}, scale",
    "dense": "x, w, b, y",
    "dense_input_gradient": "dy, w, dx",
    "dense_weight_gradient": "dy, x, dw, db",
    "dropout": "x, keys, p, y",
    "rbf": "x, w, y",
    "rbf_backward": "dy, x, w, dx, dw",
    "rbf_hessian": "hy, dy, x, w, hx, hw",
    "activation": "x, y, function, option",
    "activation_backward": "dy, seen, dx, function, option",
    "activation_hessian": "hy, seen, hx, function, option",
    "loss_values": "x, answers, losses, function, option",
    "loss_gradients": "x, answers, dx, function, option",
    "loss_hessians": "x, answers, hx, function, option",
    "warp": "images, matrices, fields, warped",
    "smooth_noise": "keys, down, across, factor, fields",
    "map_rbf_hessian": "y, x, w, hx, j",
    "conv2d_algorithm": "n, h_out, w_out",
    "describe": "",
}


# --- one interface  ---


@pytest.mark.quick
@pytest.mark.parametrize("name", KERNELS)
def test_signatures_are_equal_in_every_backend(backend, name):
    module = importlib.import_module(f"lenet_fast.backends.{backend}_backend")
    parameters = inspect.signature(getattr(module, name)).parameters.values()
    assert ", ".join(parameter.name for parameter in parameters) == KERNELS[name]
    for parameter in parameters:
        assert parameter.default is inspect.Parameter.empty
        assert parameter.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.POSITIONAL_ONLY,
        )


def test_the_reference_offers_the_interface_and_nothing_else():
    module = importlib.import_module("lenet_fast.backends.numpy_backend")
    offered = {name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_"}
    assert offered - {"lane_kernels"} == set(KERNELS)


def test_an_unknown_function_is_no_other(backend, dtype):
    x, y = np.ones(3, dtype), np.zeros(3, dtype)
    kernels = backends.get(backend)
    with pytest.raises(KeyError, match="cosine"):
        kernels.activation(x, y, "cosine", 0.0)
    for run in (kernels.activation_backward, kernels.activation_hessian):
        with pytest.raises(KeyError, match="cosine"):
            run(x, x, y, "cosine", 0.0)
    assert not y.any()
    outputs, labels, losses, dx = x[None], np.zeros(1, np.intp), y[:1], y[None]
    with pytest.raises(KeyError, match="hinge"):
        kernels.loss_values(outputs, labels, losses, "hinge", 0.0)
    for run in (kernels.loss_gradients, kernels.loss_hessians):
        with pytest.raises(KeyError, match="hinge"):
            run(outputs, labels, dx, "hinge", 0.0)
    assert not y.any()


def test_auto_is_an_algorithm_and_the_one_that_runs(backend, rng):
    module = importlib.import_module(f"lenet_fast.backends.{backend}_backend")
    for n, size, taps in ((1, 12, 5), (3, 8, 3), (16, 9, 5), (64, 5, 5), (0, 6, 2)):
        x, w = normal(rng, n, 3, size, size), normal(rng, 4, 3, taps, taps)
        chosen = module.conv2d_algorithm(n, size - taps + 1, size - taps + 1)
        assert chosen in ("direct", "im2col")
        np.testing.assert_array_equal(
            ops.conv2d(x, w, backend=backend),
            ops.conv2d(x, w, algorithm=chosen, backend=backend),
        )


class Border:
    """A backend that inspects what crosses from the checked ops to the kernels, which trust it."""

    def __init__(self, module):
        self._module = module
        self.called = []

    def __getattr__(self, name):
        function = getattr(self._module, name)
        if name in ("conv2d_algorithm", "describe"):
            return function
        names = KERNELS[name].split(", ")

        def checked(*values):
            self.called.append(name)
            assert len(values) == len(names), name
            dtypes = set()
            for argument, value in zip(names, values, strict=True):
                where = f"{name}, {argument}"
                if argument in ("scale", "j", "option", "p"):
                    assert type(value) is float, where
                elif argument == "function":
                    assert type(value) is str, where
                elif argument == "every":
                    assert type(value) is bool, where
                elif argument in INTEGERS:
                    assert type(value) is int, where
                    assert value >= 1, where
                else:
                    assert isinstance(value, np.ndarray), where
                    assert value.flags.c_contiguous, where
                    assert value.flags.aligned, where
                    assert value.dtype.isnative, where
                    if argument == "connections":
                        assert value.dtype == np.uint8, where
                    elif argument == "keys":
                        assert value.dtype == np.uint64, where
                    elif argument == "answers" and value.ndim == 1:
                        assert value.dtype == np.intp, where
                    else:
                        dtypes.add(value.dtype)
                    if argument[0] in "hd" and argument not in ("dy", "hy"):
                        assert value.flags.writeable, where
            assert len(dtypes) == 1, f"{name}: {dtypes}"
            assert dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}, name
            result = function(*values)
            assert result is None, f"{name} returns something"

        return checked


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)
def test_kernels_get_what_they_may_trust(case, backend, dtype, rng, monkeypatch):
    border = Border(backends.get(backend))
    monkeypatch.setattr(backends, "get", lambda name=None: border)
    arrays = case.arrays(rng, 3, dtype)
    case.run(arrays, backend=backend)
    variants = {name: dict(layouts(array)) for name, array in arrays.items()}
    for layout in next(iter(variants.values())):
        case.run({name: variants[name][layout] for name in arrays}, backend=backend)
    assert border.called


def test_calls_from_several_threads_do_not_disturb_each_other(backend, dtype, rng):
    """Kernels keep no state: the bits of eight calls at once are those of one after another."""
    jobs = []
    for k in range(8):
        x, w = normal(rng, 4, 3, 12, 12, dtype=dtype), normal(rng, 5, 3, 3 + k % 3, 4, dtype=dtype)
        y = ops.conv2d(x, w, backend=backend)
        jobs.append((x, w, normal(rng, *y.shape, dtype=dtype)))

    def run(job):
        x, w, dy = job
        found = []
        for algorithm in ("direct", "im2col"):
            how = {"algorithm": algorithm, "backend": backend}
            y = ops.conv2d(x, w, **how)
            found += [y, *ops.conv2d_backward(dy, x, w, **how), ops.scaled_tanh(y, backend=backend)]
        return found

    expected = [run(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for one, right in zip(pool.map(run, jobs), expected, strict=True):
                for a, b in zip(one, right, strict=True):
                    np.testing.assert_array_equal(a, b)


# --- choosing  ---


def test_names_and_their_order():
    assert tuple(backends.NAMES) == ("cython", "numba", "numpy")
    assert list(backends.available()) == ["cython", "numba", "numpy"]
    assert lenet_fast.use_backend is backends.use_backend


def test_available_says_with_what_or_why_not():
    for name, status in backends.available().items():
        assert isinstance(status.usable, bool), name
        assert len(status.detail) > 5, name
        if status.usable:
            assert backends.get(name).describe() == status.detail
    assert backends.available()["numpy"].usable
    assert np.__version__ in backends.available()["numpy"].detail


@pytest.mark.quick
def test_get_returns_the_backend_named(backend):
    module = backends.get(backend)
    assert module.__name__ == f"lenet_fast.backends.{backend}_backend"
    assert module is backends.get(backend)


def test_use_backend_is_undone_also_after_an_error(backend):
    before = backends.current()
    with lenet_fast.use_backend(backend):
        assert backends.current() == backend
        assert backends.get() is backends.get(backend)
        with lenet_fast.use_backend("numpy"):
            assert backends.current() == "numpy"
        assert backends.current() == backend
        with pytest.raises(KeyError), lenet_fast.use_backend("numpy"):
            raise KeyError
        assert backends.current() == backend
    assert backends.current() == before


@pytest.mark.quick
def test_an_op_runs_on_the_backend_chosen(backend, monkeypatch):
    """By argument, else by context; the kernel of that module is the one called."""
    called = []
    x = np.ones(3)
    for name, status in backends.available().items():
        if status.usable:
            monkeypatch.setattr(
                backends.get(name),
                "activation",
                lambda x, y, function, option, name=name: (called.append(name), y.fill(0)),
            )
    ops.tanh(x, backend=backend)
    with lenet_fast.use_backend(backend):
        ops.tanh(x)
        ops.tanh(x, backend="numpy")
    assert called == [backend, backend, "numpy"]


@pytest.mark.parametrize("wrong", ["", "NumPy", "fortran", "numpy_backend", "..numpy"])
def test_unknown_name(wrong):
    with complains("backend", got=repr(wrong)):
        backends.get(wrong)
    with complains("backend"), lenet_fast.use_backend(wrong):
        pytest.fail("entered")
    with complains("backend"):
        ops.tanh(np.ones(2), backend=wrong)


@pytest.mark.parametrize("wrong", [1, True, b"numpy", np, ["numpy"]])
def test_what_is_no_name(wrong):
    with complains("backend", TypeError):
        backends.get(wrong)
    with complains("backend", TypeError), lenet_fast.use_backend(wrong):
        pytest.fail("entered")


def test_a_choice_stays_in_its_thread():
    before = backends.current()
    seen = {}
    entered, looked = threading.Event(), threading.Event()

    def other():
        with lenet_fast.use_backend("numpy"):
            seen["inside"] = backends.current()
            entered.set()
            looked.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(10)
    seen["outside"] = backends.current()
    looked.set()
    thread.join()
    assert seen == {"inside": "numpy", "outside": before}


def test_a_choice_stays_in_its_task():
    before = backends.current()

    async def one(name):
        with lenet_fast.use_backend(name):
            await asyncio.sleep(0)
            return backends.current()

    async def plain():
        await asyncio.sleep(0)
        return backends.current()

    async def both():
        return await asyncio.gather(one("numpy"), plain(), one("numpy"))

    assert asyncio.run(both()) == ["numpy", before, "numpy"]


@pytest.fixture
def process(monkeypatch):
    """Put the choices for the process back, and let no earlier one count."""
    backends.current()  # what earlier tests have kept holds before it is undone
    monkeypatch.setattr(backends, "_process", (0, None))
    monkeypatch.delenv("LENET_FAST_BACKEND", raising=False)
    before = backends.current()
    yield before
    assert backends._blocks.get() == ()


def in_another_thread(function=backends.current):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_a_call_holds_for_the_process(process, backend, monkeypatch):
    assert repr(lenet_fast.use_backend(backend)) == f"use_backend({backend!r})"
    assert backends.current() == backend
    assert in_another_thread() == backend
    monkeypatch.setenv("LENET_FAST_BACKEND", "fortran")  # comes after it
    assert backends.current() == backend
    lenet_fast.use_backend("numpy")
    assert backends.current() == in_another_thread() == "numpy"

    async def task():
        return backends.current()

    assert asyncio.run(task()) == "numpy"


def test_a_call_reaches_threads_that_are_there_already(process):
    called, looked = threading.Event(), []

    def wait():
        assert called.wait(10)
        looked.append(backends.current())

    thread = threading.Thread(target=wait)
    thread.start()
    lenet_fast.use_backend("numpy")
    called.set()
    thread.join()
    assert looked == ["numpy"]


def test_a_call_in_another_thread_holds_here(process):
    in_another_thread(lambda: lenet_fast.use_backend("numpy"))
    assert backends.current() == "numpy"


def test_a_block_restores_what_a_call_chose(process, backend):
    lenet_fast.use_backend("numpy")
    with lenet_fast.use_backend(backend):
        assert backends.current() == backend
        assert in_another_thread() == "numpy"
    assert backends.current() == "numpy"


def test_a_call_in_a_block_holds_after_it_and_in_other_threads(process, backend):
    with lenet_fast.use_backend(backend):
        lenet_fast.use_backend("numpy")
        assert backends.current() == backend
        assert in_another_thread() == "numpy"
        with lenet_fast.use_backend("numpy"):
            assert backends.current() == "numpy"
        assert backends.current() == backend
    assert backends.current() == "numpy"


def test_a_name_that_is_refused_changes_nothing(process):
    lenet_fast.use_backend("numpy")
    for wrong, error in (("cuda", ValueError), (None, TypeError), (["numba"], TypeError)):
        with complains("backend", error):
            lenet_fast.use_backend(wrong)
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            lenet_fast.use_backend()
        assert backends.current() == "numpy"


def test_a_choice_that_is_kept_holds_when_its_thread_next_asks(process):
    kept = lenet_fast.use_backend("numpy")
    assert in_another_thread() == process
    assert backends.current() == "numpy"
    assert in_another_thread() == "numpy"
    with kept:
        assert backends.current() == "numpy"
    assert backends.current() == "numpy"


def test_a_choice_that_is_kept_holds_for_all_once_it_is_shown(process):
    kept = lenet_fast.use_backend("numpy")
    repr(kept)
    assert in_another_thread() == "numpy"


def test_a_choice_that_is_kept_may_begin_blocks_only(process):
    kept, unused = lenet_fast.use_backend("numpy"), lenet_fast.use_backend("numpy")
    for _ in range(2):
        with kept, unused:
            assert backends.current() == "numpy"
            with kept:
                assert in_another_thread() == process
            assert backends.current() == "numpy"
        assert backends.current() == process
    del kept, unused
    assert backends.current() == in_another_thread() == process


def test_the_last_call_counts_whatever_is_kept(process, backend):
    kept = lenet_fast.use_backend(backend)
    lenet_fast.use_backend("numpy")
    assert backends.current() == "numpy"
    del kept
    assert backends.current() == "numpy"
    older = [lenet_fast.use_backend(backend)]
    in_another_thread(lambda: lenet_fast.use_backend("numpy"))
    older.clear()
    assert backends.current() == "numpy"


def test_a_choice_shared_by_threads_ends_in_each_by_itself(process):
    kept = lenet_fast.use_backend("numpy")
    kept.__enter__()
    kept.__exit__()
    inside, leave = threading.Barrier(3), threading.Event()

    def one():
        with kept:
            inside.wait(10)
            assert leave.wait(10)
            assert backends.current() == "numpy"
        return backends.current()

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(one) for _ in range(2)]
        inside.wait(10)
        assert backends.current() == process
        leave.set()
        assert [each.result() for each in found] == [process, process]


def test_no_block_is_seen_by_another_thread(process):
    """Not in the moment between a block's choice and its begin either."""
    stop, began = threading.Event(), threading.Event()

    def blocks():
        while not stop.is_set():
            with lenet_fast.use_backend("numpy"):
                assert backends.current() == "numpy"
            began.set()

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(blocks) for _ in range(2)]
        assert began.wait(10)
        seen = [backends.current() for _ in range(200_000)]
        stop.set()
        assert [each.result() for each in running] == [None, None]
    assert set(seen) == {process}
    assert seen[0] != "numpy", "the test needs another backend than the blocks'"
    assert backends._process == (0, None)


def test_many_calls_take_no_memory(process):
    for _ in range(1000):
        lenet_fast.use_backend("numpy")
        with lenet_fast.use_backend("numpy"):
            pass
    assert len(backends._thread.made) < 3
    assert backends.current() == "numpy"


def test_a_block_ends_where_it_began(process):
    kept = lenet_fast.use_backend("numpy")
    kept.__enter__()

    def leave():
        with pytest.raises(RuntimeError, match="use_backend: expected the block to end in the"):
            kept.__exit__(None, None, None)

    in_another_thread(leave)
    kept.__exit__(None, None, None)
    assert backends.current() == process


def test_a_decorated_function_runs_on_the_backend(process):
    @lenet_fast.use_backend(process)
    @lenet_fast.use_backend("numpy")
    def chosen(name):
        """Say it."""
        return name, backends.current()

    assert backends.current() == process
    assert chosen("a") == ("a", "numpy")
    assert chosen.__doc__ == "Say it."
    assert backends.current() == process
    with contextlib.ExitStack() as stack:
        stack.enter_context(lenet_fast.use_backend("numpy"))
        assert backends.current() == "numpy"
    assert backends.current() == process


# --- in a process of its own  ---


def test_a_choice_that_is_kept_to_the_end_says_nothing():
    done = run_python(
        "import sys, lenet_fast as lf\nkept = lf.use_backend('numpy'); kept.itself = kept\n"
        "sys.kept = lf.use_backend('numpy')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


CURRENT = "import lenet_fast; print(lenet_fast.backends.current())"
WITHOUT_NUMBA = "import sys; sys.modules['numba'] = None; "
RUN = "import numpy as np, lenet_fast.ops as o; print(o.tanh(np.zeros(2)))"


@pytest.fixture(scope="module")
def uncompiled(tmp_path_factory):
    """Return a folder with the package as it is where there was no compiler."""
    folder = tmp_path_factory.mktemp("uncompiled")
    shutil.copytree(
        Path(lenet_fast.__file__).parent,
        folder / "lenet_fast",
        ignore=shutil.ignore_patterns("*.so", "*.pyd", "*.dylib", "__pycache__", "sample"),
    )
    return folder


def test_default_is_the_first_that_is_there(uncompiled):
    usable = [name for name, status in backends.available().items() if status.usable]
    assert printed_by(CURRENT) == usable[0]
    expected = "numba" if "numba" in usable else "numpy"
    assert printed_by(CURRENT, path=uncompiled) == expected
    assert printed_by(WITHOUT_NUMBA + CURRENT, path=uncompiled) == "numpy"


@pytest.mark.parametrize("name", ["", "numpy"])
def test_environment_variable(name):
    usable = [name for name, status in backends.available().items() if status.usable]
    assert printed_by(CURRENT, LENET_FAST_BACKEND=name) == (name or usable[0])


def test_environment_variable_yields_to_the_context_and_the_argument(backend):
    code = f"""
import numpy as np, lenet_fast
from lenet_fast import backends, ops
print(backends.current())
with lenet_fast.use_backend({backend!r}):
    print(backends.current())
ops.tanh(np.ones(2), backend={backend!r})
"""
    assert printed_by(code, LENET_FAST_BACKEND="numpy").split() == ["numpy", backend]


def test_environment_variable_with_an_unknown_name():
    done = run_python(RUN, LENET_FAST_BACKEND="fortran")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: LENET_FAST_BACKEND: expected one of ")
    assert last.endswith("got 'fortran'")
    # A backend that is named in the call is not held up by it.
    named = RUN.replace("np.zeros(2)", "np.zeros(2), backend='numpy'")
    assert printed_by(named, LENET_FAST_BACKEND="fortran") == "[0. 0.]"


def test_a_missing_backend_that_was_named_raises_with_reason_and_cure(uncompiled):
    """Nothing falls back silently: not the argument, the context or the environment variable."""
    named = "import numpy as np, lenet_fast.ops as o; o.tanh(np.zeros(2), backend={!r})"
    entered = "import lenet_fast\nwith lenet_fast.use_backend({!r}): print('entered')"
    for name, setup, words in (
        ("cython", "", ("compile", "install")),
        ("numba", WITHOUT_NUMBA, ("numba", "install")),
    ):
        for done in (
            run_python(setup + named.format(name), path=uncompiled),
            run_python(setup + entered.format(name), path=uncompiled),
            run_python(setup + RUN, path=uncompiled, LENET_FAST_BACKEND=name),
        ):
            assert done.returncode == 1, done.stdout
            last = done.stderr.strip().splitlines()[-1]
            assert last.startswith("ImportError: "), last
            for word in words:
                assert word in last, last
            assert done.stdout == ""


def test_available_of_a_bare_installation(uncompiled):
    code = WITHOUT_NUMBA + (
        "import lenet_fast.backends as b\n"
        "for name, status in b.available().items(): print(name, status.usable, status.detail)"
    )
    lines = printed_by(code, path=uncompiled).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["cython", "False"],
        ["numba", "False"],
        ["numpy", "True"],
    ]
    assert "install" in lines[0]
    assert "install" in lines[1]


def test_numba_keeps_nothing_in_a_folder_named_like_a_missing_home(monkeypatch):
    require("numba")
    from lenet_fast.backends.numba_backend import jit

    nowhere = jit._nowhere.__wrapped__
    monkeypatch.setattr(jit.config, "CACHE_DIR", "")
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert nowhere()
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath("caches"))
    assert not nowhere()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(jit.config, "CACHE_DIR", "somewhere")
    assert not nowhere()
    monkeypatch.setattr(jit.config, "CACHE_DIR", "")
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert not nowhere()
