"""Pooling of one image at a time: sums, which is sub-sampling and average pooling, or maxima.

With more output maps than planar ones, `multiplier` in a row see the same; it is at most the lanes
of a vector.

The twin of kernels/single/pool2d.pxi.
"""

from __future__ import annotations

import math
from typing import Any

from lenet_fast.backends.numba_backend.jit import block, part
from lenet_fast.backends.numba_backend.layers.activations import AMPLITUDE, SLOPE
from lenet_fast.backends.numba_backend.program import NO_ACTIVATION, SCALED_TANH, SIGMOID, TANH
from lenet_fast.backends.numba_backend.vector.blocks import (
    get_evens,
    get_first,
    get_odds,
    only_lanes,
    put_first,
    whole_vectors,
    zipped,
)
from lenet_fast.backends.numba_backend.vector.products import leader, transposed, where_same
from lenet_fast.backends.numba_backend.vector.vectors import (
    get_numbers,
    get_row,
    lane_count_of,
    put_numbers,
    put_row,
    splat,
    spread,
)

# --- pixel by pixel, vectors along the maps -----------------------------------------------------


def _pooled(maxima: bool) -> Any:
    """Return what returns the sum or the maximum of a window."""

    @block
    def pooled(memory, corner, right, down, window):
        found = get_numbers(memory, corner, 0, 1)
        for u in range(window.kh):
            for v in range(0 if u else 1, window.kw):
                tap = get_numbers(memory, corner + u * down + v * right, 0, 1)
                found = leader(found, tap) if maxima else found + tap
        return found

    return pooled


_window_sum, _window_maximum = _pooled(False), _pooled(True)


@part
def pixels_forward(memory, x, source, window, maxima, scale, weights, y, result):
    """Set y to the maxima; or to the scaled sums, times w, plus b, where there are weights."""
    full, right = lane_count_of(memory), source.count
    down, v = source.columns * right, whole_vectors(memory, source.count)
    while v > 0:  # the last maps first: what is written beyond a pixel is written over
        v -= full
        factor, offset = splat(memory, scale, 1), splat(memory, 0, 1)
        if weights.w_at >= 0:
            factor = factor * get_numbers(weights.w, weights.w_at + v, 0, 1)
            offset = get_numbers(weights.b, weights.b_at + v, 0, 1)
        place = y + v
        for r in range(result.rows):
            corner = x + v + r * window.stride_v * down
            for _ in range(result.columns):
                if maxima:
                    found = _window_maximum(memory, corner, right, down, window)
                else:
                    found = _window_sum(memory, corner, right, down, window) * factor + offset
                put_numbers(memory, place, 0, found)
                place += right
                corner += window.stride_h * right


@part
def pixels_back(memory, dy, result, window, maxima, scale, w, w_at, x, dx, source):
    """Set dx. A window passes its dy to its first maximum; or to all its inputs, scaled."""
    full, right = lane_count_of(memory), source.count
    down = source.columns * right
    memory[dx : dx + source.rows * down] = 0
    for v in range(0, right, full):
        # What lies beyond a pixel's maps gets zeros.
        factor = only_lanes(splat(memory, 1.0 if maxima else scale, 1), 0, right - v)
        if w_at >= 0:
            factor = factor * get_numbers(w, w_at + v, 0, 1)
        share = dy + v
        for r in range(result.rows):
            at = v + r * window.stride_v * down
            for _ in range(result.columns):
                left = get_numbers(memory, share, 0, 1) * factor
                if maxima:
                    best = _window_maximum(memory, x + at, right, down, window)
                for u in range(window.kh):
                    for t in range(window.kw):
                        place, routed = at + u * down + t * right, left
                        if maxima:
                            seen = get_numbers(memory, x + place, 0, 1)
                            routed = where_same(left, seen, best, True)
                            left = where_same(left, seen, best, False)
                        routed = routed + get_numbers(memory, dx + place, 0, 1)
                        put_numbers(memory, dx + place, 0, routed)
                share += right
                at += window.stride_h * right


@part
def pixels_gradient(memory, dy, result, window, scale, x, source, dw, dw_at, db_at):
    """Set dw and db; vectors may reach beyond their ends."""
    full, right = lane_count_of(memory), source.count
    down, v = source.columns * right, whole_vectors(memory, source.count)
    while v > 0:
        v -= full
        by_sum, total, place = splat(memory, 0, 1), splat(memory, 0, 1), dy + v
        for r in range(result.rows):
            corner = x + v + r * window.stride_v * down
            for _ in range(result.columns):
                share = get_numbers(memory, place, 0, 1)
                total = total + share
                by_sum = by_sum + share * _window_sum(memory, corner, right, down, window)
                place += right
                corner += window.stride_h * right
        by_sum = by_sum * splat(memory, scale, 1)
        put_numbers(dw, dw_at + v, 0, only_lanes(by_sum, 0, right - v))
        put_numbers(dw, db_at + v, 0, only_lanes(total, 0, right - v))


# --- from planar maps, windows of 2 x 2 side by side, vectors along the columns -----------------


@block
def _window_sums(memory, at, below):
    """Return the sums of as many windows as a vector holds, the first of which begins here."""
    total = get_evens(memory, at) + get_odds(memory, at)
    return total + get_evens(memory, below) + get_odds(memory, below)


@block
def _quads_maximum(memory, at, below):
    best = leader(get_evens(memory, at), get_odds(memory, at))
    return leader(leader(best, get_evens(memory, below)), get_odds(memory, below))


@part
def planar_forward(memory, x, source, maxima, scale, weights, y, result, square):
    """Set y, pixel by pixel, from planar x: see pixels_forward. `square` is scratch for as many
    vectors as each has lanes: of maps and columns, which change places."""
    full, row, rest = lane_count_of(memory), whole_vectors(memory, source.columns), result.count
    factor, multiplier = splat(memory, scale, 1), result.count // source.count
    while rest > 0:  # the last maps first
        m = (rest - 1) // full * full
        for r in range(result.rows):
            for k in range(0, result.columns, full):
                for c in range(m, rest):
                    at = x + (c // multiplier * source.rows + 2 * r) * row + 2 * k
                    if maxima:
                        found = _quads_maximum(memory, at, at + row)
                    else:
                        found = _window_sums(memory, at, at + row) * factor
                        if weights.w_at >= 0:
                            offset = spread(weights.b, weights.b_at + c, 0, 1)
                            found = found * spread(weights.w, weights.w_at + c, 0, 1) + offset
                    put_numbers(square, (c - m) * full, 0, found)
                turned = transposed(get_row(square, 0, 1, full))
                place = y + (r * result.columns + k) * result.count + m
                put_first(memory, place, result.count, min(full, result.columns - k), turned)
        rest = m


@block
def _routed(memory, x, x_below, left):
    """Return the gradients, row by row, of as many windows as a vector holds: of four pixels in
    turn, the first maximum gets what is left."""
    best = _quads_maximum(memory, x, x_below)
    evens, odds = get_evens(memory, x), get_odds(memory, x)
    share = where_same(left, evens, best, True)
    left = where_same(left, evens, best, False)
    top = zipped(share, where_same(left, odds, best, True))
    left = where_same(left, odds, best, False)
    evens, odds = get_evens(memory, x_below), get_odds(memory, x_below)
    share = where_same(left, evens, best, True)
    left = where_same(left, evens, best, False)
    return top, zipped(share, where_same(left, odds, best, True))


@block
def _add_gradients(memory, share, seen, sums, count):
    """Add to the gradients of a map's weight and, `count` vectors later, bias."""
    full = lane_count_of(memory)
    put_numbers(memory, sums, 0, get_numbers(memory, sums, 0, 1) + share * seen)
    sums += count * full
    put_numbers(memory, sums, 0, get_numbers(memory, sums, 0, 1) + share)


@part
def _slope_of(function):
    """Return a, b and c of a function's slope, a + b y + c y^2 with y its value."""
    if function == SCALED_TANH:
        return AMPLITUDE * SLOPE, 0.0, -SLOPE / AMPLITUDE
    if function == SIGMOID:
        return 0.0, 1.0, -1.0
    if function in (TANH, NO_ACTIVATION):  # of none, it is not used
        return 1.0, 0.0, -1.0
    return math.nan, 0.0, 0.0  # check_steps has refused what is unknown


@part
def planar_back(memory, function, dy, result, maxima, scale, w, w_at, x, dx, source, sums, square):
    """Set planar dx, which x may be: see pixels_back. Where there are weights, set `sums` to the
    gradients of w, and then of b, lane by lane.

    If x is the output of an activation, dx is the gradient at its input.
    """
    full, row = lane_count_of(memory), whole_vectors(memory, source.columns)
    factor, slope = splat(memory, scale, 1), _slope_of(function)
    multiplier = result.count // source.count
    most = full // multiplier  # a square has all output maps of a planar one: x may be dx
    if w_at >= 0:
        memory[sums : sums + 2 * result.count * full] = 0
    for m in range(0, source.count, most):
        for r in range(result.rows):
            for k in range(0, result.columns, full):
                columns = min(full, result.columns - k)
                place = dy + (r * result.columns + k) * result.count + m * multiplier
                turned = transposed(get_first(memory, place, result.count, columns, full))
                put_row(square, 0, 1, only_lanes(turned, 0, columns))
                wanted = min(2, (row - 2 * k) // full)
                for c in range(m, min(source.count, m + most)):
                    at = (c * source.rows + 2 * r) * row + 2 * k
                    from_here = (c - m) * multiplier * full
                    share = get_numbers(square, from_here, 0, 1)
                    if maxima:
                        top, below = _routed(memory, x + at, x + at + row, share)
                    else:
                        if w_at >= 0:
                            seen = _window_sums(memory, x + at, x + at + row) * factor
                            share = splat(memory, 0, 1)
                            for j in range(multiplier):
                                o = c * multiplier + j
                                slope_of_o = get_numbers(square, from_here + j * full, 0, 1)
                                _add_gradients(
                                    memory, slope_of_o, seen, sums + o * full, result.count
                                )
                                share = share + slope_of_o * spread(w, w_at + o, 0, 1)
                        share = share * factor
                        top = zipped(share, share)
                        below = top
                    if function >= 0:
                        top = top * _slopes(memory, slope, x + at)
                        below = below * _slopes(memory, slope, x + at + row)
                    put_first(memory, dx + at, full, wanted, top)
                    put_first(memory, dx + at + row, full, wanted, below)
    _clear_unseen(memory, dx, source, result, row)


@block
def _slopes(memory, slope, at):
    """Return the slopes of two vectors."""
    y = get_numbers(memory, at, lane_count_of(memory), 2)
    a, b, c = splat(memory, slope[0], 2), splat(memory, slope[1], 2), splat(memory, slope[2], 2)
    return a + y * (b + y * c)


@part
def _clear_unseen(memory, dx, source, result, row):
    """Write zeros where no window looks: columns behind the last one, rows below it."""
    seen = min(row, 2 * whole_vectors(memory, result.columns))
    for c in range(source.count):
        for r in range(source.rows):
            first = dx + (c * source.rows + r) * row
            memory[first + (seen if r < 2 * result.rows else 0) : first + row] = 0
