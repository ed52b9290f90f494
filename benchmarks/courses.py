"""Layers of four courses, forward and back: their own ways, and those of lenet_fast.drop_in.

python -m benchmarks.courses [--course NAME ...] [--dtype float32|float64] [--seconds N]

Each course has a piece of its own network, with its own calls. The ways it is compared with are
written anew, as the course teaches them: loops over every output; the whole batch at one output
position after the other; columns and one matrix product. All results are compared first. The
contenders take turns, on one thread; loops run on a few images, and their time is scaled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks import baselines, notebooks
from lenet_fast import backends, drop_in
from lenet_fast.bench import machine, rounds, tables
from lenet_fast.bench.rounds import Contender

Array = np.ndarray[Any, Any]

SEED = 1998
OURS = "lenet_fast"
LOOPS, POSITIONS, COLUMNS = "loops", "position by position", "columns"


class Course(NamedTuple):
    """A piece of a course's network."""

    work: str
    batch: int
    image: tuple[int, ...]  # the shape of one
    step: Callable[..., tuple[Array, ...]]  # of functions, images, and what drew the others
    ways: dict[str, Any]  # the functions, or the module that has them
    few: dict[str, int]  # images of the slow ways


# --- DeepLearning.AI, Holberton School: images (m, rows, columns, maps), average pooling ---

_FUNCTIONS = {
    LOOPS: (
        *(baselines.loops_conv, baselines.loops_conv_backward),
        *(partial(baselines.loops_pool, reduce=np.mean), baselines.loops_average_backward),
    ),
    POSITIONS: (
        *(baselines.modified_conv, baselines.modified_conv_backward),
        *(partial(baselines.modified_pool, reduce=np.mean), baselines.modified_average_backward),
    ),
}
PAD, POOL = 2, {"f": 2, "stride": 2}


def _padded(images: Array) -> Array:
    return np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))


def _deeplearning_ai(way: str) -> SimpleNamespace:
    conv, conv_back, pool, pool_back = _FUNCTIONS[way]

    def conv_backward(dz: Array, cache: Any) -> tuple[Array, Array, Array]:
        dx, dw, db = conv_back(dz, _padded(cache[0]), cache[1])
        return dx[:, PAD:-PAD, PAD:-PAD], dw, db.reshape(1, 1, 1, -1)

    return SimpleNamespace(
        conv_forward=lambda x, w, b, h: (conv(_padded(x), w, b[0, 0, 0]), (x, w, b, h)),
        conv_backward=conv_backward,
        pool_forward=lambda x, h, mode: (pool(x), (x, h)),
        pool_backward=lambda da, cache, mode: pool_back(da, cache[0]),
    )


def _holberton(way: str) -> SimpleNamespace:
    own = _deeplearning_ai(way)
    return SimpleNamespace(
        conv_forward=lambda x, w, b, activation: activation(own.conv_forward(x, w, b, None)[0]),
        conv_backward=lambda dz, x, w, b: own.conv_backward(dz, (x, w, b, None)),
        pool_forward=lambda x, kernel, stride, mode: own.pool_forward(x, None, mode)[0],
        pool_backward=lambda da, x, kernel, stride, mode: own.pool_backward(da, (x, None), mode),
    )


def _filters(images: Array) -> tuple[Array, Array]:
    rng, dtype = np.random.default_rng(SEED), images.dtype
    return rng.normal(0, 0.2, (5, 5, 1, 6)).astype(dtype), np.zeros((1, 1, 1, 6), dtype)


def notebook_step(functions: Any, x: Array) -> tuple[Array, ...]:
    w, b = _filters(x)
    z, conv_cache = functions.conv_forward(x, w, b, {"stride": 1, "pad": PAD})
    a = np.tanh(z)
    p, pool_cache = functions.pool_forward(a, POOL, mode="average")
    da = functions.pool_backward(p, pool_cache, mode="average")
    return (p, *functions.conv_backward(da * (1 - a * a), conv_cache))


def holberton_step(functions: Any, x: Array) -> tuple[Array, ...]:
    w, b = _filters(x)
    a = functions.conv_forward(x, w, b, np.tanh)
    p = functions.pool_forward(a, (2, 2), (2, 2), "avg")
    da = functions.pool_backward(p, a, (2, 2), (2, 2), "avg")
    return (p, *functions.conv_backward(da * (1 - a * a), x, w, b))


# --- CS231n: images (N, C, H, W), as in its ThreeLayerConvNet ---


def _windows(x: Array, kernel: tuple[int, int], pad: int) -> Array:
    """Return a view (N, C, rows, columns, kh, kw) of the windows of padded images."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return sliding_window_view(padded, kernel, axis=(2, 3))


def _loops_conv(x: Array, w: Array, b: Array, conv_param: Any) -> tuple[Array, Any]:
    seen = _windows(x, w.shape[2:], conv_param["pad"])
    out = np.zeros((len(x), len(w), *seen.shape[2:4]), x.dtype)
    for i, f, r, s in np.ndindex(out.shape):
        out[i, f, r, s] = (seen[i, :, r, s] * w[f]).sum() + b[f]
    return out, (x, w, b, conv_param)


def _loops_conv_back(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, w, b, conv_param = cache
    pad, (kh, kw), (rows, columns) = conv_param["pad"], w.shape[2:], x.shape[2:]
    seen = _windows(x, (kh, kw), pad)
    dpadded = np.zeros((*x.shape[:2], rows + 2 * pad, columns + 2 * pad), x.dtype)
    dw, db = np.zeros_like(w), np.zeros_like(b)
    for i, f, r, s in np.ndindex(dout.shape):
        dpadded[i, :, r : r + kh, s : s + kw] += w[f] * dout[i, f, r, s]
        dw[f] += seen[i, :, r, s] * dout[i, f, r, s]
        db[f] += dout[i, f, r, s]
    return dpadded[:, :, pad : pad + rows, pad : pad + columns], dw, db


def _loops_pool(x: Array, pool_param: Any) -> tuple[Array, Any]:
    out = np.zeros((*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2), x.dtype)
    for i, c, r, s in np.ndindex(out.shape):
        out[i, c, r, s] = x[i, c, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2].max()
    return out, (x, pool_param)


def _loops_pool_back(dout: Array, cache: Any) -> Array:
    x, _ = cache
    dx = np.zeros_like(x)
    for i, c, r, s in np.ndindex(dout.shape):
        u, v = divmod(int(x[i, c, 2 * r : 2 * r + 2, 2 * s : 2 * s + 2].argmax()), 2)
        dx[i, c, 2 * r + u, 2 * s + v] = dout[i, c, r, s]
    return dx


def _columns_conv(x: Array, w: Array, b: Array, conv_param: Any) -> tuple[Array, Any]:
    seen = _windows(x, w.shape[2:], conv_param["pad"])
    n, _, rows, columns = seen.shape[:4]
    cols = np.ascontiguousarray(seen.transpose(1, 4, 5, 0, 2, 3)).reshape(w[0].size, -1)
    out = w.reshape(len(w), -1) @ cols + b[:, None]
    out = np.ascontiguousarray(out.reshape(len(w), n, rows, columns).transpose(1, 0, 2, 3))
    return out, (x, w, b, conv_param, cols)


def _columns_conv_back(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, w, _, conv_param, cols = cache
    pad, (rows, columns), (kh, kw) = conv_param["pad"], x.shape[2:], w.shape[2:]
    d = dout.transpose(1, 0, 2, 3).reshape(len(w), -1)
    dcols = (w.reshape(len(w), -1).T @ d).reshape(-1, kh, kw, len(x), *dout.shape[2:])
    # Pixel by pixel, by an array of indices: without the Cython of the course.
    c, u, v, i, r, s = np.indices(dcols.shape, sparse=True)
    dpadded = np.zeros((*x.shape[:2], rows + 2 * pad, columns + 2 * pad), x.dtype)
    np.add.at(dpadded, (i, c, r + u, s + v), dcols)
    dx = dpadded[:, :, pad : pad + rows, pad : pad + columns]
    return dx, (d @ cols.T).reshape(w.shape), d.sum(axis=1)


def _reshaped_pool(x: Array, pool_param: Any) -> tuple[Array, Any]:
    seen = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    out = seen.max(axis=(3, 5))
    return out, (x, seen, out)


def _reshaped_pool_back(dout: Array, cache: Any) -> Array:
    x, seen, out = cache
    mask = seen == out[:, :, :, None, :, None]
    share = mask * dout[:, :, :, None, :, None] / mask.sum(axis=(3, 5), keepdims=True)
    return share.astype(x.dtype).reshape(x.shape)


_CS231N = {
    LOOPS: SimpleNamespace(
        conv_forward_fast=_loops_conv,
        conv_backward_fast=_loops_conv_back,
        max_pool_forward_fast=_loops_pool,
        max_pool_backward_fast=_loops_pool_back,
    ),
    COLUMNS: SimpleNamespace(
        conv_forward_fast=_columns_conv,
        conv_backward_fast=_columns_conv_back,
        max_pool_forward_fast=_reshaped_pool,
        max_pool_backward_fast=_reshaped_pool_back,
    ),
    OURS: drop_in.cs231n,
}


def cs231n_step(functions: Any, x: Array) -> tuple[Array, ...]:
    rng = np.random.default_rng(SEED)
    w, b = rng.normal(0, 0.1, (32, 3, 7, 7)).astype(x.dtype), np.zeros(32, x.dtype)
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    a, conv_cache = functions.conv_forward_fast(x, w, b, {"stride": 1, "pad": 3})
    out, pool_cache = functions.max_pool_forward_fast(np.maximum(a, 0), pool_param)
    da = functions.max_pool_backward_fast(out, pool_cache) * (a > 0)
    return (out, *functions.conv_backward_fast(da, conv_cache))


# --- Deep Learning from Scratch: classes, images (N, C, H, W), as in its SimpleConvNet ---


def _book_columns(x: Array, kh: int, kw: int, stride: int) -> Array:
    """Return columns, filled tap by tap."""
    rows, width = ((size - k) // stride + 1 for size, k in zip(x.shape[2:], (kh, kw), strict=True))
    col = np.zeros((*x.shape[:2], kh, kw, rows, width), x.dtype)
    for u in range(kh):
        for v in range(kw):
            down, across = (slice(k, k + stride * n, stride) for k, n in ((u, rows), (v, width)))
            col[:, :, u, v] = x[:, :, down, across]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(len(x) * rows * width, -1)


def _book_images(col: Array, shape: tuple[int, ...], kh: int, kw: int, stride: int) -> Array:
    n, c, *size = shape
    rows, width = ((length - k) // stride + 1 for length, k in zip(size, (kh, kw), strict=True))
    col = col.reshape(n, rows, width, c, kh, kw).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros(shape, col.dtype)
    for u in range(kh):
        for v in range(kw):
            down, across = (slice(k, k + stride * m, stride) for k, m in ((u, rows), (v, width)))
            x[:, :, down, across] += col[:, :, u, v]
    return x


class _BookConvolution:
    def __init__(self, w: Array, b: Array) -> None:
        self.w, self.b = w, b

    def forward(self, x: Array) -> Array:
        self.x, self.col = x, _book_columns(x, *self.w.shape[2:], 1)
        rows, width = (size - k + 1 for size, k in zip(x.shape[2:], self.w.shape[2:], strict=True))
        out = self.col @ self.w.reshape(len(self.w), -1).T + self.b
        return out.reshape(len(x), rows, width, -1).transpose(0, 3, 1, 2)

    def backward(self, dout: Array) -> Array:
        d = dout.transpose(0, 2, 3, 1).reshape(-1, len(self.w))
        self.db, self.dW = d.sum(axis=0), (self.col.T @ d).T.reshape(self.w.shape)
        return _book_images(d @ self.w.reshape(len(self.w), -1), self.x.shape, *self.w.shape[2:], 1)


class _BookPooling:
    def __init__(self, rows: int, columns: int, stride: int) -> None:
        self.window = rows, columns, stride

    def forward(self, x: Array) -> Array:
        col = _book_columns(x, *self.window).reshape(-1, self.window[0] * self.window[1])
        self.x, self.best = x, col.argmax(axis=1)
        out = col.max(axis=1).reshape(len(x), x.shape[2] // 2, x.shape[3] // 2, -1)
        return out.transpose(0, 3, 1, 2)

    def backward(self, dout: Array) -> Array:
        d = dout.transpose(0, 2, 3, 1).ravel()
        col = np.zeros((d.size, self.window[0] * self.window[1]), d.dtype)
        col[np.arange(d.size), self.best] = d
        return _book_images(col, self.x.shape, *self.window)


def dlfs_step(classes: Any, x: Array) -> tuple[Array, ...]:
    rng = np.random.default_rng(SEED)
    w, b = rng.normal(0, 0.1, (30, 1, 5, 5)).astype(x.dtype), np.zeros(30, x.dtype)
    conv, pool = classes.Convolution(w, b), classes.Pooling(2, 2, stride=2)
    a = conv.forward(x)
    out = pool.forward(np.maximum(a, 0))
    dx = conv.backward(pool.backward(out) * (a > 0))
    return out, dx, conv.dW, conv.db


COURSES = {
    "DeepLearning.AI": Course(
        "5x5 convolution of 28x28 pixels to 6 maps, tanh, average pooling; batch 64",
        *(64, (28, 28, 1), notebook_step),
        {LOOPS: _deeplearning_ai(LOOPS), POSITIONS: _deeplearning_ai(POSITIONS), OURS: drop_in},
        {LOOPS: 1},
    ),
    "CS231n": Course(
        "ThreeLayerConvNet: 7x7 convolution of 3x32x32 to 32 maps, ReLU, max pooling; batch 50",
        *(50, (3, 32, 32), cs231n_step),
        *(_CS231N, {LOOPS: 1}),
    ),
    "Deep Learning from Scratch": Course(
        "SimpleConvNet: 5x5 convolution of 28x28 pixels to 30 maps, ReLU, max pooling; batch 100",
        *(100, (1, 28, 28), dlfs_step),
        {
            COLUMNS: SimpleNamespace(Convolution=_BookConvolution, Pooling=_BookPooling),
            OURS: drop_in.dlfs,
        },
        {},
    ),
    "Holberton": Course(
        "5x5 convolution of 28x28 pixels to 6 maps, tanh, average pooling; batch 64",
        *(64, (28, 28, 1), holberton_step),
        {LOOPS: _holberton(LOOPS), POSITIONS: _holberton(POSITIONS), OURS: drop_in.holberton},
        {LOOPS: 1},
    ),
}


def contender(course: Course, way: str, dtype: str) -> Contender:
    """Return a way of a course, checked by ours; and ours by the last of the others."""
    count = course.few.get(way, course.batch)
    x = np.random.default_rng(SEED).normal(size=(course.batch, *course.image)).astype(dtype)
    judge = course.ways[OURS if way != OURS else [*course.ways][-2]]

    def check(value: tuple[Array, ...]) -> None:
        rounds.compare(way, value, course.step(judge, x[:count]), dtype)

    run = partial(course.step, course.ways[way], x[:count])
    around = partial(notebooks.threads_of, 1)
    return Contender(way, run, check, around, scale=course.batch / count)


def measure(name: str, dtype: str, seconds: float) -> dict[str, float]:
    """Return the median seconds of each way of a course; raise if one is wrong."""
    course = COURSES[name]
    made = [contender(course, way, dtype) for way in course.ways]
    found = {}
    for way, timing in rounds.measure(made, seconds).timings.items():
        if timing.error is not None:
            raise SystemExit(f"{name}: {way}: {timing.error}")
        found[way] = median(timing.samples)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.courses", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--course", choices=COURSES, nargs="+", default=COURSES, help="which (all)")
    parser.add_argument("--dtype", choices=rounds.TOLERANCE, default="float64", help="(float64)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each (2)")
    options = parser.parse_args(arguments)
    backend = backends.get()
    isa = getattr(backend, "isa", lambda: "")()
    print(f"{machine.describe()['cpu']}; {options.dtype}, one thread, {backends.current()} {isa}\n")
    body = []
    for name in options.course:
        found = measure(name, options.dtype, options.seconds)
        ours = found.pop(OURS)
        for way, took in found.items():
            cells = [f"{1e3 * took:,.1f}", f"{1e3 * ours:.2f}", tables.times(took, ours)]
            body.append([f"{name}: {COURSES[name].work}", way, *cells])
    print(tables.table(("Course", "Compared with", "ms", "lenet_fast, ms", "Times"), body))


if __name__ == "__main__":
    main()
