"""Timing: every contender is checked, then all contenders of a group take turns.

On a shared machine, speed varies from minute to minute. Contenders that take turns of a few
milliseconds all experience its good and bad moments, so that their medians can be compared.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lenet_fast.bench import machine
from lenet_fast.checks import Array

SECONDS = 0.3
ROUNDS = 5
MOST_ROUNDS = 200

_SHORTEST = 0.001
"""Least seconds of a sample; shorter work is repeated within it."""

CALLS = 10_000
"""Least number of calls per contender whose calls are timed one by one."""

_BLOCK, _FIRST = 250, 5
"""Calls per turn, and uncounted calls before them, because the others' data are in the caches."""

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
"""Largest error allowed, relative to the largest value of a result."""


class WrongAnswerError(AssertionError):
    """A contender's answer differs from the reference's, so it is not timed."""


@dataclass(frozen=True)
class Contender:
    """Something that does a piece of work repeatedly."""

    name: str
    run: Callable[[], Any]  # does the work once
    check: Callable[[Any], None]  # raises WrongAnswerError unless the result of `run` is right
    # Returns a context for the runs; entering it is not timed.
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    scale: float = 1.0  # of its seconds, if it does only part of the others' work
    info: dict[str, Any] = field(default_factory=dict)  # for the results


def compare(name: str, found: tuple[Array, ...], expected: tuple[Array, ...], dtype: str) -> None:
    """Raise WrongAnswerError unless all arrays agree within the dtype's tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.bench import rounds
    >>> rounds.compare("fast", (np.array([1.0, 2.0]),), (np.array([1.0, 2.0]),), "float64")
    >>> rounds.compare("fast", (np.array([1.0, 2.5]),), (np.array([1.0, 2.0]),), "float64")
    Traceback (most recent call last):
    lenet_fast.bench.rounds.WrongAnswerError: fast: result 0: wrong by 0.5, allowed 2e-09
    """
    if len(found) != len(expected):
        raise WrongAnswerError(f"{name}: expected {len(expected)} results, got {len(found)}")
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one.shape != other.shape:
            raise WrongAnswerError(f"{name}: result {i}: expected {other.shape}, got {one.shape}")
        error = np.abs(one - other).max(initial=0)
        limit = TOLERANCE[dtype] * np.abs(other).max(initial=0)
        if not error <= limit:  # NaN is wrong, too
            raise WrongAnswerError(f"{name}: result {i}: wrong by {error:.3g}, allowed {limit:.3g}")


@dataclass
class Timing:
    """The result of a contender: seconds per turn, scaled, or what was wrong."""

    samples: list[float] = field(default_factory=list)
    error: Exception | None = None
    info: dict[str, Any] = field(default_factory=dict)


@dataclass
class Group:
    """The timings of a group by contender, and the machine's limits before and after it."""

    timings: dict[str, Timing]
    before: machine.Limits | None
    after: machine.Limits | None

    def info(self, dtype: str) -> dict[str, Any]:
        """Return the peak for a dtype before and after, and whether it changed too much."""
        return {
            "peak_before": self.before.peak(dtype) if self.before else None,
            "peak_after": self.after.peak(dtype) if self.after else None,
            "peak_moved": machine.moved(self.before, self.after, dtype),
        }


class _Turn:
    """A contender with its own clock."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.timing = Timing(info=contender.info)
        self.spent = 0.0
        self.repeats = 1

    def check(self) -> bool:
        """Run once and compare; run once more, warm, to estimate the duration."""
        try:
            with self.contender.around():
                value = self.contender.run()
                self.contender.check(value)
                started = time.perf_counter()
                self.contender.run()
                self.repeats = max(1, round(_SHORTEST / (time.perf_counter() - started)))
        except Exception as error:
            self.timing.error = error
        return self.timing.error is None

    def take(self) -> None:
        run, repeats = self.contender.run, self.repeats
        with self.contender.around():
            started = time.perf_counter()
            for _ in range(repeats):
                run()
            seconds = time.perf_counter() - started
        self.spent += seconds
        self.timing.samples.append(seconds / repeats * self.contender.scale)

    def take_calls(self, calls: int) -> None:
        run, samples = self.contender.run, self.timing.samples
        with self.contender.around():
            for _ in range(_FIRST):
                run()
            for _ in range(calls):
                started = time.perf_counter()
                run()
                samples.append(time.perf_counter() - started)

    def done(self, seconds: float, rounds: int) -> bool:
        taken = len(self.timing.samples)
        return taken >= rounds and (self.spent >= seconds or taken >= MOST_ROUNDS)


def measure(
    contenders: Sequence[Contender], seconds: float = SECONDS, rounds: int = ROUNDS
) -> Group:
    """Check all contenders; let the correct ones take turns, for so long and so often at least."""
    turns = [_Turn(contender) for contender in contenders]
    right = [turn for turn in turns if turn.check()]
    before = machine.probe()
    with _no_collection():
        waiting = list(right)
        while waiting:
            for turn in waiting:
                turn.take()
            waiting = [turn for turn in waiting if not turn.done(seconds, rounds)]
            waiting = waiting[1:] + waiting[:1]  # vary who is first, and who follows whom
    timings = {turn.contender.name: turn.timing for turn in turns}
    return Group(timings, before, machine.probe())


def measure_calls(contenders: Sequence[Contender], calls: int = CALLS) -> Group:
    """Check all contenders, and time single calls of the correct ones, which take turns.

    Their info has the number of ``calls``, and the 99th percentile of their seconds, "p99".
    """
    turns = [_Turn(contender) for contender in contenders]
    right = [turn for turn in turns if turn.check()]
    before = machine.probe()
    with _no_collection():
        for done in range(0, calls, _BLOCK):
            for turn in right:
                turn.take_calls(min(_BLOCK, calls - done))
            right = right[1:] + right[:1]
    for turn in right:
        p99 = float(np.quantile(turn.timing.samples, 0.99))
        turn.timing.info = turn.timing.info | {"calls": calls, "p99": p99}
    timings = {turn.contender.name: turn.timing for turn in turns}
    return Group(timings, before, machine.probe())


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
