"""Dropout; the NumPy backend has the definition of the draws."""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import array_part, kernel, part
from lenet_fast.backends.numba_backend.vector.vectors import lane_count_of

__all__ = ["dropout"]

FIRST, SECOND = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)
SHIFT_16, SHIFT_15 = np.uint32(16), np.uint32(15)
GAMMA, WORD = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
FACTOR_30, FACTOR_27 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@part
def splitmix64(state):
    """Return the next number of a stream (Steele, Lea and Flood 2014)."""
    z = state + GAMMA
    z = (z ^ (z >> np.uint64(30))) * FACTOR_30
    z = (z ^ (z >> np.uint64(27))) * FACTOR_27
    return z ^ (z >> np.uint64(31))


@part
def layer_key(seed, number, layer):
    """Return what all images of a step have in common; `number` is the step's."""
    state = splitmix64(np.uint64(seed))
    state = splitmix64(state ^ np.uint64(number))
    return splitmix64(state ^ np.uint64(layer))


@part
def image_key(key, image):
    """Return the key of an image, which is counted from the first one of its batch."""
    return splitmix64(key ^ np.uint64(image))


@part
def _draw(low, high, unit):
    h = np.uint32(low + np.uint32(unit))
    h = np.uint32((h ^ (h >> SHIFT_16)) * FIRST)
    h = h ^ high
    return np.uint32((h ^ (h >> SHIFT_15)) * SECOND)


@array_part
def drop_tile(memory, x, units, size, key, first, p, y):
    """Set y to x / (1 - p), or 0 in the units that are dropped; each has `size` vectors."""
    full, real = lane_count_of(memory), memory.dtype.type
    threshold, scale = np.uint32(p * 2.0**32), real(1 / (1 - p))
    low, high = np.empty(full, np.uint32), np.empty(full, np.uint32)
    factors = np.empty(full, memory.dtype)
    for i in range(full):
        image = image_key(key, first + i)
        low[i], high[i] = np.uint32(image), np.uint32(image >> WORD)
    for u in range(units):
        for i in range(full):
            factors[i] = scale if _draw(low[i], high[i], u) >= threshold else real(0)
        for k in range(u * size, (u + 1) * size):
            values = memory[(x + k) * full : (x + k + 1) * full]
            result = memory[(y + k) * full : (y + k + 1) * full]
            for i in range(full):
                value = values[i] * factors[i]
                result[i] = value if factors[i] > 0 else real(0)


@part
def draw_factors(key, units, p, memory, factors):
    """Set the factors of an image's units: 1 / (1 - p), or 0."""
    real = memory.dtype.type
    threshold, scale = np.uint32(p * 2.0**32), real(1 / (1 - p))
    low, high = np.uint32(key), np.uint32(key >> WORD)
    drawn = memory[factors : factors + units]
    for u in range(units):
        drawn[u] = scale if _draw(low, high, u) >= threshold else real(0)


@part
def times_factors(memory, x, factors, count, y):
    """Set y to x times the factors; what is dropped is 0 even if it is infinite or NaN."""
    zero = memory.dtype.type(0)
    values, drawn = memory[x : x + count], memory[factors : factors + count]
    result = memory[y : y + count]
    for k in range(count):
        value = values[k] * drawn[k]
        result[k] = value if drawn[k] > 0 else zero


@kernel
def dropout(x, keys, p, y):
    """Set y to x / (1 - p), or 0 in the units that are dropped.

    x and y are (n, units, size), the keys (n,): one draw per image and unit.
    """
    real = y.dtype.type
    threshold, scale = np.uint32(p * 2.0**32), real(1 / (1 - p))
    for i in range(x.shape[0]):
        low, high = np.uint32(keys[i]), np.uint32(keys[i] >> WORD)
        for u in range(x.shape[1]):
            kept = _draw(low, high, u) >= threshold
            for k in range(x.shape[2]):
                y[i, u, k] = x[i, u, k] * scale if kept else real(0)
