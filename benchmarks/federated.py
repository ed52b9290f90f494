"""Federated rounds: our clients beside PyTorch's, in Flower's simulation and without it.

    python -m benchmarks.federated [--dataset mnist] [--clients 100] [--per-round 10] ...

Each client trains LeNet-5 (max pooling, ReLU, softmax) on its share of the digits in batches of
ten, on one thread; as many train at once as there are `--threads`. All ways have the same shares,
batches and weights; before anything is timed, a round of a client is compared between ours and
PyTorch. An idle client returns what it gets, so that its time is that of Flower and Ray. Times are
the least of all rounds, without Flower's start, and without the first round, in which processes
start and read the data. CPU times are those of all processes; the ratio is theirs. PyTorch's
clients keep all images as tensors that are ready.

Without Flower (`pip install '.[federated]'`) or PyTorch it leaves out their rows.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import data, federated, models, threads
from lenet_fast.network import Network
from lenet_fast.training import train_many
from lenet_fast.training.batches import shuffled

BATCH, RATE, MOMENTUM = 10, 0.01, 0.9


class Job(NamedTuple):
    """What the clients train."""

    dataset: str
    clients: int
    epochs: int


class Spent(NamedTuple):
    """Seconds on the clock, and of all cores in this process and those that it has started."""

    wall: float
    work: float

    @classmethod
    def now(cls) -> Spent:
        """Return the time so far."""
        import psutil

        work, here = 0.0, psutil.Process()
        for process in (here, *here.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                work += sum(process.cpu_times()[:2])
        return cls(time.perf_counter(), work)

    def since(self) -> Spent:
        """Return the time since then."""
        return Spent(*(now - then for now, then in zip(Spent.now(), self, strict=True)))


def network() -> Network:
    """Return the network that all ways train."""
    return models.lenet5(pooling="max", activation="relu", output="softmax", connections="full")


def load(dataset: str) -> data.Dataset:
    """Return the images of all clients."""
    return data.load(dataset).train  # type: ignore[arg-type]  # load refuses other names


def options(job: Job) -> dict[str, Any]:
    """Return the options of a client's trainer."""
    return {"batch_size": BATCH, "schedule": RATE, "epochs": job.epochs}


@functools.cache
def pytorch_clients(job: Job) -> PyTorchClients:
    """Return the clients of this process."""
    return PyTorchClients(job)


class PyTorchClients:
    """The clients of a process: one module, and all images as tensors, prepared once."""

    def __init__(self, job: Job) -> None:
        import torch

        from lenet_fast.torch import to_torch

        torch.set_num_threads(1)
        self._torch, self._job = torch, job
        digits = load(job.dataset)
        self._shares = federated.partition(digits.labels, job.clients)
        self._x = torch.from_numpy(data.prepare(digits.images))
        self._labels = torch.from_numpy(digits.labels.astype(np.int64))
        self._module = to_torch(network())

    def fit(self, client: int, weights: list[np.ndarray[Any, Any]], turn: int) -> list[Any]:
        """Train for one round, with the batches of ours."""
        torch, job, share = self._torch, self._job, self._shares[client]
        parameters = list(self._module.parameters())
        with torch.no_grad():
            for parameter, array in zip(parameters, weights, strict=True):
                parameter.copy_(torch.from_numpy(array))
        optimiser = torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM)
        criterion = torch.nn.CrossEntropyLoss()
        for epoch in range(1, job.epochs + 1):
            order = torch.from_numpy(share[shuffled(len(share), turn, epoch)])
            for chosen in order.split(BATCH):
                optimiser.zero_grad()
                criterion(self._module(self._x[chosen]), self._labels[chosen]).backward()
                optimiser.step()
        return [parameter.detach().numpy().copy() for parameter in parameters]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--clients", type=positive, default=100)
    parser.add_argument("--per-round", type=positive, default=10)
    parser.add_argument("--rounds", type=positive, default=3, help="that are timed, of each way")
    parser.add_argument("--repeats", type=positive, default=2, help="of all ways, in turns")
    parser.add_argument("--epochs", type=positive, default=1)
    parser.add_argument("--threads", type=positive, default=threads.default_threads())
    given = parser.parse_args(arguments)
    job = Job(given.dataset, given.clients, given.epochs)
    seconds: dict[str, Spent] = {}
    ways = _ways(job, given.per_round, given.rounds, given.threads)
    for _ in range(given.repeats):  # in turns, so that all see the machine's good and bad moments
        for name, way in ways.items():
            spent = [*way(), *([seconds[name]] if name in seconds else [])]
            seconds[name] = Spent(*map(min, zip(*spent, strict=True)))
    images = len(load(job.dataset)) // job.clients
    print(
        f"{given.per_round} of {job.clients} clients a round, {images} images each, "
        f"{job.epochs} epochs, batches of {BATCH}, {given.threads} at once\n"
    )
    print(f"{'':<22}{'clients/s':>11}{'ms a client':>13}{'CPU ms a client':>17}{'ratio':>8}")
    first = next(iter(seconds.values()))
    for name, spent in seconds.items():
        wall, work = (1000 * each / given.per_round for each in spent)
        ratio = spent.work / first.work if first.work else math.nan  # counted in 10 ms or so
        print(f"{name:<22}{1000 / wall:>11.1f}{wall:>13.1f}{work:>17.1f}{ratio:>8.2f}")


def _ways(
    job: Job, per_round: int, rounds: int, at_once: int
) -> dict[str, Callable[[], list[Spent]]]:
    """Return by name what returns the time of each round."""
    digits, start = load(job.dataset), network()
    shares = federated.partition(digits.labels, job.clients)

    def many() -> list[Spent]:
        took = []
        for turn in range(1, rounds + 1):
            chosen = random.Random(turn).sample(range(job.clients), per_round)
            jobs = [(shares[client], turn) for client in chosen]
            started = Spent.now()
            weights = [
                run.network.get_weights()
                for run in train_many(
                    *(start, digits, digits.subset(1), jobs), threads=at_once, **options(job)
                )
                if run.network is not None
            ]
            _ = [np.mean(arrays, axis=0) for arrays in zip(*weights, strict=True)]
            took.append(started.since())
        return took

    ways: dict[str, Callable[[], list[Spent]]] = {"lenet_fast": many}
    if installed("torch"):
        verify(job, digits, shares[0])
        ways["PyTorch"] = lambda: _pytorch(job, per_round, rounds, at_once)
    if not installed("flwr"):
        return ways
    from benchmarks import flower_clients

    apps = {"lenet_fast": flower_clients.ours, "PyTorch": flower_clients.pytorch}
    for name, app in {**{each: apps[each] for each in ways}, "idle": flower_clients.idle}.items():
        ways[f"Flower, {name}"] = functools.partial(
            _simulated, app, job, per_round, rounds, at_once
        )
    return ways


def verify(job: Job, digits: data.Dataset, share: Any) -> None:
    """Raise unless a round of PyTorch's client ends near ours."""
    mine = data.Dataset(digits.images[share], digits.labels[share])
    start = network().get_weights()
    client = federated.Client(network(), mine, **options(job))
    expected, _, _ = client.fit(start, {"server_round": 1})
    found = PyTorchClients(job).fit(0, start, 1)
    for name, one, other, before in zip(network().parameters, expected, found, start, strict=True):
        way = np.abs(one - before).max()
        if not np.abs(one - other).max() < 0.05 * way:
            raise SystemExit(f"{name}: PyTorch's client does not learn what ours does")


def _pytorch(job: Job, per_round: int, rounds: int, at_once: int) -> list[Spent]:
    """Return the times of rounds of PyTorch's clients in processes, without Flower."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    start, took = network().get_weights(), []
    with ProcessPoolExecutor(at_once, get_context("spawn")) as pool:
        for turn in range(rounds + 1):
            chosen = random.Random(turn).sample(range(job.clients), per_round)
            started = Spent.now()
            futures = [pool.submit(_fit_pytorch, job, each, start, turn) for each in chosen]
            weights = [future.result() for future in futures]
            _ = [np.mean(arrays, axis=0) for arrays in zip(*weights, strict=True)]
            took.append(started.since())
    return took[1:]


def _fit_pytorch(job: Job, client: int, weights: list[Any], turn: int) -> list[Any]:
    return pytorch_clients(job).fit(client, weights, turn)


def _simulated(
    app: Callable[[Job], Any], job: Job, per_round: int, rounds: int, at_once: int
) -> list[Spent]:
    """Return the times of the rounds of a simulation, the first one left out."""
    from flwr.app import ArrayRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    took: list[Spent] = []
    begun: list[Spent] = []

    class Timed(FedAvg):  # type: ignore[misc]  # Flower has no types where it is missing
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            if any(reply.has_error() for reply in replies):
                raise SystemExit(f"a client failed: {replies[0].error}")
            found = super().aggregate_train(server_round, replies)
            took.extend(each.since() for each in begun)
            begun[:] = [Spent.now()]
            return found

    server = ServerApp()

    @server.main()
    def main(grid: Any, context: Any) -> None:
        strategy = Timed(
            fraction_train=per_round / job.clients,
            fraction_evaluate=0,
            min_available_nodes=job.clients,
        )
        strategy.start(grid, ArrayRecord(network().get_weights()), num_rounds=rounds + 1)

    resources = {"num_cpus": 1, "num_gpus": 0.0}
    config = {"client_resources": resources, "init_args": {"num_cpus": at_once}}
    run_simulation(server, app(job), num_supernodes=job.clients, backend_config=config)
    return took


if __name__ == "__main__":
    # Read when Flower and Ray are imported: nothing is reported over the network.
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    main()
