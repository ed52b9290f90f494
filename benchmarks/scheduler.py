"""The suite's own scheduler: the contenders of a group take turns, then each reports its samples.

pytest-benchmark would time one test after another, minutes apart. Here the first test of a group
measures all selected contenders of the group. Each test then passes its samples to pytest-benchmark
through a clock that shows the measured seconds. Statistics, comparison and files are
pytest-benchmark's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lenet_fast.bench import rounds
from lenet_fast.bench.rounds import Contender

_now = 0.0


def clock() -> float:
    """Return the time on the clock that :func:`replay` sets: a timer for pytest-benchmark."""
    return _now


def replay(benchmark: Any, samples: Sequence[float]) -> None:
    """Show pytest-benchmark, on that clock, the measured seconds."""
    remaining = iter(samples)

    def turn() -> None:
        global _now
        _now += next(remaining)

    benchmark.pedantic(turn, rounds=len(samples))


class Scheduler:
    """Measures a group when its first member asks, and drops it when another group begins."""

    def __init__(self) -> None:
        self._key: object = None
        self._group = rounds.Group({}, None, None)

    def timing(
        self,
        request: pytest.FixtureRequest,
        name: object,
        contender: str,
        make: Callable[[str], Contender],
        measure: Callable[[list[Contender]], rounds.Group] | None = None,
    ) -> tuple[rounds.Timing, rounds.Group]:
        """Return a contender's timing and its group's.

        `name` is shared by the group's tests; `measure` lets them take turns, by default for the
        time given in the options.
        """
        key = (request.node.originalname, name)
        if key != self._key:
            chosen: list[str] = [
                str(item.callspec.params["contender"])
                for item in request.session.items
                if isinstance(item, pytest.Function)
                and item.originalname == request.node.originalname
                and item.callspec.params["group"] == name
            ]
            option = request.config.option
            self._group = rounds.Group({}, None, None)  # release the last one's arrays first
            made, failed = [], {}
            for each in chosen:
                try:
                    made.append(make(each))
                except Exception as error:
                    failed[each] = rounds.Timing(error=error)
            seconds, at_least = float(option.benchmark_max_time), option.benchmark_min_rounds
            self._group = measure(made) if measure else rounds.measure(made, seconds, at_least)
            self._group.timings.update(failed)
            self._key = key
        return self._group.timings[contender], self._group
