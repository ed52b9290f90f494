"""Warping of images: affine maps, elastic displacements, and the noise that these are made from.

All arithmetic is on integers, so that every backend computes the same bytes.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel

__all__ = ["smooth_noise", "warp"]

# Matrices and fields count in pixels / 2**18, positions between four pixels in 2**-11.
SHIFT = 18 - 11
BITS = 11
ONE = 1 << BITS

FIRST_NOISE = 8  # of an image's stream; those before it are not for noise
GAMMA = np.uint64(0x9E3779B97F4A7C15)
MASK = np.uint64(255)


@kernel
def _splitmix64(state):
    """Return the next number of a stream (Steele, Lea and Flood 2014)."""
    z = state + GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def _lay_out_squares(image, padded, squares):
    """Set squares to the four pixels at each place from (-1, -1) to (rows, columns)."""
    rows, columns = image.shape
    for i in range(rows):
        for j in range(columns):
            padded[i + 1, j + 1] = image[i, j]
    for i in range(rows + 2):
        above, below = padded[i], padded[i + 1]
        for j in range(columns + 2):
            squares[i * (columns + 2) + j] = (
                above[j]
                | np.uint32(above[j + 1]) << np.uint32(8)
                | np.uint32(below[j]) << np.uint32(16)
                | np.uint32(below[j + 1]) << np.uint32(24)
            )


@kernel
def _places(matrix, fields, n, r, rows, columns, place, down, right):
    """Find out where each pixel of a row is from."""
    for c in range(place.size):
        y = matrix[0, 0] * r + matrix[0, 1] * c + matrix[0, 2]
        x = matrix[1, 0] * r + matrix[1, 1] * c + matrix[1, 2]
        if fields.shape[0]:
            y += fields[n, 0, r, c]
            x += fields[n, 1, r, c]
        # All pixels more than one outside are background.
        y = min(max((y + (1 << (SHIFT - 1))) >> SHIFT, -ONE), rows * ONE)
        x = min(max((x + (1 << (SHIFT - 1))) >> SHIFT, -ONE), columns * ONE)
        place[c] = ((y >> BITS) + 1) * (columns + 2) + (x >> BITS) + 1
        down[c] = y & (ONE - 1)
        right[c] = x & (ONE - 1)


@kernel
def warp(images, matrices, fields, warped):
    """Set each pixel to what an image has at matrix (row, column, 1) + field, 0 outside of it.

    The images are (n, rows, columns) and (n, h, w), the matrices (n, 2, 3), the fields (n, 2, h, w)
    or, for none, (0, 2, h, w).
    """
    count, rows, columns = images.shape
    height, width = warped.shape[1:]
    padded = np.zeros((rows + 3, columns + 3), np.uint8)
    squares = np.empty((rows + 2) * (columns + 2), np.uint32)
    place, down, right = np.empty((3, width), np.int32)
    square = np.empty(width, np.uint32)
    for n in range(count):
        _lay_out_squares(images[n], padded, squares)
        for r in range(height):
            _places(matrices[n], fields, n, r, rows, columns, place, down, right)
            for c in range(width):
                square[c] = squares[place[c]]
            for c in range(width):
                s, u, v = np.int32(square[c]), down[c], right[c]
                above = (s & 255) * (ONE - v) + (s >> 8 & 255) * v
                below = (s >> 16 & 255) * (ONE - v) + (s >> 24 & 255) * v
                value = above * (ONE - u) + below * u
                warped[n, r, c] = (value + ONE * ONE // 2) >> 2 * BITS


@kernel
def _multiply(a, b, product):
    """Set product = a b, four rows of b at a time: no sum is rounded, see smooth_noise."""
    depth = a.shape[1]
    for i in range(a.shape[0]):
        row = product[i]
        for j in range(row.size):
            row[j] = 0
        for k in range(0, depth - 3, 4):
            p, q, r, s = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(row.size):
                row[j] += (
                    a[i, k] * p[j] + a[i, k + 1] * q[j] + a[i, k + 2] * r[j] + a[i, k + 3] * s[j]
                )
        for k in range(depth // 4 * 4, depth):
            for j in range(row.size):
                row[j] += a[i, k] * b[k, j]


@kernel
def smooth_noise(keys, down, across, factor, fields):
    """Set fields = down round(noise across^T / 2**11) factor, truncated to integers.

    The noise of a pixel is a byte of its image's stream, down one column after the other, as an odd
    number from -255 to 255. The matrices hold whole numbers with sums of 2**13 or so: no product or
    sum needs more than the 24 bits of a float, so none is rounded, in whatever order they come.
    """
    count, _, rows, columns = fields.shape
    size = rows * columns
    words = (2 * size + 7) // 8
    noise = np.empty(8 * words, np.float32)
    half = np.empty((rows, columns), np.float32)
    smooth = np.empty((rows, columns), np.float32)
    turned = across.T.copy()
    nearest = np.float32(3 << 22)  # what is added to this has no digits left behind the point
    for n in range(count):
        for k in range(words):
            number = _splitmix64(keys[n] + np.uint64(FIRST_NOISE + k) * GAMMA)
            for octet in range(8):
                noise[8 * k + octet] = 2 * np.int32(number >> np.uint64(8 * octet) & MASK) - 255
        for plane in range(2):
            for r in range(rows):
                for c in range(columns):
                    smooth[r, c] = noise[plane * size + c * rows + r]
            _multiply(smooth, turned, half)
            for r in range(rows):
                for c in range(columns):
                    half[r, c] = (half[r, c] * np.float32(1 / 2048) + nearest) - nearest
            _multiply(down, half, smooth)
            for r in range(rows):
                for c in range(columns):
                    fields[n, plane, r, c] = np.int32(smooth[r, c] * factor)
