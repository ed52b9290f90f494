"""The measured steps of LeNet-5: inputs, reference results, operations, bytes.

Inputs come from one seed, so every contender and every run gets the same numbers. Shapes are those
of LeNet-5 at the requested batch size; the published comparison used 256.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lenet_fast import bitmaps, ops
from lenet_fast.checks import Array
from lenet_fast.connections import LENET5_C3

BATCH = 256
DTYPES = ("float32", "float64")
SEED = 1998
J = 20.0
"""Penalty of the rubbish class in the MAP criterion."""

TRANSCENDENTAL = 20
"""Operations counted for a tanh, exp or log: about those of a polynomial approximation."""


@dataclass(frozen=True)
class Step:
    """One operation of one layer, in one direction.

    Attributes
    ----------
    layer, direction : str
        "C1" and "forward", "backward" or "hessian".
    function : str
        Its name in :mod:`lenet_fast.ops`.
    make : callable
        Takes a random generator and a batch size; returns the function's arguments, in float64.
    options : dict
        Its options.
    flops : int
        Operations per image; a multiply-add counts as two.
    """

    layer: str
    direction: str
    function: str
    make: Callable[[np.random.Generator, int], tuple[Array, ...]]
    flops: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.layer} {self.direction}"

    @property
    def operation(self) -> str:
        """Name of the function without its direction: "conv2d"."""
        return self.function.removesuffix(f"_{self.direction}")


@dataclass(frozen=True)
class Case:
    """A step with its arrays and the reference result."""

    step: Step
    dtype: str
    batch: int
    arrays: tuple[Array, ...]
    answer: tuple[Array, ...]

    @property
    def flops(self) -> int:
        return self.step.flops * self.batch

    @property
    def bytes(self) -> int:
        """The fewest bytes that must move: each input read once, each result written once."""
        return sum(array.nbytes for array in (*self.arrays, *self.answer))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.arrays[0].shape


def results(value: Any) -> tuple[Array, ...]:
    """Return an operation's result (an array, a tuple of arrays or a number) as a tuple."""
    return tuple(map(np.asarray, value)) if isinstance(value, tuple) else (np.asarray(value),)


@functools.lru_cache(maxsize=8)
def case(step_name: str, dtype: str, batch: int = BATCH) -> Case:
    """Return a step's arrays in a dtype, and the results of the NumPy backend."""
    step = BY_NAME[step_name]
    rng = np.random.default_rng(SEED)
    arrays = tuple(
        array.astype(dtype) if array.dtype.kind == "f" else array for array in step.make(rng, batch)
    )
    function = getattr(ops, step.function)
    # Always in float64: the reference must be free of the rounding errors that it checks.
    wide = [array.astype(np.float64) if array.dtype.kind == "f" else array for array in arrays]
    answer = results(function(*wide, **step.options, backend="numpy"))
    return Case(step, dtype, batch, arrays, tuple(array.astype(dtype) for array in answer))


def _conv(layer: str, c_in: int, c_out: int, size: int, table: Array | None = None) -> list[Step]:
    """Return the three directions of a layer of 5x5 kernels on maps of size x size."""
    out = size - 4
    links = c_in * c_out if table is None else int(table.sum())
    flops = 2 * links * 25 * out * out
    options = {} if table is None else {"connections": table}

    def forward(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        x = rng.standard_normal((n, c_in, size, size))
        return x, rng.standard_normal((c_out, c_in, 5, 5)) / 10, rng.standard_normal(c_out)

    def back(positive: bool) -> Callable[[np.random.Generator, int], tuple[Array, ...]]:
        def make(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
            x, w, _ = forward(rng, n)
            dy = rng.standard_normal((n, c_out, out, out))
            return np.abs(dy) if positive else dy, x, w

        return make

    return [
        Step(layer, "forward", "conv2d", forward, flops + c_out * out * out, options),
        Step(layer, "backward", "conv2d_backward", back(False), 2 * flops, options),
        Step(layer, "hessian", "conv2d_hessian", back(True), 2 * flops, options),
    ]


def _pool(layer: str, maps: int, size: int) -> list[Step]:
    """Return max pooling, average pooling and sub-sampling over 2x2, in three directions."""
    full, half = maps * size * size, maps * size * size // 4

    def make(*names: str) -> Callable[[np.random.Generator, int], tuple[Array, ...]]:
        def arrays(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
            made = {
                "x": rng.standard_normal((n, maps, size, size)),
                "dy": rng.standard_normal((n, maps, size // 2, size // 2)),
                "w": rng.standard_normal(maps),
                "b": rng.standard_normal(maps),
            }
            made["hy"] = np.abs(made["dy"])
            return tuple(made[name] for name in names)

        return arrays

    return [
        Step(f"{layer} max", "forward", "max_pool2d", make("x"), 3 * half),
        Step(f"{layer} max", "backward", "max_pool2d_backward", make("dy", "x"), full),
        Step(f"{layer} max", "hessian", "max_pool2d_hessian", make("hy", "x"), full),
        Step(f"{layer} average", "forward", "avg_pool2d", make("x"), 4 * half),
        Step(f"{layer} average", "backward", "avg_pool2d_backward", make("dy", "x"), half),
        Step(f"{layer} average", "hessian", "avg_pool2d_hessian", make("hy", "x"), half),
        Step(f"{layer} sub", "forward", "subsample2d", make("x", "w", "b"), 5 * half),
        Step(f"{layer} sub", "backward", "subsample2d_backward", make("dy", "x", "w"), 7 * half),
        Step(f"{layer} sub", "hessian", "subsample2d_hessian", make("hy", "x", "w"), 8 * half),
    ]


def _squashing(layer: str, *shape: int) -> list[Step]:
    units = int(np.prod(shape))

    def forward(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        return (rng.standard_normal((n, *shape)),)

    def back(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        y = ops.scaled_tanh(rng.standard_normal((n, *shape)), backend="numpy")
        return np.abs(rng.standard_normal((n, *shape))), y

    cost = TRANSCENDENTAL + 2
    return [
        Step(f"{layer} tanh", "forward", "scaled_tanh", forward, cost * units),
        Step(f"{layer} tanh", "backward", "scaled_tanh_backward", back, 4 * units),
        Step(f"{layer} tanh", "hessian", "scaled_tanh_hessian", back, 5 * units),
    ]


def _dense() -> list[Step]:
    def forward(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        x, w = rng.standard_normal((n, 120)), rng.standard_normal((84, 120)) / 10
        return x, w, rng.standard_normal(84)

    def back(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        x, w, _ = forward(rng, n)
        return np.abs(rng.standard_normal((n, 84))), x, w

    links = 84 * 120
    return [
        Step("F6", "forward", "dense", forward, 2 * links),
        Step("F6", "backward", "dense_backward", back, 4 * links),
        Step("F6", "hessian", "dense_hessian", back, 4 * links),
    ]


def _rbf() -> list[Step]:
    def forward(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        return rng.standard_normal((n, 84)), bitmaps.centres(np.float64)

    def back(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        x, w = forward(rng, n)
        return np.abs(rng.standard_normal((n, 10))), x, w

    return [
        Step("RBF", "forward", "rbf", forward, 3 * 840),
        Step("RBF", "backward", "rbf_backward", back, 6 * 840),
        Step("RBF", "hessian", "rbf_hessian", back, 7 * 840),
    ]


def _losses() -> list[Step]:
    def labelled(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        return 10 * rng.random((n, 10)), rng.integers(0, 10, n)

    def targeted(rng: np.random.Generator, n: int) -> tuple[Array, ...]:
        return rng.standard_normal((n, 10)), rng.standard_normal((n, 10))

    steps = []
    for layer, function, make, cost, options in (
        ("cross-entropy", "softmax_cross_entropy", labelled, 10 * (TRANSCENDENTAL + 2), {}),
        ("squared error", "mean_squared_error", targeted, 30, {}),
        ("MAP", "map_loss", labelled, 11 * (TRANSCENDENTAL + 2), {"j": J}),
    ):
        for direction in ("forward", "backward", "hessian"):
            name = function if direction == "forward" else f"{function}_{direction}"
            steps.append(Step(layer, direction, name, make, cost, dict(options)))
    return steps


STEPS: tuple[Step, ...] = (
    *_conv("C1", 1, 6, 32),
    *_conv("C3", 6, 16, 14),
    *_conv("C3 table", 6, 16, 14, LENET5_C3),
    *_conv("C5", 16, 120, 5),
    *_pool("S2", 6, 28),
    *_pool("S4", 16, 10),
    *_squashing("C1", 6, 28, 28),
    *_squashing("F6", 84),
    *_dense(),
    *_rbf(),
    *_losses(),
)
"""Sorted by the published table, then by the network."""

BY_NAME = {step.name: step for step in STEPS}
