"""Training speed in images/s and seconds per epoch: our engines, PyTorch and TensorFlow.

python -m benchmarks.epochs [--network 1998|plain] [--threads N] [--batch-size N] ...

All available contenders use the same network, loss, batches and number of threads; each prepares
the images, which are bytes, itself. They take turns, a share of an epoch each, so that all of them
experience the machine's good and bad moments. The table shows medians over the rounds, scaled to
60,000 images, the share of the cores' peak, and how many times faster our first engine is. It
covers training only, without evaluation. Before anything is timed, each contender trains for a
round, whose first losses are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks import pytorch_network, tensorflow_network
from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import counts, data
from lenet_fast.bench import machine, workloads
from lenet_fast.bench.tables import percent
from lenet_fast.bench.workloads import Train
from lenet_fast.threads import resolve

EPOCH = 60_000
COMPARED = 3
"""Tolerance of the losses: rounding errors grow with every step."""

Array = np.ndarray[Any, Any]
Runs = Mapping[str, Callable[[], list[float]]]


def ours(name: str, network: str, threads: int, batch: int) -> Train:
    """Return one of our engines, called as the trainer calls it."""
    start = workloads.fresh(network, batch)
    return workloads.trainer(workloads.create(name, start, threads), start.rate)


def pytorch(name: str, network: str, threads: int, batch: int) -> Train:
    """Return PyTorch, one step at a time."""
    import torch

    start = workloads.fresh(network, batch)
    net = pytorch_network.PyTorchNetwork(*start, channels_last=name.endswith("channels_last"))

    def train(images: Array, labels: Array, batch: int) -> list[float]:
        torch.set_num_threads(threads)
        return [
            net.step(data.prepare(images[i : i + batch]), labels[i : i + batch])
            for i in range(0, len(images), batch)
        ]

    return train


def tensorflow(network: str, threads: int, batch: int) -> Train:
    """Return TensorFlow, with all steps in one graph."""
    tf, _ = tensorflow_network.load(threads)
    net = tensorflow_network.TensorFlowNetwork(tf, *workloads.fresh(network, batch))
    loop = tf.function(net.train)

    def train(images: Array, labels: Array, batch: int) -> list[float]:
        x = data.prepare(images).reshape(-1, batch, 32, 32, 1)
        return [float(loss) for loss in loop(x, labels.reshape(-1, batch)).numpy()]

    return train


def contenders(network: str, threads: int, batch: int) -> dict[str, Train]:
    """Return all available contenders that start within a minute; ours first."""
    found = {}
    for name in workloads.names(batch):
        found[name] = ours(name, network, threads, batch)
    for name in pytorch_network.names():
        if not name.endswith("compile"):
            found[name] = pytorch(name, network, threads, batch)
    if installed("tensorflow"):
        found["TensorFlow"] = tensorflow(network, threads, batch)
    return found


def verify(runs: Runs) -> None:
    """Let each contender train for a round; raise unless all start with the same losses."""
    seen = {name: run()[:COMPARED] for name, run in runs.items()}
    expected = seen["layers numpy"]
    for name, values in seen.items():
        if not np.allclose(values, expected, rtol=1e-4):
            raise SystemExit(f"{name}: expected the losses {expected}, got {values}")


def measure(runs: Runs, rounds: int) -> dict[str, float]:
    """Return each contender's median seconds per round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak() -> float | None:
    """Return the current peak of one core in operations per second."""
    limits = machine.probe()
    return None if limits is None else limits.float32


def table(seconds: dict[str, float], images: int, flops: float) -> str:
    """Return the seconds as a Markdown table, the fastest first; `flops` as a share of the peak."""
    first = next(iter(seconds))
    lines = [f"| | seconds per epoch | images/s | of the peak | {first} is faster |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name, took in sorted(seconds.items(), key=lambda item: item[1]):
        share = percent(flops / took if flops else None)
        lines.append(
            f"| {name} | {took * EPOCH / images:.1f} | {images / took:,.0f} | {share} "
            f"| {took / seconds[first]:.2f} x |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=__doc__)
    parser.add_argument("--data", help="folder of MNIST's files")
    parser.add_argument("--dataset", default="auto", help="as for lenet-fast train (auto)")
    parser.add_argument(
        "--network", choices=workloads.NETWORKS, default="1998", help="which (1998)"
    )
    parser.add_argument("--images", type=positive, default=6_144, help="images per round (6144)")
    parser.add_argument("--rounds", type=positive, default=7, help="rounds (7)")
    parser.add_argument("--batch-size", type=positive, default=256, help="images per step (256)")
    parser.add_argument("--threads", type=positive, help="threads (default: one per physical core)")
    options = parser.parse_args()
    threads, batch = resolve(options.threads), options.batch_size
    train = data.load(options.dataset, options.data).train
    images = min(options.images, len(train)) // batch * batch
    if not images:
        raise SystemExit(f"--images: expected at least a batch of {batch}, got {options.images}")
    train = train.subset(images)
    labels = train.labels.astype(np.int64)
    runs = {
        name: partial(run, train.images, labels, batch)
        for name, run in contenders(options.network, threads, batch).items()
    }
    verify(runs)
    before = peak()
    seconds = measure(runs, options.rounds)
    after = peak()
    work = 2 * images * counts.of(workloads.fresh(options.network).network, training=True)
    print(
        f"LeNet-5, {options.network}, {train.name}, batch {batch}, {threads} threads, "
        f"{options.rounds} rounds of {images} images\n"
    )
    mean = (before + after) / 2 if before and after else None
    print(table(seconds, images, work / mean / threads if mean else 0.0))
    if before and after:
        print(f"\nPeak of one core: {before / 1e9:.0f} Gflop/s before, {after / 1e9:.0f} after")


if __name__ == "__main__":
    main()
