"""From images to what the networks read: scaling, padding, and centring of outside images.

Grey values are bytes, 0 paper to 255 ink. Networks read floats on the scale of LeCun et al.
1998: -0.1 paper to 1.175 ink, padded from 28x28 to 32x32 (section II.B).
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lenet_fast.errors import FileFormatError
from lenet_fast.pixels import prepare

__all__ = ["BOX", "MAX_PIXELS", "SIZE", "centre", "looks_inverted", "prepare", "read_image"]

Array = npt.NDArray[Any]

SIZE = 28
"""Rows and columns of an MNIST image."""

BOX = 20
"""Rows or columns, the larger, of the ink in an MNIST image."""

MAX_PIXELS = 2**26
"""No image file with more pixels is unpacked: enough for any camera, too few for a bomb."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")

# What Pillow is known to raise on damaged files; it has no error class of its own for them.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


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
        If the image has not two dimensions, holds NaN or infinity, or is blank: a network
        would find a digit even in an empty picture.

    Notes
    -----
    LeCun et al. 1998, section III.A, describe the normalisation. In the MNIST files the
    longer side of the ink is 20 pixels and the centre of mass lies within half a pixel of row
    14 and column 14, counted from 0. This function does the same: it leaves 99.8 % of the test
    images as they are, within 5 of 255 grey levels. The article is silent on how ink is told
    from paper; here paper is the median of the border, and ink is what exceeds it by ten
    times the quartile deviation of the border (6.7 standard deviations) and 2 % of the contrast.

    Examples
    --------
    >>> import numpy as np
    >>> page = np.zeros((300, 200), np.uint8)
    >>> page[50:250, 120:140] = 200
    >>> digit = centre(page)
    >>> digit.shape, int(digit.max()), int((digit > 0).any(axis=1).sum())
    ((28, 28), 255, 20)
    """
    if isinstance(invert, str) and invert != "auto":
        raise ValueError(f"invert: expected True, False or 'auto', got {invert!r}")
    grey = _grey(image)
    if looks_inverted(grey) if invert == "auto" else invert:
        grey = -grey
    ink = _ink(grey)
    if ink is None:
        raise ValueError("image: expected a digit, got a blank image")
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
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
        True if the median of the border is above the middle of darkest and lightest.

    Raises
    ------
    TypeError, ValueError
        As :func:`centre` does, but a blank image is not inverted.
    """
    grey = _grey(image)
    return bool(np.median(_border(grey)) > (grey.min() + grey.max()) / 2)


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
        Each pixel is a weighted mean of old ones, so no value leaves the old range.
    """
    down, across = images.shape[-2:]
    return _resize_weights(down, rows) @ images @ _resize_weights(across, columns).T


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read an image file as grey values.

    Parameters
    ----------
    path : path
        A PNG, JPEG, BMP, GIF (first picture), PBM, PGM, PPM or WebP file.

    Returns
    -------
    ndarray, (rows, columns), uint8
        0 black to 255 white, upright as the camera says. Transparent parts lie on white.
        Pass it to :func:`centre`, which also finds out whether ink is dark or bright.

    Raises
    ------
    FileFormatError
        If the file is none of these, damaged, or has more than 2**26 pixels.
    OSError
        If the file cannot be opened.
    """
    from PIL import Image, ImageOps  # late: it takes a while to import

    name = os.fspath(path)
    with open(path, "rb") as file, warnings.catch_warnings():
        # Pillow warns of damaged metadata and of large pictures; neither is the caller's concern.
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=_FORMATS) as image:
                columns, rows = image.size
                if columns * rows > MAX_PIXELS:
                    raise FileFormatError(f"{columns} x {rows} pixels, more than {MAX_PIXELS:,}")
                return _flat_grey(ImageOps.exif_transpose(image))
        except (Image.DecompressionBombError, *_DAMAGED) as error:
            raise FileFormatError(
                f"{name}: expected a sound image file ({', '.join(_FORMATS)}), got: {error}"
            ) from error


def _flat_grey(image: Any) -> npt.NDArray[np.uint8]:
    """Return a Pillow image as bytes, on white where it is transparent."""
    from PIL import Image

    if image.mode == "F":
        raise FileFormatError("floating-point pixels, whose scale is unknown")
    if image.mode.startswith("I"):  # 16 bits a pixel; convert("L") would clip at 255
        return (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
    if "transparency" in image.info or "A" in image.getbands():
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.array(image.convert("L"))


def _grey(image: Array) -> Array:
    """Return an image as floats from -1 to 1, so that no difference of them overflows."""
    image = np.asarray(image)
    if image.dtype.kind not in "biuf":
        raise TypeError(f"image: expected real numbers, got {image.dtype}")
    if image.ndim != 2 or not image.size:
        raise ValueError(f"image: expected (rows, columns), not empty, got {image.shape}")
    # float32 holds bytes exactly, and a photograph has many.
    grey = image.astype(np.result_type(image, np.float32))
    largest = np.abs(grey).max()
    if not np.isfinite(largest):
        raise ValueError("image: expected finite values, got NaN or infinity")
    return grey / largest if largest else grey


def _border(grey: Array) -> Array:
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])


def _ink(grey: Array) -> Array | None:
    """Return how much each pixel is above the paper, 0 for paper; None if all is paper."""
    low, paper, high = np.quantile(_border(grey), (0.25, 0.5, 0.75))
    contrast = grey.max() - paper
    noise = paper - low
    if high - paper < 0.05 * contrast:  # else ink, which reaches the border of a close cutting
        noise = max(noise, high - paper)
    least = max(10 * noise, 0.02 * contrast)
    if not least < contrast:
        return None
    return np.where(grey - paper > least, grey - paper, 0.0)


def _offset(mass: Array) -> int:
    """Return where a side with this profile goes, so that its centre of mass lies on SIZE / 2."""
    middle = mass @ np.arange(len(mass)) / mass.sum()
    return int(np.clip(round(SIZE / 2 - middle), 0, SIZE - len(mass)))


def _resize_weights(n_in: int, n_out: int) -> Array:
    """Return the matrix (n_out, n_in) that resizes one axis.

    Each output is a weighted mean under a triangle as wide as two of its pixels, or two input
    pixels if those are larger: linear interpolation upwards, anti-aliased downwards, and
    nothing at all if the size stays.
    """
    step = n_in / n_out
    at = (np.arange(n_out) + 0.5) * step - 0.5
    distance = np.abs(np.arange(n_in) - at[:, None]) / max(step, 1.0)
    weights: Array = np.maximum(1 - distance, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
