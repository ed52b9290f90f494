"""The three methods of a published comparison, reimplemented, and a fourth one.

The comparison timed convolution and pooling at LeNet-5's layers, in float64 and NHWC order: nested
Python loops over every output ("original"), ``scipy.signal.convolve2d`` for each pair of maps
("SciPy"), and the whole batch at one output position after the other ("modified": mattwang44's
LeNet-from-Scratch). The fourth is the best NumPy code we know ("vectorised"): fewer products and
copies in the backward pass of the convolution, and no loops in pooling. They serve as benchmarks
only. Kernels are (rows, columns, maps in, maps out); the stride of a convolution is 1, that of a
pooling is its window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import operations
from benchmarks.contenders import checker, installed
from benchmarks.operations import Case, Step
from lenet_fast import threads
from lenet_fast.bench.rounds import Contender

Array = np.ndarray[Any, Any]

BATCHES = {"original": 2, "SciPy": 8, "modified": operations.BATCH, "vectorised": operations.BATCH}
"""Number of images per method; times for smaller batches are scaled, and marked in the results."""


# --- original: one output at a time ---


def loops_conv(x: Array, w: Array, b: Array) -> Array:
    n, h_in, w_in, _ = x.shape
    kh, kw, _, c_out = w.shape
    y = np.zeros((n, h_in - kh + 1, w_in - kw + 1, c_out))
    for i in range(n):
        for r in range(y.shape[1]):
            for s in range(y.shape[2]):
                window = x[i, r : r + kh, s : s + kw]
                for o in range(c_out):
                    y[i, r, s, o] = np.sum(window * w[..., o]) + b[o]
    return y


def loops_conv_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    kh, kw = w.shape[:2]
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(w.shape[3])
    n, h_out, w_out, c_out = dy.shape
    for i in range(n):
        for r in range(h_out):
            for s in range(w_out):
                window = x[i, r : r + kh, s : s + kw]
                for o in range(c_out):
                    g = dy[i, r, s, o]
                    dx[i, r : r + kh, s : s + kw] += g * w[..., o]
                    dw[..., o] += g * window
                    db[o] += g
    return dx, dw, db


def loops_pool(x: Array, reduce: Callable[[Array], Any]) -> Array:
    n, h_in, w_in, c = x.shape
    y = np.zeros((n, h_in // 2, w_in // 2, c))
    for i in range(n):
        for r in range(h_in // 2):
            for s in range(w_in // 2):
                for k in range(c):
                    y[i, r, s, k] = reduce(x[i, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2, k])
    return y


def loops_max_backward(dy: Array, x: Array) -> Array:
    dx = np.zeros_like(x)
    n, h_out, w_out, c = dy.shape
    for i in range(n):
        for r in range(h_out):
            for s in range(w_out):
                for k in range(c):
                    window = x[i, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2, k]
                    u, v = divmod(int(np.argmax(window)), 2)
                    dx[i, 2 * r + u, 2 * s + v, k] += dy[i, r, s, k]
    return dx


def loops_average_backward(dy: Array, x: Array) -> Array:
    dx = np.zeros_like(x)
    n, h_out, w_out, c = dy.shape
    for i in range(n):
        for r in range(h_out):
            for s in range(w_out):
                for k in range(c):
                    dx[i, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2, k] += dy[i, r, s, k] / 4
    return dx


# --- SciPy: one pair of maps at a time ---


def scipy_conv(x: Array, w: Array, b: Array) -> Array:
    from scipy.signal import convolve2d

    n, h_in, w_in, c_in = x.shape
    kh, kw, _, c_out = w.shape
    y = np.zeros((n, h_in - kh + 1, w_in - kw + 1, c_out))
    flipped = w[::-1, ::-1]  # convolve2d flips its kernel: flip it back
    for i in range(n):
        for o in range(c_out):
            for c in range(c_in):
                y[i, :, :, o] += convolve2d(x[i, :, :, c], flipped[:, :, c, o], mode="valid")
    return y + b


# --- modified: the whole batch at one output position ---


def modified_conv(x: Array, w: Array, b: Array) -> Array:
    n, h_in, w_in, _ = x.shape
    kh, kw, _, c_out = w.shape
    y = np.empty((n, h_in - kh + 1, w_in - kw + 1, c_out), x.dtype)
    for r in range(y.shape[1]):
        for s in range(y.shape[2]):
            window = x[:, r : r + kh, s : s + kw]
            y[:, r, s] = np.tensordot(window, w, axes=((1, 2, 3), (0, 1, 2))) + b
    return y


def modified_conv_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    kh, kw = w.shape[:2]
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(w.shape[3], w.dtype)
    for r in range(dy.shape[1]):
        for s in range(dy.shape[2]):
            g = dy[:, r, s]
            seen = (slice(None), slice(r, r + kh), slice(s, s + kw))
            dx[seen] += np.moveaxis(np.dot(w, g.T), 3, 0)
            dw += np.dot(np.moveaxis(x[seen], 0, 3), g)
            db += g.sum(axis=0)
    return dx, dw, db


def _positions(y: Array) -> Iterator[tuple[tuple[slice | int, ...], tuple[slice | int, ...]]]:
    """Yield each output position of a pooling, and where its windows are in the input."""
    every = slice(None)
    for r in range(y.shape[1]):
        for s in range(y.shape[2]):
            window = (every, slice(2 * r, 2 * r + 2), slice(2 * s, 2 * s + 2))
            yield (every, r, s), window


def modified_pool(x: Array, reduce: Callable[..., Array]) -> Array:
    n, h_in, w_in, c = x.shape
    y = np.zeros((n, h_in // 2, w_in // 2, c), x.dtype)
    for at, window in _positions(y):
        y[at] = reduce(x[window], axis=(1, 2))
    return y


def modified_max_backward(dy: Array, x: Array) -> Array:
    dx = np.zeros_like(x)
    for at, window in _positions(dy):
        seen = np.moveaxis(x[window], 0, 3)
        wins = np.moveaxis(seen == seen.max(axis=(0, 1)), 3, 0)
        dx[window] += wins * dy[at][:, np.newaxis, np.newaxis]
    return dx


def modified_average_backward(dy: Array, x: Array) -> Array:
    dx = np.zeros_like(x)
    for at, window in _positions(dy):
        share = dy[at][:, np.newaxis, np.newaxis]
        dx[window] += np.repeat(np.repeat(share, 2, axis=1), 2, axis=2) / 4
    return dx


# --- vectorised: the best NumPy code we know ---


def vectorised_conv_backward(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    kh, kw = w.shape[:2]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    swapped = w.transpose(3, 0, 1, 2)
    for r in range(dy.shape[1]):
        for s in range(dy.shape[2]):
            g = dy[:, r, s]
            dx[:, r : r + kh, s : s + kw] += np.tensordot(g, swapped, axes=1)
            dw += np.tensordot(x[:, r : r + kh, s : s + kw], g, axes=((0,), (0,)))
    return dx, dw, dy.sum(axis=(0, 1, 2))


def _windows(x: Array) -> Array:
    """Return a view of x with axes (image, row, row in window, column, column in window, map)."""
    n, h_in, w_in, c = x.shape
    return x.reshape(n, h_in // 2, 2, w_in // 2, 2, c)


def vectorised_max(x: Array) -> Array:
    return _windows(x).max(axis=(2, 4))


def vectorised_max_backward(dy: Array, x: Array) -> Array:
    largest = vectorised_max(x)[:, :, None, :, None]
    return np.where(_windows(x) == largest, dy[:, :, None, :, None], 0).reshape(x.shape)


def vectorised_average(x: Array) -> Array:
    return _windows(x).mean(axis=(2, 4))


def vectorised_average_backward(dy: Array, x: Array) -> Array:
    spread = np.empty_like(x)
    _windows(spread)[...] = (dy / 4)[:, :, None, :, None]
    return spread


# --- as contenders ---

_WAYS: dict[str, dict[str, Callable[..., Any]]] = {
    "original": {
        "conv2d": loops_conv,
        "conv2d_backward": loops_conv_backward,
        "max_pool2d": partial(loops_pool, reduce=np.max),
        "max_pool2d_backward": loops_max_backward,
        "avg_pool2d": partial(loops_pool, reduce=np.mean),
        "avg_pool2d_backward": loops_average_backward,
    },
    "SciPy": {"conv2d": scipy_conv},
    "modified": {
        "conv2d": modified_conv,
        "conv2d_backward": modified_conv_backward,
        "max_pool2d": partial(modified_pool, reduce=np.max),
        "max_pool2d_backward": modified_max_backward,
        "avg_pool2d": partial(modified_pool, reduce=np.average),
        "avg_pool2d_backward": modified_average_backward,
    },
    "vectorised": {
        "conv2d_backward": vectorised_conv_backward,
        "max_pool2d": vectorised_max,
        "max_pool2d_backward": vectorised_max_backward,
        "avg_pool2d": vectorised_average,
        "avg_pool2d_backward": vectorised_average_backward,
    },
}


def names(step: Step, dtype: str) -> list[str]:
    """Return the methods available for a step; in float32 those that work on whole batches."""
    if step.options:  # the comparison had no connection table
        return []
    wanted = list(_WAYS) if dtype == "float64" else ["modified", "vectorised"]
    found = [name for name in wanted if step.function in _WAYS[name]]
    return [name for name in found if name != "SciPy" or installed("scipy")]


def make(name: str, case: Case) -> Contender:
    """Return a method as a contender, on its own, smaller batch."""
    batch = min(BATCHES[name], case.batch)
    part = operations.case(case.step.name, case.dtype, batch)
    return Contender(
        name,
        partial(_WAYS[name][case.step.function], *in_notebooks(part.arrays, case.step)),
        checker(name, part, in_kernels),
        threads.alone_with_blas,
        scale=case.batch / batch,
        info={"measured_batch": batch},
    )


def in_notebooks(arrays: tuple[Array, ...], step: Step) -> list[Array]:
    """Return a step's arrays in the notebooks' order: NHWC, kernels (rows, columns, in, out)."""
    kernels = 1 if step.direction == "forward" else 2
    return [_to_nhwc(array, kernel=i == kernels) for i, array in enumerate(arrays)]


def _to_nhwc(array: Array, kernel: bool) -> Array:
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose((2, 3, 1, 0) if kernel else (0, 2, 3, 1)))


def in_kernels(value: Any) -> tuple[Array, ...]:
    """Return results in the reference's order."""
    found = []
    for i, array in enumerate(operations.results(value)):
        if array.ndim == 4:  # of the gradients, the second is the kernels'
            array = array.transpose((3, 2, 0, 1) if i == 1 else (0, 3, 1, 2))
        found.append(array)
    return tuple(found)
