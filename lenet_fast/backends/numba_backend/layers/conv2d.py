"""Convolution by direct loops, one image per vector lane.

First the loops on a packed tile, [map][row][column][lane], which are those of a single image: the
engine's, and the twin of kernels/layers/conv2d.pxi. Absent links cost nothing: these loops run over
a list of links. Then the operations, which pack a tile likewise: what a kernel tap sees of an
output row is one unbroken run, whatever the kernel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lenet_fast.backends.numba_backend.jit import block, kernel, part
from lenet_fast.backends.numba_backend.vector.lanes import (
    CONV_COLUMNS,
    CONV_MAPS,
    GRADIENT_MAPS,
    fill,
    get,
    get_row,
    get_rows,
    put,
    put_row,
    put_rows,
    splat,
    spread,
    spread_each,
)
from lenet_fast.backends.numba_backend.vector.products import (
    plus_products,
    plus_products_with,
    plus_scattered,
)
from lenet_fast.backends.numba_backend.vector.shapes import Maps, Window

# A link is a row of numbers: a source map, how many target maps are linked to it, up to MOST, then
# where each begins in its tile, and where the kernel of each begins in the weights.
SOURCE, COUNT, TARGET = 0, 1, 2
MOST = max(CONV_MAPS, GRADIENT_MAPS)
KERNEL = TARGET + MOST
LINK = KERNEL + MOST


@part
def _kernel_of(table, c_out, c_in, width, o, c):
    """Return the number of the kernel through which map o sees map c; -1 if it does not."""
    if o // (c_out // (c_in // width)) == c // width and table[o * width + c % width]:
        return o * width + c % width
    return -1


@part
def _add_target(link, target, kernel):
    link[TARGET + link[COUNT]] = target
    link[KERNEL + link[COUNT]] = kernel
    link[COUNT] += 1


@part
def _list_by_target(table, c_out, c_in, width, taps, positions, backward, together, links):
    """List the links with so many targets `together`, whose sums then stay in the cache.

    Forward the targets are output maps; backward input maps, and kernels are read from their end.
    A target map has so many positions. Return how many links there are.
    """
    count = 0
    targets, sources = (c_in, c_out) if backward else (c_out, c_in)
    for first in range(0, targets, together):
        for source in range(sources):
            link = links[count]
            link[SOURCE], link[COUNT] = source, 0
            for target in range(first, min(first + together, targets)):
                o, c = (source, target) if backward else (target, source)
                kernel = _kernel_of(table, c_out, c_in, width, o, c)
                if kernel >= 0:
                    last_tap = taps - 1 if backward else 0
                    _add_target(link, target * positions, kernel * taps + last_tap)
            count += link[COUNT] > 0
    return count


@part
def _list_by_input(table, c_out, c_in, width, taps, positions, links):
    """List for each input map the output maps it feeds: GRADIENT_MAPS at a time, then singly."""
    count = 0
    for c in range(c_in):
        rest = 0
        for o in range(c_out):
            rest += _kernel_of(table, c_out, c_in, width, o, c) >= 0
        links[count, COUNT] = 0
        for o in range(c_out):
            kernel = _kernel_of(table, c_out, c_in, width, o, c)
            if kernel >= 0:
                links[count, SOURCE] = c
                _add_target(links[count], o * positions, kernel * taps)
                if links[count, COUNT] == (GRADIENT_MAPS if rest >= GRADIENT_MAPS else 1):
                    rest -= links[count, COUNT]
                    count += 1
                    links[count, COUNT] = 0
    return count


@part
def without_gaps(window):
    """Return whether neither stride nor dilation leaves gaps."""
    return (
        window.stride_v == 1
        and window.stride_h == 1
        and window.dilation_v == 1
        and window.dilation_h == 1
    )


# --- forward ------------------------------------------------------------------------------------


class Taps(NamedTuple):
    """How the taps of a kernel lie, in the input (in vectors) and among the weights."""

    kh: int
    kw: int
    x_row: int
    x_column: int
    w: int  # the first one of all kernels
    w_row: int
    w_column: int


def _correlate_block(maps: int, columns: int, adjacent: bool) -> Any:
    """Return what adds one input map's share to adjacent columns of one row of `maps` output maps.

    There is one for each size of the block, so that the sums stay in registers.
    """

    @block
    def correlate_block(memory, x, stride_h, taps, w, link, y):
        sums = get_rows(memory, link, TARGET, y, maps, columns)
        for u in range(taps.kh):
            for v in range(taps.kw):
                place = taps.w + u * taps.w_row + v * taps.w_column
                factors = spread_each(w, link, KERNEL, place, maps)
                place = x + u * taps.x_row + v * taps.x_column
                sums = plus_products_with(sums, factors, memory, place, 1 if adjacent else stride_h)
        put_rows(memory, link, TARGET, y, maps, sums)

    return correlate_block


def _correlate_row(maps: int) -> Any:
    """Return what adds one input map's share to one row of `maps` output maps."""
    widest, ten, eight, four = (
        _correlate_block(maps, columns, True) for columns in (CONV_COLUMNS, 10, 8, 4)
    )
    four_apart, one = (_correlate_block(maps, columns, False) for columns in (4, 1))

    @part
    def correlate_row(memory, x, columns, stride_h, taps, w, link, y):
        s = 0
        if stride_h == 1:
            while columns - s >= CONV_COLUMNS:
                widest(memory, x + s, 1, taps, w, link, y + s)
                s += CONV_COLUMNS
            if columns - s >= 10:
                ten(memory, x + s, 1, taps, w, link, y + s)
                s += 10
            if columns - s >= 8:
                eight(memory, x + s, 1, taps, w, link, y + s)
                s += 8
            if columns - s >= 4:
                four(memory, x + s, 1, taps, w, link, y + s)
                s += 4
        while columns - s >= 4:
            four_apart(memory, x + s * stride_h, stride_h, taps, w, link, y + s)
            s += 4
        while s < columns:
            one(memory, x + s * stride_h, stride_h, taps, w, link, y + s)
            s += 1

    return correlate_row


_row_of_some = _correlate_row(CONV_MAPS)
_row_of_one = _row_of_some if CONV_MAPS == 1 else _correlate_row(1)


@part
def correlate(
    memory, x, source, first_row, last_row, window, w, w_at, w_row, w_column, links, y, result
):
    """Add the convolution of a tile to y, which holds the biases.

    Rows of x outside `first_row` to `last_row` are known to be zero and are left out.
    """
    step = window.dilation_v
    for k in range(len(links)):
        link = links[k]
        for r in range(result.rows):
            top, low, high = r * window.stride_v, 0, window.kh
            while low < high and top + low * step < first_row:
                low += 1
            while high > low and top + (high - 1) * step > last_row:
                high -= 1
            row = x + (link[SOURCE] * source.rows + top + low * step) * source.columns
            taps = Taps(
                high - low, window.kw, step * source.columns, window.dilation_h,
                w_at + low * w_row, w_row, w_column,
            )  # fmt: skip
            target = y + r * result.columns
            if link[COUNT] == CONV_MAPS:
                _row_of_some(memory, row, result.columns, window.stride_h, taps, w, link, target)
            else:
                _row_of_one(memory, row, result.columns, window.stride_h, taps, w, link, target)


# --- back to the input --------------------------------------------------------------------------


def _scatter_block(columns: int, taps: int) -> Any:
    """Return what adds to one row of an input map what adjacent columns of `rows` rows of dy hand
    back through adjacent taps, over all links of this map."""
    width = columns + taps - 1

    @block
    def scatter_block(memory, dy, result, rows, w, w_at, w_row, links, dx):
        sums = get_row(memory, dx, 1, width)
        for k in range(len(links)):
            link = links[k]
            for u in range(rows):
                row = dy + (link[SOURCE] * result.rows - u) * result.columns
                factors = spread(w, link[KERNEL] + w_at + u * w_row, 1, taps)
                sums = plus_scattered(sums, factors, get_row(memory, row, 1, columns))
        put_row(memory, dx, 1, sums)

    return scatter_block


_MANY = CONV_COLUMNS - 4  # columns whose sums, five taps wide, fill the registers
_many_five, _one_five = _scatter_block(_MANY, 5), _scatter_block(1, 5)
_many_one, _one_one = _scatter_block(_MANY, 1), _scatter_block(1, 1)


@part
def _scatter_row(memory, dy, result, rows, w, w_at, kw, links, dx):
    """All columns of dy, and all taps of a kernel row: five at a time, as in gradient_row."""
    v = 0
    while v < kw:
        s = 0
        while s < result.columns:
            place, tap, target = dy + s, w_at + v, dx + s + v
            if kw - v >= 5 and result.columns - s >= _MANY:
                _many_five(memory, place, result, rows, w, tap, kw, links, target)
            elif kw - v >= 5:
                _one_five(memory, place, result, rows, w, tap, kw, links, target)
            elif result.columns - s >= _MANY:
                _many_one(memory, place, result, rows, w, tap, kw, links, target)
            else:
                _one_one(memory, place, result, rows, w, tap, kw, links, target)
            s += _MANY if result.columns - s >= _MANY else 1
        v += 5 if kw - v >= 5 else 1


@part
def _scatter(memory, dy, result, w, w_at, links, window, dx, source):
    """Set a tile of dx, where there are no gaps: then no column of dy is multiplied in vain."""
    last_tap, size = window.kh * window.kw - 1, source.rows * source.columns
    fill(memory, dx, source.count * size, 0.0)
    k = 0
    while k < len(links):
        first, target = k, links[k, TARGET]
        while k < len(links) and links[k, TARGET] == target:
            k += 1
        for r in range(min(source.rows, result.rows + window.kh - 1)):
            low, high = max(0, r - result.rows + 1), min(window.kh, r + 1)
            _scatter_row(
                memory, dy + (r - low) * result.columns, result, high - low, w,
                w_at + low * window.kw - last_tap,  # the list has kernels from their ends
                window.kw, links[first:k], dx + target + r * source.columns,
            )  # fmt: skip


@part
def spread_of(source, window, result):
    """Return the size of dy, spread out by the stride and padded by the kernel."""
    rows = source.rows + (window.kh - 1) * window.dilation_v
    columns = source.columns + (window.kw - 1) * window.dilation_h
    return Maps(result.count, rows, columns)


@part
def input_gradient_tile(memory, dy, result, w, w_at, links, window, dx, source, work):
    """Set a tile of dx.

    With gaps it is the forward pass, with flipped kernels, over dy, spread out by the stride and
    padded by the kernel, for which `work` has room.
    """
    if without_gaps(window):
        _scatter(memory, dy, result, w, w_at, links, window, dx, source)
        return
    top, left = (window.kh - 1) * window.dilation_v, (window.kw - 1) * window.dilation_h
    room = spread_of(source, window, result)
    fill(memory, work, room.count * room.rows * room.columns, 0.0)
    for o in range(result.count):
        for r in range(result.rows):
            row = (o * room.rows + top + r * window.stride_v) * room.columns + left
            for s in range(result.columns):
                place = dy + (o * result.rows + r) * result.columns + s
                put(memory, work + row + s * window.stride_h, get(memory, place))
    fill(memory, dx, source.count * source.rows * source.columns, 0.0)
    gather = Window(window.kh, window.kw, 1, 1, window.dilation_v, window.dilation_h)
    last_row = top + (result.rows - 1) * window.stride_v
    correlate(
        memory,
        work,
        room,
        top,
        last_row,
        gather,
        w,
        w_at,
        -window.kw,
        np.intp(-1),
        links,
        dx,
        source,
    )


# --- the gradients of weights and biases --------------------------------------------------------


def _gradient_block(maps: int, taps: int) -> Any:
    """Return what adds a tile's share to adjacent weights of one kernel row of `maps` links."""

    @block
    def gradient_block(memory, x, x_row, stride_h, dy, result, link, dw):
        sums = get_rows(memory, link, KERNEL, dw, maps, taps)
        for r in range(result.rows):
            for s in range(result.columns):
                seen = get_row(memory, x + r * x_row + s * stride_h, 1, taps)
                incoming = get_rows(memory, link, TARGET, dy + r * result.columns + s, maps, 1)
                sums = plus_products(sums, incoming, seen)
        put_rows(memory, link, KERNEL, dw, maps, sums)

    return gradient_block


def _gradient_row(maps: int) -> Any:
    """Return what does so for a kernel row: five taps at a time, as wide as LeNet's kernels are."""
    five, one = _gradient_block(maps, 5), _gradient_block(maps, 1)

    @part
    def gradient_row(memory, x, x_row, window, dy, result, link, dw):
        v = 0
        if window.dilation_h == 1:
            while window.kw - v >= 5:
                five(memory, x + v, x_row, window.stride_h, dy, result, link, dw + v)
                v += 5
        while v < window.kw:
            place = x + v * window.dilation_h
            one(memory, place, x_row, window.stride_h, dy, result, link, dw + v)
            v += 1

    return gradient_row


_gradient_row_of_some, _gradient_row_of_one = _gradient_row(GRADIENT_MAPS), _gradient_row(1)


@part
def correlate_gradient(memory, x, source, window, dy, result, links, dw):
    """Add a tile's share to the gradient of every linked weight, lane by lane."""
    x_row = window.stride_v * source.columns
    for k in range(len(links)):
        link = links[k]
        for u in range(window.kh):
            row = x + (link[SOURCE] * source.rows + u * window.dilation_v) * source.columns
            kernel_row = dw + u * window.kw
            if link[COUNT] == GRADIENT_MAPS:
                _gradient_row_of_some(memory, row, x_row, window, dy, result, link, kernel_row)
            else:
                _gradient_row_of_one(memory, row, x_row, window, dy, result, link, kernel_row)


@part
def bias_gradient_tile(memory, dy, result, unit, db):
    """Add a tile's share to the gradients of the biases, lane by lane."""
    positions = result.rows * result.columns
    for o in range(result.count):
        if unit:
            for k in range(o * positions, (o + 1) * positions):
                put(memory, db + k, get(memory, db + k) + get(memory, dy + k))
        else:
            sums = get(memory, db + o)
            for k in range(o * positions, (o + 1) * positions):
                sums = sums + get(memory, dy + k)
            put(memory, db + o, sums)


@part
def bias_tile(memory, b, b_at, unit, y, result):
    """Set a tile to the biases, or to zeros where b_at is -1."""
    positions = result.rows * result.columns
    for o in range(result.count):
        for k in range(o * positions, (o + 1) * positions):
            bias = splat(memory, 0, 1)
            if b_at >= 0:
                bias = spread(b, b_at + (k if unit else o), 1, 1)
            put(memory, y + k, bias)


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
