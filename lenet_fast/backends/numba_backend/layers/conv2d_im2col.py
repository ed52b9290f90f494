"""Convolution as a matrix product: pack the columns of some images, then one GEMM per group.

A block is some 512 positions: a few rows of a large image, or many small images side by side. A
kernel that covers its whole input (C5) has one position: there the images are the rows of the left
matrix, and the vectors run along maps or taps.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel

__all__ = ["conv2d_im2col", "conv2d_input_gradient_im2col", "conv2d_weight_gradient_im2col"]

STEP = 5  # factors that the inner loop takes at a time: LeNet's kernels are 5 wide
VECTOR = 16  # rows are padded to whole vectors
WIDTH = 512  # columns of the right matrix, and of the result, that stay in the cache
DEPTH = 200  # rows of it; a multiple of STEP
NARROW = 5  # an output of fewer columns is packed position by position


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
def _add_rows(y, first, second, x, at, k, shift, w, i, j, run):
    """Add five runs of x, weighted, to two runs of y."""
    p = y[first : first + run]
    q = y[second : second + run]
    x0 = x[at[k] + shift : at[k] + shift + run]
    x1 = x[at[k + 1] + shift : at[k + 1] + shift + run]
    x2 = x[at[k + 2] + shift : at[k + 2] + shift + run]
    x3 = x[at[k + 3] + shift : at[k + 3] + shift + run]
    x4 = x[at[k + 4] + shift : at[k + 4] + shift + run]
    a0, a1, a2, a3, a4 = w[i], w[i + 1], w[i + 2], w[i + 3], w[i + 4]
    b0, b1, b2, b3, b4 = w[j], w[j + 1], w[j + 2], w[j + 3], w[j + 4]
    for s in range(run):
        p[s] = p[s] + a0 * x0[s] + a1 * x1[s] + a2 * x2[s] + a3 * x3[s] + a4 * x4[s]
        q[s] = q[s] + b0 * x0[s] + b1 * x1[s] + b2 * x2[s] + b3 * x3[s] + b4 * x4[s]


@kernel
def _multiply(a, x, y, rows, depth, pitch):
    """Add a (rows x depth) times x (depth x pitch) to y: an even number of rows, STEPs of depth."""
    at = np.arange(depth) * pitch
    for left in range(0, pitch, WIDTH):
        run = min(WIDTH, pitch - left)
        for top in range(0, depth, DEPTH):
            for i in range(0, rows, 2):
                for k in range(top, min(top + DEPTH, depth), STEP):
                    _add_rows(
                        y, i * pitch + left, (i + 1) * pitch + left, x, at, k, left, a,
                        i * depth + k, (i + 1) * depth + k, run,
                    )  # fmt: skip


@kernel
def _block(n, h_out, w_out):
    """Return the images and the output rows of a block: some WIDTH positions, all of one size."""
    positions = h_out * w_out
    if positions >= WIDTH:
        blocks = (positions + WIDTH - 1) // WIDTH
        return 1, (h_out + blocks - 1) // blocks
    blocks = (n * positions + WIDTH - 1) // WIDTH
    return (n + blocks - 1) // blocks, h_out


@kernel
def _copy(source, start, target, to, size):
    """Copy whole vectors: up to VECTOR - 1 elements too many, which the next copy overwrites.

    Unsigned places spare the test for a negative index, and so let the loop become vectors.
    """
    p, q = np.uint64(start), np.uint64(to)
    for k in range(np.uint64(_up(size, VECTOR))):
        target[q + k] = source[p + k]


@kernel
def _images(x, first, count, images):
    """Copy some images to where a vector may be read past the last."""
    size = x.size // x.shape[0]
    source = x.reshape(-1)[first * size : (first + count) * size]
    for p in range(source.size):
        images[p] = source[p]


@kernel
def _taps(c_in, h_in, w_in, width, kh, kw, depth, dilation_v, dilation_h):
    """Return where each tap looks in an image, and its row among the columns of all groups."""
    at = np.empty(c_in * kh * kw, np.int64)
    row = np.empty(c_in * kh * kw, np.int64)
    t = 0
    for c in range(c_in):
        for u in range(kh):
            for v in range(kw):
                at[t] = (c * h_in + u * dilation_v) * w_in + v * dilation_h
                row[t] = c // width * depth + (c % width * kh + u) * kw + v
                t += 1
    return at, row


@kernel
def _pack_columns(images, size, at, row, m, r, high, w_out, line, stride_h, pitch, columns):
    """Set columns[tap][image, row, column] to what the taps see; their rows are `line` apart."""
    if w_out >= NARROW and stride_h == 1:
        for t in range(len(at)):
            for i in range(m):
                for k in range(high):
                    _copy(
                        images, i * size + at[t] + (r + k) * line,
                        columns, row[t] * pitch + (i * high + k) * w_out, w_out,
                    )  # fmt: skip
        return
    for i in range(m):
        for k in range(high):
            for s in range(w_out):
                source = images[i * size + (r + k) * line + s * stride_h :]
                target = columns[(i * high + k) * w_out + s :]
                for t in range(len(at)):
                    target[row[t] * pitch] = source[at[t]]


@kernel
def _add_columns(columns, at, row, m, r, high, w_out, line, stride_h, pitch, x, first):
    """Add columns[tap][image, row, column] to where the taps look in x."""
    size = x.size // x.shape[0]
    flat = x.reshape(-1)
    if w_out >= NARROW and stride_h == 1:
        for t in range(len(at)):
            for i in range(m):
                for k in range(high):
                    start = (first + i) * size + at[t] + (r + k) * line
                    target = flat[start : start + w_out]
                    source = columns[row[t] * pitch + (i * high + k) * w_out :]
                    for s in range(w_out):
                        target[s] += source[s]
        return
    for i in range(m):
        for k in range(high):
            for s in range(w_out):
                target = flat[(first + i) * size + (r + k) * line + s * stride_h :]
                source = columns[(i * high + k) * w_out + s :]
                for t in range(len(at)):
                    target[at[t]] += source[row[t] * pitch]


@kernel
def _finish(sums, height, even, pitch, b, y, first, m, r, high):
    """Set rows r to r + high of m images to sums[map][image, row, column] plus the biases."""
    c_out, h_out, w_out = y.shape[1:]
    flat = y.reshape(-1)
    biases = b.reshape(-1)
    unit = biases.size > c_out
    for i in range(m):
        for o in range(c_out):
            start = (((first + i) * c_out + o) * h_out + r) * w_out
            target = flat[start : start + high * w_out]
            source = sums[(o // height * even + o % height) * pitch + i * high * w_out :]
            if unit:
                bias = biases[(o * h_out + r) * w_out :]
                for p in range(target.size):
                    target[p] = source[p] + bias[p]
            else:
                for p in range(target.size):
                    target[p] = source[p] + biases[o]


@kernel
def _factors(w, connections, groups, even, depth):
    """Return the weights [group][output map][tap], zero where there is no link or no weight."""
    c_out, width = w.shape[0], w.shape[1]
    height, area = c_out // groups, w.shape[2] * w.shape[3]
    flat = w.reshape(-1)
    factors = np.zeros(groups * even * depth, w.dtype)
    for o in range(c_out):
        for j in range(width):
            if connections[o, j]:
                source = flat[(o * width + j) * area : (o * width + j + 1) * area]
                target = factors[(o // height * even + o % height) * depth + j * area :]
                for t in range(area):
                    target[t] = source[t]
    return factors


@kernel
def _turned(factors, groups, height, depth, pitch):
    """Return factors[group][height][depth] as [group][depth][pitch]."""
    turned = np.zeros(groups * depth * pitch, factors.dtype)
    for g in range(groups):
        for start in range(0, height, VECTOR):
            count = min(VECTOR, height - start)
            for t in range(depth):
                source = factors[(g * height + start) * depth + t :]
                first = (g * depth + t) * pitch + start
                target = turned[first : first + count]
                for k in range(count):
                    target[k] = source[k * depth]
    return turned


@kernel
def _one_position(x, w, b, connections, y, at):
    """Set y, of one output per map, to x convolved with w, plus b; `at` is where the taps look."""
    n, c_out, width = x.shape[0], w.shape[0], w.shape[1]
    groups, taps, size = x.shape[1] // width, w.size // c_out, x.size // n
    height, depth = c_out // groups, _up(taps, STEP)
    pitch, block = _up(height, VECTOR), _up(min(n, DEPTH), 2)
    factors = _factors(w, connections, groups, height, depth)
    factors = _turned(factors, groups, height, depth, pitch)
    flat = x.reshape(-1)
    seen = np.zeros(block * depth, x.dtype)
    sums = _scratch(block * pitch, x)
    for first in range(0, n, block):
        m = min(block, n - first)
        for g in range(groups):
            for i in range(m):
                image = flat[(first + i) * size : (first + i + 1) * size]
                for t in range(taps):
                    seen[i * depth + t] = image[at[g * taps + t]]
            sums[:] = 0
            _multiply(seen, factors[g * depth * pitch :], sums, _up(m, 2), depth, pitch)
            for i in range(m):
                for k in range(height):
                    o = g * height + k
                    y[first + i, o, 0, 0] = sums[i * pitch + k] + b[o, 0, 0]


@kernel
def conv2d_im2col(x, w, b, connections, y, stride_v, stride_h, dilation_v, dilation_h):
    """Set y to x convolved with w, plus b."""
    n, c_in, h_in, w_in = x.shape
    c_out, width, kh, kw = w.shape
    h_out, w_out = y.shape[2], y.shape[3]
    if n == 0:
        return
    groups, size, taps = c_in // width, c_in * h_in * w_in, width * kh * kw
    height, depth = c_out // groups, _up(taps, STEP)
    even = _up(height, 2)
    at, row = _taps(c_in, h_in, w_in, width, kh, kw, depth, dilation_v, dilation_h)
    if h_out * w_out == 1:
        _one_position(x, w, b, connections, y, at)
        return
    factors = _factors(w, connections, groups, even, depth)
    count, rows = _block(n, h_out, w_out)
    longest = _up(count * rows * w_out, VECTOR)
    images = _scratch(count * size + VECTOR, x)
    columns = _scratch(groups * depth * longest + VECTOR, x)
    sums = _scratch(groups * even * longest, x)
    for first in range(0, n, count):
        m = min(count, n - first)
        _images(x, first, m, images)
        for r in range(0, h_out, rows):
            high = min(rows, h_out - r)
            pitch = _up(m * high * w_out, VECTOR)
            _pack_columns(
                images, size, at, row, m, r, high, w_out, stride_v * w_in, stride_h, pitch, columns
            )
            sums[:] = 0
            for g in range(groups):
                columns[(g * depth + taps) * pitch : (g + 1) * depth * pitch] = 0
                _multiply(
                    factors[g * even * depth :], columns[g * depth * pitch :],
                    sums[g * even * pitch :], even, depth, pitch,
                )  # fmt: skip
            _finish(sums, height, even, pitch, b, y, first, m, r, high)


@kernel
def _pack_slopes(dy, height, even, first, m, r, high, pitch, slopes):
    """Set slopes[group][output map][image, row, column] to rows r to r + high of m images."""
    c_out, h_out, w_out = dy.shape[1:]
    flat = dy.reshape(-1)
    for o in range(c_out):
        for i in range(m):
            start = (((first + i) * c_out + o) * h_out + r) * w_out
            source = flat[start : start + high * w_out]
            target = slopes[(o // height * even + o % height) * pitch + i * high * w_out :]
            for p in range(source.size):
                target[p] = source[p]


@kernel
def _one_position_back(dy, w, connections, dx, at):
    """Add to dx the gradient that dy, of one output per map, has there."""
    n, c_out, width = dx.shape[0], w.shape[0], w.shape[1]
    groups, taps, size = dx.shape[1] // width, w.size // c_out, dx.size // n
    height = c_out // groups
    depth, pitch, block = _up(height, STEP), _up(taps, VECTOR), _up(min(n, DEPTH), 2)
    factors = _factors(w, connections, groups, depth, pitch)
    flat = dx.reshape(-1)
    slopes = np.zeros(block * depth, dy.dtype)
    sums = _scratch(block * pitch, dy)
    for first in range(0, n, block):
        m = min(block, n - first)
        for g in range(groups):
            for i in range(m):
                for k in range(height):
                    slopes[i * depth + k] = dy[first + i, g * height + k, 0, 0]
            sums[:] = 0
            _multiply(slopes, factors[g * depth * pitch :], sums, _up(m, 2), depth, pitch)
            for i in range(m):
                image = flat[(first + i) * size : (first + i + 1) * size]
                for t in range(taps):
                    image[at[g * taps + t]] += sums[i * pitch + t]


@kernel
def conv2d_input_gradient_im2col(
    dy, w, connections, dx, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dx to the gradient at the input."""
    n, c_in, h_in, w_in = dx.shape
    c_out, width, kh, kw = w.shape
    h_out, w_out = dy.shape[2], dy.shape[3]
    if n == 0:
        return
    groups, taps = c_in // width, _up(width * kh * kw, 2)
    height = c_out // groups
    depth = _up(height, STEP)
    at, row = _taps(c_in, h_in, w_in, width, kh, kw, taps, dilation_v, dilation_h)
    dx.reshape(-1)[:] = 0
    if h_out * w_out == 1:
        _one_position_back(dy, w, connections, dx, at)
        return
    factors = _factors(w, connections, groups, height, taps)
    factors = _turned(factors, groups, height, taps, depth)
    count, rows = _block(n, h_out, w_out)
    longest = _up(count * rows * w_out, VECTOR)
    slopes = _scratch(groups * depth * longest, dy)
    columns = _scratch(groups * taps * longest, dy)
    for first in range(0, n, count):
        m = min(count, n - first)
        for r in range(0, h_out, rows):
            high = min(rows, h_out - r)
            pitch = _up(m * high * w_out, VECTOR)
            slopes[:] = 0
            _pack_slopes(dy, height, depth, first, m, r, high, pitch, slopes)
            columns[:] = 0
            for g in range(groups):
                _multiply(
                    factors[g * taps * depth :], slopes[g * depth * pitch :],
                    columns[g * taps * pitch :], taps, depth, pitch,
                )  # fmt: skip
            _add_columns(
                columns, at, row, m, r, high, w_out, stride_v * w_in, stride_h, pitch, dx, first
            )


@kernel
def _pack_rows(
    images, shape, width, kh, kw, m, r, high, w_out, stride_v, stride_h, dilation_v, dilation_h,
    depth, pitch, packed,
):  # fmt: skip
    """Set packed[group][image, row, column][tap] to what the taps see."""
    c_in, h_in, w_in = shape
    for g in range(c_in // width):
        for i in range(m):
            for k in range(high):
                for s in range(w_out):
                    to = (g * depth + (i * high + k) * w_out + s) * pitch
                    for c in range(g * width, (g + 1) * width):
                        top = (i * c_in + c) * h_in + (r + k) * stride_v
                        for u in range(kh):
                            start = (top + u * dilation_v) * w_in + s * stride_h
                            if dilation_h == 1:
                                _copy(images, start, packed, to, kw)
                            else:
                                for v in range(kw):
                                    packed[to + v] = images[start + v * dilation_h]
                            to += kw


@kernel
def _sum_bias(dy, db):
    """Set db to the sum of dy over the batch, per map or per unit."""
    n, c_out, h_out, w_out = dy.shape
    units = np.zeros(c_out * h_out * w_out, dy.dtype)
    for i in range(n):
        source = dy[i].reshape(-1)
        for p in range(units.size):
            units[p] += source[p]
    # A loop, not an assignment of one array to another: that would take seconds to compile.
    target = db.reshape(-1)
    size = units.size // target.size
    for o in range(target.size):
        total = db.dtype.type(0)
        for p in range(size):
            total += units[o * size + p]
        target[o] = total


@kernel
def _unpack_sums(sums, connections, height, even, pitch, dw):
    """Set dw to sums[group][output map][tap], and to zero where there is no link."""
    c_out, width, kh, kw = dw.shape
    for o in range(c_out):
        for j in range(width):
            for u in range(kh):
                for v in range(kw):
                    t = (o // height * even + o % height) * pitch + (j * kh + u) * kw + v
                    dw[o, j, u, v] = sums[t] if connections[o, j] else 0


@kernel
def conv2d_weight_gradient_im2col(
    dy, x, connections, dw, db, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dw and db to the gradients summed over the batch."""
    n, c_in, h_in, w_in = x.shape
    c_out, width, kh, kw = dw.shape
    h_out, w_out = dy.shape[2], dy.shape[3]
    groups, size, taps = c_in // width, c_in * h_in * w_in, width * kh * kw
    height, pitch = c_out // groups, _up(taps, VECTOR)
    even = _up(height, 2)
    count, rows = _block(max(n, 1), h_out, w_out)
    longest = _up(count * rows * w_out, STEP)
    images = _scratch(count * size + VECTOR, x)
    packed = _scratch(groups * longest * pitch + VECTOR, x)
    slopes = _scratch(groups * even * longest, x)
    sums = _scratch(groups * even * pitch, x)
    for first in range(0, n, count):
        m = min(count, n - first)
        _images(x, first, m, images)
        for r in range(0, h_out, rows):
            high = min(rows, h_out - r)
            positions = m * high * w_out
            depth = _up(positions, STEP)
            slopes[:] = 0
            _pack_slopes(dy, height, even, first, m, r, high, depth, slopes)
            _pack_rows(
                images, (c_in, h_in, w_in), width, kh, kw, m, r, high, w_out, stride_v, stride_h,
                dilation_v, dilation_h, depth, pitch, packed,
            )  # fmt: skip
            for g in range(groups):
                packed[(g * depth + positions) * pitch : (g + 1) * depth * pitch] = 0
                _multiply(
                    slopes[g * even * depth :], packed[g * depth * pitch :],
                    sums[g * even * pitch :], even, depth, pitch,
                )  # fmt: skip
    _unpack_sums(sums, connections, height, even, pitch, dw)
    _sum_bias(dy, db)
