"""The notebooks' functions of :mod:`lenet_fast.drop_in` beside the published "modified" ones.

All take images (n, rows, columns, maps), in C order unless said otherwise.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import baselines
from lenet_fast import drop_in, threads
from lenet_fast.bench import steps
from lenet_fast.bench.contenders import Contender, checker
from lenet_fast.bench.steps import Case, Step

NAMES = ("modified", "drop_in", "drop_in chained")
"""The last gets images in the memory order in which the functions of drop_in hand them on."""

CONV, POOL = {"stride": 1, "pad": 0}, {"f": 2, "stride": 2}

Array = np.ndarray[Any, Any]


def known(step: Step) -> bool:
    """Return whether notebooks have a function for a step."""
    return "modified" in baselines.names(step, "float32")


def make(name: str, case: Case, count: int) -> Contender:
    """Return one of NAMES, on `count` threads; 1, or what BLAS takes by itself."""
    around = partial(_threads, count)
    if name == "modified":
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
def _threads(count: int) -> Iterator[None]:
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
    found = steps.results(value)
    if len(found) == 3:  # a bias's gradient has four axes here
        found = (*found[:2], found[2].reshape(-1))
    return baselines.in_kernels(found)
