"""How long one image takes: median and 99th percentile of single calls, in microseconds.

python -m benchmarks.latency [--network 1998|plain] [--calls N]

Ours (``Network.predict``, with each backend and instruction set), PyTorch, onnxruntime and
TensorFlow Lite, as far as they are here, each on one thread. The image is a NumPy array, prepared,
and so is what comes back. All must give the right outputs first. They take turns, some hundred
calls at a time, so that all of them meet the machine's good and bad moments; the first calls of a
turn do not count.
"""

from __future__ import annotations

import argparse
from statistics import median

from benchmarks import peers
from lenet_fast.bench import rounds, tables, workloads
from lenet_fast.bench.rounds import Contender
from lenet_fast.bench.workloads import Work

PEERS = ("PyTorch eager", "onnxruntime", "TensorFlow Lite")


def names(work: Work) -> list[str]:
    """Return the contenders that are here; ours first."""
    return [*workloads.latency_names(), *(name for name in peers.names(work) if name in PEERS)]


def make(name: str, work: Work) -> Contender:
    """Return one of them, on one thread."""
    return peers.make(name, work, 1) if name in PEERS else workloads.latency(name, work)


def measure(work: Work, calls: int) -> list[tables.Row]:
    """Return what the calls of each contender took; raise if one was wrong."""
    group = rounds.measure_calls([make(name, work) for name in names(work)], calls)
    rows = []
    for name, timing in group.timings.items():
        if timing.error is not None:
            raise SystemExit(f"{work.name}: {name}: {timing.error}")
        info = timing.info | group.info("float32")
        took = median(timing.samples)
        rows.append(tables.Row("latency", work.name, "float32", name, took, info))
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--network", choices=workloads.NETWORKS, help="which (both)")
    parser.add_argument("--calls", type=int, default=rounds.CALLS, help=f"of each ({rounds.CALLS})")
    options = parser.parse_args(arguments)
    if options.calls < 1:
        parser.error(f"--calls: expected at least 1, got {options.calls}")
    works = [work for work in workloads.LATENCIES if options.network in (None, work.network)]
    rows = [row for work in works for row in measure(work, options.calls)]
    print(tables.latencies(rows, "PyTorch"))


if __name__ == "__main__":
    main()
