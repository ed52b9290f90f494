"""Fully connected layer: on a packed tile, one vector per input and output; then the operations,
three products of one form, with vectors along outputs or inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lenet_fast.backends.numba_backend.jit import block, kernel, part
from lenet_fast.backends.numba_backend.vector.products import plus_products, transposed
from lenet_fast.backends.numba_backend.vector.vectors import (
    DENSE_OUTPUTS,
    get,
    get_numbers,
    get_row,
    lane_count_of,
    put_numbers,
    put_row,
    splat,
    spread,
)

__all__ = ["dense", "dense_input_gradient", "dense_weight_gradient"]


def _dense_block(outputs: int) -> Any:
    """Return what sets some adjacent outputs, whose sums stay in registers."""

    @block
    def dense_block(memory, x, n_in, w, w_at, w_out, w_in, b_at, y):
        sums = splat(memory, 0, outputs)
        if b_at >= 0:
            sums = spread(w, b_at, 1, outputs)
        for j in range(n_in):
            factors = spread(w, w_at + j * w_in, w_out, outputs)
            sums = plus_products(sums, factors, get(memory, x + j))
        put_row(memory, y, 1, sums)

    return dense_block


_dense_most, _dense_ten, _dense_four, _dense_one = (
    _dense_block(outputs) for outputs in (DENSE_OUTPUTS, 10, 4, 1)
)


@part
def dense_tile(memory, x, n_in, w, w_at, w_out, w_in, b_at, y, n_out):
    """Set y_i = sum over j of w[w_at + i w_out + j w_in] x_j, plus w[b_at + i], if b_at is not -1:
    forward, or back with the steps exchanged."""
    i = 0
    while i < n_out:
        at, bias = w_at + i * w_out, b_at + i if b_at >= 0 else -1
        if n_out - i >= DENSE_OUTPUTS:
            _dense_most(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += DENSE_OUTPUTS
        elif n_out - i >= 10:
            _dense_ten(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += 10
        elif n_out - i >= 4:
            _dense_four(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += 4
        else:
            _dense_one(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += 1


# --- the gradient of the weights ----------------------------------------------------------------


@part
def _transpose(memory, x, count, rows, pitch):
    """Set row i of `rows`, `pitch` vectors long, to what lane i of x holds.

    Where they are no whole vectors, the last one lies over the one before it, and has zeros there.
    """
    full = lane_count_of(memory)
    for k in range(pitch):
        first = min(k * full, count - full)
        put_row(memory, rows + k, pitch, transposed(get_row(memory, x + first, 1, full)))
        for i in range(full):
            for j in range(k * full - first):
                memory[(rows + i * pitch + k) * full + j] = 0


def _outer_block(outputs: int) -> Any:
    """Return what adds to one vector of weights of some adjacent outputs."""

    @block
    def outer_block(memory, dy, rows, pitch, dw, dw_at, n_in):
        full = lane_count_of(memory)
        sums = get_numbers(dw, dw_at, n_in, outputs)
        for i in range(full):
            factors = spread(memory, dy * full + i, full, outputs)
            sums = plus_products(sums, factors, get(memory, rows + i * pitch))
        put_numbers(dw, dw_at, n_in, sums)

    return outer_block


_outer_most, _outer_ten, _outer_four, _outer_one = (
    _outer_block(outputs) for outputs in (DENSE_OUTPUTS, 10, 4, 1)
)


@part
def _outer(memory, dy, n_out, rows, pitch, dw, dw_at, n_in):
    """Add to one vector of weights of all outputs."""
    i = 0
    while i < n_out:
        at = dw_at + i * n_in
        if n_out - i >= DENSE_OUTPUTS:
            _outer_most(memory, dy + i, rows, pitch, dw, at, n_in)
            i += DENSE_OUTPUTS
        elif n_out - i >= 10:
            _outer_ten(memory, dy + i, rows, pitch, dw, at, n_in)
            i += 10
        elif n_out - i >= 4:
            _outer_four(memory, dy + i, rows, pitch, dw, at, n_in)
            i += 4
        else:
            _outer_one(memory, dy + i, rows, pitch, dw, at, n_in)
            i += 1


@part
def _sum_lanes(memory, x, y, total):
    """Return total + x, or total + x y, summed over the lanes; y is -1 for none."""
    full = lane_count_of(memory)
    for i in range(full):
        total += memory[x * full + i] * memory[y * full + i] if y >= 0 else memory[x * full + i]
    return total


@part
def dense_gradient_tile(memory, dy, n_out, x, n_in, rows, dw, w_at, b_at):
    """Add a tile's share to the gradients: dw_ij += sum over the lanes of dy_i x_j, db_i += dy_i.

    Vectors run along the inputs: x is transposed first, into `rows`.
    """
    full = lane_count_of(memory)
    if n_in < full:
        for i in range(n_out):
            for j in range(n_in):
                place = w_at + i * n_in + j
                dw[place] = _sum_lanes(memory, dy + i, x + j, dw[place])
    else:
        pitch = (n_in + full - 1) // full
        _transpose(memory, x, n_in, rows, pitch)
        for k in range(pitch):
            place = w_at + min(k * full, n_in - full)
            _outer(memory, dy, n_out, rows + k, pitch, dw, place, n_in)
    if b_at >= 0:
        for i in range(n_out):
            dw[b_at + i] = _sum_lanes(memory, dy + i, -1, dw[b_at + i])


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
