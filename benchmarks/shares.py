"""Shares of the core's peak: LeNet-5 in training and evaluation, by instruction set.

python -m benchmarks.shares [--network 1998|plain] [--seconds N]

One thread. For each instruction set of the compiled kernels that this CPU has, training in batches
of 256, training at batch 1 and evaluation of 1,000 images take turns with a C program that measures
the peak of the same instruction set, multiply-adds only. A share is the median over the turns, each
compared with the peak of its own turn, because a shared machine's clock changes from second to
second. Every answer is checked first.
"""

from __future__ import annotations

import argparse
import dataclasses
from statistics import median

from lenet_fast import backends
from lenet_fast.bench import machine, rounds, workloads
from lenet_fast.bench.rounds import Contender

WORKS = ("training, batch 256", "training, batch 1", "evaluation, batch 1000")


def shares(isa: str, network: str, seconds: float) -> tuple[float, list[float]]:
    """Return the median peak in operations per second, and the share that each of WORKS gets."""
    works = [workloads.BY_NAME[f"{'' if network == '1998' else 'plain: '}{name}"] for name in WORKS]
    made = []
    for work in works:
        engine = "online" if work.batch == 1 else "lanes"
        contender = workloads.make(f"{engine} cython {isa}", work, 1)
        made.append(dataclasses.replace(contender, name=work.name))
    probes: list[float] = []

    def probe() -> None:
        if (limits := machine.probe(isa=isa)) is not None:
            probes.append(limits.float32)

    group = rounds.measure([*made, Contender("peak", probe, lambda _: None)], seconds)
    if not probes:
        raise SystemExit(f"no peak: {machine.missing()}")
    peaks = probes[-len(group.timings["peak"].samples) :]  # those before were not timed
    found = []
    for work in works:
        timing = group.timings[work.name]
        if timing.error is not None:
            raise SystemExit(f"{isa}: {timing.error}")
        turns = zip(timing.samples, peaks, strict=False)  # who is done first takes fewer
        found.append(median(work.flops / took / peak for took, peak in turns))
    return median(peaks), found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shares", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--network", choices=workloads.NETWORKS, default="plain", help="which (plain)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each (3)")
    options = parser.parse_args(arguments)
    state = backends.available()["cython"]
    if not state.usable:
        raise SystemExit(f"no compiled kernels: {state.detail}")
    print(f"| instruction set | Gflop/s | {' | '.join(WORKS)} |")
    print("|---|---:|" + "---:|" * len(WORKS))
    for isa in backends.get("cython").instruction_sets()[::-1]:
        peak, found = shares(isa, options.network, options.seconds)
        print(f"| {isa} | {peak / 1e9:.0f} | {' | '.join(f'{share:.0%}' for share in found)} |")


if __name__ == "__main__":
    main()
