"""When a fit is over, and which weights it keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.sklearn import _parameters
from lenet_fast.sklearn._data import Data

LEAST_GAIN, PATIENCE = 1e-4, 10
"""Defaults of `tol` and `n_iter_no_change` where training may stop early."""


class Progress:
    """Decides when a fit is over before its last epoch, and keeps the best weights."""

    def __init__(self, estimator: Any, held_out: Data | None) -> None:
        self._estimator, self._held_out = estimator, held_out
        self._may_stop = _parameters.stops_early(estimator)
        tol, patience = estimator.tol, estimator.n_iter_no_change
        self._gain = LEAST_GAIN if tol is None else tol
        self._patience = PATIENCE if patience is None else patience
        self._best, self._since = -math.inf, 0
        self._weights: list[Array] = []
        if held_out is not None:
            estimator.validation_scores_ = estimator.validation_scores_ or []
            estimator.best_validation_score_ = estimator.best_loss_ = None

    def is_over(self) -> bool:
        """Note an epoch; return whether it is the last one."""
        estimator = self._estimator
        if self._held_out is None:
            score, what = -estimator.loss_, "the training loss has"
            if estimator.best_loss_ is None or estimator.loss_ < estimator.best_loss_:
                estimator.best_loss_ = estimator.loss_
        else:
            score, what = self._score(self._held_out), "the validation score has"
            assert estimator.validation_scores_ is not None
            estimator.validation_scores_.append(score)
            if score > self._best:
                self._weights = estimator.network_.get_weights()
                estimator.best_validation_score_ = score
            if estimator.verbose:
                print(f"Validation score: {score:.4f}")
        self._since = 0 if score >= self._best + self._gain else self._since + 1
        self._best = max(self._best, score)
        over = self._may_stop and self._since >= self._patience
        if over and estimator.verbose:
            print(f"Stopped: {what} not improved by {self._gain:g} for {self._since} epochs")
        return over

    def _score(self, rows: Data) -> float:
        outputs = self._estimator._outputs(self._estimator.network_, rows.X)
        found = self._estimator.classes_[self._estimator.network_.winners(outputs)]
        return float(np.average(found == rows.y, weights=rows.weights))

    def end(self) -> None:
        """Give the network the weights with the best validation score."""
        if self._weights:
            self._estimator.network_.set_weights(self._weights)
