"""Comparison of the engines and backends that work here, on whole networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from lenet_fast import backends
from lenet_fast.bench import rounds, tables, workloads
from lenet_fast.bench.tables import Row
from lenet_fast.bench.workloads import Work

CALLS = 2_000
"""Number of single predictions per contender."""
ROUNDS = 3
"""Least number of turns per contender."""


@dataclass(frozen=True)
class Failure:
    """A contender that did not run, or gave a wrong answer."""

    group: str
    contender: str
    error: Exception


@dataclass(frozen=True)
class Task:
    """A piece of work to measure: as a whole, or with `calls` call by call."""

    work: Work
    threads: int
    calls: bool = False

    @property
    def name(self) -> str:
        return f"{self.work.name}, latency" if self.calls else self.work.name

    def measure(self, seconds: float) -> rounds.Group:
        """Let the contenders take turns."""
        if self.calls:
            names = filter(_usual, workloads.latency_names())
            made = [workloads.latency(name, self.work) for name in names]
            return rounds.measure_calls(made, CALLS)
        names = filter(_usual, workloads.names(self.work.batch))
        made = [workloads.make(name, self.work, self.threads) for name in names]
        return rounds.measure(made, seconds, ROUNDS)


def tasks(only: Sequence[str] = (), threads: int = 1) -> list[Task]:
    """Return the tasks whose names contain one of the words in `only`; by default all."""
    found = [Task(work, threads) for work in workloads.WORKS]
    found += [Task(work, 1, calls=True) for work in workloads.LATENCIES]
    return [task for task in found if not only or any(word.lower() in task.name for word in only)]


def measure(
    found: Sequence[Task], seconds: float = 0.05, advance: Callable[[str], None] = lambda name: None
) -> tuple[list[Row], list[Failure]]:
    """Measure tasks one after the other, each contender for at least `seconds`.

    `advance` is called with the name of a task before it is measured.
    """
    rows: list[Row] = []
    failures: list[Failure] = []
    for task in found:
        advance(task.name)
        group = task.measure(seconds)
        work, kind = task.work, "latency" if task.calls else "network"
        info = {"images": work.images, "threads": task.threads, **group.info("float32")}
        info |= {} if task.calls else {"flops": work.flops}
        for name, timing in group.timings.items():
            if timing.error is not None:
                failures.append(Failure(task.name, name, timing.error))
                continue
            took = median(timing.samples)
            rows.append(Row(kind, work.name, "float32", name, took, info | timing.info))
    return rows, failures


def markdown(rows: Sequence[Row], about: dict[str, object]) -> str:
    """Return the report on the machine described by :func:`machine.describe`."""
    parts = [tables.networks(rows), tables.latencies(rows)]
    return tables.report("LeNet-5 on this machine", about, parts)


def _usual(name: str) -> bool:
    """Return whether a contender is not an instruction set that must be selected explicitly."""
    if "cython" not in name.split():
        return True
    module = backends.get("cython")
    return not set(name.split()) & {*module.instruction_sets()} - {module.isa()}
