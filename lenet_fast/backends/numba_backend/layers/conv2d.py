"""Convolution by direct loops, one image per vector lane: see kernels/layers/conv2d.pxi.

A tile of as many images as a vector holds is packed, [map][row][column][lane]; each loop is the one
that a single image would get. Absent links cost nothing: the loops run over a list of links. The
operations pack tiles, run these loops on them, and unpack the results.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from lenet_fast.backends.numba_backend.jit import block, kernel, part, read_only, sources
from lenet_fast.backends.numba_backend.vector.packing import fold_lanes, pack, scratch, unpack
from lenet_fast.backends.numba_backend.vector.products import (
    plus_products,
    plus_products_with,
    plus_scattered,
)
from lenet_fast.backends.numba_backend.vector.shapes import Maps, Window
from lenet_fast.backends.numba_backend.vector.vectors import (
    CONV_COLUMNS,
    CONV_MAPS,
    GRADIENT_MAPS,
    fill,
    get,
    get_row,
    get_rows,
    lane_count_of,
    put,
    put_row,
    put_rows,
    splat,
    spread,
    spread_each,
)

__all__ = ["conv2d_direct", "conv2d_input_gradient_direct", "conv2d_weight_gradient_direct"]

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
def list_by_target(table, c_out, c_in, width, taps, positions, backward, together, links):
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
def list_by_input(table, c_out, c_in, width, taps, positions, links):
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
    """Set a tile of dx, where there are no gaps: then no column of dy is multiplied needlessly."""
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

    With gaps it is the forward pass, with flipped kernels, over dy, spread out in `work` by the
    stride and padded by the kernel.
    """
    if without_gaps(window):
        _scatter(memory, dy, result, w, w_at, links, window, dx, source)
        return
    top, left = (window.kh - 1) * window.dilation_v, (window.kw - 1) * window.dilation_h
    spread = spread_of(source, window, result)
    fill(memory, work, spread.count * spread.rows * spread.columns, 0.0)
    for o in range(result.count):
        for r in range(result.rows):
            row = (o * spread.rows + top + r * window.stride_v) * spread.columns + left
            for s in range(result.columns):
                place = dy + (o * result.rows + r) * result.columns + s
                put(memory, work + row + s * window.stride_h, get(memory, place))
    fill(memory, dx, source.count * source.rows * source.columns, 0.0)
    gather = Window(window.kh, window.kw, 1, 1, window.dilation_v, window.dilation_h)
    last_row = top + (result.rows - 1) * window.stride_v
    correlate(
        memory, work, spread, top, last_row, gather, w, w_at, -window.kw, np.intp(-1), links, dx,
        source,
    )  # fmt: skip


# --- the gradients of weights and biases --------------------------------------------------------


def _gradient_block(maps: int, taps: int) -> Any:
    """Return what adds a tile's share to adjacent weights of one kernel row of `maps` links."""

    @block
    def gradient_block(memory, x, x_row, stride_h, dy, result, link, all_sums, dw):
        sums = get_rows(all_sums, link, KERNEL, dw, maps, taps)
        for r in range(result.rows):
            for s in range(result.columns):
                seen = get_row(memory, x + r * x_row + s * stride_h, 1, taps)
                incoming = get_rows(memory, link, TARGET, dy + r * result.columns + s, maps, 1)
                sums = plus_products(sums, incoming, seen)
        put_rows(all_sums, link, KERNEL, dw, maps, sums)

    return gradient_block


def _gradient_row(maps: int) -> Any:
    """Return what does so for a kernel row: five taps at a time, as wide as LeNet's kernels are."""
    five, one = _gradient_block(maps, 5), _gradient_block(maps, 1)

    @part
    def gradient_row(memory, x, x_row, window, dy, result, link, sums, dw):
        v = 0
        if window.dilation_h == 1:
            while window.kw - v >= 5:
                five(memory, x + v, x_row, window.stride_h, dy, result, link, sums, dw + v)
                v += 5
        while v < window.kw:
            place = x + v * window.dilation_h
            one(memory, place, x_row, window.stride_h, dy, result, link, sums, dw + v)
            v += 1

    return gradient_row


_gradient_row_of_some, _gradient_row_of_one = _gradient_row(GRADIENT_MAPS), _gradient_row(1)


@part
def correlate_gradient(memory, x, source, window, dy, result, links, sums, dw):
    """Add a tile's share to the gradient of every linked weight, lane by lane; they lie in `sums`,
    which may be the tile's memory."""
    x_row = window.stride_v * source.columns
    for k in range(len(links)):
        link = links[k]
        for u in range(window.kh):
            row = x + (link[SOURCE] * source.rows + u * window.dilation_v) * source.columns
            kernel_row = dw + u * window.kw
            if link[COUNT] == GRADIENT_MAPS:
                _gradient_row_of_some(
                    memory, row, x_row, window, dy, result, link, sums, kernel_row
                )
            else:
                _gradient_row_of_one(memory, row, x_row, window, dy, result, link, sums, kernel_row)


@part
def bias_gradient_tile(memory, dy, result, unit, sums, db):
    """Add a tile's share to the gradients of the biases, lane by lane; they lie in `sums`."""
    positions = result.rows * result.columns
    for o in range(result.count):
        if unit:
            for k in range(o * positions, (o + 1) * positions):
                put(sums, db + k, get(sums, db + k) + get(memory, dy + k))
        else:
            total = get(sums, db + o)
            for k in range(o * positions, (o + 1) * positions):
                total = total + get(memory, dy + k)
            put(sums, db + o, total)


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


# --- the operations -----------------------------------------------------------------------------


ZERO = np.intp(0)


@functools.cache
def _compiled(version: str) -> tuple[Any, Any, Any]:
    """Return the loops over tiles: forward, back to the input, the gradients of the weights."""

    @kernel
    def forward(x, w, b, connections, y, window):
        version  # noqa: B018  (closed over: what is kept on disk is of these sources)
        source, result = Maps(*x.shape[1:]), Maps(*y.shape[1:])
        n, in_size, out_size, full = len(x), x[0].size, y[0].size, lane_count_of(y)
        links = np.empty((source.count * result.count + 1, LINK), np.int64)
        count = list_by_target(
            connections.reshape(-1), result.count, source.count, w.shape[1],
            window.kh * window.kw, result.rows * result.columns, False, CONV_MAPS, links,
        )  # fmt: skip
        memory, images, outputs = scratch(in_size + out_size, y), x.reshape(-1), y.reshape(-1)
        weights, biases, unit = w.reshape(-1), b.reshape(-1), b[0].size > 1
        for first in range(0, n, full):
            some = min(n - first, full)
            pack(images[first * in_size :], in_size, some, in_size, memory, ZERO)
            bias_tile(memory, biases, ZERO, unit, in_size, result)
            correlate(
                memory, ZERO, source, ZERO, source.rows - 1, window, weights, ZERO, window.kw,
                ZERO + 1, links[:count], in_size, result,
            )  # fmt: skip
            unpack(memory, in_size, out_size, some, outputs[first * out_size :])

    @kernel
    def input_gradient(dy, w, connections, dx, window):
        version  # noqa: B018
        source, result = Maps(*dx.shape[1:]), Maps(*dy.shape[1:])
        n, in_size, out_size, full = len(dx), dx[0].size, dy[0].size, lane_count_of(dx)
        links = np.empty((source.count * result.count + 1, LINK), np.int64)
        count = list_by_target(
            connections.reshape(-1), result.count, source.count, w.shape[1],
            window.kh * window.kw, source.rows * source.columns, True,
            1 if without_gaps(window) else CONV_MAPS, links,
        )  # fmt: skip
        spread = spread_of(source, window, result)
        needed = in_size + out_size + spread.count * spread.rows * spread.columns
        memory, slopes, gradients = scratch(needed, dx), dy.reshape(-1), dx.reshape(-1)
        for first in range(0, n, full):
            some = min(n - first, full)
            pack(slopes[first * out_size :], out_size, some, out_size, memory, in_size)
            input_gradient_tile(
                memory, in_size, result, w.reshape(-1), ZERO, links[:count], window, ZERO, source,
                in_size + out_size,
            )  # fmt: skip
            unpack(memory, ZERO, in_size, some, gradients[first * in_size :])

    @kernel
    def weight_gradient(dy, x, connections, dw, db, window):
        version  # noqa: B018
        source, result = Maps(*x.shape[1:]), Maps(*dy.shape[1:])
        in_size = source.count * source.rows * source.columns
        out_size = result.count * result.rows * result.columns
        n, weights, biases, full = len(x), dw.size, db.size, lane_count_of(dw)
        links = np.empty((connections.size + 1, LINK), np.int64)
        count = list_by_input(
            connections.reshape(-1), result.count, source.count, dw.shape[1],
            window.kh * window.kw, result.rows * result.columns, links,
        )  # fmt: skip
        x_at, dy_at = weights + biases, weights + biases + in_size
        memory = scratch(dy_at + out_size, dw)
        images, slopes, unit = x.reshape(-1), dy.reshape(-1), db[0].size > 1
        fill(memory, ZERO, weights + biases, 0.0)
        for first in range(0, n, full):
            some = min(n - first, full)
            pack(images[first * in_size :], in_size, some, in_size, memory, x_at)
            pack(slopes[first * out_size :], out_size, some, out_size, memory, dy_at)
            correlate_gradient(
                memory, x_at, source, window, dy_at, result, links[:count], memory, ZERO
            )
            bias_gradient_tile(memory, dy_at, result, unit, memory, weights)
        fold_lanes(memory, ZERO, weights, dw.reshape(-1), ZERO)
        fold_lanes(memory, weights * full, biases, db.reshape(-1), ZERO)

    return forward, input_gradient, weight_gradient


def conv2d_direct(x, w, b, connections, y, stride_v, stride_h, dilation_v, dilation_h):
    """Set y to x convolved with w, plus b."""
    window = Window(*w.shape[2:], stride_v, stride_h, dilation_v, dilation_h)
    if len(x):
        inputs = map(read_only, (x, w, b, connections))
        _compiled(sources())[0](*inputs, y, window)


def conv2d_input_gradient_direct(
    dy, w, connections, dx, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dx to the gradient at the input."""
    window = Window(*w.shape[2:], stride_v, stride_h, dilation_v, dilation_h)
    if len(dx):
        _compiled(sources())[1](*map(read_only, (dy, w, connections)), dx, window)


def conv2d_weight_gradient_direct(
    dy, x, connections, dw, db, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dw and db to the gradients summed over the batch."""
    window = Window(*dw.shape[2:], stride_v, stride_h, dilation_v, dilation_h)
    _compiled(sources())[2](*map(read_only, (dy, x, connections)), dw, db, window)
