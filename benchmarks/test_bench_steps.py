"""Single steps of LeNet-5, at batch 256 on one thread: ours, the published methods, PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import baselines, contenders, operations
from benchmarks.operations import BATCH, DTYPES, STEPS, Case
from benchmarks.scheduler import Scheduler, clock
from lenet_fast.bench.rounds import Contender

CASES = [
    pytest.param((step.name, dtype), name, id=f"{step.name}-{dtype}-{name}")
    for step in STEPS
    for dtype in DTYPES
    for name in [*contenders.names(step), *baselines.names(step, dtype)]
]


def make(name: str, case: Case) -> Contender:
    if name in contenders.PYTORCH:
        import torch

        torch.set_num_threads(1)
    return baselines.make(name, case) if name in baselines.BATCHES else contenders.make(name, case)


@pytest.mark.parametrize(("group", "contender"), CASES)
@pytest.mark.benchmark(timer=clock)
def test_step(
    group: tuple[str, str],
    contender: str,
    benchmark: Any,
    report: Any,
    scheduler: Scheduler,
    request: pytest.FixtureRequest,
) -> None:
    step, dtype = group
    benchmark.group = f"{step}, {dtype}"
    case = operations.case(step, dtype)
    timing, timings = scheduler.timing(request, group, contender, lambda name: make(name, case))
    report(
        timing,
        timings,
        dtype,
        kind="step",
        row=step,
        contender=contender,
        batch=BATCH,
        shape=list(case.shape),
        threads=1,
        flops=case.flops,
        bytes=case.bytes,
    )
