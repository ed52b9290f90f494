"""The figures of LeCun et al. 1998 that LeNet-5 carries, from the results of several recipes.

Each has a caption that gives the paper's values, and says which of them we only recall.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lenet_fast import files
from lenet_fast.checks import Array
from lenet_fast.data import Distortion, Splits
from lenet_fast.reproduce import boosting, results, training
from lenet_fast.reproduce.catalogue import (
    BOOSTED_LENET4,
    FEWER,
    LENET1,
    LENET4,
    LENET5,
    LENET5_DISTORTED,
    REJECT_TO,
)
from lenet_fast.reproduce.recipes import Recipe
from lenet_fast.reproduce.results import Result
from lenet_fast.reproduce.runner import Job

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Parts = Mapping[str, tuple[Recipe, Sequence[Result]]]
"""The recipes of the section by name, each with its results, without failed ones."""


class Drawn(NamedTuple):
    """A figure and what the report says below it."""

    picture: Figure
    caption: str


class _Compared(NamedTuple):
    """A network of figures 10 to 12, and the paper's values."""

    recipe: Recipe
    title: str
    operations: float | None = None
    parameters: float | None = None


_COMPARED = (
    _Compared(LENET1, "LeNet-1", 100_000, 2_600),
    _Compared(LENET4, "LeNet-4", 260_000, 17_000),
    _Compared(LENET5, "LeNet-5", 401_000, 60_000),
    _Compared(BOOSTED_LENET4, "boosted LeNet-4", 460_000, 51_000),
)

_STRONG = Distortion(shift=2, scale=0.3, squeeze=0.3, shear=0.5, rotation=15)
_NOISE = 0.2
"""Share of the pixels that are black or white by chance."""
_UNUSUAL, _DISTORTED, _NOISY = 3, (2, 4, 7), (3, 5, 8)
"""How many unusual digits to show; the digits to distort, and those to add noise to."""


def draw(parts: Parts, splits: Splits, out: Path) -> dict[str, Drawn]:
    """Return the figures by name, without those whose runs have all failed; and without that of
    the sizes if the training set is no larger than the smallest.

    `out` holds the folders of the runs, with the trained networks.
    """
    made: dict[str, Drawn | None] = {
        "5-passes": _passes(parts),
        "6-sizes": _sizes(parts),
        "8-mistakes": _mistakes(parts, splits),
        "10-rejects": _rejects(parts),
        "11-operations": _operations(),
        "12-memory": _memory(),
        "13-unusual": _unusual(parts, splits, out),
    }
    return {name: drawn for name, drawn in made.items() if drawn is not None}


def _seeds(count: int, means: str, ranges: str) -> str:
    """Return a sentence about what shows the means and ranges of seeds, if there are several."""
    if count < 2:
        return ""
    return f" {means} are means of {count} seeds; {ranges} reach from the least to the greatest."


def _passes(parts: Parts) -> Drawn | None:
    from lenet_fast import plots

    _, found = parts[LENET5.name]
    if not found:
        return None
    train, test = LENET5.end_errors or (0.0, 0.0)
    picture = plots.errors(
        [[each.history() for each in found]],
        ["LeNet-5"],
        log=True,
        saved=False,
        marks={"paper, training (recalled)": train, "paper, test": test},
    )
    return Drawn(
        picture,
        "Figure 5: errors of LeNet-5 by pass. The training error is measured after each pass. The "
        f"paper ends with {test} % on the test set. As we recall it, that is reached after about "
        f"ten passes, the training error is {train} % after 19, and no over-training is seen."
        + _seeds(len(found), "Lines", "bands"),
    )


def _sizes(parts: Parts) -> Drawn | None:
    from lenet_fast import plots

    curves: dict[str, list[list[float]]] = {}  # for each size, one error per seed
    images = []
    for suffix in (*(f"-{count}" for count in FEWER), ""):
        plain, distorted = (
            parts[f"{recipe.name}{suffix}"][1] for recipe in (LENET5, LENET5_DISTORTED)
        )
        if not plain or not distorted or plain[0].train_images in images:
            continue  # a training set that is no larger is taken whole
        images.append(plain[0].train_images)
        for name, errors in (
            ("training", [each.train_rate for each in plain]),
            ("test", [each.test_rate for each in plain]),
            ("test, distortions", [each.test_rate for each in distorted]),
        ):
            curves.setdefault(name, []).append(errors)
    if len(images) < 2:
        return None
    picture = plots.sweep(
        images,
        {name: list(map(statistics.fmean, sizes)) for name, sizes in curves.items()},
        {name: _reach(sizes) for name, sizes in curves.items()},
        "training images",
        ylabel="error (%)",
        marks={"paper, 60,000": 0.95, "paper, 60,000, distortions": 0.8},
    )
    picture.axes[0].set_xticks(images, [f"{count:,}" for count in images])
    picture.axes[0].set_xticks([], minor=True)
    return Drawn(
        picture,
        "Figure 6: errors of LeNet-5 at the end of training, by the size of the training set, "
        "without and with distortions."
        + _seeds(max(map(len, curves["test"])), "Points", "bars")
        + " The images are drawn by the seed, and each size has 20 passes, so fewer images are "
        "also fewer presentations. The paper has 0.95 % without and 0.8 % with distortions for "
        "60,000 images; its other values, and its passes for the smaller sets, are not known to "
        "us. The three sizes are recalled.",
    )


def _reach(runs: Sequence[Sequence[float]]) -> Array:
    """Return how far the runs of each kind reach below and above their mean, (2, n)."""
    ends = [(np.mean(each) - min(each), max(each) - np.mean(each)) for each in runs]
    return np.transpose(ends).clip(0)  # rounding may make the mean of equal numbers another


def _mistakes(parts: Parts, splits: Splits) -> Drawn | None:
    from lenet_fast import plots

    recipe, found = parts[LENET5_DISTORTED.name]
    if not found:
        return None
    test = recipe.seen(splits, found[0].seed).test
    run = results.middle(found)
    predicted = np.array(run.predicted)
    median = f", the median of {len(found)} seeds (seed {run.seed})" if len(found) > 1 else ""
    picture = plots.mistakes(test.images, test.labels, predicted, limit=len(test))
    return Drawn(
        picture,
        "Figure 8: all test digits that LeNet-5 misreads. The paper shows 82, as we recall it: "
        "0.8 %, the error of the network that was trained with distortions, so this is ours of "
        f"that kind{median}.",
    )


def _rejects(parts: Parts) -> Drawn | None:
    from lenet_fast import plots

    name = results.REJECTED.format(REJECT_TO)
    rates: dict[str, list[float]] = {}  # by network, one per seed
    for recipe, title, *_ in (*_COMPARED, _Compared(LENET5_DISTORTED, "LeNet-5, distortions")):
        _, found = parts[recipe.name]
        if found:
            rates[title] = [each.remarks[name] for each in found]
    if not rates:
        return None
    count = max(map(len, rates.values()))
    # A run that is destroyed by its rates has to reject almost all: means would be about it alone.
    quartiles = [np.quantile(each, (0.25, 0.5, 0.75)) for each in rates.values()]
    spread = np.transpose([(middle - low, high - middle) for low, middle, high in quartiles])
    picture = plots.bars(
        [*rates],
        {"ours": [float(middle) for _, middle, _ in quartiles]},
        f"test digits to reject for {REJECT_TO} % errors among the others (%)",
        spreads={"ours": spread} if count > 1 else None,
        number="{:.2f}",
    )
    seeds = f" Bars are medians of {count} seeds; whiskers hold the middle half of them."
    return Drawn(
        picture,
        "Figure 10: how many test digits have to be rejected, those with the smallest difference "
        "between the two best outputs first, so that 0.5 % of the others are misread."
        + (seeds if count > 1 else "")
        + " 0 means that no more than 0.5 % of all are misread. The paper's values are not known "
        "to us.",
    )


def _compared(ours: Callable[[Recipe], float], papers: Sequence[float | None], what: str) -> Figure:
    from lenet_fast import plots

    values = {"ours": [ours(each.recipe) for each in _COMPARED], "paper": papers}
    return plots.bars([each.title for each in _COMPARED], values, what)


def _operations() -> Drawn:
    def ours(recipe: Recipe) -> float:
        connections = recipe.network(0).counts().connections
        return boosting.COST * connections if recipe.boosted else connections

    return Drawn(
        _compared(ours, [each.operations for each in _COMPARED], "multiply-adds per digit"),
        "Figure 11: multiply-adds to read one digit. Ours are the connections, in which biases and "
        "sub-sampling count; without them LeNet-1 has 91,520 and LeNet-5 326,520. The paper's "
        "401,000 for LeNet-5 and 460,000 for boosted LeNet-4 are from a transcription of it; what "
        "the former includes is not known to us, as the paper counts 340,908 connections. "
        "The 260,000 of LeNet-4 are connections in an earlier comparison by the same authors "
        f"(1994/95). Boosting takes {boosting.COST} networks on average.",
    )


def _memory() -> Drawn:
    def ours(recipe: Recipe) -> float:
        return recipe.network(0).counts().parameters * (3 if recipe.boosted else 1)

    return Drawn(
        _compared(ours, [each.parameters for each in _COMPARED], "parameters"),
        "Figure 12: memory, as the number of free parameters. LeNet-5 has exactly 60,000; LeNet-1 "
        "has 2,578, which the paper gives as about 2,600. The 17,000 of LeNet-4 (1994/95), and "
        "three times as many boosted (from a transcription), cannot be those of the network that "
        "the paper describes: "
        "its layer of 120 units alone has 48,120 weights.",
    )


def _unusual(parts: Parts, splits: Splits, out: Path) -> Drawn | None:
    from lenet_fast import plots

    recipe, found = parts[LENET5_DISTORTED.name]
    if not found:
        return None
    run = results.middle(found)
    network = files.read_model(out / Job(recipe, run.seed).name / results.MODEL).network
    test = recipe.seen(splits, run.seed).test
    outputs = training.scores([network], test.images, 1)
    second, first = np.sort(outputs, axis=1)[:, -2:].T
    right = np.flatnonzero(outputs.argmax(axis=1) == test.labels)
    unusual = right[np.argsort((first - second)[right], kind="stable")[:_UNUSUAL]]
    distorted, noisy = (
        np.array([np.flatnonzero(test.labels == digit)[0] for digit in digits])
        for digits in (_DISTORTED, _NOISY)
    )
    images = np.concatenate(
        [
            test.images[unusual],
            _STRONG(test.images[distorted], distorted, 1, seed=0),
            _noise(test.images[noisy]),
        ]
    )
    kinds = ["unusual"] * len(unusual) + ["distorted"] * len(distorted) + ["noisy"] * len(noisy)
    labels = test.labels[np.concatenate([unusual, distorted, noisy])]
    words = [f"{kind} {label}" for kind, label in zip(kinds, labels, strict=True)]
    answers = network.classify_outputs(network.predict(images))
    return Drawn(
        plots.readings(network, images, words, labels),
        "Figure 13: unusual, distorted and noisy digits, the outputs of the layers, and the answer "
        f"of the LeNet-5 of figure 8: {(answers == labels).sum()} of {len(labels)} are right. The "
        "unusual ones are the test digits that it reads rightly with the smallest difference "
        "between the two best outputs; the others were not chosen by the answer. Distortions: "
        f"{_STRONG}; noise: {100 * _NOISE:g} % of the pixels black or white by chance, which no "
        "training image has. The paper shows other digits, whose noise is not known to us.",
    )


def _noise(images: Array) -> Array:
    random = np.random.default_rng(0)
    noise = random.integers(0, 2, images.shape, np.uint8) * np.uint8(255)
    return np.where(random.random(images.shape) < _NOISE, noise, images)
