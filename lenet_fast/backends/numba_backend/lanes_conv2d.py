"""Convolution of a packed tile, [map][row][column][lane]: each loop is that of a single image.

The twin of what kernels/conv2d.pyx has for the lane engine. Absent links cost nothing: the loops
run over a list of links, each a row of lanes_links.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lenet_fast.backends.numba_backend.jit import block, part
from lenet_fast.backends.numba_backend.lanes import (
    CONV_COLUMNS,
    CONV_MAPS,
    GRADIENT_MAPS,
    Maps,
    Window,
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
from lenet_fast.backends.numba_backend.lanes_links import (
    COUNT,
    KERNEL,
    SOURCE,
    TARGET,
    without_gaps,
)
from lenet_fast.backends.numba_backend.lanes_products import (
    plus_products,
    plus_products_with,
    plus_scattered,
)

# No literal, for which Numba would compile all of it anew.
BACKWARDS = np.intp(-1)


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
