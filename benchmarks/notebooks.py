"""Functions of :mod:`lenet_fast.drop_in` compared with the published "modified" ones.

All take images (n, rows, columns, maps), in C order unless said otherwise. The functions are
compared one by one, and in a notebook's training loop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import baselines, operations
from benchmarks.contenders import checker
from benchmarks.operations import BATCH, Case, Step
from lenet_fast import drop_in, threads
from lenet_fast.bench.rounds import Contender, compare

NAMES = ("modified", "vectorised", "drop_in", "drop_in chained")
"""The first two are in :mod:`benchmarks.baselines`. The last gets images in the memory order in
which the functions of drop_in return them."""

TRAINING = "drop_in: a training step of a notebook, batch 256"
"""A separate row: LeNet-5 with average pooling, forward and backward pass, and the update."""

CONV, POOL = {"stride": 1, "pad": 0}, {"f": 2, "stride": 2}

Array = np.ndarray[Any, Any]


def names(step: Step) -> list[str]:
    """Return the contenders in NAMES that have a function for a step."""
    ways = baselines.names(step, "float32")
    return [name for name in NAMES if ways and (name in ways or name.startswith("drop_in"))]


def make(name: str, case: Case, count: int) -> Contender:
    """Return one of NAMES, on `count` threads: 1, or the default of BLAS."""
    around = partial(threads_of, count)
    if name in ("modified", "vectorised"):
        made = baselines.make(name, case)
        return Contender(name, made.run, made.check, around)
    arrays = baselines.in_notebooks(case.arrays, case.step)
    if name == "drop_in chained":
        arrays = [
            given.transpose(0, 2, 3, 1) if len(given) == case.batch else array
            for given, array in zip(case.arrays, arrays, strict=True)
        ]
    run = partial(_FUNCTIONS[case.step.function], *arrays)
    return Contender(name, run, checker(name, case, _in_kernels), around)


@contextlib.contextmanager
def threads_of(count: int) -> Iterator[None]:
    """Enter with so many of our threads; with 1, NumPy has one, too."""
    alone: Any = threads.alone_with_blas() if count == 1 else contextlib.nullcontext()
    with alone, mock.patch.dict(os.environ, {threads.ENVIRONMENT_VARIABLE: str(count)}):
        yield


def _conv(x: Array, w: Array, b: Array) -> Array:
    return drop_in.conv_forward(x, w, b.reshape(1, 1, 1, -1), CONV)[0]


def _conv_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    b = np.zeros((1, 1, 1, w.shape[3]), w.dtype)
    return drop_in.conv_backward(dy, (x, w, b, CONV))


def _pool(mode: str, x: Array) -> Array:
    return drop_in.pool_forward(x, POOL, mode)[0]


def _pool_backward(mode: str, dy: Array, x: Array) -> Array:
    return drop_in.pool_backward(dy, (x, POOL), mode)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv2d": _conv,
    "conv2d_backward": _conv_backward,
    "max_pool2d": partial(_pool, "max"),
    "max_pool2d_backward": partial(_pool_backward, "max"),
    "avg_pool2d": partial(_pool, "average"),
    "avg_pool2d_backward": partial(_pool_backward, "average"),
}


def _in_kernels(value: Any) -> tuple[Array, ...]:
    found = operations.results(value)
    if len(found) == 3:  # a bias's gradient has four axes here
        found = (*found[:2], found[2].reshape(-1))
    return baselines.in_kernels(found)


# --- a training loop ---


class Modified:
    """The published functions that LeNet-5 needs, with the signatures of their notebooks."""

    @staticmethod
    def conv_forward(A_prev: Array, W: Array, b: Array, hparameters: Any) -> tuple[Array, Any]:
        return baselines.modified_conv(A_prev, W, b[0, 0, 0]), (A_prev, W, b, hparameters)

    @staticmethod
    def conv_backward(dZ: Array, cache: Any) -> tuple[Array, Array, Array]:
        dA, dW, db = baselines.modified_conv_backward(dZ, *cache[:2])
        return dA, dW, db.reshape(cache[2].shape)

    @staticmethod
    def pool_forward(A_prev: Array, hparameters: Any, mode: str) -> tuple[Array, Any]:
        assert mode == "average"
        return baselines.modified_pool(A_prev, np.average), (A_prev, hparameters)

    @staticmethod
    def pool_backward(dA: Array, cache: Any, mode: str) -> Array:
        assert mode == "average"
        return baselines.modified_average_backward(dA, cache[0])


def training(name: str, dtype: str, count: int) -> Contender:
    """Return "modified" or "drop_in" as a contender for a notebook's training step."""
    functions: dict[str, Any] = {"modified": Modified, "drop_in": drop_in}
    (other,) = functions.keys() - {name}
    rng = np.random.default_rng(operations.SEED)
    x = rng.normal(size=(BATCH, 32, 32, 1)).astype(dtype)
    right = np.eye(10, dtype=dtype)[rng.integers(0, 10, BATCH)]
    shapes = [(5, 5, 1, 6), (5, 5, 6, 16), (5, 5, 16, 120), (120, 84), (84, 10)]
    w = [rng.normal(0, 1 / np.prod(s[:-1]) ** 0.5, s).astype(dtype) for s in shapes]
    run = partial(_step, functions[name], w, x, right)

    def check(value: tuple[Array, ...]) -> None:
        compare(name, value, _step(functions[other], w, x, right), dtype)

    return Contender(name, run, check, partial(threads_of, count))


def _step(functions: Any, w: list[Array], x: Array, right: Array) -> tuple[Array, ...]:
    """Return the weights after a step of gradient descent: the notebook without its imports."""
    a, caches = x, []
    for k, weights in enumerate(w[:3]):
        bias = np.zeros((1, 1, 1, weights.shape[3]), x.dtype)
        z, conv_cache = functions.conv_forward(a, weights, bias, CONV)
        z = np.tanh(z)
        a, pool_cache = functions.pool_forward(z, POOL, "average") if k < 2 else (z, None)
        caches.append((conv_cache, z, pool_cache))
    c5 = a.reshape(len(x), -1)
    f6 = np.tanh(c5 @ w[3])
    scores = f6 @ w[4]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    d = (powers / powers.sum(axis=1, keepdims=True) - right) / len(x)
    dw = [f6.T @ d]
    d = (d @ w[4].T) * (1 - f6**2)
    dw.append(c5.T @ d)
    d = (d @ w[3].T).reshape(a.shape)
    for conv_cache, z, pool_cache in reversed(caches):
        if pool_cache:
            d = functions.pool_backward(d, pool_cache, "average")
        d, gradient, _ = functions.conv_backward(d * (1 - z**2), conv_cache)
        dw.append(gradient)
    return tuple(one - x.dtype.type(0.1) * g for one, g in zip(w, reversed(dw), strict=True))
