"""The notebooks' functions at LeNet-5's shapes, at batch 256: drop_in, and the published ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from benchmarks import notebooks, operations
from benchmarks.notebooks import TRAINING
from benchmarks.operations import BATCH, DTYPES, STEPS
from benchmarks.scheduler import Scheduler, clock
from lenet_fast.bench.rounds import Contender

THREADS = int(os.environ.get("LENET_FAST_BENCH_THREADS", "1"))
"""Our threads; with more than one, NumPy's matrix products use as many as they like."""

CASES = [
    pytest.param((step.name, dtype), name, id=f"{step.name}-{dtype}-{name}")
    for step in STEPS
    for dtype in DTYPES
    for name in notebooks.names(step)
]
CASES += [
    pytest.param((TRAINING, dtype), name, id=f"{TRAINING}-{dtype}-{name}")
    for dtype in DTYPES
    for name in ("modified", "drop_in")
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
    make: Callable[[str], Contender]
    if step == TRAINING:
        make = partial(notebooks.training, dtype=dtype, count=THREADS)
        info: dict[str, Any] = {"kind": "front end", "ours": contender == "drop_in"}
        info["images"] = BATCH
    else:
        case = operations.case(step, dtype)
        make = partial(notebooks.make, case=case, count=THREADS)
        info = {"kind": "drop_in", "shape": list(case.shape), "flops": case.flops}
    timing, timings = scheduler.timing(request, group, contender, make)
    report(
        timing,
        timings,
        dtype,
        row=step,
        contender=contender,
        batch=BATCH,
        threads=THREADS,
        **info,
    )
