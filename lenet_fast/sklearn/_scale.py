"""Which values of a table become paper and ink, and whether other rows are on the same scale.

All pixels share one scale, so the whole table has one scale, and not each column its own. A few
cells that are no pixels, such as row numbers, or -999 where a value is missing, must not decide
about it: they lie farther from all the others than these lie from one another, or much farther than
any of these from its neighbour.
"""

from __future__ import annotations

import sys
import warnings
from typing import NamedTuple

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.sklearn import _rows


class _Strays(NamedTuple):
    """How many may lie far from the others at most, at either end of the scale."""

    lines: float  # share of the columns, or of the rows, that are not blank
    cells: float  # share of the cells
    values: float  # different ones among these cells
    least: int  # of fewer columns or rows, each may have a scale of its own


_CUT_OFF, _TOLD = _Strays(0.05, 0.01, np.inf, 16), _Strays(0.25, 0.25, 3, 8)
"""So few do not count; with more, they may be what the table is about, and all that is done is to
say so. Many cells of many values, such as probabilities near 1, are what it is about."""

_MOST_INKED = 0.45
"""The share of the cells that are not paper that are strays at most, at either end: few cells of a
page may have ink, and none of these are strays for that alone."""

_LITTLE = 0.01
"""The share of the range in which half of the columns may not stay without a warning."""

_SAMPLE_CELLS = 2**20
"""So many cells show first whether there may be strays; to sort all takes a while."""

_MOST_LOOSE = 35
"""Columns of a table that is taken for loose numbers, and not for an image with a shape."""

_NARROW, _SATURATED, _NEARLY_ALL = 0.7, 0.05, 0.9


_NO_CALLERS = ("lenet_fast.", "sklearn.", "joblib.")
"""Modules between somebody's own code and a warning here."""


class TableWarning(UserWarning):
    """A table may not be what it is taken for: pixels on one scale, in rows and columns.

    It comes where values that lie far from all others are cut off, where most columns have a much
    smaller range than the table, where a table of more than 35 columns is no square image, and
    where rows are asked about, or learned from later, that are on another scale than the first.
    """


class Scale(NamedTuple):
    """What becomes paper and ink, and what the rows are like that say so."""

    lowest: float
    highest: float
    contrast: float  # share of that range which nearly every row has between its ends
    means: tuple[float, float]  # the lightest and the darkest row's, as such shares


def learn(X: Array) -> Scale:
    """Return the scale of a table; warn where it is doubtful."""
    lowest, highest = _core_of(X, _CUT_OFF)
    ends = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    if lowest == highest:
        _warn(
            f"X: expected values that differ, got {lowest:g} everywhere; nothing can be told "
            "apart, and all values that come later count as paper, too"
        )
        return Scale(lowest, highest, 0.0, (0.0, 1.0))
    outside = (ends[0] < lowest) | (ends[1] > highest)
    if outside.any():
        columns = np.flatnonzero(outside)
        where = f"column {columns[0]}" if len(columns) == 1 else f"{len(columns)} columns"
        _warn(
            f"X: expected pixels on one scale, got nearly all values from {lowest:g} to "
            f"{highest:g}, and others in {where}, from {ends[0].min():g} to {ends[1].max():g}, "
            "which count as the nearest of these two; leave out columns that are no pixels, such "
            "as row numbers, and replace values that are missing"
        )
    low, high = (each.clip(lowest, highest) / 4 for each in ends)  # or differences are too large
    widths = (high - low)[high > low]
    if len(widths) and np.median(widths) < _LITTLE * (highest / 4 - lowest / 4):
        _warn(
            "X: expected pixels on one scale, got columns of which half vary by less than a "
            f"hundredth of the whole range, {lowest:g} to {highest:g}, and will hardly be seen; "
            "put a StandardScaler in front"
        )
    elif (most := _core_of(X, _TOLD))[0] > lowest or most[1] < highest:
        _warn(
            f"X: expected pixels on one scale, got most values from {most[0]:g} to {most[1]:g}, "
            f"and others far from them, within {lowest:g} to {highest:g}; on that range, most are "
            "much alike: replace values that are missing, and bring all columns and rows to one "
            "scale"
        )
    contrasts, means = _rows_of(X, lowest, highest)
    contrast = float(np.quantile(contrasts, 0.01))
    return Scale(lowest, highest, contrast, (float(means.min()), float(means.max())))


def check_same(X: Array, scale: Scale) -> None:
    """Warn where rows are on another scale than those that were learned from."""
    lowest, highest = scale.lowest, scale.highest
    if lowest == highest or not X.size:
        return
    contrasts, means = _rows_of(X, lowest, highest)
    told = contrasts > 0  # a blank row is on any scale
    smallest, largest = float(X.min()), float(X.max())
    problem = ""
    if told.any() and contrasts[told].max() < _NARROW * scale.contrast:
        problem = "each row has a much smaller range"
    elif _far_outside(X, lowest, highest) > _SATURATED:
        problem = "many values lie far outside"
    elif _exchanged(means, *scale.means):
        problem = "paper and ink are exchanged"
    if problem:
        _warn(
            f"X: expected values as in the rows learned from, {lowest:g} to {highest:g}, got "
            f"{smallest:g} to {largest:g}, where {problem}; bring the rows to that scale"
        )


def check_shape(features: int, shape: tuple[int, int]) -> None:
    """Warn where a table of many columns is no square image."""
    if features > _MOST_LOOSE and features != shape[0] * shape[1]:
        _warn(
            f"X: expected a square number of features, an image row by row, or image_shape=(h, w), "
            f"got {features}, which are taken for the first pixels of {shape[0]}x{shape[1]}; leave "
            "out columns that are no pixels, such as row numbers"
        )


def _warn(text: str) -> None:
    """Warn at the line that called an estimator, through pipelines and searches."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_NO_CALLERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, TableWarning, stacklevel=level)


def _rows_of(X: Array, lowest: float, highest: float) -> tuple[Array, Array]:
    """Return each row's range and mean, as shares of the scale."""
    contrasts, means = np.empty(len(X)), np.empty(len(X))
    for first in range(0, len(X), _rows.PIECE):
        piece = slice(first, first + _rows.PIECE)
        shares = _rows.shares(X[piece], lowest, highest)
        contrasts[piece] = shares.max(axis=1) - shares.min(axis=1)
        means[piece] = shares.mean(axis=1)
    return contrasts, means


def _exchanged(means: Array, lightest: float, darkest: float) -> bool:
    """Return whether nearly all rows lie where the negatives of those before would."""
    if darkest < 0.5:
        return bool(np.mean(means >= 1 - darkest) > _NEARLY_ALL)
    return lightest > 0.5 and bool(np.mean(means <= 1 - lightest) > _NEARLY_ALL)


def _far_outside(X: Array, lowest: float, highest: float) -> float:
    """Return the share of the values that lie as far from the scale as it is wide, or farther."""
    with np.errstate(over="ignore"):  # infinite is right: nothing lies beyond
        width = highest - lowest
        return float(np.mean((lowest - width >= X) | (highest + width <= X)))


def _core_of(X: Array, few: _Strays) -> tuple[float, float]:
    """Return the lowest and the highest value that is no stray."""
    part = X
    while True:  # without the columns that stray, rows are seen that do, and the other way round
        before = part.shape
        for axis in (0, 1):
            usual = _usual(part, axis, few)
            if not usual.all():
                part = np.compress(usual, part, axis=1 - axis)
        if part.shape == before:
            break
    found = _core_of_cells(part[:: max(1, part.size // _SAMPLE_CELLS)], few)
    if found != (float(part.min()), float(part.max())):
        found = _core_of_cells(part, few)
    return found


def _usual(part: Array, axis: int, few: _Strays) -> Array:
    """Return which columns (axis 0) or rows (axis 1) are on the scale of the others."""
    lows, highs = part.min(axis=axis).astype(np.float64), part.max(axis=axis).astype(np.float64)
    count = np.count_nonzero(highs > lows)
    if count < few.least:
        return np.ones(len(lows), bool)
    most = max(1, int(few.lines * count))
    lowest, highest = _core(lows, highs, most, most)
    return (lows >= lowest) & (highs <= highest)


def _core_of_cells(part: Array, few: _Strays) -> tuple[float, float]:
    values, counts = np.unique(part, return_counts=True)
    values = values.astype(np.float64)
    most = min(few.cells * part.size, _MOST_INKED * (part.size - counts.max()))
    below, above = (
        int(min((each.cumsum() <= most).sum(), few.values)) for each in (counts, counts[::-1])
    )
    step = float(np.diff(values[below : len(values) - above] / 2).max(initial=0.0))
    return _core(values, values, below, above, step)


def _core(
    lows: Array, highs: Array, below: int, above: int, step: float = np.inf
) -> tuple[float, float]:
    """Return the ends of what lies together, from some lowest and some highest values.

    At first a number of them is left out `below` and `above`. Then the nearest comes in again as
    long as its distance is no larger than the whole range until then. Nor may it be much larger
    than the largest `step` from one value to the next: -1 is far from 0, 0.01, ..., 1.
    """
    outer_lows, outer_highs = np.sort(lows)[: below + 1], np.sort(highs)[::-1][: above + 1]
    # Halves, as a distance may be larger than the largest number.
    low, high = below, above
    while low or high:
        lowest, highest = outer_lows[low] / 2, outer_highs[high] / 2
        down = lowest - outer_lows[low - 1] / 2 if low else np.inf
        up = outer_highs[high - 1] / 2 - highest if high else np.inf
        distance, width = min(down, up), highest - lowest
        if distance > width > 0 or (distance > width / 4 and distance > 8 * step > 0):
            break
        step = max(step, distance)
        if down <= up:
            low -= 1
        else:
            high -= 1
    return float(outer_lows[low]), float(outer_highs[high])
