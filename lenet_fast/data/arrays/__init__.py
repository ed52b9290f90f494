"""Digits in arrays, in .npy and IDX files: finding out their layout and scale.

An array does not say which axis is which, nor which value is the background. What shape and values
allow to work out is converted to the form of MNIST's images, with a note of each guess; the rest is
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_fast.checks import Array
from lenet_fast.data.arrays.axes import AS_THEY_ARE, as_colours, as_images
from lenet_fast.data.arrays.containers import MAX_BYTES, is_array, read_array
from lenet_fast.data.arrays.greys import as_bytes, blank, span_of
from lenet_fast.data.arrays.looks import (
    POLARITY,
    differ,
    look_inverted,
    look_transposed,
    turned_round,
)
from lenet_fast.data.images import centre
from lenet_fast.pixels import FAINT

__all__ = [
    "AS_THEY_ARE",
    "MAX_BYTES",
    "MAX_IMAGES",
    "Digits",
    "as_bytes",
    "as_colours",
    "as_images",
    "blank",
    "differ",
    "digits",
    "is_array",
    "look_inverted",
    "look_transposed",
    "pieces",
    "read_array",
    "turned_round",
]

MAX_IMAGES = 2**18
"""Most images that are read at a time; EMNIST's training set has 240,000 digits."""


class Digits(NamedTuple):
    """Images of digits from an array.

    Attributes
    ----------
    images : ndarray, (n, rows, columns) or (n, channels, rows, columns), uint8
        The readable images, from 0 (background) to 255 (foreground).
    numbers : list of int
        Their numbers in the array.
    faults : dict of int to str
        For each unreadable image, by its number, the reason.
    several : bool
        Whether the array may hold several images.
    notes : list of str
        How the array was read, where that is unusual.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import data
    >>> from lenet_fast.data import arrays
    >>> array = np.stack([data.load("sample").test.images[0], np.zeros((28, 28), np.uint8)])
    >>> found = arrays.digits(array)
    >>> found.images.shape, found.numbers, found.faults
    ((1, 28, 28), [0], {1: 'expected a digit, got a blank image (all 0 of 255)'})
    """

    images: npt.NDArray[np.uint8]
    numbers: list[int]
    faults: dict[int, str]
    several: bool
    notes: list[str]


def digits(
    array: Array,
    *,
    centred: bool | None = None,
    transposed: bool = False,
    inverted: bool | None = False,
    channels: int = 1,
) -> Digits:
    """Return the digits of an array in the form that a network reads.

    Parameters
    ----------
    array : ndarray
        As for :func:`as_images` and :func:`as_bytes`.
    centred : bool, optional
        Whether to cut out, scale and centre them with :func:`lenet_fast.data.centre`; by default
        only images of other sizes than 28x28 and 32x32.
    transposed : bool
        Whether rows and columns are swapped, as in EMNIST's files.
    inverted : bool, optional
        Whether the network was trained on dark digits on light. Other images are inverted to
        match, unless `centred` is False. None: unknown, so images are not inverted.
    channels : int
        Channels that a network reads. With several, images are neither centred nor inverted, blank
        ones are taken, and the axes are those of :func:`as_colours`.

    Returns
    -------
    Digits
        With a note of every guess and change.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_images` and :func:`as_bytes` do.

    Examples
    --------
    A 7 of 8x8 pixels from 0 to 16, the scale of scikit-learn's digits:

    >>> import numpy as np
    >>> from lenet_fast.data import arrays
    >>> array = np.zeros((8, 8), np.uint8)
    >>> array[1, 2:6] = array[1:7, 5] = 16
    >>> found = arrays.digits(array)
    >>> found.images.shape, int(found.images.max())
    ((1, 28, 28), 255)
    """
    return _piece(*_images(array, MAX_IMAGES, channels), None, centred, transposed, inverted)


def pieces(
    array: Array,
    count: int,
    *,
    centred: bool | None = None,
    transposed: bool = False,
    inverted: bool | None = False,
    channels: int = 1,
) -> tuple[int, Callable[[int], Digits]]:
    """Return how many pieces of `count` images an array has, and a function that returns one.

    The digits are those of :func:`digits`, and so are its other parameters and its errors; only
    one piece at a time is in memory, if the array is mapped. Their numbers are those of the array.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.data import arrays
    >>> number, piece = arrays.pieces(data.load("sample").test.images, 300)
    >>> number, piece(3).images.shape, piece(3).numbers[:2]
    (4, (100, 28, 28), [900, 901])
    """
    images, several, notes = _images(array, None, channels)
    with np.errstate(invalid="ignore", over="ignore"):
        span = span_of(images)

    def piece(k: int) -> Digits:
        part = images[k * count : (k + 1) * count]
        found = _piece(part, several, notes, span, centred, transposed, inverted)
        first = k * count
        return found._replace(
            numbers=[first + number for number in found.numbers],
            faults={first + number: fault for number, fault in found.faults.items()},
        )

    return -(-len(images) // count), piece


def _images(array: Array, most: int | None, channels: int) -> tuple[Array, bool, list[str]]:
    """Return the images of an array, whether there may be several, and notes."""
    # A damaged file may hold anything, including bit patterns that are not numbers.
    with np.errstate(invalid="ignore", over="ignore"):
        if channels > 1:
            images, several = as_colours(array, channels)
            notes: list[str] = []
        else:
            images, several, notes = as_images(array)
    if not 0 < len(images) <= (most or len(images)):
        limit = "at least 1 image" if most is None else f"1 to {most:,} images"
        way_out = "; split the file" if len(images) else ""
        raise ValueError(f"expected {limit}, got {len(images):,}{way_out}")
    return images, several, notes


def _piece(
    images: Array,
    several: bool,
    notes: list[str],
    span: tuple[float, float] | None,
    centred: bool | None,
    transposed: bool,
    inverted: bool | None,
) -> Digits:
    """Return digits as :func:`digits` does; `span` as in :func:`as_bytes`."""
    with np.errstate(invalid="ignore", over="ignore"):
        if transposed:
            images = images.swapaxes(-2, -1)
        if images.ndim == 4:
            made, _ = as_bytes(images, span, stretch=False)
            faults = _not_finite(images)
            found = [number for number in range(len(images)) if number not in faults]
            if made.max() <= FAINT:
                notes = [*notes, f"values up to {made.max()} of 255: nearly black"]
            return Digits(made[found], found, faults, several, notes)
        if (centred is None and images.shape[1:] in AS_THEY_ARE) or centred is False:
            made, faults, more = _taken(images, span, turn=centred is None, inverted=inverted)
        else:
            made, faults, more = _centred(images, inverted)
    found = [number for number in range(len(images)) if number not in faults]
    if several and not transposed:
        # look_transposed expects bright digits.
        wide = look_transposed(255 - made[found] if look_inverted(made[found]) else made[found])
        if wide:
            more.append(f"{wide}, as if rows and columns were swapped; --transpose swaps them")
    return Digits(made[found], found, faults, several, notes + more)


Made = tuple[npt.NDArray[np.uint8], dict[int, str], list[str]]


def _taken(
    images: Array, span: tuple[float, float] | None, *, turn: bool, inverted: bool | None
) -> Made:
    """Return images as bytes, uncropped."""
    faults = _not_finite(images)
    made, notes = as_bytes(images, span)
    for number in np.flatnonzero(blank(made)).tolist():
        faults.setdefault(number, _blank(made[number]))
    sound = np.setdiff1d(np.arange(len(made)), list(faults)).astype(np.intp)
    others = sound[turned_round(bool(inverted), made[sound])]
    if len(others):
        which = f"{len(others)} of {len(sound)} have " if len(others) < len(sound) else ""
        seen = POLARITY[bool(inverted)]
        whose = "MNIST's" if inverted is None else "what the model was trained on"
        turn = turn and inverted is not None
        if turn:
            made = made.copy()
            made[others] = 255 - made[others]
        done = "inverted" if turn else "not inverted"
        notes.append(f"{which}{seen}, the reverse of {whose}: {done}")
    return made, faults, notes


def _not_finite(images: Array) -> dict[int, str]:
    """Return what is wrong with images that hold NaN or infinity, by their numbers."""
    wrong = ~np.isfinite(images).all(axis=tuple(range(1, images.ndim)))
    text = "expected finite values, got nan or infinity"
    return dict.fromkeys(np.flatnonzero(wrong).tolist(), text)


def _blank(image: Array) -> str:
    low, high = image.min(), image.max()
    values = f"all {low}" if low == high else f"{low} to {high}"
    return f"expected a digit, got a blank image ({values} of 255)"


def _centred(images: Array, inverted: bool | None) -> Made:
    made: npt.NDArray[np.uint8] = np.zeros((len(images), 28, 28), np.uint8)
    faults = {}
    for number, image in enumerate(images):
        try:
            made[number] = centre(image)
        except ValueError as error:
            faults[number] = str(error).removeprefix("image: ")
    return 255 - made if inverted else made, faults, []
