"""Convolution, direct: one image a lane, so that the vector loop runs along images and columns.

A tile of images is packed [map][row][column][lane]. What a kernel tap sees of an output row is then
one unbroken run, whatever the kernel, and the loops around it are those of a single image.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel

STEP = 5  # weights that the inner loops take at a time: LeNet's kernels are 5 wide
LANES = 16  # images in a tile of the weight gradient


@kernel
def _scratch(size, x):
    """Return zeros like x that start on a cache line, where vectors are read fastest."""
    buffer = np.zeros(size + 64 // x.itemsize, x.dtype)
    skip = (64 - np.int64(buffer.ctypes.data) % 64) // x.itemsize
    return buffer[skip : skip + size]


@kernel
def _lanes(n, w_out):
    """Return how many of n images make a tile: enough for a long run, few enough for the cache."""
    return min(n, 16 if w_out >= 16 else 32 if w_out >= 8 else 64)


@kernel
def _pack(x, first, m, lanes, tile):
    """Copy m images, from `first` on, to tile[pixel][lane]."""
    size = x.size // x.shape[0]
    flat = x.reshape(-1)
    for start in range(0, size, 64):  # the lines of the tile that are written stay in the cache
        count = min(64, size - start)
        for k in range(m):
            source = flat[(first + k) * size + start : (first + k) * size + start + count]
            target = tile[start * lanes + k :]
            for p in range(count):
                target[p * lanes] = source[p]


@kernel
def _unpack(tile, first, m, x):
    """Copy tile[pixel][lane] to m images, from `first` on."""
    size = x.size // x.shape[0]
    flat = x.reshape(-1)
    for start in range(0, size, 64):
        count = min(64, size - start)
        for k in range(m):
            source = tile[start * m + k :]
            target = flat[(first + k) * size + start : (first + k) * size + start + count]
            for p in range(count):
                target[p] = source[p * m]


@kernel
def _links(connections, c_in):
    """Return (c_in, ...) the output maps that see each input map, and how many they are."""
    c_out, width = connections.shape
    height = c_out // (c_in // width)
    outputs = np.empty((c_in, height + STEP), np.int64)
    outputs[:] = c_out  # past the end: the map after the last
    count = np.zeros(c_in, np.int64)
    for o in range(c_out):
        for k in range(width):
            if connections[o, k]:
                c = o // height * width + k
                outputs[c, count[c]] = o
                count[c] += 1
    return outputs, count


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
def _start_row(b, r, m, rows):
    """Set rows[map][column][lane] of output row r to the biases."""
    unit = b.shape[1] * b.shape[2] > 1
    w_out = rows.size // (b.shape[0] + 1) // m
    for o in range(b.shape[0]):
        for s in range(w_out):
            bias = b[o, r, s] if unit else b[o, 0, 0]
            for k in range(m):
                rows[(o * w_out + s) * m + k] = bias


@kernel
def _finish_row(rows, r, first, m, y):
    """Copy rows[map][column][lane] to output row r of m images."""
    w_out = y.shape[3]
    for o in range(y.shape[1]):
        for k in range(m):
            source = rows[o * w_out * m + k :]
            target = y[first + k, o, r]
            for s in range(w_out):
                target[s] = source[s * m]


@kernel
def _tap_weights(w, taps):
    """Return w[output map][input map][tap], zero past the last map and the last tap."""
    c_out, width, kh, kw = w.shape
    weights = np.zeros((c_out + 1, width, taps), w.dtype)
    for o in range(c_out):
        for j in range(width):
            for u in range(kh):
                for v in range(kw):
                    weights[o, j, u * kw + v] = w[o, j, u, v]
    return weights.reshape(-1)


@kernel
def conv2d_direct(x, w, b, connections, y, stride_v, stride_h, dilation_v, dilation_h):
    """Set y to x convolved with w, plus b: for each input map, two output maps that see it."""
    n, c_in, h_in, w_in = x.shape
    c_out, width, kh, kw = w.shape
    h_out, w_out = y.shape[2], y.shape[3]
    if n == 0:
        return
    lanes = _lanes(n, w_out)
    taps = (kh * kw + STEP - 1) // STEP * STEP
    outputs, count = _links(connections, c_in)
    weights = _tap_weights(w, taps)
    tile = _scratch((c_in + 1) * h_in * w_in * lanes, x)  # the map after the last stays zero
    at = np.empty(taps, np.int64)
    for first in range(0, n, lanes):
        m = min(lanes, n - first)
        rows = _scratch((c_out + 1) * w_out * m, x)
        tile[c_in * h_in * w_in * m :] = 0
        _pack(x, first, m, m, tile)
        steps, run = (1, w_out * m) if stride_h == 1 else (w_out, m)
        for r in range(h_out):
            _start_row(b, r, m, rows)
            for c in range(c_in):
                at[:] = c_in * h_in * w_in * m
                for u in range(kh):
                    for v in range(kw):
                        at[u * kw + v] = ((c * h_in + u * dilation_v) * w_in + v * dilation_h) * m
                for pair in range(0, count[c], 2):
                    o, p = outputs[c, pair], outputs[c, pair + 1]
                    i = (o * width + c % width) * taps
                    j = (p * width + c % width) * taps
                    for s in range(steps):
                        shift = (r * stride_v * w_in + s * stride_h) * m
                        for k in range(0, taps, STEP):
                            _add_rows(
                                rows, (o * w_out + s) * m, (p * w_out + s) * m, tile, at, k,
                                shift, weights, i + k, j + k, run,
                            )  # fmt: skip
            _finish_row(rows, r, first, m, y)


@kernel
def _spread_weights(w, outputs, count, links):
    """Return w[input map][u][v][link], zero past the last kernel row and the last link."""
    width, kh, kw = w.shape[1:]
    spread = np.zeros((len(count), kh + kh % 2, kw, links), w.dtype)
    for c in range(len(count)):
        for k in range(count[c]):
            for u in range(kh):
                for v in range(kw):
                    spread[c, u, v, k] = w[outputs[c, k], c % width, u, v]
    return spread


@kernel
def conv2d_input_gradient_direct(
    dy, w, connections, dx, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dx to the gradient at the input: each row of dy is added where its taps looked."""
    n, c_in, h_in, w_in = dx.shape
    kh, kw = w.shape[2], w.shape[3]
    c_out, h_out, w_out = dy.shape[1:]
    if n == 0:
        return
    lanes = _lanes(n, w_out)
    outputs, count = _links(connections, c_in)
    links = outputs.shape[1] // STEP * STEP
    weights = _spread_weights(w, outputs, count, links).reshape(-1)
    tile = _scratch((c_out + 1) * h_out * w_out * lanes, dy)  # the map after the last stays zero
    back = _scratch((c_in * h_in + 1) * w_in * lanes, dy)  # the row after the last is not used
    for first in range(0, n, lanes):
        m = min(lanes, n - first)
        back[:] = 0
        tile[c_out * h_out * w_out * m :] = 0
        _pack(dy, first, m, m, tile)
        steps, run = (1, w_out * m) if stride_h == 1 else (w_out, m)
        for r in range(h_out):
            for c in range(c_in):
                at = outputs[c] * (h_out * w_out * m)
                for u in range(0, kh, 2):
                    top = c * h_in + r * stride_v + u * dilation_v
                    next_row = top + dilation_v if u + 1 < kh else c_in * h_in
                    for v in range(kw):
                        i = ((c * (kh + kh % 2) + u) * kw + v) * links
                        for s in range(steps):
                            left = v * dilation_h + s * stride_h
                            for k in range(0, count[c], STEP):
                                _add_rows(
                                    back, (top * w_in + left) * m, (next_row * w_in + left) * m,
                                    tile, at, k, (r * w_out + s) * m, weights, i + k,
                                    i + kw * links + k, run,
                                )  # fmt: skip
        _unpack(back, first, m, dx)


@kernel
def _sum_bias(dy, db):
    """Set db to the sum of dy over the batch, for a map or for a unit."""
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
def _add_taps(sums, dy, x, count, stride):
    """Add the products of `count` positions of a row of dy and five taps each to the five sums."""
    for s in range(count):
        d = dy[s * LANES :]
        seen = x[s * stride * LANES :]
        for k in range(LANES):
            e = d[k]
            sums[k] += e * seen[k]
            sums[k + LANES] += e * seen[k + LANES]
            sums[k + 2 * LANES] += e * seen[k + 2 * LANES]
            sums[k + 3 * LANES] += e * seen[k + 3 * LANES]
            sums[k + 4 * LANES] += e * seen[k + 4 * LANES]


@kernel
def _add_sliding_taps(sums, dy, x, count):
    """The same at stride 1, five positions at a time: what neighbours see of x overlaps."""
    for s in range(0, count, STEP):
        d = dy[s * LANES :]
        seen = x[s * LANES :]
        for k in range(LANES):
            d0, d1, d2 = d[k], d[k + LANES], d[k + 2 * LANES]
            d3, d4 = d[k + 3 * LANES], d[k + 4 * LANES]
            x0, x1, x2 = seen[k], seen[k + LANES], seen[k + 2 * LANES]
            x3, x4, x5 = seen[k + 3 * LANES], seen[k + 4 * LANES], seen[k + 5 * LANES]
            x6, x7, x8 = seen[k + 6 * LANES], seen[k + 7 * LANES], seen[k + 8 * LANES]
            p = k
            sums[p] = sums[p] + d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3 + d4 * x4
            p += LANES
            sums[p] = sums[p] + d0 * x1 + d1 * x2 + d2 * x3 + d3 * x4 + d4 * x5
            p += LANES
            sums[p] = sums[p] + d0 * x2 + d1 * x3 + d2 * x4 + d3 * x5 + d4 * x6
            p += LANES
            sums[p] = sums[p] + d0 * x3 + d1 * x4 + d2 * x5 + d3 * x6 + d4 * x7
            p += LANES
            sums[p] = sums[p] + d0 * x4 + d1 * x5 + d2 * x6 + d3 * x7 + d4 * x8


@kernel
def _fold(sums):
    """Return the sum over the sixteen lanes, in halves."""
    for k in range(8):
        sums[k] += sums[k + 8]
    for k in range(4):
        sums[k] += sums[k + 4]
    return (sums[0] + sums[2]) + (sums[1] + sums[3])


@kernel
def _sum_taps(sums, dy, x, h_out, w_out, line, stride_h):
    """Set the sums of five adjacent taps over a map of dy; what they see of x starts at x[0].

    `line` pixels of x lead from what one row of dy sees to what the next does.
    """
    sums[:] = 0
    whole = w_out // STEP * STEP if stride_h == 1 else 0
    for r in range(h_out):
        d = dy[r * w_out * LANES :]
        seen = x[r * line * LANES :]
        _add_sliding_taps(sums, d, seen, whole)
        _add_taps(sums, d[whole * LANES :], seen[whole * LANES :], w_out - whole, stride_h)


@kernel
def conv2d_weight_gradient_direct(
    dy, x, connections, dw, db, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dw and db to the gradients, summed over a tile of images at a time."""
    n, c_in, h_in, w_in = x.shape
    c_out, width, kh, kw = dw.shape
    h_out, w_out = dy.shape[2], dy.shape[3]
    height = c_out // (c_in // width)
    # Five adjacent taps at a time; with dilation the other four of each five are not used.
    taps, chunks = (STEP, (kw + STEP - 1) // STEP) if dilation_h == 1 else (1, kw)
    sums = _scratch(STEP * LANES, x)
    images = _scratch((c_in * h_in * w_in + 2 * STEP) * LANES, x)
    slopes = _scratch(c_out * h_out * w_out * LANES, x)
    dw[:] = 0
    for first in range(0, n, LANES):
        m = min(LANES, n - first)
        if m < LANES:
            images[:] = 0
            slopes[:] = 0
        _pack(x, first, m, LANES, images)
        _pack(dy, first, m, LANES, slopes)
        for o in range(c_out):
            for j in range(width):
                if not connections[o, j]:
                    continue
                c = o // height * width + j
                for u in range(kh):
                    for chunk in range(chunks):
                        v = chunk * taps
                        start = (c * h_in + u * dilation_v) * w_in + v * dilation_h
                        _sum_taps(
                            sums, slopes[o * h_out * w_out * LANES :], images[start * LANES :],
                            h_out, w_out, stride_v * w_in, stride_h,
                        )  # fmt: skip
                        for k in range(min(taps, kw - v)):
                            dw[o, j, u, v + k] += _fold(sums[k * LANES :])
    _sum_bias(dy, db)
