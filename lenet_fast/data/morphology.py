"""Erosion, dilation and connected parts, on squares of pixels, to find ink on paper."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def dilated(image: Array, side: int) -> Array:
    """Return the largest value in the square around each pixel, `side` (odd) pixels wide.

    Pixels outside the image do not count.
    """
    return _running(_running(image, side, 0), side, 1)


def eroded(image: Array, side: int) -> Array:
    """Return the smallest value in the square around each pixel, like :func:`dilated`."""
    if image.dtype == bool:
        return ~dilated(~image, side)
    return -dilated(-image, side)


def closed(image: Array, side: int, *, beyond: bool = False) -> Array:
    """Return an image without what is darker than all around it and narrower than a square.

    Squares have their middle in the image; or, `beyond`, anywhere, so that what runs along the
    border stays, however narrow.
    """
    if not beyond:
        return eroded(dilated(image, side), side)
    half = side // 2
    wide = np.pad(image, half, constant_values=-np.inf)
    return eroded(dilated(wide, side), side)[half : half + len(image), half:-half]


def averaged(image: Array, side: int) -> Array:
    """Return the mean over the part of the square around each pixel that is within the image."""
    for axis in (0, 1):
        length = image.shape[axis]
        sums = np.insert(np.cumsum(image, axis=axis), 0, 0, axis=axis)
        first = np.maximum(np.arange(length) - side // 2, 0)
        last = np.minimum(np.arange(length) + side // 2 + 1, length)
        counts = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
        image = (sums.take(last, axis) - sums.take(first, axis)) / counts
    return image


def _running(image: Array, side: int, axis: int) -> Array:
    """Return the running maximum along an axis: of 1, 2, 4, ... values, then of two such runs."""
    half = side // 2
    lowest = False if image.dtype == bool else -np.inf
    width = [(half, half) if each == axis else (0, 0) for each in (0, 1)]
    wide = np.moveaxis(np.pad(image, width, constant_values=lowest), axis, 0)
    length, run = image.shape[axis], 1
    while 2 * run <= side:
        wide = np.maximum(wide[:-run], wide[run:])
        run *= 2
    rest = side - run
    return np.moveaxis(np.maximum(wide[:length], wide[rest : rest + length]), 0, axis)


class Parts(NamedTuple):
    """Connected parts of a mask, numbered from 1."""

    numbers: Array  # (rows, columns) int, 0 where the mask is False
    total: int


def parts(mask: Array) -> Parts:
    """Return the connected parts of a mask; pixels that touch at a corner are connected.

    Runs of each row are joined to those that touch them in the next: Rosenfeld and Pfaltz 1966,
    "Sequential operations in digital picture processing".
    """
    rows, columns = mask.shape
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]  # one past the run
    # Put the runs on one long line, with rows so far apart that runs of a row never touch.
    step = columns + 2
    first = np.searchsorted(row * step + end, (row + 1) * step + start, side="left")
    last = np.searchsorted(row * step + start, (row + 1) * step + end, side="right")
    below = np.repeat(np.arange(len(row)), last - first)
    offsets = np.arange(len(below)) - np.repeat(
        np.cumsum(last - first) - (last - first), last - first
    )
    other = np.repeat(first, last - first) + offsets
    number = np.arange(len(row))
    while True:
        smaller = number.copy()
        np.minimum.at(smaller, below, number[other])
        np.minimum.at(smaller, other, number[below])
        smaller = smaller[smaller]
        if np.array_equal(smaller, number):
            break
        number = smaller
    order, number = np.unique(number, return_inverse=True)
    marks = np.zeros((rows, columns + 1), int)
    np.add.at(marks, (row, start), number + 1)
    np.subtract.at(marks, (row, end), number + 1)
    return Parts(np.cumsum(marks, axis=1)[:, :-1], len(order))
