"""One image, a call at a time, on one thread: see latency.py."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import pytest

from benchmarks import latency
from benchmarks.scheduler import Scheduler, clock
from lenet_fast.bench import rounds
from lenet_fast.bench.workloads import BY_NAME, LATENCIES

CALLS = int(os.environ.get("LENET_FAST_BENCH_CALLS", rounds.CALLS))
"""Calls per contender; rounds and seconds have no effect here."""

CASES = [
    pytest.param(work.name, name, id=f"{work.name}-{name}")
    for work in LATENCIES
    for name in latency.names(work)
]


@pytest.mark.parametrize(("group", "contender"), CASES)
@pytest.mark.benchmark(timer=clock)
def test_latency(
    group: str,
    contender: str,
    benchmark: Any,
    report: Any,
    scheduler: Scheduler,
    request: pytest.FixtureRequest,
) -> None:
    benchmark.group = f"{group}, float32, single calls"
    work = BY_NAME[group]
    measure = partial(rounds.measure_calls, calls=CALLS)
    make = partial(latency.make, work=work)
    timing, timings = scheduler.timing(request, group, contender, make, measure)
    report(
        timing,
        timings,
        "float32",
        kind="latency",
        row=group,
        contender=contender,
        batch=1,
        images=1,
        shape=[1, 1, 32, 32],
        threads=1,
        flops=work.flops,
    )
