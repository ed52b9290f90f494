"""The report's charts: speed-ups by step, and a roofline. They need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import PUBLISHED, WAYS, Line, Run, geometric_mean, lines
from lenet_fast.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _OTHER, _GREY = style.BLUE, style.ORANGE, style.GREY
_DIRECTIONS = {"forward": "o", "backward": "s", "hessian": "^"}
_FAMILIES = {
    "convolution": (style.BLUE, ("C1", "C3", "C3 table", "C5")),
    "pooling": (style.GREEN, ("S2 max", "S2 average", "S2 sub", "S4 max", "S4 average", "S4 sub")),
    "squashing": (style.ORANGE, ("C1 tanh", "F6 tanh")),
    "dense, RBF": (style.PURPLE, ("F6", "RBF")),
    "losses": (style.GREY, ("cross-entropy", "squared error", "MAP")),
}


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw the charts for which the run has rows; return the files.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    compared = {dtype: _compared(run, dtype) for dtype in ("float32", "float64")}
    steps = list(dict.fromkeys(line.name for found in compared.values() for line in found))
    if steps:
        figure = style.figure(1.6 + 0.32 * len(steps))
        _speedups(figure.subplots(), compared, steps)
        drawn.append(_save(figure, folder / "pytorch.png"))
    known = [line for line in lines(run, "step", "float64") if line.name in PUBLISHED and line.ours]
    if known:
        figure = style.figure(1.8 + 0.62 * len(known))
        _published(figure.subplots(), known)
        drawn.append(_save(figure, folder / "published.png"))
    if run.limit("float32") and run.limit("bandwidth"):
        for dtype in compared:
            found = [line for line in lines(run, "step", dtype) if line.speed]
            if found:
                figure = style.figure(6.5, 9)
                _roofline(figure.subplots(), run, dtype, found)
                drawn.append(_save(figure, folder / f"roofline-{dtype}.png"))
    return drawn


def _save(figure: Any, path: Path) -> Path:
    style.save(figure, path)
    return path


def _compared(run: Run, dtype: str) -> list[Line]:
    return [line for line in lines(run, "step", dtype) if line.ratio is not None]


def _speedups(axes: Axes, compared: dict[str, list[Line]], steps: Sequence[str]) -> None:
    """Draw two bars per step: our speed relative to PyTorch's best, in both dtypes."""
    place = {name: -i for i, name in enumerate(steps)}
    for (dtype, found), colour, shift in zip(
        compared.items(), (_OURS, _OTHER), (0.2, -0.2), strict=True
    ):
        if not found:
            continue
        ratios = [line.ratio or 1.0 for line in found]
        where = [place[line.name] + shift for line in found]
        label = f"{dtype}: {geometric_mean(ratios):.2f} x in the geometric mean"
        # On a log scale bars must begin at 1, not at 0: slower steps point to the left.
        axes.barh(where, [r - 1 for r in ratios], 0.38, left=1, color=colour, label=label)
        for y, ratio in zip(where, ratios, strict=True):
            axes.annotate(
                f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}",
                (ratio, y),
                (3 if ratio >= 1 else -3, 0),
                textcoords="offset points",
                ha="left" if ratio >= 1 else "right",
                va="center",
                fontsize=6.5,
            )
    _log_axis(axes, "times as fast as PyTorch's best in the same run")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(place.values()), list(place), fontsize=8)
    axes.set_ylim(min(place.values()) - 0.6, 0.6)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9)


def _published(axes: Axes, known: Sequence[Line]) -> None:
    """Draw, per step, the times of the published methods and of PyTorch as multiples of ours."""
    others = {way: f"{way}, here" for way in WAYS} | {"PyTorch": "PyTorch's best, here"}
    colours = (_OTHER, style.PURPLE, style.SKY, _GREY)
    for k, ((way, label), colour) in enumerate(zip(others.items(), colours, strict=True)):
        points = []
        for i, line in enumerate(known):
            seconds = line.best(way)
            if seconds and line.ours:
                points.append((-i + 0.3 - 0.2 * k, seconds / line.ours.seconds))
        if not points:
            continue
        axes.barh(
            [y for y, _ in points],
            [ratio - 1 for _, ratio in points],
            0.18,
            left=1,
            color=colour,
            label=label,
        )
        for y, ratio in points:
            text = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
            axes.annotate(
                text,
                (max(ratio, 1), y),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    _log_axis(axes, "how many times as long as ours (float64, batch 256)")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks([-i for i in range(len(known))], [line.name for line in known])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=8)


def _log_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} x")
    axes.set_xlabel(label)
    axes.margins(x=0.12)
    style.plain(axes, "x")


def _roofline(axes: Axes, run: Run, dtype: str, found: Sequence[Line]) -> None:
    """Draw each step at its operations per byte and per second, under the core's limits."""
    peak, bandwidth = run.limit(dtype) or 1.0, run.limit("bandwidth") or 1.0
    points = []
    for line in found:
        if line.ours and line.speed:
            points.append((line, line.ours.info["flops"] / line.ours.info["bytes"], line.speed))
    left = min(x for _, x, _ in points) / 2
    right = max(*(x for _, x, _ in points), peak / bandwidth) * 3
    axes.plot([left, peak / bandwidth], [left * bandwidth, peak], color="black", linewidth=1)
    axes.plot([peak / bandwidth, right], [peak, peak], color="black", linewidth=1)
    axes.annotate(
        f"{peak / 1e9:.0f} Gflop/s, multiply-adds", (right, peak), (0, 4),
        textcoords="offset points", ha="right", fontsize=8,
    )  # fmt: skip
    axes.annotate(
        f"{bandwidth / 1e9:.1f} GB/s from memory", (left, left * bandwidth), (4, -12),
        textcoords="offset points", fontsize=8,
    )  # fmt: skip
    for family, (colour, layers) in _FAMILIES.items():
        for direction, marker in _DIRECTIONS.items():
            names = {f"{layer} {direction}" for layer in layers}
            mine = [(x, y) for line, x, y in points if line.name in names]
            if mine:
                axes.scatter(
                    [x for x, _ in mine], [y for _, y in mine], 34, color=colour, marker=marker,
                    label=family if direction == "forward" else None, alpha=0.85, linewidths=0,
                )  # fmt: skip
    _label(axes, points)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte that must move (each array once)")
    axes.set_ylabel("operations a second")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1e9:g} G")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_title(
        f"Our steps in {dtype}, batch 256, one core: forward (disc), backward (square), "
        "Hessian (triangle).\nPoints above the slanted roof use data from the caches.",
        fontsize=9,
    )
    axes.legend(loc="lower right", fontsize=8)


def _importance(point: tuple[Line, float, float]) -> tuple[bool, float]:
    """Return a sort key: forward passes first, then the fastest."""
    return not point[0].name.endswith("forward"), -point[2]


def _label(axes: Axes, points: Sequence[tuple[Line, float, float]]) -> None:
    """Label the points if there is room, forward passes first."""
    import math

    taken: list[tuple[float, float, float]] = []  # left, right, height, in decades
    for line, x, y in sorted(points, key=_importance):
        layer, _, direction = line.name.rpartition(" ")
        if direction == "hessian":
            continue
        text = layer if direction == "forward" else f"{layer}, back"
        left, height = math.log10(x), math.log10(y)
        right = left + 0.05 + 0.024 * len(text)
        if any(
            left < last and first < right and abs(height - h) < 0.08 for first, last, h in taken
        ):
            continue
        taken.append((left, right, height))
        axes.annotate(text, (x, y), (5, 3), textcoords="offset points", fontsize=6.5)
