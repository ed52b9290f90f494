"""Dropout; the NumPy backend has the definition of the draws."""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel

__all__ = ["dropout"]

FIRST, SECOND = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)
SHIFT_16, SHIFT_15 = np.uint32(16), np.uint32(15)


@kernel
def dropout(x, keys, p, y):
    """Set y to x / (1 - p), or 0 in the units that are dropped.

    x and y are (n, units, size), the keys (n,): one draw per image and unit.
    """
    real = y.dtype.type
    threshold, scale = np.uint32(p * 2.0**32), real(1 / (1 - p))
    for i in range(x.shape[0]):
        low, high = np.uint32(keys[i]), np.uint32(keys[i] >> np.uint64(32))
        for u in range(x.shape[1]):
            h = np.uint32(low + np.uint32(u))
            h = np.uint32((h ^ (h >> SHIFT_16)) * FIRST)
            h = h ^ high
            h = np.uint32((h ^ (h >> SHIFT_15)) * SECOND)
            kept = h >= threshold
            for k in range(x.shape[2]):
                y[i, u, k] = x[i, u, k] * scale if kept else real(0)
