"""The latency of one image: median and 99th percentile of single calls, in microseconds.

python -m benchmarks.latency [--network 1998|plain] [--calls N]

Ours (``Network.predict``, with each backend and instruction set), PyTorch, onnxruntime and
TensorFlow Lite, if installed, each on one thread. Input and output are NumPy arrays; the image is
prepared. All must give the right outputs first. They take turns of a few hundred calls, so that all
of them experience the machine's good and bad moments; the first calls of a turn do not count.
"""

from __future__ import annotations

import argparse
from statistics import median

from benchmarks import peers
from benchmarks.arguments import positive
from lenet_fast.bench import rounds, tables, workloads
from lenet_fast.bench.rounds import Contender
from lenet_fast.bench.workloads import Work

PEERS = ("PyTorch eager", "onnxruntime", "TensorFlow Lite")


def names(work: Work) -> list[str]:
    """Return the names of the available contenders; ours first."""
    return [*workloads.latency_names(), *(name for name in peers.names(work) if name in PEERS)]


def make(name: str, work: Work) -> Contender:
    """Return one of them, on one thread."""
    return peers.make(name, work, 1) if name in PEERS else workloads.latency(name, work)


def measure(work: Work, calls: int) -> list[tables.Row]:
    """Return the timings of each contender's calls; raise if one is wrong."""
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
    parser.add_argument(
        "--calls", type=positive, default=rounds.CALLS, help=f"of each ({rounds.CALLS})"
    )
    options = parser.parse_args(arguments)
    works = [work for work in workloads.LATENCIES if options.network in (None, work.network)]
    rows = [row for work in works for row in measure(work, options.calls)]
    print(tables.latencies(rows, "PyTorch"))


if __name__ == "__main__":
    main()
