"""Conversion of bytes to network inputs.

Grey values are bytes, from 0 (background) to 255 (foreground). Networks read floats on the scale of
LeCun et al. 1998: from -0.1 to 1.175, padded from 28x28 to 32x32 (section II.B).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array

BACKGROUND, INK = -0.1, 1.175
"""Values of the bytes 0 and 255: inputs then have a mean of about 0 and a variance of about 1
(LeCun et al. 1998, section II.B)."""

FAINT = 16
"""Bytes whose maximum is this or less are on another scale: no digit is so faint."""


def prepare(
    images: Array,
    *,
    size: int = 32,
    dtype: npt.DTypeLike = "float32",
    background: float = BACKGROUND,
    ink: float = INK,
) -> Array:
    """Pad images to the size of a network's input and scale them to its range.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Grey values, from 0 (background) to 255 (foreground); usually 28x28, at most ``size`` x
        ``size``.
    size : int
        Rows and columns of the result. The images are centred; if an odd number of rows or
        columns is missing, the extra one goes below or on the right.
    dtype : dtype
        Float32 or float64.
    background, ink : float
        Values of the bytes 0 and 255; the values between are interpolated linearly.

    Returns
    -------
    ndarray, (n, 1, size, size), `dtype`
        By default on the 1998 scale, from -0.1 (background) to 1.175 (foreground).

    Raises
    ------
    TypeError
        If the images are not uint8, or `dtype` is not float32 or float64.
    ValueError
        If the shape is wrong or too large, a value is not finite, or the images are on another
        scale than 0 to 255: their maximum is 16 or less, but not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import prepare
    >>> x = prepare(np.full((2, 28, 28), 255, np.uint8))
    >>> x.shape, float(x[0, 0, 0, 0]), float(x[0, 0, 16, 16])
    ((2, 1, 32, 32), -0.10000000149011612, 1.1749999523162842)
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images: expected uint8, got {images.dtype}")
    if images.ndim != 3 or max(images.shape[1:]) > size:
        raise ValueError(
            f"images: expected (n, rows, columns), at most {size} by {size}, got {images.shape}"
        )
    check_axes("images", images, size)
    check_bytes("images", images)
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype: expected float32 or float64, got {dtype}")
    for name, value in (("background", background), ("ink", ink)):
        if not np.isfinite(value):
            raise ValueError(f"{name}: expected a finite number, got {value}")
    return prepared(images, size, dtype, background, ink)


def check_axes(name: str, images: Array, size: int) -> None:
    """Raise ValueError if images (n, rows, columns) seem to have other axes, for a `size` input."""
    n, rows, columns = images.shape
    if columns in (1, 3, 4) and rows >= 8:
        raise ValueError(
            f"{name}: expected bytes (n, rows, columns), or (rows, columns) for one image, got "
            f"{images.shape}, whose last axis seems to be channels; pass grey images, such "
            f"as {name}[..., 0]"
        )
    if n in (28, size) and rows != columns and n in (rows, columns):
        axis, which = (2, "last") if n == rows else (1, "second")
        raise ValueError(
            f"{name}: expected bytes (n, rows, columns), got {images.shape}, whose {which} axis "
            f"seems to count the images; pass numpy.moveaxis({name}, {axis}, 0)"
        )


def check_bytes(name: str, images: Array) -> None:
    """Raise ValueError if the maximum of byte images (..., rows, columns) is from 1 to 16."""
    largest = int(images.max()) if images.size else 0
    if 0 < largest <= FAINT:
        raise ValueError(
            f"{name}: expected bytes from 0 (background) to 255 (foreground), got 0 to {largest}; "
            f"convert them to that range, such as with {name} * np.uint8({255 // largest})"
        )


def prepared(
    images: Array, size: int, dtype: np.dtype[Any], background: float, ink: float
) -> Array:
    """Like :func:`prepare`, but unchecked: single images of many may be blank or faint."""
    n, rows, columns = images.shape
    if (rows, columns) != (size, size):
        top, left = (size - rows) // 2, (size - columns) // 2
        padded = np.zeros((n, size, size), np.uint8)
        padded[:, top : top + rows, left : left + columns] = images
        images = padded
    # Weights that add up to one exactly hit both ends; background + share * (ink - background)
    # can miss the upper one by rounding.
    share = np.arange(256) / 255
    table = (background * (1 - share) + ink * share).astype(dtype)
    return table.take(images.reshape(n, 1, size, size))
