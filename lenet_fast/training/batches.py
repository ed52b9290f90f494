"""The order of a data set's images, its evaluation, and its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from lenet_fast import data
from lenet_fast.checks import Array
from lenet_fast.engines import Engine, Totals
from lenet_fast.training import parts
from lenet_fast.training.checkpoints import Fingerprint

_EVALUATION_BATCH = 4096


def evaluate(
    engine: Engine,
    dataset: data.Dataset,
    *,
    on_batch: Callable[[Totals, int], None] | None = None,
) -> Totals:
    """Return the summed loss, the errors and the number of images of a data set.

    Parameters
    ----------
    engine : Engine
        The engine to use.
    dataset : Dataset
        Passed to the engine a few thousand images at a time, so that progress can be reported.
    on_batch : callable, optional
        Called with the totals so far, and the number of images of the data set.

    Examples
    --------
    >>> from lenet_fast import data, engines, losses, models, training
    >>> engine = engines.create(models.lenet5(), losses.MAP())
    >>> totals = training.evaluate(engine, data.load("sample").test)
    >>> totals.images, totals.loss / totals.images > 60  # untrained
    (1000, True)
    """
    parts.engine(engine)
    parts.dataset("dataset", dataset)
    totals = Totals()
    for first in range(0, len(dataset), _EVALUATION_BATCH):
        block = slice(first, first + _EVALUATION_BATCH)
        # Overflow shows up as a non-finite loss.
        with np.errstate(over="ignore", invalid="ignore"):
            totals += engine.evaluate(dataset.images[block], dataset.labels[block])
        if on_batch is not None:
            on_batch(totals, len(dataset))
    return totals


def shuffled(images: int, seed: int, epoch: int) -> Array:
    """Return the order of the images in an epoch; it depends only on these three numbers.

    Sorting the raw output of a counter-based generator gives the same order with every version
    of NumPy; for the generators' own ``permutation`` NumPy does not promise that.

    Examples
    --------
    >>> from lenet_fast.training.batches import shuffled
    >>> shuffled(8, seed=0, epoch=1), shuffled(8, seed=0, epoch=2)
    (array([5, 3, 7, 2, 4, 1, 0, 6]), array([6, 7, 2, 1, 3, 5, 0, 4]))
    """
    raw = np.random.Philox(key=[seed, epoch]).random_raw(images)
    return np.argsort(raw, kind="stable")


def fingerprint(name: str, dataset: data.Dataset) -> Fingerprint:
    """Return an identification of a data set; raise if it is not a Dataset or has no images."""
    parts.dataset(name, dataset)
    if len(dataset.images) == 0:
        raise ValueError(f"{name}: expected at least one image, got none")
    digest = hashlib.sha256(repr(dataset.images.shape).encode())
    digest.update(np.ascontiguousarray(dataset.images).data)
    digest.update(np.ascontiguousarray(dataset.labels).data)
    if dataset.weights is not None:
        digest.update(np.ascontiguousarray(dataset.weights).data)
    return Fingerprint(dataset.name, len(dataset.images), digest.hexdigest())
