"""Convolutions of one image at a time from planar maps to planar ones, vectors along the columns.

The twin of kernels/single/conv2d_columns.pxi: the rows of the outputs are padded to whole vectors.
"""

from __future__ import annotations

from typing import Any

from lenet_fast.backends.numba_backend.jit import block, part
from lenet_fast.backends.numba_backend.vector.blocks import put_block, whole_vectors
from lenet_fast.backends.numba_backend.vector.packing import fold_lanes
from lenet_fast.backends.numba_backend.vector.products import plus_products
from lenet_fast.backends.numba_backend.vector.vectors import (
    BYTES,
    get_numbers,
    lane_count_of,
    put_numbers,
    splat,
    spread,
)

# The register block of each loop: as many sums as the registers hold.
COLUMN_MAPS, COLUMN_VECTORS = 6, 2
COLUMN_TAPS, COLUMN_TAPS_MAPS = (5, 3) if BYTES == 64 else (5, 2)


# --- forward ------------------------------------------------------------------------------------


def _columns_block(maps: int, vectors: int) -> Any:
    """Return what sets some vectors of a row of some output maps."""
    size = maps * vectors

    @block
    def columns_block(memory, x, taps, w, w_at, w_step, b, b_at, y, plane):
        full = lane_count_of(memory)
        sums = splat(memory, 0, size)
        if b_at >= 0:
            sums = plus_products(sums, spread(b, b_at, 1, maps), splat(memory, 1, vectors))
        for t in range(len(taps)):
            seen = get_numbers(memory, x + taps[t], full, vectors)
            sums = plus_products(sums, spread(w, w_at, 1, maps), seen)
            w_at += w_step
        put_block(memory, y, plane, maps, sums)

    return columns_block


def _columns_maps(maps: int) -> Any:
    many, one = (_columns_block(maps, vectors) for vectors in (COLUMN_VECTORS, 1))

    @part
    def columns_maps(memory, x, source, window, taps, w, w_at, w_step, b, b_at, y, result):
        full, row = lane_count_of(memory), whole_vectors(memory, result.columns)
        plane = result.rows * row
        for r in range(result.rows):
            place, target, v = x + r * window.stride_v * source.columns, y + r * row, 0
            while v < row:
                if row - v >= COLUMN_VECTORS * full:
                    many(
                        memory, place + v, taps, w, w_at, w_step, b, b_at, target + v, plane
                    )  # fmt: skip
                    v += COLUMN_VECTORS * full
                else:
                    one(
                        memory, place + v, taps, w, w_at, w_step, b, b_at, target + v, plane
                    )  # fmt: skip
                    v += full

    return columns_maps


_most_maps, _four_maps, _one_map = (_columns_maps(maps) for maps in (COLUMN_MAPS, 4, 1))


@part
def columns_forward(memory, x, source, window, taps, weights, y, result):
    """Set y to the convolution of x with w (c_in, kh, kw, maps), plus b where there is one."""
    m, step, plane = 0, result.count, result.rows * whole_vectors(memory, result.columns)
    w, b = weights.w, weights.b
    while m < result.count:
        at, bias = weights.w_at + m, weights.b_at + m if weights.b_at >= 0 else -1
        if result.count - m >= COLUMN_MAPS:
            _most_maps(memory, x, source, window, taps, w, at, step, b, bias, y + m * plane, result)
            m += COLUMN_MAPS
        elif result.count - m >= 4:
            _four_maps(memory, x, source, window, taps, w, at, step, b, bias, y + m * plane, result)
            m += 4
        else:
            _one_map(memory, x, source, window, taps, w, at, step, b, bias, y + m * plane, result)
            m += 1


# --- the gradient of the weights ----------------------------------------------------------------


def _taps_block(taps: int, maps: int) -> Any:
    """Return what sets the gradients of some taps of a kernel row, some maps, lane by lane."""
    size = taps * maps

    @block
    def taps_block(memory, x, tap_step, x_down, dy, plane, rows, row, sums_at, sums_step):
        full = lane_count_of(memory)
        sums = splat(memory, 0, size)
        for _ in range(rows):
            for v in range(0, row, full):
                shares = get_numbers(memory, dy + v, plane, maps)
                seen = get_numbers(memory, x + v, tap_step, taps)
                sums = plus_products(sums, seen, shares)
            x += x_down
            dy += row
        put_block(memory, sums_at, sums_step, taps, sums)

    return taps_block


def _taps(maps: int) -> Any:
    many, one = (_taps_block(taps, maps) for taps in (COLUMN_TAPS, 1))

    @part
    def taps(memory, x, window, x_down, dy, result, row, sums):
        v, step, plane = 0, result.count * lane_count_of(memory), result.rows * row
        while v < window.kw:
            place, target, tap_step = x + v * window.dilation_h, sums + v * step, window.dilation_h
            if window.kw - v >= COLUMN_TAPS:
                many(memory, place, tap_step, x_down, dy, plane, result.rows, row, target, step)
                v += COLUMN_TAPS
            else:
                one(memory, place, tap_step, x_down, dy, plane, result.rows, row, target, step)
                v += 1

    return taps


_taps_of_many, _taps_of_one = _taps(COLUMN_TAPS_MAPS), _taps(1)


@part
def columns_gradient(memory, x, source, window, dy, result, sums, dw, dw_at):
    """Set dw (c_in, kh, kw, maps); dy is zero in the padding of its rows. `sums` is scratch."""
    full, row = lane_count_of(memory), whole_vectors(memory, result.columns)
    down, step, m = window.stride_v * source.columns, window.kw * result.count * full, 0
    # All rows of the kernels of some maps, whose dy stays in the cache.
    while m < result.count:
        shares, target = dy + m * result.rows * row, sums + m * full
        many = result.count - m >= COLUMN_TAPS_MAPS
        for c in range(source.count):
            for u in range(window.kh):
                place = x + (c * source.rows + u * window.dilation_v) * source.columns
                if many:
                    _taps_of_many(memory, place, window, down, shares, result, row, target)
                else:
                    _taps_of_one(memory, place, window, down, shares, result, row, target)
                target += step
        m += COLUMN_TAPS_MAPS if many else 1
    fold_lanes(memory, sums, source.count * window.kh * window.kw * result.count, dw, dw_at)


@part
def columns_bias_gradient(memory, dy, result, sums, db, db_at):
    """Set db to the sums of dy, one per map. `sums` is scratch."""
    full, plane = lane_count_of(memory), result.rows * whole_vectors(memory, result.columns)
    for m in range(result.count):
        total = get_numbers(memory, dy + m * plane, 0, 1)
        for k in range(full, plane, full):
            total = total + get_numbers(memory, dy + m * plane + k, 0, 1)
        put_numbers(memory, sums + m * full, 0, total)
    fold_lanes(memory, sums, result.count, db, db_at)
