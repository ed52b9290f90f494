"""Many trainings at once: parallel coordinates, and curves with the spread over seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICKS = 8
"""Up to so many different values of an axis have a tick each."""


@style.drawing
def parallel_coordinates(
    points: Sequence[Mapping[str, Any]], values: Sequence[float], label: str = "test error (%)"
) -> Figure:
    """Draw what many trainings had as options and reached: a vertical axis per option, the last one
    for the value, and a line per training.

    Parameters
    ----------
    points : sequence of mapping
        The options of each training: numbers, texts, bools, or None where it has no such option.
    values : sequence of float
        What each reached, finite; the smallest is the best.
    label : str
        What the values are, with their unit.

    Returns
    -------
    matplotlib.figure.Figure
        Lines are coloured by their values, the best one is orange and on top. An axis of numbers
        above 0 is logarithmic if the largest is at least four times the smallest.

    Raises
    ------
    TypeError, ValueError
        If there are no points, or not as many values; or a value is not a finite number.

    Notes
    -----
    Inselberg 1985, "The plane with parallel coordinates".

    Examples
    --------
    >>> from lenet_fast import plots
    >>> points = [{"rate": 0.01, "pooling": "max"}, {"rate": 0.1, "pooling": "average"}]
    >>> [axes, _] = plots.parallel_coordinates(points, [1.2, 2.5]).axes
    >>> [text.get_text() for text in axes.get_xticklabels()]
    ['rate', 'pooling', 'test error (%)']
    """
    if not points or len(points) != len(values):
        raise ValueError(
            f"values: expected one per point, of which there is at least one, got {len(values)} "
            f"for {len(points)}"
        )
    reached = np.array([checks.real(f"values[{i}]", value) for i, value in enumerate(values)])
    names = list(dict.fromkeys(name for point in points for name in point))
    columns: list[tuple[str, list[Any]]] = [
        (name, [point.get(name) for point in points]) for name in names
    ]
    columns.append((label, list(reached)))
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    picture = style.figure(4.5, max(style.WIDTH, 1.4 * len(columns)))
    axes = picture.subplots()
    heights = []
    for i, (_, column) in enumerate(columns):
        height, ticks = _axis(column, spaced=i < len(names))
        heights.append(height)
        axes.axvline(i, color="#bbbbbb", linewidth=1, zorder=1)
        for word, place in ticks:
            axes.plot([i - 0.02, i], [place, place], color="#777777", linewidth=1, zorder=1)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
            where: dict[str, Any] = {
                "ha": "right",
                "va": "center",
                "fontsize": 8,
                "zorder": 4,
                "bbox": box,
            }
            axes.text(i - 0.04, place, word, **where)
    lines = np.array(heights).T
    low, high = float(reached.min()), float(reached.max())
    scale = LogNorm(low, high) if _is_log(low, high) else Normalize(low, high)
    colours = colormaps["viridis"]
    order = np.argsort(-reached, kind="stable")
    x = np.arange(len(columns))
    for k in order[:-1]:
        axes.plot(x, lines[k], color=colours(scale(reached[k])), linewidth=1.2, alpha=0.7)
    best = order[-1]
    axes.plot(x, lines[best], color=style.ORANGE, linewidth=2.5, zorder=3)
    axes.set_xticks(x, [name for name, _ in columns])
    axes.set(yticks=[], xlim=(-0.5, len(columns) - 0.8), ylim=(-0.05, 1.05))
    axes.tick_params(axis="x", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = picture.colorbar(ScalarMappable(scale, colours), ax=axes, label=label, pad=0.02)
    if _is_log(low, high):
        style.log_ticks(bar.ax.yaxis)
    return picture


def _axis(column: Sequence[Any], spaced: bool) -> tuple[Array, list[tuple[str, float]]]:
    """Return where the values of a column are, from 0 to 1, and the ticks by their words."""
    if not all(_is_number(each) for each in column):
        names = list(dict.fromkeys(map(_word, column)))
        places = [0.5] if len(names) == 1 else [i / (len(names) - 1) for i in range(len(names))]
        found = dict(zip(names, places, strict=True))
        return np.array([found[_word(each)] for each in column]), list(found.items())
    values = np.array(column, float)
    low, high = values.min(), values.max()
    if low == high:
        return np.full(len(values), 0.5), [(f"{low:g}", 0.5)]
    log = _is_log(low, high)
    shown = sorted(set(column))
    if not spaced or len(shown) > _TICKS:
        shown = list(np.geomspace(low, high, 5) if log else np.linspace(low, high, 5))

    def place(value: Array) -> Array:
        if log:
            return np.log(value / low) / np.log(high / low)
        return (value - low) / (high - low)

    ticks = [(f"{each:.3g}", float(place(np.array(each)))) for each in shown]
    return place(values), ticks


def _is_number(value: Any) -> bool:
    """Return whether a value has a place on an axis of numbers, as infinity has none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _is_log(low: float, high: float) -> bool:
    return bool(low > 0 and high >= 4 * low)


def _word(value: Any) -> str:
    return "-" if value is None else str(value)


@style.drawing
def spread(
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    xlabel: str = "epoch",
    ylabel: str = "test error (%)",
    log: bool = False,
) -> Figure:
    """Draw a value by epoch for several settings, with its spread over seeds.

    Parameters
    ----------
    curves : mapping of str to sequence of sequences
        By name, the values of each seed by epoch, the first being 1. Seeds of one name have equally
        many.
    xlabel, ylabel : str
        Labels of the axes, with units.
    log : bool
        Whether the value is on a logarithmic axis.

    Returns
    -------
    matplotlib.figure.Figure
        A line shows the mean over the seeds, a band the range from the smallest to the largest; the
        last mean is beside the name.

    Raises
    ------
    ValueError
        If there are no curves or no values, seeds have different numbers of them, or one is not
        finite.

    Examples
    --------
    >>> from lenet_fast import plots
    >>> curves = {"rate 0.1": [[4.0, 2.0], [5.0, 3.0]], "rate 0.01": [[9.0, 6.0], [8.0, 7.0]]}
    >>> [axes] = plots.spread(curves).axes
    >>> [line.get_ydata().tolist() for line in axes.lines]
    [[4.5, 2.5], [8.5, 6.5]]
    """
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    picture = style.figure(4.5)
    axes = picture.subplots()
    for colour, (name, seeds) in zip(itertools.cycle(style.COLOURS), curves.items()):
        if len({len(one) for one in seeds}) != 1 or not len(seeds[0]):
            lengths = ", ".join(str(len(one)) for one in seeds) or "none"
            raise ValueError(
                f"curves[{name!r}]: expected seeds with equally many values, at least one, got "
                f"{lengths}"
            )
        values = np.array(seeds, float)
        if not np.isfinite(values).all():
            raise ValueError(f"curves[{name!r}]: expected finite numbers")
        epochs, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
        axes.plot(
            *(epochs, mean),
            color=colour,
            linewidth=1.8,
            marker="o" if len(epochs) <= 30 else None,
            markersize=3.5,
            label=f"{name}: {mean[-1]:.3g}",
        )
        if len(values) > 1:
            low, high = values.min(axis=0), values.max(axis=0)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
            if len(epochs) == 1:  # whose band has no width
                axes.vlines(epochs, low, high, color=colour, alpha=0.4)
    style.plain(axes)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.locator_params(axis="x", integer=True)
    if log:
        axes.set_yscale("log")
        style.log_ticks(axes.yaxis)
    style.legend_above(picture, (f"{name}: 0.12" for name in curves))
    return picture
