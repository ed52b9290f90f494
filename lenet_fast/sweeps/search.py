"""The search: which runs there are, and which configuration is the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from lenet_fast.sweeps.runs import Job, Result
from lenet_fast.sweeps.space import Point

Metric = Literal["validation_error", "validation_loss"]
METRICS = get_args(Metric)


class Configuration(NamedTuple):
    """Options of ``lenet-fast train``, and what they mean."""

    number: int  # from 1
    point: Point  # the options that the sweep varies
    options: dict[str, Any]  # all, for a config.toml
    settings: str  # see Job

    @property
    def epochs(self) -> int:
        """The epochs of a whole run."""
        return int(self.options["epochs"])

    @property
    def words(self) -> str:
        """The options that the sweep varies."""
        return " ".join(f"{name}={value}" for name, value in self.point.items())


class Standing(NamedTuple):
    """A configuration, and what its runs have shown."""

    configuration: Configuration
    results: tuple[Result, ...]  # by seed
    epoch: int  # that was compared
    metric: Metric

    @property
    def values(self) -> list[float]:
        """The metric of each run that did not fail, errors in per cent."""
        return [
            value_of(each, self.metric, self.epoch) for each in self.results if self.reached(each)
        ]

    def reached(self, result: Result) -> bool:
        """Whether a run came to the end of the epoch; it may have failed after that."""
        return len(result.rows) >= self.epoch

    @property
    def failed(self) -> int:
        """How many runs failed."""
        return sum(not self.reached(each) for each in self.results)

    @property
    def mean(self) -> float:
        """The mean over the seeds; infinity if a run failed, so that nothing comes after it."""
        return math.inf if self.failed else statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation over the seeds; NaN for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan


def value_of(result: Result, metric: Metric, epoch: int) -> float:
    """Return a run's error, in per cent, or loss after an epoch."""
    row = result.rows[epoch - 1]
    if metric == "validation_loss":
        return float(row["test_loss"])
    return 100 * float(row["test_errors"]) / result.validation_images


def rungs(epochs: int, factor: int | None) -> list[int]:
    """Return the epochs after which configurations are compared.

    Examples
    --------
    >>> from lenet_fast.sweeps.search import rungs
    >>> rungs(9, 3), rungs(10, 3), rungs(10, None)
    ([1, 3, 9], [1, 3, 10], [10])
    """
    found = [epochs]
    while factor is not None and found[0] >= factor:
        found.insert(0, found[0] // factor)
    return found


def search(
    configurations: Sequence[Configuration],
    seeds: int,
    factor: int | None,
    metric: Metric,
    run: Callable[[list[Job]], list[Result]],
) -> list[Standing]:
    """Run all configurations with all seeds; return them, the best one first.

    With a factor, by successive halving: after each of the :func:`rungs`, only the best 1/factor
    of the configurations go on, one at least, and those that went further come first.

    Notes
    -----
    Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
    optimization". Here a rung does not start trainings anew: a training pauses in the schedule of
    all its epochs.
    """
    over: list[Standing] = []
    left = list(configurations)
    for until in [None] if factor is None else rungs(left[0].epochs, factor):
        last = [until or each.epochs for each in left]
        jobs = [
            Job(each.settings, seed, end, each.words)
            for seed in range(seeds)
            for each, end in zip(left, last, strict=True)
        ]
        found = run(jobs)
        standings = [
            Standing(each, tuple(found[i :: len(left)]), end, metric)
            for i, (each, end) in enumerate(zip(left, last, strict=True))
        ]
        standings.sort(key=lambda each: (each.mean, each.failed, each.configuration.number))
        kept = standings if factor is None else standings[: max(1, len(standings) // factor)]
        over = standings + over[len(standings) :]
        left = [each.configuration for each in kept]
    return over
