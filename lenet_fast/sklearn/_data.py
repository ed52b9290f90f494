"""The rows of a call of fit, with their classes and weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from lenet_fast.checks import Array
from lenet_fast.sklearn import _rows


class Data(NamedTuple):
    """Rows of a call of fit."""

    X: Array
    y: Array
    weights: Array | None  # float64, with those of the classes; None: all are equal
    shape: _rows.Shape | None  # of the images, if X consists of images
    classes: Array

    def part(self, chosen: Array) -> Data:
        """Return some of the rows."""
        weights = None if self.weights is None else self.weights[chosen]
        return self._replace(X=self.X[chosen], y=self.y[chosen], weights=weights)

    def present(self) -> Data:
        """Return the rows whose weight is not 0; raise ValueError if there is none."""
        if self.weights is None or self.weights.all():
            return self
        if not self.weights.any():
            raise ValueError("sample_weight: expected a weight above 0, got zero for all rows")
        return self.part(self.weights > 0)

    def normalised(self) -> Data:
        """Return the same with weights whose mean is 1; without, if all are equal."""
        if self.weights is None:
            return self
        weights = self.weights / self.weights.max()  # so that their sum does not overflow
        return self._replace(weights=None if (weights == 1).all() else weights / weights.mean())

    def split(self, fraction: float, seed: int) -> tuple[Data, Data]:
        """Return the rows to learn from, and those whose score may stop the training."""
        numbers = np.arange(len(self.X))
        try:
            learned, held_out = train_test_split(
                numbers, test_size=fraction, random_state=seed, stratify=self.y
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping: expected rows of which a share of {fraction:g} can be held out "
                f"for each class: {error}"
            ) from None
        return self.part(learned), self.part(held_out)


def of_classes(
    class_weight: dict[Any, float] | str, classes: Array, labels: Array, weights: Array | None
) -> Array:
    """Return the weight of each class; 1 for those that a dict lacks.

    "balanced" counts the rows, whose labels are indices of classes, by their weights. A fold may
    lack some classes that the dict has, but then the dict has all of the fold's.
    """
    if not isinstance(class_weight, dict):
        counts = np.bincount(labels, weights, len(classes))
        shares = counts * np.count_nonzero(counts) / counts.sum()
        return np.divide(1, shares, out=np.zeros(len(classes)), where=shares > 0)
    names = classes.tolist()
    unknown = [name for name in class_weight if name not in names]
    if unknown and not set(names) <= set(class_weight):
        raise ValueError(f"class_weight: expected classes out of {names}, got {unknown}")
    return np.array([class_weight.get(name, 1.0) for name in names], np.float64)
