"""From images to what the networks read: scaling, padding, and centring of outside images.

Grey values are bytes, 0 paper to 255 ink. Networks read floats on the scale of LeCun et al.
1998: -0.1 paper to 1.175 ink, padded from 28x28 to 32x32 (section II.B).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lenet_fast.data import paper
from lenet_fast.data.pictures import read_image
from lenet_fast.data.resizing import reduced, resize
from lenet_fast.pixels import prepare

__all__ = ["BOX", "SIZE", "centre", "looks_inverted", "prepare", "read_image", "resize"]

Array = npt.NDArray[Any]

SIZE = 28
"""Rows and columns of an MNIST image."""

BOX = 20
"""Rows or columns, the larger, of the ink in an MNIST image."""


_WORKING_SIDE = 400
"""Rows or columns, the larger, of the copy in which ink is told from paper."""

_LEAST_SIDE = 150
"""Rows or columns, the smaller, that the copy of a larger picture has at least."""


def centre(image: Array, *, invert: bool | Literal["auto"] = "auto") -> npt.NDArray[np.uint8]:
    """Bring an outside image of one digit into the form of MNIST's.

    The ink is cut out, resized into a 20x20 box with its aspect ratio kept, and put into a
    28x28 image with its centre of mass in the middle; the darkest ink becomes 255.

    Parameters
    ----------
    image : ndarray, (rows, columns), any size, bool, integer or float
        Grey values on any scale.
    invert : bool or "auto"
        Whether the ink is darker than the paper, the reverse of MNIST's. "auto" asks
        :func:`looks_inverted`.

    Returns
    -------
    ndarray, (28, 28), uint8
        Grey values, 0 paper to 255 ink.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the image has not two dimensions, holds NaN or infinity, is blank (a network would find
        a digit even in an empty picture), or shows several things as large as a digit.

    Notes
    -----
    LeCun et al. 1998, section III.A, describe the normalisation. In the MNIST files the
    longer side of the ink is 20 pixels and the centre of mass lies within half a pixel of row
    14 and column 14, counted from 0. This function does the same: it leaves 99.8 % of the test
    images as they are, within 5 of 255 grey levels. The article is silent on how ink is told
    from paper. Here paper may lie in any light, with shadows on it, be framed, ruled, squared,
    folded, or lie on a table; ``lenet_fast/data/paper.py`` names the methods. Where the border
    is even, as in a drawing of less than 100 pixels, paper is its median.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import centre
    >>> page = np.zeros((300, 200), np.uint8)
    >>> page[50:250, 120:140] = 200
    >>> digit = centre(page)
    >>> digit.shape, int(digit.max()), int((digit > 0).any(axis=1).sum())
    ((28, 28), 255, 20)
    """
    if isinstance(invert, str) and invert != "auto":
        raise ValueError(f"invert: expected True, False or 'auto', got {invert!r}")
    grey = _grey(image)
    if invert == "auto":
        found = paper.find_ink_of_either(grey)[0]
    else:
        found = paper.find_ink(grey, dark=invert)
    if found is None:
        raise ValueError("image: expected a digit, got a blank image")
    return normalised(found.density[found.rows, found.columns])


def normalised(ink: Array) -> npt.NDArray[np.uint8]:
    """Return ink, (rows, columns) without paper around it, 0 where there is none, as MNIST has it.

    The steps of :func:`centre` for a drawing of which it is known what is ink.
    """
    scale = BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    digit = resize(ink, height, width)
    top = _offset(digit.sum(axis=1))
    left = _offset(digit.sum(axis=0))
    result = np.zeros((SIZE, SIZE), np.uint8)
    result[top : top + height, left : left + width] = np.rint(digit * (255 / digit.max()))
    return result


def looks_inverted(image: Array) -> bool:
    """Tell whether an image has dark ink on light paper, where MNIST has the reverse.

    Parameters
    ----------
    image : ndarray, (rows, columns), bool, integer or float
        Grey values on any scale.

    Returns
    -------
    bool
        True if what is narrower than its surroundings, as strokes are, is darker; of pictures of
        less than 100 rows or columns, if the median of the border is above the middle of darkest
        and lightest.

    Raises
    ------
    TypeError, ValueError
        As :func:`centre` does, but a blank image is not inverted.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import looks_inverted
    >>> page = np.full((28, 28), 250, np.uint8)
    >>> page[4:24, 13:15] = 30
    >>> looks_inverted(page), looks_inverted(255 - page)
    (True, False)
    """
    grey = _grey(image)
    if not np.ptp(grey):
        return False
    try:
        return paper.find_ink_of_either(grey)[1]
    except ValueError:  # there is no digit, so what there is decides
        return paper.is_dark_on_light(grey)


def _grey(image: Array) -> Array:
    """Return an image as floats from -1 to 1, so that no difference of them overflows."""
    image = np.asarray(image)
    if image.dtype.kind not in "biuf":
        raise TypeError(f"image: expected real numbers, got {image.dtype}")
    if image.ndim != 2 or not image.size:
        raise ValueError(f"image: expected (rows, columns), not empty, got {image.shape}")
    largest = max(abs(float(image.max())), abs(float(image.min())))
    if not np.isfinite(largest):
        raise ValueError("image: expected finite values, got NaN or infinity")
    longer, shorter = max(image.shape), min(image.shape)
    factor = min(-(-longer // _WORKING_SIDE), max(shorter // _LEAST_SIDE, 1))
    factor = max(factor, -(-longer // (3 * _WORKING_SIDE)))  # long strips take memory, too
    return reduced(image, factor, largest or 1.0)


def _offset(mass: Array) -> int:
    """Return where a side with this profile goes, so that its centre of mass lies on SIZE / 2."""
    middle = mass @ np.arange(len(mass)) / mass.sum()
    return int(np.clip(round(SIZE / 2 - middle), 0, SIZE - len(mass)))
