"""Conversion of a drawing to an image like MNIST's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.data.images import normalised

MIN_SIDE, MAX_SIDE = 8, 160
"""Fewest and most rows and columns of a drawing."""

_FAINT = 16
"""A drawing is blank if its grey values, from 0 to 255, differ by less than this."""

_SPECK = 0.02
"""Pixels below this share of the darkest one do not belong to the drawing."""

_THIN = 0.03
"""A line is thin if fewer of its pixels than this share have neighbours on all four sides; that is
true for one of 25 images of MNIST."""


def from_canvas(pixels: object) -> npt.NDArray[np.uint8] | None:
    """Return a drawing, (28, 28), scaled and centred as by :func:`lenet_fast.data.centre`.

    `pixels`, from JSON, must be rows of grey values, from 0 (background) to 255 (foreground), 8x8
    to 160x160; TypeError or ValueError if not. Lines thinner than MNIST's are thickened: a pen can
    be very thin, and the network was not trained on such digits. None if the drawing is blank: all
    background, or all foreground.

    Examples
    --------
    A stroke of one pixel, which is thickened:

    >>> from lenet_fast.web.drawings import from_canvas
    >>> row = [0] * 20 + [255] + [0] * 19
    >>> image = from_canvas([[0] * 40] * 5 + [row] * 30 + [[0] * 40] * 5)
    >>> image.shape, int((image > 127).sum(axis=1).max())
    ((28, 28), 3)
    """
    grey = _checked(pixels)
    if 0 < grey.max() <= 1:
        raise ValueError(
            "pixels: expected 0 (background) to 255 (foreground), got at most 1; multiply by 255"
        )
    if np.ptp(grey) < _FAINT:
        return None
    border = np.concatenate([grey[[0, -1]].ravel(), grey[1:-1, [0, -1]].ravel()])
    if np.median(border) > 127:
        raise ValueError(
            "pixels: expected 0 (background) to 255 (foreground), but most of the border is "
            "foreground; if the background is 255, subtract the values from 255"
        )
    image = _cut_out(grey)
    if not _is_thin(image):
        return image
    wide = np.pad(image, 1)
    return _cut_out(np.maximum.reduce([wide, *_sides(wide)]))


def _cut_out(grey: Array) -> npt.NDArray[np.uint8]:
    """Cut out the drawing; unlike in a photograph, its pixels are known."""
    ink = np.where(grey > _SPECK * grey.max(), grey, 0)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return normalised(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _checked(pixels: object) -> Array:
    if not isinstance(pixels, list) or not all(isinstance(row, list) for row in pixels):
        raise TypeError("pixels: expected a list of rows, each a list of numbers")
    sides = {len(pixels), *map(len, pixels)}
    if not MIN_SIDE <= min(sides) <= max(sides) <= MAX_SIDE or len(set(map(len, pixels))) > 1:
        raise ValueError(
            f"pixels: expected rows of one length, {MIN_SIDE} to {MAX_SIDE} rows and columns, got "
            f"{len(pixels)} rows of {min(map(len, pixels), default=0)} to "
            f"{max(map(len, pixels), default=0)}"
        )
    if not {type(value) for row in pixels for value in row} <= {int, float}:
        raise TypeError("pixels: expected numbers only")
    try:
        grey: Array = np.array(pixels, np.float64)
    except OverflowError:
        grey = np.array([[np.inf]])
    if not np.isfinite(grey).all():
        raise ValueError("pixels: expected finite numbers, got NaN or infinity")
    if grey.min() < 0 or grey.max() > 255:
        raise ValueError(f"pixels: expected 0 to 255, got {grey.min():g} to {grey.max():g}")
    return grey


def _sides(image: Array) -> list[Array]:
    """Return the pixels above, below, left and right of each pixel."""
    wide: Array = np.pad(image, 1)
    return [wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]]


def _is_thin(image: Array) -> bool:
    ink = image >= 128
    inner = np.logical_and.reduce([ink, *_sides(ink)])
    return bool(inner.sum() < _THIN * ink.sum())
