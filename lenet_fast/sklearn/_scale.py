"""The values of a table that become background and foreground, and checks of later rows' scale.

All pixels share one scale, so the whole table has one scale, not one per column. A few cells that
are not pixels, such as row numbers, or -999 for a missing value, must not determine it. They lie
farther from all the others than these lie from one another, or much farther than any of these from
its neighbour.
"""

from __future__ import annotations

import sys
import warnings
from typing import NamedTuple

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.sklearn import _rows


class _Strays(NamedTuple):
    """Limits on the number of values far from the others, at either end of the scale."""

    lines: float  # share of the columns, or of the rows, that are not blank
    cells: float  # share of the cells
    values: float  # number of different values among these cells
    least: int  # with fewer columns or rows, each may have its own scale


_CUT_OFF, _TOLD = _Strays(0.05, 0.01, np.inf, 16), _Strays(0.25, 0.25, 3, 8)
"""Up to the first limits, such values are ignored. Up to the second, they are kept, with a warning:
they may be what the table is about, as many cells of many values are (probabilities near 1)."""

_MOST_INKED = 0.45
"""Largest share of strays, at either end, among the cells that are not background: a page may have
few foreground cells, which are not strays for that reason alone."""

_LITTLE = 0.01
"""Smallest share of the range that half of the columns must cover to avoid a warning."""

_SAMPLE_CELLS = 2**20
"""Size of the sample that is searched for strays first, because sorting all cells takes a while."""

_MOST_LOOSE = 35
"""Largest number of columns that need not form an image."""

_NARROW, _SATURATED, _NEARLY_ALL = 0.7, 0.05, 0.9


_NO_CALLERS = ("lenet_fast.", "sklearn.", "joblib.")
"""Packages between the user's code and a warning here."""


class TableWarning(UserWarning):
    """A table may not be what it seems: pixels on one scale, in rows and columns.

    It is issued if values far from all others are clipped, if most columns have a much smaller
    range than the table, if a table of more than 35 columns is not a square image, and if later
    rows are on another scale than the first ones.

    Examples
    --------
    A table of measurements, which are no pixels:

    >>> import warnings
    >>> import numpy as np
    >>> from lenet_fast.sklearn import LeNetClassifier
    >>> table, classes = np.random.default_rng(0).random((20, 40)), np.arange(20) % 2
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     classifier = LeNetClassifier(epochs=1).fit(table, classes)
    >>> caught[0].category.__name__, str(caught[0].message).partition(",")[0]
    ('TableWarning', 'X: expected a square number of features')
    """


class Scale(NamedTuple):
    """The values of background and foreground, and typical properties of the rows."""

    lowest: float
    highest: float
    contrast: float  # share of that range that nearly every row covers
    means: tuple[float, float]  # smallest and largest mean of a row, as shares of the range


def learn(X: Array) -> Scale:
    """Return the scale of a table; warn if it is doubtful."""
    lowest, highest = _core_of(X, _CUT_OFF)
    ends = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    if lowest == highest:
        _warn(
            f"X: expected values that differ, got {lowest:g} everywhere; the classes cannot be "
            "told apart, and all later values count as background, too"
        )
        return Scale(lowest, highest, 0.0, (0.0, 1.0))
    outside = (ends[0] < lowest) | (ends[1] > highest)
    if outside.any():
        columns = np.flatnonzero(outside)
        where = f"column {columns[0]}" if len(columns) == 1 else f"{len(columns)} columns"
        _warn(
            f"X: expected pixels on one scale, got nearly all values from {lowest:g} to "
            f"{highest:g}, and others in {where}, from {ends[0].min():g} to {ends[1].max():g}, "
            "which count as the nearest of these two; leave out columns that are not pixels, such "
            "as row numbers, and replace missing values"
        )
    low, high = (each.clip(lowest, highest) / 4 for each in ends)  # so that differences are finite
    widths = (high - low)[high > low]
    if len(widths) and np.median(widths) < _LITTLE * (highest / 4 - lowest / 4):
        _warn(
            "X: expected pixels on one scale, got columns of which half vary by less than a "
            f"hundredth of the whole range, {lowest:g} to {highest:g}, and have hardly any effect; "
            "put a StandardScaler in front"
        )
    elif (most := _core_of(X, _TOLD))[0] > lowest or most[1] < highest:
        _warn(
            f"X: expected pixels on one scale, got most values from {most[0]:g} to {most[1]:g}, "
            f"and others far from them, within {lowest:g} to {highest:g}; on that range, most are "
            "nearly equal: replace missing values, and bring all columns and rows to one scale"
        )
    contrasts, means = _rows_of(X, lowest, highest)
    contrast = float(np.quantile(contrasts, 0.01))
    return Scale(lowest, highest, contrast, (float(means.min()), float(means.max())))


def check_same(X: Array, scale: Scale) -> None:
    """Warn if rows are on another scale than the training rows."""
    lowest, highest = scale.lowest, scale.highest
    if lowest == highest or not X.size:
        return
    contrasts, means = _rows_of(X, lowest, highest)
    told = contrasts > 0  # a blank row fits any scale
    smallest, largest = float(X.min()), float(X.max())
    problem = ""
    if told.any() and contrasts[told].max() < _NARROW * scale.contrast:
        problem = "each row has a much smaller range"
    elif _far_outside(X, lowest, highest) > _SATURATED:
        problem = "many values lie far outside"
    elif _exchanged(means, *scale.means):
        problem = "background and foreground are swapped"
    if problem:
        _warn(
            f"X: expected values as in the training rows, {lowest:g} to {highest:g}, got "
            f"{smallest:g} to {largest:g}, where {problem}; bring the rows to that scale"
        )


def check_shape(features: int, shape: _rows.Shape) -> None:
    """Warn if a table of many columns is not a square image."""
    channels, height, width = shape
    if features > _MOST_LOOSE and features != channels * height * width:
        _warn(
            f"X: expected a square number of features, an image row by row, or image_shape=(h, w), "
            f"got {features}, which are read as the first pixels of {height}x{width}; leave "
            "out columns that are not pixels, such as row numbers"
        )


def _warn(text: str) -> None:
    """Warn at the line that called an estimator, even through pipelines and searches."""
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
    """Return whether nearly all rows have the brightness of inverted training rows."""
    if darkest < 0.5:
        return bool(np.mean(means >= 1 - darkest) > _NEARLY_ALL)
    return lightest > 0.5 and bool(np.mean(means <= 1 - lightest) > _NEARLY_ALL)


def _far_outside(X: Array, lowest: float, highest: float) -> float:
    """Return the share of values whose distance from the scale is at least its width."""
    with np.errstate(over="ignore"):  # infinity is correct: nothing lies beyond
        width = highest - lowest
        return float(np.mean((lowest - width >= X) | (highest + width <= X)))


def _core_of(X: Array, few: _Strays) -> tuple[float, float]:
    """Return the lowest and the highest value that is not a stray."""
    part = X
    while True:  # removing stray columns reveals stray rows, and vice versa
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
    """Return which columns (axis 0) or rows (axis 1) are on the common scale."""
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
    """Return the ends of the values that lie together, given the lowest and highest values.

    At first, `below` and `above` values are left out. Then the nearest of them is added as long as
    its distance does not exceed the whole range so far. The distance must also not be much larger
    than the largest `step` between two successive values: -1 is far from 0, 0.01, ..., 1.
    """
    outer_lows, outer_highs = np.sort(lows)[: below + 1], np.sort(highs)[::-1][: above + 1]
    # Halves, because a distance may exceed the largest number.
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
