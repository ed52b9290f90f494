"""What is trained, and how: one recipe for each thing that a source reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_fast import data
from lenet_fast.data import Dataset, Distortion, Splits
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.training.optimisers import Optimiser
from lenet_fast.training.schedules import Schedule


def as_they_are(splits: Splits, seed: int) -> Splits:
    """Return the data as they are."""
    return splits


def reduced_to_1990(splits: Splits, seed: int) -> Splits:
    """Return digits as LeNet-1 saw them."""
    return dataclasses.replace(
        splits, train=data.as_1990(splits.train), test=data.as_1990(splits.test)
    )


def few_of_1989(splits: Splits, seed: int) -> Splits:
    """Return as many digits as in 1989, of that size, drawn by the seed."""
    random = np.random.default_rng(seed)

    def drawn(dataset: Dataset, count: int) -> Dataset:
        chosen = random.permutation(len(dataset))[:count]
        few = Dataset(dataset.images[chosen], dataset.labels[chosen], f"{dataset.name}-{count}")
        return data.as_1989(few)

    return dataclasses.replace(
        splits, train=drawn(splits.train, 7_291), test=drawn(splits.test, 2_007)
    )


def validation(splits: Splits) -> Splits:
    """Return the training set in two parts: its last sixth takes the place of the test set."""
    images, labels, name = splits.train.images, splits.train.labels, splits.train.name
    first = len(images) * 5 // 6
    return dataclasses.replace(
        splits,
        train=Dataset(images[:first], labels[:first], f"{name}-first"),
        test=Dataset(images[first:], labels[first:], f"{name}-last"),
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network, and how to train it.

    Attributes
    ----------
    name : str
        The folder of its runs.
    title : str
        What it is, for people.
    source : str
        Who reports it.
    published : str
        What the source reports, in its words: errors of the test set, in per cent.
    network : callable
        Makes the network of a seed.
    loss, schedule, epochs, batch_size, distortion, shuffle, average_from
        See :class:`lenet_fast.training.Trainer`.
    optimiser : callable
        Makes one.
    digits : callable
        Gives the data their form, with a seed where some are drawn.
    chosen : tuple of str
        What the source leaves open, and how we chose.
    validated : bool
        Whether it is judged by the last sixth of the training set, and not by the test set: where
        something is compared so as to choose.
    boosted : bool
        Whether it is three networks, see :mod:`lenet_fast.reproduce.boosting`.
    alone : bool
        Whether its runs take all threads, one run after the other; otherwise several runs go on
        at once, on a thread each.
    """

    name: str
    title: str
    source: str
    published: str
    network: Callable[[int], Network]
    loss: Loss
    optimiser: Callable[[], Optimiser]
    schedule: Schedule
    epochs: int
    batch_size: int = 1
    digits: Callable[[Splits, int], Splits] = as_they_are
    distortion: Distortion | None = None
    shuffle: bool = True
    average_from: int | None = None
    chosen: tuple[str, ...] = ()
    validated: bool = False
    boosted: bool = False
    alone: bool = False

    def description(self) -> dict[str, Any]:
        """Return, JSON-able, all that a run follows from, but for seed and data."""
        return {
            "network": self.network(0).config(),
            "loss": self.loss.config(),
            "optimiser": self.optimiser().config(),
            "schedule": self.schedule.config(),
            "distortion": None if self.distortion is None else self.distortion.config(),
            "digits": self.digits.__name__,
        } | {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "shuffle", "average_from", "validated", "boosted")
        }
