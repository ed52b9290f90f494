"""What a sweep leaves: a table, the best configuration, and figures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_fast import disk
from lenet_fast.checks import Array
from lenet_fast.sweeps.search import Metric, Standing, value_of
from lenet_fast.training import runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE, RUNS = "configurations.csv", "runs.csv"
LABELS: dict[Metric, str] = {
    "validation_error": "validation error (%)",
    "validation_loss": "validation loss",
}
_DRAWN = 6
"""Most curves in a figure: as many as there are colours."""


def varied(standings: Sequence[Standing]) -> list[str]:
    """Return the options that the configurations differ in, or have."""
    return list(dict.fromkeys(name for each in standings for name in each.configuration.point))


def rows(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return the table, the best configuration first."""
    return [
        {
            "rank": rank,
            "configuration": each.configuration.number,
            **{name: each.configuration.point.get(name) for name in varied(standings)},
            each.metric: None if each.failed else each.mean,
            "deviation": None if each.failed or math.isnan(each.deviation) else each.deviation,
            "runs": len(each.results),
            "failed": each.failed,
            "epochs": each.epoch,
        }
        for rank, each in enumerate(standings, 1)
    ]


def run_rows(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Return what each run measured in the epoch that was compared, by rank and seed."""
    found = []
    for each in standings:
        for result in each.results:
            row = result.rows[each.epoch - 1] if each.reached(result) else {}
            found.append(
                {
                    "configuration": each.configuration.number,
                    **{name: each.configuration.point.get(name) for name in varied(standings)},
                    "seed": result.seed,
                    "epochs": each.epoch,
                    "validation_errors": row.get("test_errors"),
                    "validation_images": result.validation_images,
                    "validation_loss": row.get("test_loss"),
                    "train_errors": row.get("train_errors"),
                    "train_images": result.train_images,
                    "train_loss": row.get("train_loss"),
                    "failed": "" if each.reached(result) else result.failed,
                }
            )
    return found


def foreign(options: Iterable[str], out: Path) -> list[str]:
    """Return which files in a folder :func:`write` would replace, although no sweep wrote them.

    `options` are those that the sweep varies.
    """
    if (out / TABLE).exists():  # which a sweep writes first
        return []
    names = (RUNS, runs.CONFIG, *(f"{name}.png" for name in ("parallel", "curves", *options)))
    return [name for name in names if (out / name).exists()]


def write(standings: Sequence[Standing], options: Mapping[str, Any], out: Path) -> list[str]:
    """Write the tables, the figures, and the best configuration with these options for a
    config.toml; return the names of the files. Figures that only an earlier sweep had are removed.
    """
    before = _columns(out / TABLE)
    best = standings[0]
    head = (
        f"# The best of {len(standings)} configurations of a sweep: {best.mean:.4g} "
        f"{LABELS[best.metric]}, the mean of {len(best.results)} runs.\n"
        "# lenet-fast train --config starts a run with it, on the whole training set.\n\n"
    )
    files = {
        TABLE: _csv(rows(standings)),
        RUNS: _csv(run_rows(standings)),
        runs.CONFIG: head + runs.to_toml({"options": options}),
    }
    for name, text in files.items():
        disk.write_beside(out / name, text.encode(), out / name)
    from lenet_fast import plots

    pictures = figures(standings)
    for name, picture in pictures.items():
        plots.save(picture, out / f"{name}.png")
    for name in {"curves", *before} - pictures.keys():
        (out / f"{name}.png").unlink(missing_ok=True)
    return [*files, *(f"{name}.png" for name in pictures)]


def _columns(table: Path) -> list[str]:
    """Return the names of the columns of a table; none if there is no table."""
    try:
        with open(table, newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        return []


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def figures(standings: Sequence[Standing]) -> dict[str, Figure]:
    """Return the figures by name, of the configurations without failed runs: parallel coordinates,
    the best curves by epoch, and the metric against each option that is a number.

    After halving, all but the curves show the first comparison, which all configurations share.
    """
    from lenet_fast import plots

    whole = [each for each in standings if not each.failed]
    metric = whole[0].metric
    label = LABELS[metric]
    even, even_label = whole, label
    if any(each.epoch < each.configuration.epochs for each in whole):
        first = min(each.epoch for each in whole)
        even = sorted((each._replace(epoch=first) for each in whole), key=lambda each: each.mean)
        even_label = f"{label}, epoch {first}"
    points = [each.configuration.point for each in even]
    means = [each.mean for each in even]
    made = {"parallel": plots.parallel_coordinates(points, means, even_label)}
    if any(each.epoch > 1 for each in whole):
        curves = {
            each.configuration.words: [
                [value_of(result, metric, epoch) for epoch in range(1, each.epoch + 1)]
                for result in each.results
            ]
            for each in whole[:_DRAWN]
        }
        made["curves"] = plots.spread(curves, ylabel=label)
    for name in varied(even):
        if (drawn := _against(name, even, even_label)) is not None:
            made[name] = drawn
    return made


def _against(name: str, standings: Sequence[Standing], label: str) -> Figure | None:
    """Draw the metric against an option that is a number, if several of its values share a choice
    of the others: a curve for each choice, with the range over the seeds; of those that have the
    same values, the best ones."""
    from lenet_fast import plots

    curves: dict[str, dict[float, Standing]] = {}
    for each in standings:  # the best first, and so are the curves
        others = dict(each.configuration.point)
        x = others.pop(name, None)
        if isinstance(x, bool) or not isinstance(x, int | float) or math.isinf(x):
            continue
        words = " ".join(f"{key}={value}" for key, value in others.items())
        curves.setdefault(words, {})[x] = each
    places = next((set(found) for found in curves.values() if len(found) > 1), set())
    curves = {words: found for words, found in curves.items() if set(found) == places}
    if not curves:
        return None
    x = sorted(places)

    def whole(item: tuple[str, dict[float, Standing]]) -> float:
        return sum(each.mean for each in item[1].values())

    kept = sorted(curves.items(), key=whole)[:_DRAWN]
    means = {words: [found[place].mean for place in x] for words, found in kept}
    reach = {words: _reach([found[place] for place in x]) for words, found in kept}
    log = min(x) > 0 and max(x) >= 4 * min(x)
    if len(kept) == 1:
        (words,) = means
        return plots.sweep(x, means[words], reach[words], name, ylabel=label, log=log)
    return plots.sweep(x, means, reach, name, ylabel=label, log=log)


def _reach(standings: Sequence[Standing]) -> Array:
    """Return how far the seeds reach below the means, and above them."""
    below = [each.mean - min(each.values) for each in standings]
    above = [max(each.values) - each.mean for each in standings]
    return np.maximum(0, [below, above])  # rounding may set a mean beside equal values
