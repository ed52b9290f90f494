"""Five-fold cross-validation: LeNetClassifier and scikit-learn's network, for equal epochs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from benchmarks.contenders import installed
from benchmarks.scheduler import Scheduler, clock
from lenet_fast import data, threads
from lenet_fast.bench.rounds import Contender, WrongAnswerError

THREADS = int(os.environ.get("LENET_FAST_BENCH_THREADS", "1"))
"""Our threads; with more than one, NumPy's matrix products use as many as they like."""

DIGITS, FOLDS, EPOCHS = 1000, 5, 10
PLAIN = f"{FOLDS}-fold cross-validation, {DIGITS:,} digits, {EPOCHS} epochs"
WEIGHTED = f"{PLAIN}, sample weights"
LEAST = {"LeNetClassifier": 0.9, "MLPClassifier": 0.8}
"""Least accuracy: a contender that does not learn is not timed."""


def make(name: str, weighted: bool) -> Contender:
    """Return one of LEAST; the second has its default layer of 100 units, on pixels from 0 to 1."""
    import numpy as np
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    from lenet_fast.sklearn import LeNetClassifier

    sample = data.load("sample").train.subset(DIGITS)
    rows = (sample.images.reshape(DIGITS, -1) / 255).astype("float32")
    estimators: dict[str, Callable[[], Any]] = {
        "LeNetClassifier": partial(LeNetClassifier, epochs=EPOCHS, n_jobs=THREADS),
        # It never stops early without a tolerance on the improvement.
        "MLPClassifier": partial(MLPClassifier, max_iter=EPOCHS, n_iter_no_change=EPOCHS),
    }
    estimator = estimators[name](random_state=0)

    def check(scores: Any) -> None:
        if not scores.mean() > LEAST[name]:
            raise WrongAnswerError(f"{name}: {scores.mean():.3f} right, expected {LEAST[name]}")

    around = threads.alone_with_blas if THREADS == 1 else contextlib.nullcontext
    weights = np.random.default_rng(0).uniform(0.5, 1.5, DIGITS)
    params = {"sample_weight": weights} if weighted else None
    run = partial(cross_val_score, estimator, rows, sample.labels, cv=FOLDS, params=params)
    return Contender(name, run, check, around)


@pytest.mark.skipif(not installed("sklearn"), reason="scikit-learn is not installed")
@pytest.mark.parametrize(
    ("group", "contender"), [(group, name) for group in (PLAIN, WEIGHTED) for name in LEAST]
)
@pytest.mark.benchmark(timer=clock)
def test_sklearn(
    group: str,
    contender: str,
    benchmark: Any,
    report: Any,
    scheduler: Scheduler,
    request: pytest.FixtureRequest,
) -> None:
    benchmark.group = f"sklearn: {group}"
    new = partial(make, weighted=group == WEIGHTED)
    timing, timings = scheduler.timing(request, group, contender, new)
    report(
        timing,
        timings,
        "float32",
        kind="front end",
        row=f"sklearn: {group}",
        contender=contender,
        ours=contender == "LeNetClassifier",
        batch=32,
        images=DIGITS * (FOLDS - 1) * EPOCHS,
        shape=[DIGITS, 784],
        threads=THREADS,
    )
