"""Properties of a set of images: dark digits on light, or digits on their sides."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.data.arrays.greys import blank
from lenet_fast.pixels import FAINT

POLARITY = ("dark digits on light", "bright digits on dark")
"""How messages call images, by whether the digits are bright, as MNIST's are."""


def look_inverted(images: Array) -> bool:
    """Return whether most images have dark digits on light, the reverse of MNIST's.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Grey values; blank images are ignored.

    Returns
    -------
    bool
        True if in more than half of them the median of the border is in the lightest quarter.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data.arrays import look_inverted
    >>> images = data.load("sample").test.images
    >>> look_inverted(images), look_inverted(255 - images)
    (False, True)
    """
    border, low, contrast = _borders(images[:: max(1, len(images) // 1000)])
    told = contrast > FAINT
    light = np.median(border, axis=1) > low + 0.75 * contrast
    return bool((light & told).sum() > told.sum() / 2)


def differ(inverted: bool, images: Array) -> bool:
    """Return whether images are inverted relative to a network with this ``inverted``.

    Parameters
    ----------
    inverted : bool
        Whether the network was trained on dark digits on light.
    images : ndarray, (n, rows, columns), uint8
        Grey values; blank images are ignored.

    Returns
    -------
    bool
        False without an image that is not blank.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data import arrays
    >>> images = data.load("sample").test.images
    >>> arrays.differ(False, images), arrays.differ(False, 255 - images)
    (False, True)
    """
    sound = images[~blank(images)]
    return len(sound) > 0 and look_inverted(sound) != inverted


def turned_round(inverted: bool, images: Array) -> npt.NDArray[np.bool_]:
    """Return which of the images, none blank, are inverted relative to ``inverted``.

    The majority decides for all, except for images whose whole border is of the other kind. A
    single image is less reliable: Fashion-MNIST's clothes cover half of the border, but not all.

    Parameters
    ----------
    inverted : bool
        As for :func:`differ`.
    images : ndarray, (n, rows, columns), uint8
        Grey values.

    Returns
    -------
    ndarray, (n,), bool

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data import arrays
    >>> images = data.load("sample").test.images[:4].copy()
    >>> images[2] = 255 - images[2]
    >>> arrays.turned_round(False, images)
    array([False, False,  True, False])
    """
    border, low, contrast = _borders(images)
    dark = border.max(axis=1) < low + 0.25 * contrast
    light = border.min(axis=1) > low + 0.75 * contrast
    if differ(inverted, images):
        return ~(light if inverted else dark)
    return dark if inverted else light


def _borders(images: Array) -> tuple[Array, Array, Array]:
    """Return each image's border pixels, its smallest value, and its contrast."""
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1
    )
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    low = flat.min(axis=1).astype(float)
    return border, low, flat.max(axis=1) - low


def look_transposed(images: Array) -> str:
    """Return whether digits lie on their sides, as in EMNIST's files.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Digits, bright on dark.

    Returns
    -------
    str
        How many are wider than high, such as "9 of 10 are wider than high", if these are at
        least four and seven of ten; else "".

    Notes
    -----
    Of 100 digits of MNIST, 8 are wider than high and 76 higher than wide.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data.arrays import look_transposed
    >>> images = data.load("sample").test.images
    >>> look_transposed(images), look_transposed(images.transpose(0, 2, 1))
    ('', '801 of 1000 are wider than high')
    """
    sample = images[:: max(1, len(images) // 1000)]
    ink = sample > 64
    heights, widths = _extent(np.any(ink, axis=2)), _extent(np.any(ink, axis=1))
    wide, high = int((widths > heights).sum()), int((heights > widths).sum())
    if wide < 4 or wide < 0.7 * (wide + high):
        return ""
    return f"{wide} of {len(sample)} are wider than high"


def _extent(profiles: Array) -> Array:
    """Return the number of entries from the first to the last True of each row."""
    length = profiles.shape[1] - profiles.argmax(axis=1) - profiles[:, ::-1].argmax(axis=1)
    return np.where(profiles.any(axis=1), length, 0)
