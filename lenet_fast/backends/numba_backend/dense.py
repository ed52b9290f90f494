"""Fully connected layer: three products of one form, with vectors along outputs or inputs."""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel

STEP = 5  # factors that the inner loop takes at a time
VECTOR = 16  # rows are padded to whole vectors
WIDTH = 512  # columns of the right matrix, and of the result, that stay in the cache
DEPTH = 200  # rows of it; a multiple of STEP
BLOCK = 200  # images at a time; likewise


@kernel
def _scratch(size, x):
    """Return zeros like x that start on a cache line, where vectors are read fastest."""
    buffer = np.zeros(size + 64 // x.itemsize, x.dtype)
    skip = (64 - np.int64(buffer.ctypes.data) % 64) // x.itemsize
    return buffer[skip : skip + size]


@kernel
def _up(size, step):
    """Return the next multiple of step."""
    return (size + step - 1) // step * step


@kernel
def _add_rows(y, first, second, x, start, pitch, w, i, j, run):
    """Add five rows of x, weighted, to two rows of y."""
    p = y[first : first + run]
    q = y[second : second + run]
    x0 = x[start : start + run]
    x1 = x[start + pitch : start + pitch + run]
    x2 = x[start + 2 * pitch : start + 2 * pitch + run]
    x3 = x[start + 3 * pitch : start + 3 * pitch + run]
    x4 = x[start + 4 * pitch : start + 4 * pitch + run]
    a0, a1, a2, a3, a4 = w[i], w[i + 1], w[i + 2], w[i + 3], w[i + 4]
    b0, b1, b2, b3, b4 = w[j], w[j + 1], w[j + 2], w[j + 3], w[j + 4]
    for s in range(run):
        p[s] = p[s] + a0 * x0[s] + a1 * x1[s] + a2 * x2[s] + a3 * x3[s] + a4 * x4[s]
        q[s] = q[s] + b0 * x0[s] + b1 * x1[s] + b2 * x2[s] + b3 * x3[s] + b4 * x4[s]


@kernel
def _multiply(a, x, y, rows, depth, pitch):
    """Add a (rows x depth) times x (depth x pitch) to y: an even number of rows, STEPs of depth."""
    for left in range(0, pitch, WIDTH):
        run = min(WIDTH, pitch - left)
        for top in range(0, depth, DEPTH):
            for i in range(0, rows, 2):
                for k in range(top, min(top + DEPTH, depth), STEP):
                    _add_rows(
                        y, i * pitch + left, (i + 1) * pitch + left, x, k * pitch + left, pitch,
                        a, i * depth + k, (i + 1) * depth + k, run,
                    )  # fmt: skip


@kernel
def _pack(x, first, rows, pitch, packed):
    """Copy rows of x, from `first` on, to the rows of packed."""
    columns = x.shape[1]
    flat = x.reshape(-1)
    for i in range(rows):
        source = flat[(first + i) * columns : (first + i + 1) * columns]
        target = packed[i * pitch : i * pitch + columns]
        for j in range(columns):
            target[j] = source[j]


@kernel
def _pack_turned(x, first, rows, pitch, packed):
    """Copy rows of x, from `first` on, to the columns of packed."""
    columns = x.shape[1]
    flat = x.reshape(-1)
    for start in range(0, rows, VECTOR):
        count = min(VECTOR, rows - start)
        for j in range(columns):
            source = flat[(first + start) * columns + j :]
            target = packed[j * pitch + start : j * pitch + start + count]
            for i in range(count):
                target[i] = source[i * columns]


@kernel
def dense(x, w, b, y):
    """Set y = x w^T + b."""
    n, n_in = x.shape
    n_out = w.shape[0]
    depth, pitch, block = _up(n_in, STEP), _up(n_out, VECTOR), _up(min(n, BLOCK), 2)
    weights = _scratch(depth * pitch, x)  # (n_in, n_out)
    _pack_turned(w, 0, n_out, pitch, weights)
    images = _scratch(block * depth, x)
    sums = _scratch(block * pitch, x)
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        _pack(x, first, m, depth, images)
        sums[:] = 0
        _multiply(images, weights, sums, _up(m, 2), depth, pitch)
        for i in range(m):
            for o in range(n_out):
                y[first + i, o] = sums[i * pitch + o] + b[o]


@kernel
def dense_input_gradient(dy, w, dx):
    """Set dx = dy w."""
    n, n_out = dy.shape
    n_in = w.shape[1]
    depth, pitch, block = _up(n_out, STEP), _up(n_in, VECTOR), _up(min(n, BLOCK), 2)
    weights = _scratch(depth * pitch, dy)  # (n_out, n_in)
    _pack(w, 0, n_out, pitch, weights)
    slopes = _scratch(block * depth, dy)
    sums = _scratch(block * pitch, dy)
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        _pack(dy, first, m, depth, slopes)
        sums[:] = 0
        _multiply(slopes, weights, sums, _up(m, 2), depth, pitch)
        for i in range(m):
            for j in range(n_in):
                dx[first + i, j] = sums[i * pitch + j]


@kernel
def dense_weight_gradient(dy, x, dw, db):
    """Set dw = dy^T x and db = sum of dy over the batch."""
    n, n_out = dy.shape
    n_in = x.shape[1]
    rows, pitch, block = _up(n_out, 2), _up(n_in, VECTOR), _up(min(n, BLOCK), STEP)
    images = _scratch(block * pitch, x)
    slopes = _scratch(rows * block, x)
    sums = _scratch(rows * pitch, x)
    db[:] = 0
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        depth = _up(m, STEP)
        images[m * pitch : depth * pitch] = 0
        slopes[:] = 0
        _pack(x, first, m, pitch, images)
        _pack_turned(dy, first, m, depth, slopes)
        _multiply(slopes, images, sums, rows, depth, pitch)
        for i in range(first, first + m):
            for o in range(n_out):
                db[o] += dy[i, o]
    for o in range(n_out):
        for j in range(n_in):
            dw[o, j] = sums[o * pitch + j]
