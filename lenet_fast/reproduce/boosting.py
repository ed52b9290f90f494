"""Three networks, trained one after the other, each on examples that are hard for the previous
ones.

LeCun et al. 1998, section III.C, after Drucker, Schapire and Simard 1993: the first is trained as
usual; the second on patterns of which the first misclassifies half; the third on those on which the
first two disagree. Their outputs are added. Because few training images are misclassified, the
patterns come from an endless stream of distorted ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.data import Dataset, Distortion, Splits
from lenet_fast.jobs.runner import Report, Stopped
from lenet_fast.network import Network
from lenet_fast.reproduce.recipes import Recipe
from lenet_fast.reproduce.training import NothingToLearn, Watch, scores, train

COST = 1.75
"""Mean number of networks that run per image in the paper, where the second and third run only if
the first is unsure."""

MOST_ROUNDS = 120
"""Most passes of the stream through the training images until a set is full."""

_STREAM = 1000  # first epoch number of the stream, beyond any training
_SEARCH = 0.3  # share of the time, for the progress bar


def train_three(
    recipe: Recipe, seed: int, splits: Splits, threads: int, watch: Watch
) -> list[Network]:
    """Return the three networks.

    The sets of the second and the third are as large as the training set, or smaller if the stream
    yields too little; NothingToLearn if it yields nothing. Their images are not distorted again,
    and are used for as many epochs.
    """
    assert recipe.distortion is not None
    whole = watch.report
    networks: list[Network] = []
    for number in range(3):
        part = _part(whole, number)
        watch.report = _later(part)
        mine, distortion = splits, recipe.distortion if number == 0 else None
        if networks:
            size = networks[0].input_shape[-1]
            stream = _stream(splits.train, recipe.distortion, seed, number, size)
            hard = _hard(stream, networks, len(splits.train), threads, watch, part)
            mine = dataclasses.replace(splits, train=hard)
        trainer = train(
            recipe,
            recipe.network(3 * seed + number),
            mine,
            seed=3 * seed + number,
            distortion=distortion,
            threads=threads,
            watch=watch,
        )
        networks.append(trainer.result)
    watch.report = whole
    return networks


def where_unsure(networks: list[Network], images: Array, threads: int) -> Array:
    """Return scores with the second and third network only where the first is least sure.

    So many images get all three networks that the mean per image is :data:`COST`.
    """
    first = scores(networks[:1], images, threads)
    ordered = np.sort(first, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    unsure = margin <= np.quantile(margin, (COST - 1) / 2)
    first[unsure] += scores(networks[1:], images[unsure], threads)
    return first


def _part(whole: Report, number: int) -> Report:
    return lambda done: whole((number + done) / 3)


def _later(part: Report) -> Report:
    """Return a progress report for a training that follows the search for its set."""
    return lambda done: part(_SEARCH + (1 - _SEARCH) * done)


def _stream(
    train: Dataset, distortion: Distortion, seed: int, number: int, size: int
) -> Iterator[tuple[Array, Array]]:
    """Yield distorted images and their labels endlessly, all training images at a time."""
    samples = np.arange(len(train))
    for turn in itertools.count():
        # Different epoch numbers: the images differ from those that the first network trained on.
        epoch = _STREAM * number + turn
        yield distortion(train.images, samples, epoch, seed, size=size), train.labels


def _hard(
    stream: Iterator[tuple[Array, Array]],
    networks: list[Network],
    wanted: int,
    threads: int,
    watch: Watch,
    part: Report,
) -> Dataset:
    """Return examples: for one network half of them misclassified; for two, all disputed.

    Fewer than wanted if the stream yields too little; NothingToLearn if it yields none.
    """
    images, labels, found = [], [], 0
    for x, y in itertools.islice(stream, MOST_ROUNDS):
        if watch.stop.is_set():
            raise Stopped
        said = [scores([network], x, threads).argmax(axis=1) for network in networks]
        if len(networks) == 1:
            wrong = np.flatnonzero(said[0] != y)[: (wanted - found + 1) // 2]
            right = np.flatnonzero(said[0] == y)
            step = max(1, len(right) // max(1, len(wrong)))  # equally many, from the whole set
            chosen = np.concatenate([wrong, right[::step][: len(wrong)]])
        else:
            chosen = np.flatnonzero(said[0] != said[1])[: wanted - found]
        images.append(x[chosen])
        labels.append(y[chosen])
        found += len(chosen)
        part(_SEARCH * found / wanted)
        if found >= wanted:
            break
    if not found:
        raise NothingToLearn(
            f"network {len(networks) + 1} has nothing to learn from: the previous ones make no "
            f"mistakes, even if the training images are distorted {MOST_ROUNDS} times"
        )
    return Dataset(np.concatenate(images), np.concatenate(labels), f"hard-{len(networks)}")
