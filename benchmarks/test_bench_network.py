"""The whole network, that of 1998 and the plain one: training, evaluation, one image at a time."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks import peers
from benchmarks.scheduler import Scheduler, clock
from lenet_fast.bench import workloads
from lenet_fast.bench.rounds import Contender
from lenet_fast.bench.workloads import BY_NAME, WORKS

THREADS = int(os.environ.get("LENET_FAST_BENCH_THREADS", "1"))
"""Threads of all contenders; single steps always use one."""

CASES = [
    pytest.param(work.name, name, id=f"{work.name}-{name}")
    for work in WORKS
    for name in [*workloads.names(work.batch), *peers.names(work)]
]


@pytest.mark.parametrize(("group", "contender"), CASES)
@pytest.mark.benchmark(timer=clock)
def test_network(
    group: str,
    contender: str,
    benchmark: Any,
    report: Any,
    scheduler: Scheduler,
    request: pytest.FixtureRequest,
) -> None:
    benchmark.group = f"{group}, float32"
    work = BY_NAME[group]

    def make(name: str) -> Contender:
        source = peers if name in peers.names(work) else workloads
        return source.make(name, work, THREADS)

    timing, timings = scheduler.timing(request, group, contender, make)
    report(
        timing,
        timings,
        "float32",
        kind="network",
        row=group,
        contender=contender,
        batch=work.batch,
        images=work.images,
        shape=[work.batch, 1, 32, 32],
        threads=THREADS,
        flops=work.flops,
    )
