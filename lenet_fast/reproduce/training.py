"""Training of one network by a recipe, and the joint output of several networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenet_fast import engines, losses
from lenet_fast.checks import Array
from lenet_fast.data import Distortion, Splits
from lenet_fast.jobs import runner
from lenet_fast.jobs.runner import Report, Stop, Stopped
from lenet_fast.network import Network
from lenet_fast.plots.curves import effective_rates
from lenet_fast.reproduce.recipes import Recipe
from lenet_fast.training import Row, Trainer


class NothingToLearn(Exception):  # noqa: N818  (named after the event)
    """There are no images that a network could be trained on."""


class Watch(runner.Watch):
    """Reports the progress of a training, stops it on request, and records the first rates.

    `rates` are the smallest, median and largest rate of a trainable weight in the first epoch of
    the first training; empty if all weights have the same rate.
    """

    def __init__(self, report: Report, stop: Stop) -> None:
        super().__init__(report, stop)
        self.rates: list[float] = []

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Record the rates of the first epoch."""
        if row.epoch == 1 and trainer.optimiser.factors and not self.rates:
            layers = effective_rates(trainer.optimiser.factors, row.rate, trainer.network)
            rates = np.concatenate([*layers.values()])
            self.rates = [float(each) for each in (rates.min(), np.median(rates), rates.max())]


def train(
    recipe: Recipe,
    network: Network,
    splits: Splits,
    *,
    seed: int,
    distortion: Distortion | None,
    threads: int,
    watch: Watch,
) -> Trainer:
    """Train a network by a recipe and return its trainer; raise Stopped or TrainingDiverged."""
    trainer = Trainer(
        network,
        recipe.loss,
        optimiser=recipe.optimiser(),
        schedule=recipe.schedule,
        batch_size=recipe.batch_size,
        seed=seed,
        distortion=distortion,
        shuffle=recipe.shuffle,
        average_from=recipe.average_from,
        evaluate_train=recipe.evaluate_train,
        threads=threads,
        callbacks=[watch],
    )
    if trainer.fit(splits.train, splits.test, recipe.epochs, verbose=False).interrupted:
        raise Stopped
    return trainer


def scores(networks: Sequence[Network], images: Array, threads: int) -> Array:
    """Return the sum of the networks' outputs (n, k); the largest wins."""
    total = np.zeros(1)
    for network in networks:
        engine = engines.create(network, losses.default_for(network), threads=threads)
        outputs = engine.predict(images)
        engine.close()
        total = total + (-outputs if network.output == "rbf" else outputs)
    return total


def rejected(outputs: Array, labels: Array, most: float) -> float:
    """Return how many images, in per cent, have to be rejected so that at most `most` per cent of
    the others are misclassified.

    Images are rejected in the order of the difference between their two largest outputs (n, k), the
    smallest first, as in LeCun et al. 1989 and 1990.
    """
    second, first = np.sort(outputs, axis=1)[:, -2:].T
    order = np.argsort(first - second, kind="stable")
    wrong = outputs.argmax(axis=1)[order] != labels[order]
    left = np.arange(len(order), 0, -1)
    errors = wrong[::-1].cumsum()[::-1]  # among those that are left
    enough = np.flatnonzero(100 * errors <= most * left)
    return 100 * float(enough[0] if len(enough) else len(order)) / len(order)
