"""Dropout: which units are dropped is a function of numbers, so there is no generator to advance.

All arithmetic of the draws is on integers, so that every backend drops the same units.
"""

from __future__ import annotations

import numpy as np

__all__ = ["dropout"]


def dropout(x, keys, p, y):
    """Set y to x / (1 - p), or 0 in the units that are dropped.

    x and y are (n, units, size), the keys (n,) of uint64: one draw per image and unit.
    """
    kept = draws(keys, x.shape[1]) >= np.uint32(int(p * 2**32))  # (n, units)
    scale = y.dtype.type(1 / (1 - p))
    y[...] = np.where(kept[:, :, np.newaxis], x * scale, 0)


def draws(keys, units):
    """Return a number of 32 bits for each image and unit: (n, units).

    A key has two words: from the first one on, units are counted; the second one enters between the
    rounds of the mixing function (Wellons 2023, "hash-prospector", two rounds). Its last shift is
    left out: it does not change the high bits, which decide a comparison with a threshold.
    """
    low, high = keys.astype(np.uint32)[:, np.newaxis], (keys >> np.uint64(32)).astype(np.uint32)
    h = low + np.arange(units, dtype=np.uint32)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    h = h ^ high[:, np.newaxis]
    return (h ^ (h >> np.uint32(15))) * np.uint32(0x735A2D97)
