"""Seconds an epoch takes with each backend, and with PyTorch where it is installed.

python -m benchmarks.epochs [--data DIR] [--images N] [--rounds N] [--batch-size N] ...

The same LeNet-5 (that of 1998), loss, batches and number of threads for all. The contenders take
turns, a share of an epoch each, so that all of them meet the machine's good and bad moments; the
table gives the median over the rounds, scaled to 60,000 images. Training only, no evaluation. The
first losses of all contenders are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_fast import backends, data, engines, losses, models
from lenet_fast.bench import networks
from lenet_fast.bench.networks import MOMENTUM, RATE
from lenet_fast.threads import resolve
from lenet_fast.training import SGD

EPOCH = 60_000

Array = np.ndarray[Any, Any]
Step = Callable[[Array, Array], float]


def ours(backend: str, threads: int) -> Step:
    """Return a training step of the layers engine on one backend."""
    network = models.lenet5()
    loss = losses.default_for(network)
    engine = engines.create(network, loss, engine="layers", backend=backend, threads=threads)
    optimiser = SGD(momentum=MOMENTUM)

    def step(x: Array, labels: Array) -> float:
        totals, gradients = engine.loss_and_gradients(x, labels)
        optimiser.step(network.parameters, gradients, RATE)
        return totals.loss / totals.images

    return step


def pytorch(threads: int) -> Step:
    """Return a training step of PyTorch in eager mode."""
    import torch

    torch.set_num_threads(threads)
    return networks.PyTorch(*networks.fresh()).step


def contenders(threads: int) -> dict[str, Step]:
    """Return a training step of everything that is here."""
    found = {
        name: ours(name, threads) for name, state in backends.available().items() if state.usable
    }
    if importlib.util.find_spec("torch"):
        import torch

        found[f"PyTorch {torch.__version__.split('+')[0]}, eager"] = pytorch(threads)
    return found


def verify(steps: dict[str, Step], x: Array, labels: Array, batch: int) -> None:
    """Let each contender take three steps; raise unless all of them see the same losses."""
    seen = {
        name: [step(x[i : i + batch], labels[i : i + batch]) for i in (0, batch, 2 * batch)]
        for name, step in steps.items()
    }
    expected = seen["numpy"]
    for name, values in seen.items():
        if not np.allclose(values, expected, rtol=1e-4):
            raise SystemExit(f"{name}: expected the losses {expected}, got {values}")


def measure(
    steps: dict[str, Step], images: Array, labels: Array, batch: int, rounds: int
) -> dict[str, list[float]]:
    """Return for each contender the seconds of each round, preparation of the images included."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for first in range(0, len(images), batch):
                x = data.prepare(images[first : first + batch])
                step(x, labels[first : first + batch])
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=__doc__)
    parser.add_argument("--data", help="folder of MNIST's files")
    parser.add_argument("--dataset", default="auto", help="as for lenet-fast train (auto)")
    parser.add_argument("--images", type=int, default=6_000, help="images a round (6000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--batch-size", type=int, default=256, help="images a step (256)")
    parser.add_argument("--threads", type=int, help="threads (the physical cores)")
    options = parser.parse_args()
    threads = resolve(options.threads)
    train = data.load(options.dataset, options.data).train.subset(options.images)
    labels = train.labels.astype(np.int64)
    steps = contenders(threads)
    verify(steps, data.prepare(train.images), labels, options.batch_size)
    seconds = measure(steps, train.images, labels, options.batch_size, options.rounds)
    print(
        f"LeNet-5 of 1998, {train.name}, batch {options.batch_size}, {threads} threads, "
        f"{options.rounds} rounds of {len(train)} images\n"
    )
    print("| | seconds an epoch | images/s | against numpy |\n|---|---|---|---|")
    reference = statistics.median(seconds["numpy"])
    for name, values in sorted(seconds.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(values)
        label = f"{name}, {backends.get(name).describe()}" if name == "cython" else name
        print(
            f"| {label} | {median * EPOCH / len(train):.1f} | {len(train) / median:,.0f} "
            f"| {reference / median:.1f} x |"
        )


if __name__ == "__main__":
    main()
