"""Warping of images: affine maps, elastic displacements, and the noise that these are made from.

All arithmetic is on integers, so that every backend computes the same bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["smooth_noise", "warp"]

POSITION_BITS = 18
"""Matrices and fields count in pixels / 2**18; positions of pixels stay below 2**13."""

_FRACTION_BITS = 11  # of a position between four pixels: 8 + 2 * 11 bits are a 32-bit number
_ONE = 1 << _FRACTION_BITS

DRAWS = 8
"""The first numbers of an image's stream are not for noise."""


_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the next number of each stream (Steele, Lea and Flood 2014)."""
    z = state + _GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def stream(keys: npt.NDArray[np.uint64], first: int, last: int) -> npt.NDArray[np.uint64]:
    """Return numbers first to last, without the last, of each key's stream: (n, last - first)."""
    return splitmix64(keys[:, np.newaxis] + np.arange(first, last, dtype=np.uint64) * _GAMMA)


def warp(images, matrices, fields, warped):
    """Set each pixel to what an image has at matrix (row, column, 1) + field, 0 outside of it.

    The images are (n, rows, columns) and (n, h, w), the matrices (n, 2, 3), the fields (n, 2, h, w)
    or, for none, (0, 2, h, w).
    """
    n, rows, columns = images.shape
    r, c = np.arange(warped.shape[1])[:, np.newaxis], np.arange(warped.shape[2])
    terms = matrices.astype(np.int64)[..., np.newaxis, np.newaxis]  # (n, 2, 3, 1, 1)
    positions = terms[:, :, 0] * r + terms[:, :, 1] * c + terms[:, :, 2]  # (n, 2, h, w)
    if len(fields):
        positions += fields
    shift = POSITION_BITS - _FRACTION_BITS
    positions = (positions + (1 << shift - 1)) >> shift
    # All pixels more than one outside are background.
    y = np.clip(positions[:, 0], -_ONE, rows * _ONE)
    x = np.clip(positions[:, 1], -_ONE, columns * _ONE)
    padded = np.pad(images.astype(np.int64), ((0, 0), (1, 2), (1, 2)))
    image = np.arange(n)[:, np.newaxis, np.newaxis]
    i, j = (y >> _FRACTION_BITS) + 1, (x >> _FRACTION_BITS) + 1
    down, right = y & _ONE - 1, x & _ONE - 1
    above = padded[image, i, j] * (_ONE - right) + padded[image, i, j + 1] * right
    below = padded[image, i + 1, j] * (_ONE - right) + padded[image, i + 1, j + 1] * right
    value = above * (_ONE - down) + below * down
    warped[...] = (value + _ONE * _ONE // 2) >> 2 * _FRACTION_BITS


def smooth_noise(keys, down, across, factor, fields):
    """Set fields = down round(noise across^T / 2**11) factor, truncated to integers.

    The noise of a pixel is a byte of its image's stream, down one column after the other, as an odd
    number from -255 to 255. The matrices hold whole numbers with sums of 2**13 or so: no product or
    sum needs more than the 24 bits of a float, so none is rounded, in whatever order they come.
    """
    n, _, rows, columns = fields.shape
    size = 2 * rows * columns
    numbers = stream(keys, DRAWS, DRAWS + -(-size // 8))
    octets = numbers[..., np.newaxis] >> np.arange(0, 64, 8, dtype=np.uint64) & np.uint64(255)
    noise = 2 * octets.astype(np.float32) - 255
    noise = noise.reshape(n, numbers.shape[1] * 8)[:, :size]
    noise = noise.reshape(n, 2, columns, rows).swapaxes(2, 3)
    fields[...] = (down @ np.rint(noise @ across.T / 2048)).astype(np.float64) * factor
