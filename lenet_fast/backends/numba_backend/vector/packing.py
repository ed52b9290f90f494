"""Between numbers and lanes: images packed into tiles and back, sums over lanes."""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import array_part, once, part
from lenet_fast.backends.numba_backend.vector.blocks import put_lane_sums
from lenet_fast.backends.numba_backend.vector.products import transposed
from lenet_fast.backends.numba_backend.vector.vectors import (
    get_numbers,
    get_row,
    lane_count_of,
    put_numbers,
    put_row,
)


@once
def numbers_of(memory, at, count):
    """Return the numbers of `count` vectors."""
    full = lane_count_of(memory)
    return memory[at * full : (at + count) * full]


@array_part
def scratch(vectors, like):
    """Return memory for so many vectors, not set, that begins with a cache line."""
    full = lane_count_of(like)
    memory = np.empty(vectors * full + 64 // like.itemsize, like.dtype)
    first = -np.int64(memory.ctypes.data) % 64 // like.itemsize
    return memory[first : first + vectors * full]


@part
def pack(x, step, images, count, memory, at):
    """Set vectors to pixel after pixel of each image; lanes without an image get zeros.

    Squares of pixels and images are transposed; the last one may overlap the one before it.
    """
    full = lane_count_of(memory)
    if images == full and count >= full:
        for k in range(0, count, full):
            p = min(k, count - full)
            put_row(memory, at + p, 1, transposed(get_numbers(x, p, step, full)))
        return
    tile = numbers_of(memory, at, count)
    tile[:] = 0
    for i in range(images):
        for p in range(count):
            tile[p * full + i] = x[i * step + p]


@part
def unpack(memory, at, count, images, y):
    """The way back, for so many lanes: an image's numbers lie one after the other."""
    full = lane_count_of(memory)
    if images == full and count >= full:
        for k in range(0, count, full):
            p = min(k, count - full)
            put_numbers(y, p, count, transposed(get_row(memory, at + p, 1, full)))
        return
    tile = numbers_of(memory, at, count)
    for i in range(images):
        for p in range(count):
            y[i * count + p] = tile[p * full + i]


@part
def fold_lanes(memory, sums, count, target, at):
    """Set a number to the sum of the lanes of each of `count` vectors."""
    full, k = lane_count_of(memory), 0
    while k < count:
        if count - k >= 4:
            put_lane_sums(target, at + k, get_numbers(memory, sums + k * full, full, 4))
            k += 4
        else:
            put_lane_sums(target, at + k, get_numbers(memory, sums + k * full, full, 1))
            k += 1
