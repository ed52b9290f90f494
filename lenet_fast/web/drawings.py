"""From a drawing to an image like those of MNIST."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.data.images import normalised

MIN_SIDE, MAX_SIDE = 8, 160
"""Fewest and most rows and columns of a drawing."""

_FAINT = 16
"""A drawing whose grey values, of 0 to 255, differ by less than this is blank."""

_SPECK = 0.02
"""Less than this share of the darkest ink does not count as ink."""

_THIN = 0.03
"""A line is thin where fewer of its pixels than this share have ink on all four sides: as in one
of 25 images of MNIST."""


def from_canvas(pixels: object) -> npt.NDArray[np.uint8] | None:
    """Return a drawing as an image like those of MNIST.

    Parameters
    ----------
    pixels : list of lists of numbers
        Rows of grey values, 0 paper to 255 ink, from 8x8 to 160x160, as JSON has brought them.

    Returns
    -------
    ndarray (28, 28) uint8, or None
        The ink fitted into 20x20 pixels, its centre of mass in the middle, as
        :func:`lenet_fast.data.centre` does it. Lines thinner than MNIST's become thicker: a pen
        may be as thin as a hair, and the network has not seen such digits. None if the drawing is
        blank: all paper, or all ink.

    Raises
    ------
    TypeError, ValueError
        If `pixels` is anything else, also where it has another scale or dark and bright are
        swapped.
    """
    grey = _checked(pixels)
    if 0 < grey.max() <= 1:
        raise ValueError("pixels: expected 0 paper to 255 ink, got at most 1; multiply them by 255")
    if np.ptp(grey) < _FAINT:
        return None
    border = np.concatenate([grey[[0, -1]].ravel(), grey[1:-1, [0, -1]].ravel()])
    if np.median(border) > 127:
        raise ValueError(
            "pixels: expected 0 paper to 255 ink, but most of the border is ink; where the paper "
            "is 255, subtract them from 255"
        )
    image = _cut_out(grey)
    return _cut_out(_fattened(np.pad(image, 1))) if _is_thin(image) else image


def _cut_out(grey: Array) -> npt.NDArray[np.uint8]:
    """Return the drawing's ink as an image; unlike a photograph's, it is known."""
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
        raise ValueError(
            f"pixels: expected 0 paper to 255 ink, got {grey.min():g} to {grey.max():g}"
        )
    return grey


def _sides(image: Array) -> list[Array]:
    """Return what is above, below, left and right of each pixel."""
    wide: Array = np.pad(image, 1)
    return [wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]]


def _is_thin(image: Array) -> bool:
    ink = image >= 128
    inner = np.logical_and.reduce([ink, *_sides(ink)])
    return bool(inner.sum() < _THIN * ink.sum())


def _fattened(image: Array) -> Array:
    fat: Array = np.maximum.reduce([image, *_sides(image)])
    return fat
