"""The scale of an array's grey values, and its blank images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.pixels import BACKGROUND, FAINT, INK

_FEWEST = 5  # pixels of a digit; the fewest in MNIST's 70,000 images are 34
_CONTRAST = 2 / 3  # smallest contrast, relative to the full range; less means another scale
_PIECE = 4096  # images at a time, because floats take several times the memory of bytes


def as_bytes(
    images: Array, span: tuple[float, float] | None = None, *, stretch: bool = True
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Return grey values as bytes, from any scale that can be recognised.

    Parameters
    ----------
    images : ndarray, (n, rows, columns)
        Integers from 0 (background) to 255 (foreground), bools, floats from 0 to 1, or floats from
        -0.1 to 1.175, the networks' own scale. If the values span less than two thirds of that, as
        in images of 0 and 1 or of 0 to 16, or if none is near the background, the smallest value
        is read as background and the largest as foreground. NaN and infinity become background.
    span : pair of float, optional
        Smallest and largest value, if these images are a part of others.
    stretch : bool
        False keeps values that span less as they are: dim photographs, unlike digits, exist.

    Returns
    -------
    images : ndarray, (n, rows, columns), uint8
        From 0 (background) to 255 (foreground).
    notes : list of str
        The grey values taken for background and foreground, if unusual.

    Raises
    ------
    ValueError
        If the values are on another scale.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.arrays import as_bytes
    >>> as_bytes(np.array([[[0, 1], [1, 0]]]))[0].tolist()
    [[[0, 255], [255, 0]]]
    """
    if not images.size:
        return np.zeros(images.shape, np.uint8), []
    low, high = span_of(images) if span is None else span
    background, foreground = _scale(images.dtype, low, high)
    notes = []
    whole = foreground - background
    is_other = stretch and (
        (high - low) / whole < _CONTRAST or (low - background) / whole > FAINT / 255
    )
    if is_other and (high - low) / whole > 1e-6:
        notes.append(
            f"values from {low:g} to {high:g}, not {background:g} to {foreground:g}: read as "
            "background to foreground"
        )
        background, foreground = low, high
    if images.dtype == np.uint8 and (background, foreground) == (0, 255):
        return np.asarray(images), notes
    made = np.empty(images.shape, np.uint8)
    for first in range(0, len(images), _PIECE):
        piece = slice(first, first + _PIECE)
        values = images[piece].astype(np.float64)
        shares = (values - background) / (foreground - background)
        shares = np.nan_to_num(shares, nan=0, posinf=0, neginf=0)
        made[piece] = np.rint(255 * shares).clip(0, 255)
    return made, notes


def span_of(images: Array) -> tuple[float, float]:
    """Return the smallest and largest finite value; 0 and 0 if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.arrays import greys
    >>> greys.span_of(np.array([np.nan, 0.5, 0.25]))
    (0.25, 0.5)
    """
    low, high = images.min(), images.max()
    if images.dtype.kind != "f" or (np.isfinite(low) and np.isfinite(high)):
        return low.item(), high.item()
    finite = images[np.isfinite(images)]
    return (finite.min().item(), finite.max().item()) if finite.size else (0.0, 0.0)


def _scale(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float]:
    """Return the values of background and foreground."""
    if dtype.kind == "b":
        return 0, 1
    # As a float, because integers could overflow.
    shifted = f"({'images -' if low > 0 else 'images +'} {abs(float(low))})" if low else "images"
    way_out = f"convert them with {shifted} / {float(high) - float(low)}"
    if dtype.kind in "iu":
        if low < 0 or high > 255:
            if dtype == np.int8 and low < -1:
                way_out = f"if 0 is background, use images.view(numpy.uint8), else {way_out}"
            raise ValueError(
                f"expected integers from 0 (background) to 255 (foreground), got {low} to {high}; "
                f"{way_out}"
            )
        return 0, 255
    margin = 1e-3 if dtype.itemsize == 2 else 1e-6  # for rounding
    if low >= -margin and high <= 1 + margin:
        return 0.0, 1.0
    # Values just below 0 may come from resizing; the networks' own scale has a background of -0.1.
    if abs(low - BACKGROUND) <= margin and high <= INK + margin:
        return BACKGROUND, INK
    if low >= 0 and _CONTRAST * 255 < high <= 255:
        way_out = "divide by 255"
    raise ValueError(
        "expected floats from 0 (background) to 1 (foreground), or from -0.1 to 1.175, the "
        f"networks' own scale, got {low} to {high}; {way_out}"
    )


def blank(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return for each image whether too few of its pixels differ for a digit.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Grey values, bright on dark or dark on light.

    Returns
    -------
    ndarray, (n,), bool
        Whether fewer than five pixels lie more than ``lenet_fast.pixels.FAINT`` above the others.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import arrays
    >>> images = np.full((2, 28, 28), 250, np.uint8)
    >>> images[1, 4:24, 13:15] = 30
    >>> arrays.blank(images)
    array([ True, False])
    """
    found = np.ones(len(images), np.bool_)
    if images[:1].size <= 2 * _FEWEST:
        return found
    for first in range(0, len(images), _PIECE):
        values = images[first : first + _PIECE]
        flat = np.partition(values.reshape(len(values), -1), (_FEWEST - 1, -_FEWEST), axis=1)
        contrast = flat[:, -_FEWEST].astype(int) - flat[:, _FEWEST - 1]
        found[first : first + _PIECE] = contrast <= FAINT
    return found
