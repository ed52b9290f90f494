"""A report on runs: Markdown, a table as CSV, and figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lenet_fast import disk, engines
from lenet_fast.checks import Array
from lenet_fast.connections import LENET5_C3
from lenet_fast.data import Splits
from lenet_fast.jobs.runner import Data
from lenet_fast.plots.curves import PAPERS_RATES
from lenet_fast.reproduce import paper_figures, results
from lenet_fast.reproduce.catalogue import RECIPES
from lenet_fast.reproduce.paper_figures import Drawn
from lenet_fast.reproduce.recipes import Recipe
from lenet_fast.reproduce.results import Result
from lenet_fast.training.batches import shuffled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, TABLE = "report.md", "results.csv"


_HOW_JUDGED = (
    "Errors are those after the last epoch, on all test images unless a row says otherwise. Rows "
    'marked "validation" are trained on the first five sixths of the training set and judged by '
    "the last sixth; choices that the sources leave open were made there, not on the test set. "
    "Deviations are standard deviations over seeds; on 10,000 images, an error of 1 % has a "
    "deviation of 0.1 from chance alone. Least and greatest are those of these seeds on this "
    "instruction set: another set or version rounds differently, and a run may lie outside. Runs "
    "use one thread unless a row says otherwise, and several ran at a time. In the curves, "
    "training errors are collected during training, unless a section says otherwise."
)

_COLUMNS = (
    *("name", "recipe", "seed", "judged_by", "test_errors", "test_images", "train_errors"),
    *("train_images", "seconds", "threads", "failed"),
)
"""Columns of the CSV table."""


class Section(NamedTuple):
    """A name of the command: its recipes, each with its results by seed."""

    name: str
    parts: list[tuple[Recipe, list[Result]]]


class Figures(NamedTuple):
    """Figures over several seeds, in per cent and seconds; NaN if no seed has one."""

    mean: float
    spread: float  # standard deviation
    least: float
    greatest: float
    train: float
    seconds: float
    seeds: int


def figures(found: Sequence[Result]) -> Figures:
    """Return the figures of a recipe's results, without failed ones."""
    whole = [each for each in found if not each.failed]
    if not whole:
        return Figures(*(math.nan,) * 6, seeds=0)
    test = [each.test_rate for each in whole]
    return Figures(
        statistics.fmean(test),
        statistics.stdev(test) if len(test) > 1 else math.nan,
        min(test),
        max(test),
        statistics.fmean(each.train_rate for each in whole),
        statistics.median(each.seconds for each in whole),
        len(whole),
    )


def write(sections: Sequence[Section], data: Data, out: Path, command: str) -> Path:
    """Write the report, its table and its figures to a folder; return the report's path.

    Each section has at least one result. `command` is the one that reproduces everything.
    """
    made = _drawn(sections, data, out)
    sets = [each for splits in data.values() for each in (splits.train, splits.test)]
    source = ", ".join(f"{each.name} ({len(each):,} images)" for each in sets)
    text = markdown(sections, command, source, {name: each.caption for name, each in made.items()})
    out.mkdir(parents=True, exist_ok=True)
    from lenet_fast import plots

    for name, drawn in made.items():
        path = out / f"{name}.png"
        if path.is_symlink():  # replaced, not followed, like all files here
            path.unlink()
        plots.save(drawn.picture, path)
    for path, content in ((out / TABLE, _csv(sections)), (out / REPORT, text)):
        disk.write_beside(path, content.encode(), path)
    return out / REPORT


def table(sections: Sequence[Section]) -> str:
    """Return the figures of all recipes as a Markdown table."""
    lines = [
        (
            "| run | what | source says, test error % | ours: mean ± deviation (least to greatest) "
            "| training error % | seeds | seconds per run |"
        ),
        "|---|---|---|---|---:|---:|---:|",
    ]
    seen = set()
    for section in sections:
        for recipe, found in section.parts:
            if recipe.name in seen:
                continue
            seen.add(recipe.name)
            numbers = figures(found)
            where = ", validation" if recipe.validated else ""
            threads = "" if found[0].threads == 1 else f" ({found[0].threads} threads)"
            lines.append(
                f"| {recipe.name} | {recipe.title}{where} | {recipe.published} | {_error(numbers)} "
                f"| {_number(numbers.train)} | {numbers.seeds} | {_number(numbers.seconds, 0)}"
                f"{threads} |"
            )
    return "\n".join(lines)


def markdown(
    sections: Sequence[Section], command: str, source: str, pictures: Mapping[str, str]
) -> str:
    """Return the report; `pictures` are the names of the figures beside it, with captions."""
    parts = [
        f"# Reproducing the papers: {', '.join(each.name for each in sections)}"
        if len(sections) < len(RECIPES)
        else "# Reproducing the papers",
        f"Made by `{command}` on {source}, with {_code(sections)}. {_HOW_JUDGED}",
        table(sections),
    ]
    for section in sections:
        parts += _section(section, pictures)
    parts += ["## The data", *(_image(name) for name in pictures if "--" not in name)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, pictures: Mapping[str, str]) -> list[str]:
    title = section.parts[0][0].title
    heading = {
        "j": "The constant j of the MAP criterion",
        "outputs": "Three kinds of outputs",
        "mu": "The constant mu of the rates",
        "figures": "Figures of LeCun et al. 1998",
    }
    parts = [f"## {section.name}: {heading.get(section.name, title)}"]
    first = section.parts[0][0]
    for recipe, found in section.parts:
        if section.name not in ("j", "outputs", "figures"):
            counts = recipe.network(0).counts()
            parts.append(
                f"{recipe.title[:1].upper()}{recipe.title[1:]} ({recipe.source}). "
                f"{counts.parameters:,} free parameters, {counts.connections:,} connections. "
                f"{_how(recipe, first)}"
            )
            if recipe.chosen:
                what = "What the source leaves open, or we do differently:"
                parts.append("\n".join([what, "", *(f"- {each}" for each in recipe.chosen)]))
        # The captions of the figures tell the rest.
        lines = _failures(recipe, found) if section.name == "figures" else _remarks(recipe, found)
        if lines:
            parts.append("\n".join(f"- {line}" for line in lines))
    for name, caption in pictures.items():
        if name.split("--")[0] == section.name:
            parts += [_image(name), caption] if caption else [_image(name)]
    return parts


def _how(recipe: Recipe, first: Recipe) -> str:
    """Return how a recipe trains; what differs, if it is almost the `first` of its section."""
    words, known = _words(recipe), _words(first)
    if recipe is not first:
        others = [each for each in words if each not in known]
        if not others:
            return "Trained likewise."
        if len(others) == 1 and len(words) == len(known):
            return f"Trained likewise, but with {others[0]}."
    return ", ".join(words) + "."


def _words(recipe: Recipe) -> list[str]:
    words = [
        f"{recipe.epochs} epochs",
        f"batches of {recipe.batch_size}" if recipe.batch_size > 1 else "one pattern at a time",
        f"`{recipe.loss}`",
        f"`{recipe.optimiser()}`",
        f"`{recipe.schedule}`",
    ]
    if recipe.distortion is not None:
        words.append(f"distortions: {recipe.distortion}")
    if recipe.evaluate_train:
        words.append("training errors measured after each pass")
    return words


def _failures(recipe: Recipe, found: Sequence[Result]) -> list[str]:
    return [f"{recipe.name}, seed {each.seed}: {each.failed}" for each in found if each.failed]


def _remarks(recipe: Recipe, found: Sequence[Result]) -> list[str]:
    lines = _failures(recipe, found)
    whole = [each for each in found if not each.failed]
    for name in whole[0].remarks if whole else ():
        values = [each.remarks[name] for each in whole]
        mean, least, most = statistics.fmean(values), min(values), max(values)
        mean_of, low, high = (
            f"{value:.2f}" if most >= 0.1 else f"{value:.2g}" for value in (mean, least, most)
        )
        lines.append(f"{name}: {mean_of} ({low} to {high})")
    rates = [each.rates for each in whole if each.rates]
    if rates and not recipe.validated:
        least, middle, most = (statistics.median(each) for each in zip(*rates, strict=True))
        text = f"rates of the weights in the first pass: {least:.2g} to {most:.2g}, "
        text += f"median {middle:.2g}"
        if recipe.name.startswith("lenet5"):
            text += "; the paper's: {:.2g} to {:.2g}".format(*PAPERS_RATES)
        lines.append(text)
    return lines


def _code(sections: Sequence[Section]) -> str:
    code = next(each.code for section in sections for _, found in section.parts for each in found)
    version, numpy = code["lenet_fast"], code["numpy"]
    kernels = f"{code['backend']} kernels" + (f" ({code['isa']})" if "isa" in code else "")
    return f"lenet_fast {version}, NumPy {numpy}, {kernels}"


def _csv(sections: Sequence[Section]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for section in sections:
        for recipe, found in section.parts:
            judge = "validation" if recipe.validated else "test"
            for each in found:
                values = dataclasses.asdict(each) | {
                    "name": section.name,
                    "judged_by": judge,
                    "seconds": f"{each.seconds:.1f}",
                }
                writer.writerow(values[column] for column in _COLUMNS)
    return text.getvalue()


def _error(numbers: Figures) -> str:
    if not numbers.seeds:
        return "failed"
    if numbers.seeds == 1:
        return f"**{numbers.mean:.2f}**"
    return (
        f"**{numbers.mean:.2f}** ± {numbers.spread:.2f} "
        f"({numbers.least:.2f} to {numbers.greatest:.2f})"
    )


def _number(value: float, digits: int = 2) -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f}"


def _image(name: str) -> str:
    return f"![{name.replace('--', ', ').replace('-', ' ')}]({name}.png)"


# ------------------------------------------------------------------ figures


def _drawn(sections: Sequence[Section], data: Data, out: Path) -> dict[str, Drawn]:
    """Return the figures by name, with captions; `out` has the runs' folders.

    The part of a name before ``--`` is the section; those of the data have none.
    """
    made = {}
    for name, parts in sections:
        if name == "figures":
            whole = {
                recipe.name: (recipe, [each for each in found if not each.failed])
                for recipe, found in parts
            }
            drawn = paper_figures.draw(whole, data[None], out)
            made = {f"{name}--{number}": each for number, each in drawn.items()}
    captions = {"mu--errors": 'Here "test" is the last sixth of the training set.'}
    return made | {
        name: Drawn(each, captions.get(name, ""))
        for name, each in _pictures(sections, data).items()
    }


def _pictures(sections: Sequence[Section], data: Data) -> dict[str, Figure]:
    """Return the figures without captions, by name."""
    from lenet_fast import plots

    made: dict[str, Figure] = {}
    for section in sections:
        name = section.name
        if name == "figures":
            continue
        curves = {
            recipe.name: [each.history() for each in found if each.rows]
            for recipe, found in section.parts
            if any(each.rows for each in found)
        }
        if name == "j":
            if any(figures(found).seeds for _, found in section.parts):
                made["j--sweep"] = _sweep(section)
        elif curves:
            recipe = section.parts[0][0]
            drawn = [*curves.values()], [*curves]
            made[f"{name}--errors"] = plots.errors(
                *drawn, log=True, marks=_marks(recipe.end_errors), saved=False
            )
            if recipe.end_losses:  # of this recipe alone: others have other losses
                first = next(iter(curves))
                losses = plots.losses(
                    [curves[first]],
                    [first],
                    log=True,
                    marks=_marks(recipe.end_losses),
                    saved=False,
                )
                made[f"{name}--losses"] = losses
        recipe, found = section.parts[0]
        splits = data[recipe.dataset]
        whole = [each for each in found if not each.failed]
        if name not in ("j", "outputs", "mu") and whole:
            made[f"{name}--mistakes"] = _mistakes(recipe, whole, splits)
        if recipe.optimiser().curvature_images and name.startswith("lenet5"):
            made[f"{name}--rates"] = _rates(recipe, splits)
        if recipe.distortion is not None and not recipe.boosted:
            made[f"{name}--distorted"] = _distorted(recipe, splits)
        if name == "lenet5":
            made["lenet5--bitmaps"] = plots.bitmaps()
            made["lenet5--table"] = plots.connection_table(LENET5_C3)
    for named, splits in data.items():
        made[f"{named or 'data'}-samples"] = plots.samples(splits.train)
        made[f"{named or 'data'}-classes"] = plots.class_distribution(splits)
    return made


def _marks(ends: tuple[float, float] | None) -> dict[str, float]:
    """Return the source's values with their labels."""
    return {} if ends is None else dict(zip(("paper, training", "paper, test"), ends, strict=True))


def _sweep(section: Section) -> Figure:
    from lenet_fast import plots

    drawn = [(recipe.loss.config()["j"], figures(found)) for recipe, found in section.parts]
    drawn = [(j, numbers) for j, numbers in drawn if numbers.seeds]
    reach = [
        [numbers.mean - numbers.least for _, numbers in drawn],
        [numbers.greatest - numbers.mean for _, numbers in drawn],
    ]
    return plots.sweep(
        [j for j, _ in drawn],
        [numbers.mean for _, numbers in drawn],
        np.array(reach),
        "j, in units of squared distance",
        ylabel="validation error (%)",
    )


def _mistakes(recipe: Recipe, found: Sequence[Result], splits: Splits) -> Figure:
    """Draw the misclassified test digits of the median run."""
    from lenet_fast import plots

    median = results.middle(found)
    test = recipe.seen(splits, median.seed).test
    return plots.mistakes(test.images, test.labels, np.array(median.predicted))


def _rates(recipe: Recipe, splits: Splits) -> Figure:
    """Draw the rates of the first pass, of seed 0: they follow from its initial weights."""
    from lenet_fast import plots

    network, optimiser = recipe.network(0), recipe.optimiser()
    train = recipe.seen(splits, 0).train
    first = shuffled(len(train), 0, 1)[: optimiser.curvature_images]
    images: Array = train.images[first]
    if recipe.distortion is not None:
        size = network.input_shape[-1]
        images = recipe.distortion(images, first, 1, 0, size=size)
    engine = engines.create(network, recipe.loss)
    optimiser.follow(engine.hessian_diagonal(images, train.labels[first]))
    engine.close()
    return plots.rates(optimiser.factors, recipe.schedule.rate_at(0, 1, 1), network=network)


def _distorted(recipe: Recipe, splits: Splits) -> Figure:
    from lenet_fast import plots

    assert recipe.distortion is not None
    train = splits.train
    chosen = np.array([np.flatnonzero(train.labels == digit)[0] for digit in range(10)])
    size = recipe.network(0).input_shape[-1]
    versions = [
        recipe.distortion(train.images[chosen], chosen, epoch, 0, size=size)
        for epoch in range(1, 9)
    ]
    margin = (size - train.images.shape[1]) // 2
    originals = np.pad(train.images[chosen], ((0, 0), (margin, margin), (margin, margin)))
    return plots.distorted(originals, np.stack(versions, axis=1))


def recipes_of(names: Sequence[str]) -> list[tuple[str, tuple[Recipe, ...]]]:
    """Return the recipes for names of the command ("all" for all of them), in the order given."""
    wanted = RECIPES if "all" in names else dict.fromkeys(names)
    return [(name, RECIPES[name]) for name in wanted]


def sections(
    wanted: Sequence[tuple[str, tuple[Recipe, ...]]], found: Mapping[tuple[str, int], Result]
) -> list[Section]:
    """Return the sections of a report, from results by recipe and seed."""
    return [
        Section(
            name,
            [
                (recipe, [each for (of, _), each in sorted(found.items()) if of == recipe.name])
                for recipe in recipes
            ],
        )
        for name, recipes in wanted
    ]
