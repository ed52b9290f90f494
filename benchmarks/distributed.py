"""One training by several MPI processes of one thread each, and by one process
with one thread and with one for each of theirs.

    mpiexec -n 2 python -m benchmarks.distributed [--batches 32 128 512 2048 4096] [--images 16384]

All train LeNet-5 (max pooling, ReLU, softmax) on digits of the bundled sample, in turns, and must
end with the same bits. The last columns are what the processes tell each other in a step: its time
when nobody has to wait for the gradients of another, and the share of a step's time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.arguments import positive
from lenet_fast import data, engines, losses, models
from lenet_fast.checks import Array
from lenet_fast.engines import tile
from lenet_fast.engines.ranks import RanksEngine
from lenet_fast.network import Network
from lenet_fast.training import SGD, Ranks


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=positive, nargs="+", default=[32, 128, 512, 2048, 4096])
    parser.add_argument("--images", type=positive, default=16_384)
    parser.add_argument("--rounds", type=positive, default=5)
    options = parser.parse_args(arguments)
    ranks = Ranks()
    if ranks.size == 1:
        raise SystemExit("start it with: mpiexec -n 2 python -m benchmarks.distributed")
    train = data.load("sample").train
    order = np.random.default_rng(0).integers(0, len(train), options.images)
    ways = {"1 x 1": 1, f"1 x {ranks.size}": ranks.size, f"{ranks.size} x 1": None}
    if ranks.rank == 0:
        heads = "".join(f"{name:>9}" for name in ways)
        print(f"{'batch':<7}{heads} images/s{'ratio':>7}{'exchange':>12}{'share':>8}")
    for batch in options.batches:
        best = dict.fromkeys(ways, np.inf)
        for _ in range(options.rounds):  # in turns, so that all see the machine's good moments
            bits = []
            for name, threads in ways.items():
                if threads is None or ranks.rank == 0:
                    seconds, weights = _pass(train, order, batch, ranks, threads)
                    best[name] = min(best[name], seconds)
                    bits.append(weights)
                ranks.link.all_come(None)  # those who wait sleep
            for other in bits[1:]:
                if not all(map(np.array_equal, bits[0], other)):
                    raise SystemExit("other bits")
        exchange = _exchange(ranks, batch)
        if ranks.rank == 0:
            rates = [options.images / best[name] for name in ways]
            cells = "".join(f"{rate:>9,.0f}" for rate in rates)
            share = exchange * rates[-1] / batch
            print(
                f"{batch:<7}{cells}{rates[-1] / rates[-2]:>16.2f}{1e6 * exchange:>9.0f} us"
                f"{100 * share:>6.0f} %",
                flush=True,
            )


def _network() -> Network:
    return models.lenet5(pooling="max", activation="relu", output="softmax")


def _pass(
    train: data.Dataset, order: Array, batch: int, ranks: Ranks, threads: int | None
) -> tuple[float, list[Array]]:
    """Train on some images in this process, or without a number of threads in all; return the
    seconds and the weights."""
    network, loss, optimiser = _network(), losses.CrossEntropy(), SGD(momentum=0.9)
    if threads is None:
        engine: engines.Engine = RanksEngine(network, loss, ranks, threads=1)
    else:
        engine = engines.create(network, loss, engine="lanes", threads=threads)
    engine.train(train.images, train.labels, order[:batch], batch, optimiser, 0.01)
    started = time.perf_counter()
    engine.train(train.images, train.labels, order, batch, optimiser, 0.01)
    seconds = time.perf_counter() - started
    engine.close()
    return seconds, list(network.parameters.values())


def _exchange(ranks: Ranks, batch: int, times: int = 200) -> float:
    """Return the median seconds of what the processes tell each other in a step."""
    network, link = _network(), ranks.link
    trained = sum(network.parameters[name].size for name in network.trainable_names)
    lanes = RanksEngine(network, losses.CrossEntropy(), ranks, threads=1)._cut
    count = len(tile.blocks_of(0, batch, lanes))
    blocks = tile.cuts(count, ranks.size)
    parts = tile.cuts(trained, ranks.size, tile.ALIKE)
    gradients, totals = np.zeros((count, trained), network.dtype), np.zeros((count, 2))
    parameters, seconds = np.zeros(trained, network.dtype), []
    for _ in range(times):
        started = time.perf_counter()
        link.exchange(gradients, totals, blocks, parts)
        link.spread(parameters, parts)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
