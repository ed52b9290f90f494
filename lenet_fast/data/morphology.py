"""Erosion, dilation and connected parts, on squares of pixels, to find ink on paper."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WAYS = ((0, 1), (1, 1), (1, 2), (2, 1))
"""Directions of squares' sides, (rows, columns): upright, and turned by 45, 63 and 27 degrees."""


def dilated(image: Array, side: int, way: tuple[int, int] = (0, 1)) -> Array:
    """Return the largest value in the square around each pixel, `side` (odd) pixels wide.

    Pixels outside the image do not count. Squares with sides in other directions than rows and
    columns are as wide as comes near it; what lies between their rows of pixels is filled first.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.morphology import dilated
    >>> dilated(np.array([[0.0, 0.0, 7.0, 0.0, 0.0]]), 3)
    array([[0., 7., 7., 7., 0.]])
    """
    fill = 1 if way == (0, 1) else 3
    half = max(round(((side - fill + 1) / float(np.hypot(*way)) - 1) / 2), 0)
    reach, steps = half * sum(way) + fill // 2, 2 * half + 1
    image = np.pad(image, reach, constant_values=False if image.dtype == bool else -np.inf)
    runs = ((fill, 1, 0), (fill, 0, 1), (steps, *way), (steps, way[1], -way[0]))
    for length, down, across in runs:
        image = _running(image, length, down, across)
    return image


def eroded(image: Array, side: int, way: tuple[int, int] = (0, 1)) -> Array:
    """Return the smallest value in the square around each pixel, like :func:`dilated`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.morphology import eroded
    >>> eroded(np.array([[7.0, 7.0, 7.0, 7.0, 0.0]]), 3)
    array([[7., 7., 7., 0., 0.]])
    """
    if image.dtype == bool:
        return ~dilated(~image, side, way)
    return -dilated(-image, side, way)


def closed(
    image: Array, side: int, way: tuple[int, int] = (0, 1), *, beyond: bool = False
) -> Array:
    """Return an image without what is darker than all around it and narrower than a square.

    Squares have their middle in the image; or, `beyond`, anywhere, so that what runs along the
    border stays, however narrow.

    Examples
    --------
    A dark stroke of one pixel goes, one of three stays:

    >>> import numpy as np
    >>> from lenet_fast.data.morphology import closed
    >>> row = np.array([[9.0, 9.0, 1.0, 9.0, 9.0, 2.0, 2.0, 2.0, 9.0]])
    >>> closed(row, 3)
    array([[9., 9., 9., 9., 9., 2., 2., 2., 9.]])
    """
    if not beyond:
        return eroded(dilated(image, side, way), side, way)
    half = side // 2
    wide = np.pad(image, half, constant_values=-np.inf)
    return eroded(dilated(wide, side), side)[half : half + len(image), half:-half]


def averaged(image: Array, side: int) -> Array:
    """Return the mean over the part of the square around each pixel that is within the image.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.morphology import averaged
    >>> averaged(np.array([[0.0, 3.0, 6.0, 0.0]]), 3)
    array([[1.5, 3. , 3. , 3. ]])
    """
    for axis in (0, 1):
        length = image.shape[axis]
        sums = np.insert(np.cumsum(image, axis=axis), 0, 0, axis=axis)
        first = np.maximum(np.arange(length) - side // 2, 0)
        last = np.minimum(np.arange(length) + side // 2 + 1, length)
        counts = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
        image = (sums.take(last, axis) - sums.take(first, axis)) / counts
    return image


def _running(image: Array, length: int, down: int, across: int) -> Array:
    """Return the running maximum over steps of so many rows and columns, where all are within.

    It is taken of 1, 2, 4, ... values, then of two such runs.
    """
    run = 1
    while 2 * run <= length:
        image = _larger(image, run * down, run * across)
        run *= 2
    return _larger(image, (length - run) * down, (length - run) * across)


def _larger(image: Array, down: int, across: int) -> Array:
    """Return the larger of each pixel and of the one so far away."""
    ends = (slice(max(-step, 0), min(-step, 0) or None) for step in (down, across))
    others = (slice(max(step, 0), min(step, 0) or None) for step in (down, across))
    return np.maximum(image[tuple(ends)], image[tuple(others)])


class Parts(NamedTuple):
    """Connected parts of a mask, numbered from 1."""

    numbers: Array  # (rows, columns) int, 0 where the mask is False
    total: int


def parts(mask: Array) -> Parts:
    """Return the connected parts of a mask; pixels that touch at a corner are connected.

    Runs of each row are joined to those that touch them in the next: Rosenfeld and Pfaltz 1966,
    "Sequential operations in digital picture processing".

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data.morphology import parts
    >>> parts(np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)).numbers
    array([[1, 0, 0, 2],
           [0, 1, 0, 2],
           [0, 0, 0, 0],
           [3, 0, 0, 0]])
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
