"""What is trained and how: one recipe per result of a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_fast import choices, data
from lenet_fast.data import Dataset, Distortion, Splits
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.training.optimisers import Optimiser
from lenet_fast.training.schedules import Schedule


def as_they_are(splits: Splits, seed: int) -> Splits:
    """Return the data unchanged."""
    return splits


def reduced_to_1990(splits: Splits, seed: int) -> Splits:
    """Return digits as LeNet-1 used them."""
    return dataclasses.replace(
        splits, train=data.as_1990(splits.train), test=data.as_1990(splits.test)
    )


def few_of_1989(splits: Splits, seed: int) -> Splits:
    """Return as many digits as in 1989, of that size, drawn by the seed."""
    random = np.random.default_rng(seed)
    train = data.as_1989(_drawn(splits.train, 7_291, random))
    return dataclasses.replace(
        splits, train=train, test=data.as_1989(_drawn(splits.test, 2_007, random))
    )


def training_images(count: int) -> Callable[[Splits, int], Splits]:
    """Return a function that keeps so many training images, or all, drawn by the seed."""

    def few(splits: Splits, seed: int) -> Splits:
        train = _drawn(splits.train, count, np.random.default_rng(seed))
        return dataclasses.replace(splits, train=train)

    few.__name__ = f"training_images_{count}"  # part of a recipe's description
    return few


def _drawn(dataset: Dataset, count: int, random: np.random.Generator) -> Dataset:
    chosen = random.permutation(len(dataset))[:count]
    return Dataset(dataset.images[chosen], dataset.labels[chosen], f"{dataset.name}-{count}")


def as_large_as_mnists(splits: Splits, seed: int) -> Splits:
    """Return digits of 16x16 enlarged to 20x20, in images of 28x28."""
    return dataclasses.replace(
        splits, train=data.as_mnist(splits.train), test=data.as_mnist(splits.test)
    )


def validation(splits: Splits) -> Splits:
    """Split the training set in two: its last sixth replaces the test set."""
    images, labels, name = splits.train.images, splits.train.labels, splits.train.name
    first = len(images) * 5 // 6
    return dataclasses.replace(
        splits,
        train=Dataset(images[:first], labels[:first], f"{name}-first"),
        test=Dataset(images[first:], labels[first:], f"{name}-last"),
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network, and how to train it: see also :class:`lenet_fast.training.Trainer`."""

    name: str  # also the folder of its runs
    title: str
    source: str  # a publication or project
    published: str  # the source's result, in its words: errors on the test set, in per cent
    network: Callable[[int], Network]  # for a seed
    loss: Loss
    optimiser: Callable[[], Optimiser]
    schedule: Schedule
    epochs: int
    batch_size: int = 1
    dataset: choices.Dataset | None = None  # whatever the user names
    digits: Callable[[Splits, int], Splits] = as_they_are  # with a seed, if digits are drawn
    distortion: Distortion | None = None
    shuffle: bool = True
    average_from: int | None = None
    evaluate_train: bool = False  # after each epoch, as the papers plot it
    chosen: tuple[str, ...] = ()  # what the source leaves open, and our choices
    # The source's values at the end, for the training and the test set, drawn beside our curves.
    end_errors: tuple[float, float] | None = None  # per cent
    end_losses: tuple[float, float] | None = None
    # Report how many test images have to be rejected for this error among the others, in per cent.
    reject_to: float | None = None
    # Judged by the last sixth of the training set, because a choice depends on the comparison.
    validated: bool = False
    boosted: bool = False  # three networks, see lenet_fast.reproduce.boosting
    alone: bool = False  # one run after the other, with all threads; else several, with one each

    def seen(self, splits: Splits, seed: int) -> Splits:
        """Return what a run of this seed trains on and is tested with."""
        return self.digits(validation(splits) if self.validated else splits, seed)

    def description(self) -> dict[str, Any]:
        """Return everything that determines a run, except seed and data, as JSON can hold it."""
        return {
            "network": self.network(0).config(),
            "loss": self.loss.config(),
            "optimiser": self.optimiser().config(),
            "schedule": self.schedule.config(),
            "distortion": None if self.distortion is None else self.distortion.config(),
            "digits": self.digits.__name__,
        } | {
            name: getattr(self, name)
            for name in (
                *("epochs", "batch_size", "shuffle", "average_from", "evaluate_train"),
                *("dataset", "validated", "boosted", "reject_to"),
            )
        }
