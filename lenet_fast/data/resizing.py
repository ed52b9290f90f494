"""Enlarging and reducing images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array

PIECE = 2**18
"""Approximate number of pixels that are converted to floats at a time."""

_LARGE = 1e300
"""Sums of larger numbers may overflow."""


def resize(images: Array, rows: int, columns: int) -> Array:
    """Resize images, with linear interpolation upwards and anti-aliasing downwards.

    Parameters
    ----------
    images : ndarray, (..., rows, columns), float
        Grey values on any scale; neither side is 0.
    rows, columns : int
        New size, at least 1 by 1.

    Returns
    -------
    ndarray, (..., rows, columns), float
        Each pixel is a weighted mean of old pixels, so no value leaves the old range.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.images import resize
    >>> resize(np.array([[0.0, 4.0]]), 1, 4)
    array([[0., 1., 3., 4.]])
    """
    down, across = images.shape[-2:]
    return _weights(down, rows) @ images @ _weights(across, columns).T


def reduced(image: Array, factor: int, divisor: float = 1.0) -> npt.NDArray[np.float64]:
    """Return the means of blocks of `factor` by `factor` pixels, divided by `divisor`.

    Where `factor` does not divide a side, the last blocks are smaller. Numbers whose sum would
    overflow are divided first. A large image takes little memory beyond its own.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.resizing import reduced
    >>> reduced(np.array([[1, 3, 8], [5, 7, 8]], np.uint8), 2)
    array([[4., 8.]])
    """
    rows, columns = image.shape
    result = np.empty((-(-rows // factor), -(-columns // factor)))
    across = np.arange(0, columns, factor)
    counts = np.diff(np.append(across, columns))
    step = max(PIECE // columns // factor, 1)
    for first in range(0, len(result), step):
        piece = image[first * factor : (first + step) * factor]
        if factor > 1:
            if divisor > _LARGE:
                piece = piece / divisor
            down = np.arange(0, len(piece), factor)
            heights = np.diff(np.append(down, len(piece)))
            # Along the rows first, and as floats only there: a row may be very long.
            piece = np.add.reduceat(piece, across, axis=1, dtype=np.float64)
            piece = np.add.reduceat(piece, down, axis=0) / (heights[:, None] * counts)
        done = factor > 1 and divisor > _LARGE
        result[first : first + step] = piece if done else piece.astype(np.float64) / divisor
    return result


def _weights(n_in: int, n_out: int) -> Array:
    """Return the matrix (n_out, n_in) that resizes one axis.

    Each output is a weighted mean under a triangle as wide as two output pixels, or two input
    pixels if those are larger: linear interpolation when enlarging, anti-aliased when reducing,
    and the identity if the size stays the same.
    """
    step = n_in / n_out
    at = (np.arange(n_out) + 0.5) * step - 0.5
    distance = np.abs(np.arange(n_in) - at[:, None]) / max(step, 1.0)
    weights: Array = np.maximum(1 - distance, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
