"""The notebooks' functions at LeNet-5's shapes, at batch 256: drop_in, and the published ones."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks import notebooks
from benchmarks.scheduler import Scheduler, clock
from lenet_fast.bench import steps
from lenet_fast.bench.steps import BATCH, DTYPES, STEPS

THREADS = int(os.environ.get("LENET_FAST_BENCH_THREADS", "1"))
"""Of ours; with more than one, NumPy's matrix products take as many as they like."""

CASES = [
    pytest.param((step.name, dtype), name, id=f"{step.name}-{dtype}-{name}")
    for step in STEPS
    if notebooks.known(step)
    for dtype in DTYPES
    for name in notebooks.NAMES
]


@pytest.mark.parametrize(("group", "contender"), CASES)
@pytest.mark.benchmark(timer=clock)
def test_drop_in(
    group: tuple[str, str],
    contender: str,
    benchmark: Any,
    report: Any,
    scheduler: Scheduler,
    request: pytest.FixtureRequest,
) -> None:
    step, dtype = group
    benchmark.group = f"drop_in: {step}, {dtype}"
    case = steps.case(step, dtype)
    timing, timings = scheduler.timing(
        request, group, contender, lambda name: notebooks.make(name, case, THREADS)
    )
    report(
        timing,
        timings,
        dtype,
        kind="drop_in",
        row=step,
        contender=contender,
        batch=BATCH,
        shape=list(case.shape),
        threads=THREADS,
        flops=case.flops,
    )
