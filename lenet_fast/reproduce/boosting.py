"""Three networks that are trained one after the other, each on what those before it find hard.

LeCun et al. 1998, section III.C, after Drucker, Schapire and Simard 1993: the first is trained as
usual; the second on patterns of which the first gets half wrong; the third on those about which the
first two disagree. Their outputs are added. So few training images are wrong that the patterns come
from an endless stream of distorted ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.data import Dataset, Distortion, Splits
from lenet_fast.network import Network
from lenet_fast.reproduce.recipes import Recipe
from lenet_fast.reproduce.training import NothingToLearn, Report, Stopped, Watch, scores, train

COST = 1.75
"""Networks that run for an image in the mean, in the paper: the second and third only where the
first is not sure."""

MOST_ROUNDS = 120
"""Times that the stream goes through the training images, at most, until a set is full."""

_STREAM = 1000  # more epochs than a training has
_SEARCH = 0.3  # of the time, for the bar


def train_three(
    recipe: Recipe, seed: int, splits: Splits, threads: int, watch: Watch
) -> list[Network]:
    """Return the three networks.

    The sets of the second and the third are as large as the training set, or smaller if the stream
    does not give as much; the images in it are trained on as they are, in as many epochs.

    Raises
    ------
    NothingToLearn
        If the stream has nothing for the second or the third.
    Stopped, TrainingDiverged
        As from :func:`lenet_fast.reproduce.training.train`.
    """
    assert recipe.distortion is not None
    whole = watch.report
    networks: list[Network] = []
    for number in range(3):
        part = _part(whole, number)
        watch.report = _later(part)
        mine, distortion = splits, None
        if networks:
            size = networks[0].input_shape[-1]
            stream = _stream(splits.train, recipe.distortion, seed, number, size)
            hard = _hard(stream, networks, len(splits.train), threads, watch, part)
            mine = dataclasses.replace(splits, train=hard)
        else:
            distortion = recipe.distortion
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

    So many images get all three that an image takes :data:`COST` networks in the mean.
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
    """Return a report of a training, before which its set is sought."""
    return lambda done: part(_SEARCH + (1 - _SEARCH) * done)


def _stream(
    train: Dataset, distortion: Distortion, seed: int, number: int, size: int
) -> Iterator[tuple[Array, Array]]:
    """Yield distorted images and their labels, all training images a time, without end."""
    samples = np.arange(len(train))
    for turn in itertools.count():
        # Epochs of its own: the images are others than those that the first network learned from.
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
    """Return so many images: one network has half of them wrong; of two, one has each wrong.

    Fewer, if the stream does not give as much; NothingToLearn, if it gives none.
    """
    images, labels, found = [], [], 0
    for x, y in itertools.islice(stream, MOST_ROUNDS):
        if watch.stop.is_set():
            raise Stopped
        said = [scores([network], x, threads).argmax(axis=1) for network in networks]
        if len(networks) == 1:
            wrong = np.flatnonzero(said[0] != y)[: (wanted - found + 1) // 2]
            right = np.flatnonzero(said[0] == y)
            step = max(1, len(right) // max(1, len(wrong)))  # as many, from all over the set
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
            f"network {len(networks) + 1} has nothing to learn from: those before it make no "
            f"mistakes, even where the training images are distorted {MOST_ROUNDS} times"
        )
    return Dataset(np.concatenate(images), np.concatenate(labels), f"hard-{len(networks)}")
