"""Many small trainings: runs per second of `train_many`, beside a loop of `Trainer.fit`.

    python -m benchmarks.many [--runs 100] [--digits 100] [--epochs 1]

Each run trains LeNet-5 (max pooling, ReLU, softmax) on some digits of the bundled sample, in
batches of ten, and is tested on a hundred. The networks of all ways must have the same bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.arguments import positive
from lenet_fast import data, models, threads
from lenet_fast.network import Network
from lenet_fast.training import Trainer, train_many


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=positive, default=100)
    parser.add_argument("--digits", type=positive, default=100)
    parser.add_argument("--epochs", type=positive, default=1)
    parser.add_argument("--rounds", type=positive, default=3)
    options = parser.parse_args(arguments)
    sample = data.load("sample")
    train, test = sample.train, sample.test.subset(100)
    random = np.random.default_rng(0)
    subsets = [
        random.choice(len(train), options.digits, replace=False) for _ in range(options.runs)
    ]
    start = _network()
    all_threads = threads.default_threads()

    def loop(count: int) -> list[Network]:
        networks = []
        for subset in subsets:
            network = _network()
            digits = data.Dataset(train.images[subset], train.labels[subset])
            trainer = Trainer(network, batch_size=10, threads=count)
            trainer.fit(digits, test, options.epochs, verbose=False)
            networks.append(network)
        return networks

    def many(count: int) -> list[Network | None]:
        jobs = [(subset, 0) for subset in subsets]
        runs = train_many(
            start, train, test, jobs, threads=count, batch_size=10, epochs=options.epochs
        )
        return [run.network for run in runs]

    ways: dict[str, Callable[[], Sequence[Network | None]]] = {
        "loop of fit, 1 thread": lambda: loop(1),
        f"loop of fit, {all_threads} threads": lambda: loop(all_threads),
        "train_many, 1 thread": lambda: many(1),
        f"train_many, {all_threads} threads": lambda: many(all_threads),
    }
    wall = dict.fromkeys(ways, np.inf)
    work = dict.fromkeys(ways, np.inf)
    first: list[np.ndarray] | None = None
    for _ in range(options.rounds):  # in turns, so that all see the machine's good and bad moments
        for name, way in ways.items():
            started, worked = time.perf_counter(), time.process_time()
            networks = way()
            wall[name] = min(wall[name], time.perf_counter() - started)
            work[name] = min(work[name], time.process_time() - worked)
            weights = [each for one in networks if one for each in one.parameters.values()]
            first = first or weights
            if not all(map(np.array_equal, first, weights)):
                raise SystemExit(f"{name}: other bits")
    base = min(wall[name] for name in ways if name.startswith("loop"))
    print(f"{'':<26}{'runs/s':>9}{'CPU ms a run':>15}{'ratio':>8}")
    for name in ways:
        milliseconds = 1000 * work[name] / options.runs
        print(
            f"{name:<26}{options.runs / wall[name]:>9.0f}{milliseconds:>15.2f}"
            f"{base / wall[name]:>8.2f}"
        )


def _network() -> Network:
    return models.lenet5(pooling="max", activation="relu", output="softmax")


if __name__ == "__main__":
    main()
