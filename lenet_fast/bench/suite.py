"""The short version of the suite, for ``lenet-fast bench``: a minute or two, without pytest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from lenet_fast import __version__, backends
from lenet_fast.bench import contenders, latency, machine, networks, rounds, steps
from lenet_fast.bench.report import Row, Run

CALLS = 2_000
"""Single predictions of each contender."""


@dataclass(frozen=True)
class Failure:
    """A contender that did not run, or whose answer was wrong."""

    group: str
    contender: str
    error: Exception


@dataclass(frozen=True)
class _Task:
    """A group to measure: its name, the information that all rows share, and who takes part."""

    kind: str
    row: str
    dtype: str
    make: Callable[[], list[contenders.Contender]]
    info: Callable[[], dict[str, Any]]


def tasks(only: Sequence[str] = (), threads: int = 1) -> list[_Task]:
    """Return the groups whose names contain one of the words of `only`; by default all."""
    found = [
        _step(step, dtype)
        for dtype in steps.DTYPES
        for step in steps.STEPS
        if not only or any(word.lower() in step.name.lower() for word in only)
    ]
    found += [
        _network(work, threads)
        for work in networks.WORKS
        if not only or any(word.lower() in work.name.lower() for word in only)
    ]
    return found + [
        _latency(work)
        for work in latency.LATENCIES
        if not only or any(word.lower() in f"{work.name}, latency" for word in only)
    ]


def measure(
    found: Sequence[_Task],
    *,
    seconds: float = 0.05,
    rounds_at_least: int = 3,
    advance: Callable[[str], None] = lambda name: None,
) -> tuple[Run, list[Failure]]:
    """Measure groups one after the other.

    Parameters
    ----------
    found : list
        From :func:`tasks`.
    seconds : float
        For each contender of each group.
    rounds_at_least : int
        Turns of each contender.
    advance : callable
        Called with the name of a group before it is measured.
    """
    rows: list[Row] = []
    failures: list[Failure] = []
    about = describe()
    for task in found:
        name = f"{task.row}, {task.dtype}"
        advance(name)
        if task.kind == "latency":
            group = rounds.measure_calls(task.make(), CALLS)
        else:
            group = rounds.measure(task.make(), seconds, rounds_at_least)
        shared = task.info() | group.info(task.dtype)
        for contender, timing in group.timings.items():
            if timing.error is not None:
                failures.append(Failure(name, contender, timing.error))
                continue
            info = shared | timing.info
            took = median(timing.samples)
            rows.append(Row(task.kind, task.row, task.dtype, contender, took, info))
    return Run(rows, about), failures


def describe() -> dict[str, Any]:
    """Return the machine, its limits, and the versions of what was measured on it."""
    limits = machine.probe(memory=True)
    versions = f"lenet_fast {__version__}, NumPy {np.__version__}"
    if contenders.installed("torch"):
        import torch

        versions += f", PyTorch {torch.__version__}"
    about: dict[str, Any] = {**machine.describe(), "versions": versions}
    about["date"] = time.strftime("%Y-%m-%d")
    about["probe"] = machine.missing() or "compiled"
    for name in ("float32", "float64", "bandwidth"):
        about[name] = getattr(limits, name, None)
    return about


def _step(step: steps.Step, dtype: str) -> _Task:
    def make() -> list[contenders.Contender]:
        _pytorch_threads(1)
        case = steps.case(step.name, dtype)
        return [contenders.make(name, case) for name in contenders.names(step) if _usual(name)]

    def info() -> dict[str, Any]:
        case = steps.case(step.name, dtype)
        return {"batch": case.batch, "threads": 1, "flops": case.flops, "bytes": case.bytes}

    return _Task("step", step.name, dtype, make, info)


def _network(work: networks.Work, threads: int) -> _Task:
    def make() -> list[contenders.Contender]:
        chosen = [name for name in networks.names(work.batch) if _usual(name)]
        quick = [name for name in chosen if not name.endswith("compile")]  # that takes a minute
        return [networks.make(name, work, threads) for name in quick]

    info = {"batch": work.batch, "images": work.images, "threads": threads, "flops": work.flops}
    return _Task("network", work.name, "float32", make, lambda: info)


def _latency(work: networks.Work) -> _Task:
    def make() -> list[contenders.Contender]:
        return [latency.make(name, work) for name in latency.names() if _usual(name)]

    return _Task("latency", work.name, "float32", make, lambda: {"threads": 1})


def _usual(name: str) -> bool:
    """Return whether a contender is no instruction set that one would have to ask for."""
    if "cython" not in name.split():
        return True
    module = backends.get("cython")
    return not set(name.split()) & {*module.instruction_sets()} - {module.isa()}


def _pytorch_threads(threads: int) -> None:
    if contenders.installed("torch"):
        import torch

        torch.set_num_threads(threads)
