"""Convolutions of one image at a time, vectors along the output maps.

The twin of kernels/single/conv2d_maps.pxi, where the order of the numbers is explained.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lenet_fast.backends.numba_backend.jit import block, part
from lenet_fast.backends.numba_backend.vector.blocks import (
    add_block,
    get_block,
    get_first,
    only_lanes,
    put_block,
    put_first,
    whole_vectors,
)
from lenet_fast.backends.numba_backend.vector.products import (
    plus_products,
    plus_scattered,
    transposed,
)
from lenet_fast.backends.numba_backend.vector.vectors import (
    BYTES,
    get_numbers,
    lane_count_of,
    put_numbers,
    splat,
    spread,
)

# The register block of each loop: as many sums as the registers hold.
MAP_POSITIONS, MAP_VECTORS, MAP_TAPS = (10, 1, 15) if BYTES == 64 else (5, 2, 5)
INPUT_ROWS, INPUT_VECTORS = (10, 2) if BYTES == 64 else (5, 2)


class Stretches(NamedTuple):
    """What a kernel reads of the pixels' numbers, row by row."""

    count: int  # type: ignore[assignment]  # stretches per row of the kernel; hides a method
    length: int  # numbers in one
    step: int  # numbers from one to the next
    row_step: int  # from one row of the kernel to the next
    right: int  # from one output to the next in its row
    down: int  # in its column


@part
def _stretches_of(source, window):
    side_by_side = window.dilation_h == 1
    return Stretches(
        1 if side_by_side else window.kw,
        window.kw * source.count if side_by_side else source.count,
        window.dilation_h * source.count,
        window.dilation_v * source.columns * source.count,
        window.stride_h * source.count,
        window.stride_v * source.columns * source.count,
    )


# --- forward ------------------------------------------------------------------------------------


def _maps_block(positions: int, vectors: int) -> Any:
    """Return what sets some outputs of a row, some vectors of maps."""
    size = positions * vectors

    @block
    def maps_block(memory, x, right, taps, w, w_at, pitch, b, b_at, bias_step, y, y_step):
        full = lane_count_of(memory)
        sums = splat(memory, 0, size)
        if b_at >= 0:
            sums = get_block(b, b_at, bias_step, positions, vectors)
        for t in range(len(taps)):
            factors = spread(memory, x + taps[t], right, positions)
            sums = plus_products(sums, factors, get_numbers(w, w_at, full, vectors))
            w_at += pitch
        put_block(memory, y, y_step, positions, sums)

    return maps_block


def _maps_row(vectors: int) -> Any:
    many, four, one = (_maps_block(positions, vectors) for positions in (MAP_POSITIONS, 4, 1))

    @part
    def maps_row(memory, x, right, taps, w, w_at, pitch, b, b_at, bias_step, y, result):
        k, step = 0, result.count
        while k < result.columns:
            place, target, bias = x + k * right, y + k * step, b_at + k * bias_step
            if result.columns - k >= MAP_POSITIONS:
                many(memory, place, right, taps, w, w_at, pitch, b, bias, bias_step, target, step)
                k += MAP_POSITIONS
            elif result.columns - k >= 4:
                four(memory, place, right, taps, w, w_at, pitch, b, bias, bias_step, target, step)
                k += 4
            else:
                one(memory, place, right, taps, w, w_at, pitch, b, bias, bias_step, target, step)
                k += 1

    return maps_row


_row_of_many = _maps_row(MAP_VECTORS)
_row_of_one = _row_of_many if MAP_VECTORS == 1 else _maps_row(1)


@part
def maps_forward(memory, x, source, window, taps, weights, unit, y, result):
    """Set y to the convolution of x with w, plus a bias per map, per unit, or none."""
    full, pitch = lane_count_of(memory), whole_vectors(memory, result.count)
    right, down = window.stride_h * source.count, window.stride_v * source.columns * source.count
    bias_step = result.count if unit and weights.b_at >= 0 else 0
    v = pitch
    # The last maps come first: what their vector writes beyond a pixel is written over.
    while v > 0:
        many = v >= MAP_VECTORS * full
        v -= MAP_VECTORS * full if many else full
        for r in range(result.rows):
            corner, place = x + r * down, y + r * result.columns * result.count + v
            bias = -1
            if weights.b_at >= 0:
                bias = weights.b_at + r * result.columns * bias_step + v
            if many:
                _row_of_many(
                    memory, corner, right, taps, weights.w, weights.w_at + v, pitch,
                    weights.b, bias, bias_step, place, result,
                )  # fmt: skip
            else:
                _row_of_one(
                    memory, corner, right, taps, weights.w, weights.w_at + v, pitch,
                    weights.b, bias, bias_step, place, result,
                )  # fmt: skip


# --- the gradient of the weights ----------------------------------------------------------------


def _taps_block(taps: int, vectors: int) -> Any:
    """Return what sets the gradient of some adjacent taps, some vectors of maps."""
    size = taps * vectors

    @block
    def taps_block(memory, x, reads, dy, result, dw, dw_at, pitch):
        full = lane_count_of(memory)
        sums = splat(memory, 0, size)
        for r in range(result.rows):
            corner = x + r * reads.down
            for _ in range(result.columns):
                shares = get_numbers(memory, dy, full, vectors)
                sums = plus_products(sums, spread(memory, corner, 1, taps), shares)
                corner += reads.right
                dy += result.count
        put_block(dw, dw_at, pitch, taps, sums)

    return taps_block


def _taps(vectors: int) -> Any:
    many, five, one = (_taps_block(taps, vectors) for taps in (MAP_TAPS, 5, 1))

    @part
    def taps(memory, x, reads, dy, result, dw, dw_at, pitch):
        t = 0
        while t < reads.length:
            if reads.length - t >= MAP_TAPS:
                many(memory, x + t, reads, dy, result, dw, dw_at + t * pitch, pitch)
                t += MAP_TAPS
            elif reads.length - t >= 5:
                five(memory, x + t, reads, dy, result, dw, dw_at + t * pitch, pitch)
                t += 5
            else:
                one(memory, x + t, reads, dy, result, dw, dw_at + t * pitch, pitch)
                t += 1

    return taps


_taps_of_many = _taps(MAP_VECTORS)
_taps_of_one = _taps_of_many if MAP_VECTORS == 1 else _taps(1)


@part
def maps_gradient(memory, x, source, window, dy, result, masks, mask, dw, dw_at):
    """Set dw (kh, kw, c_in, maps) to the gradient, zero where the mask (c_in, maps) is."""
    reads, full = _stretches_of(source, window), lane_count_of(memory)
    pitch = whole_vectors(memory, result.count)
    for u in range(window.kh):
        for s in range(reads.count):
            stretch, v = x + u * reads.row_step + s * reads.step, 0
            while v < pitch:
                if pitch - v >= MAP_VECTORS * full:
                    _taps_of_many(memory, stretch, reads, dy + v, result, dw, dw_at + v, pitch)
                    v += MAP_VECTORS * full
                else:
                    _taps_of_one(memory, stretch, reads, dy + v, result, dw, dw_at + v, pitch)
                    v += full
            dw_at += reads.length * pitch
    taps, seen = window.kh * window.kw, source.count * pitch
    dw_at -= taps * seen
    for _ in range(taps):
        for v in range(0, seen, full):
            gradient = get_numbers(dw, dw_at + v, 0, 1) * get_numbers(masks, mask + v, 0, 1)
            put_numbers(dw, dw_at + v, 0, gradient)
        dw_at += seen


@part
def maps_bias_gradient(memory, dy, result, masks, mask, db, db_at):
    """Set db to the sums of dy, one per map."""
    full = lane_count_of(memory)
    for v in range(0, whole_vectors(memory, result.count), full):
        total, place = splat(memory, 0, 1), dy + v
        for _ in range(result.rows * result.columns):
            total = total + get_numbers(memory, place, 0, 1)
            place += result.count
        put_numbers(db, db_at + v, 0, total * get_numbers(masks, mask + v, 0, 1))


# --- the gradient of the inputs -----------------------------------------------------------------


@part
def _transpose_weights(w, w_at, stretches, length, maps, memory, turned):
    """Set `turned` (maps, stretches, length) to w (stretches, length, maps), each stretch padded
    with zeros to whole vectors."""
    full = lane_count_of(memory)
    pitch = whole_vectors(memory, maps)
    stretch = whole_vectors(memory, length)
    down = stretches * stretch
    for s in range(stretches):
        for t in range(0, length, full):
            rows = min(full, length - t)
            for v in range(0, maps, full):
                square = transposed(get_first(w, w_at + t * pitch + v, pitch, rows, full))
                place = turned + v * down + s * stretch + t
                square = only_lanes(square, 0, rows)
                put_first(memory, place, down, min(full, maps - v), square)
        w_at += length * pitch


def _input_block(rows: int, vectors: int) -> Any:
    """Return what adds what some outputs of a column hand to some vectors of inputs."""
    size = rows * vectors

    @block
    def input_block(memory, dy, maps, dy_down, turned, pitch, dx, down):
        full = lane_count_of(memory)
        sums = splat(memory, 0, size)
        for m in range(dy, dy + maps):
            shares = spread(memory, m, dy_down, rows)
            sums = plus_products(sums, shares, get_numbers(memory, turned, full, vectors))
            turned += pitch
        add_block(memory, dx, down, rows, sums)

    return input_block


def _input_column(vectors: int) -> Any:
    many, four, one = (_input_block(rows, vectors) for rows in (INPUT_ROWS, 4, 1))

    @part
    def input_column(memory, dy, result, turned, pitch, dx, down):
        r, dy_down = 0, result.columns * result.count
        while r < result.rows:
            place, target = dy + r * dy_down, dx + r * down
            if result.rows - r >= INPUT_ROWS:
                many(memory, place, result.count, dy_down, turned, pitch, target, down)
                r += INPUT_ROWS
            elif result.rows - r >= 4:
                four(memory, place, result.count, dy_down, turned, pitch, target, down)
                r += 4
            else:
                one(memory, place, result.count, dy_down, turned, pitch, target, down)
                r += 1

    return input_column


_column_of_many, _column_of_one = _input_column(INPUT_VECTORS), _input_column(1)


def _five_rows_block(rows: int) -> Any:
    """Return what adds what some outputs of a column hand, through kernels of five rows, to a
    vector of inputs of each row. The kernels' rows meet in registers."""
    size = rows + 4

    @block
    def five_rows_block(memory, dy, maps, dy_down, turned, stretch, pitch, dx, down):
        sums = splat(memory, 0, size)
        for m in range(dy, dy + maps):
            shares = spread(memory, m, dy_down, rows)
            sums = plus_scattered(sums, get_numbers(memory, turned, stretch, 5), shares)
            turned += pitch
        add_block(memory, dx, down, size, sums)

    return five_rows_block


_five_rows_many, _five_rows_four, _five_rows_one = (
    _five_rows_block(rows) for rows in (INPUT_ROWS, 4, 1)
)


@part
def _five_rows_column(memory, dy, result, turned, stretch, pitch, dx, down):
    """A column of outputs, one vector of its inputs' stretches."""
    r, dy_down, maps = 0, result.columns * result.count, result.count
    while r < result.rows:
        place, target = dy + r * dy_down, dx + r * down
        if result.rows - r >= INPUT_ROWS:
            _five_rows_many(memory, place, maps, dy_down, turned, stretch, pitch, target, down)
            r += INPUT_ROWS
        elif result.rows - r >= 4:
            _five_rows_four(memory, place, maps, dy_down, turned, stretch, pitch, target, down)
            r += 4
        else:
            _five_rows_one(memory, place, maps, dy_down, turned, stretch, pitch, target, down)
            r += 1


@part
def maps_back(memory, dy, result, window, w, w_at, dx, source, turned):
    """Set dx. Outputs of a column come together: what they hand back does not overlap, and nothing
    is read soon after a store that overlaps it.

    `turned` is scratch, for the weights.
    """
    reads, full = _stretches_of(source, window), lane_count_of(memory)
    stretches, stretch = window.kh * reads.count, whole_vectors(memory, reads.length)
    pitch = stretches * stretch
    _transpose_weights(w, w_at, stretches, reads.length, result.count, memory, turned)
    memory[dx : dx + source.count * source.rows * source.columns] = 0
    five_rows = stretches == 5 and window.kh == 5
    five_rows = five_rows and window.stride_v == 1 and window.dilation_v == 1
    for k in range(result.columns):
        shares, weights = dy + k * result.count, turned
        for v in range(0, stretch if five_rows else 0, full):
            place = dx + k * reads.right + v
            _five_rows_column(memory, shares, result, turned + v, stretch, pitch, place, reads.down)
        if five_rows:
            continue
        for u in range(window.kh):
            for s in range(reads.count):
                place, v = dx + k * reads.right + u * reads.row_step + s * reads.step, 0
                while v < stretch:
                    if stretch - v >= INPUT_VECTORS * full:
                        _column_of_many(
                            memory, shares, result, weights + v, pitch, place + v, reads.down
                        )
                        v += INPUT_VECTORS * full
                    else:
                        _column_of_one(
                            memory, shares, result, weights + v, pitch, place + v, reads.down
                        )
                        v += full
                weights += stretch
