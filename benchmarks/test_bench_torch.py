"""PyTorch's front end on one thread, compared with PyTorch's own training.

``fit`` trains an ``nn.Sequential`` of PyTorch's modules with the lane engine, at batch 256, with a
loader of tensors; ``script`` does so at batch 64, with a loader as in scripts: torchvision's MNIST,
whose images the loop transforms one by one; ``wrap`` is the same module in a loop on tensors, at
batch 64, wrapped or not; ``modules`` are ours in an ordinary loop at batch 256, for the network of
1998, compared with the same network in PyTorch's operations.
"""

from __future__ import annotations

import functools
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contenders, pytorch_network, vision
from benchmarks.scheduler import Scheduler, clock
from lenet_fast import counts, models
from lenet_fast.bench import workloads
from lenet_fast.bench.rounds import Contender, compare

BATCH, RATE = 256, 0.02
BATCHES = {"fit": BATCH, "script": 64, "wrap": 64, "modules": BATCH}
WORK = workloads.BY_NAME["training, batch 256"]

CASES = [
    pytest.param(group, name, id=f"{group}-{name}")
    for group, ours in {"fit": ".fit", "script": ".fit", "wrap": ".wrap", "modules": ""}.items()
    for name in (f"lenet_fast.torch{ours}", "PyTorch eager")
    if contenders.installed("torchvision" if group == "script" else "torch")
]


def plain() -> Any:
    """Return LeNet-5 as it is usually written today."""
    return models.lenet5(pooling="max", connections="full", activation="relu", output="softmax")


@functools.cache
def pictures() -> Any:
    """Return torchvision's MNIST with the usual transforms; its pictures are random."""
    torchvision = vision.torchvision()
    transforms = torchvision.transforms
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    with tempfile.TemporaryDirectory() as folder:
        vision.write_mnist(Path(folder), WORK.images, 1, size=32)
        return torchvision.datasets.MNIST(folder, transform=usual)


class Trained:
    """A PyTorch module, its data and its optimizer."""

    def __init__(self, group: str = "fit") -> None:
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        from lenet_fast.torch import to_torch

        torch.set_num_threads(1)
        _, x, labels = workloads.examples(WORK.images)
        data = TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))
        self.batches = list(
            zip(*(each.split(BATCHES["wrap"]) for each in data.tensors), strict=True)
        )
        if group == "script":
            data = pictures()
        self.loader = DataLoader(
            *(data, BATCHES[group]), shuffle=True, generator=torch.Generator().manual_seed(0)
        )
        self.module = to_torch(plain())
        self.criterion = torch.nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(
            self.module.parameters(), lr=RATE, momentum=workloads.MOMENTUM
        )

    def weights(self) -> tuple[Any, ...]:
        return tuple(tensor.numpy().copy() for tensor in self.module.state_dict().values())

    def loop(self, batches: Any = None) -> tuple[Any, ...]:
        """Train with PyTorch's loop, by default over the loader; return the weights."""
        dtype = next(self.module.parameters()).dtype
        for x, labels in self.loader if batches is None else batches:
            self.optimizer.zero_grad()
            self.criterion(self.module(x.to(dtype)), labels).backward()
            self.optimizer.step()
        return self.weights()

    def fit(self) -> tuple[Any, ...]:
        """Train with our engine; return the weights."""
        from lenet_fast.torch import fit

        fit(
            *(self.module, self.loader),
            criterion=self.criterion,
            optimizer=self.optimizer,
            threads=1,
        )
        return self.weights()


@functools.cache
def expected(group: str) -> tuple[Any, ...]:
    """Return the weights after the first epoch of PyTorch's loop; of "wrap", in float64."""
    if group == "wrap":
        trained = Trained()
        trained.module.double()
        return trained.loop(trained.batches)
    return Trained(group).loop()


def make_fit(name: str, group: str = "fit") -> Contender:
    trained = Trained(group)
    run = trained.loop if name == "PyTorch eager" else trained.fit

    def check(found: tuple[Any, ...]) -> None:
        compare(name, found, expected(group), "float32")

    return Contender(name, run, check)


def make_wrap(name: str) -> Contender:
    trained, exact = Trained(), Trained()
    exact.module.double()
    if name != "PyTorch eager":
        from lenet_fast.torch import wrap

        wrap(trained.module, threads=1)
        wrap(exact.module, threads=1)

    def check(found: tuple[Any, ...]) -> None:
        """Compare all weights in float64: in float32, two pixels of a window can change places. The
        weights of the last layer do not show it."""
        compare(name, exact.loop(exact.batches), expected("wrap"), "float64")
        compare(name, found[-2:], expected("wrap")[-2:], "float32")

    return Contender(name, lambda: trained.loop(trained.batches), check)


def make_modules(name: str) -> Contender:
    if name == "PyTorch eager":
        return pytorch_network.contender(name, WORK, 1)
    import torch

    from lenet_fast.torch import MAPLoss, to_torch

    torch.set_num_threads(1)
    network, loss, rate = workloads.fresh(WORK.network, BATCH)
    module, criterion = to_torch(network), MAPLoss(loss.config()["j"])
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=workloads.MOMENTUM)

    def step(x: Any, labels: Any) -> float:
        optimizer.zero_grad()
        value = criterion(module(torch.from_numpy(x)), torch.from_numpy(labels))
        value.backward()
        optimizer.step()
        return float(value.detach())

    return workloads.contender(name, WORK, step)


MAKERS = {
    "fit": make_fit,
    "script": partial(make_fit, group="script"),
    "wrap": make_wrap,
    "modules": make_modules,
}
ROWS = {
    "fit": "a plain LeNet-5 trained by fit",
    "script": "a plain LeNet-5 trained by fit on torchvision's data",
    "wrap": "a plain LeNet-5, wrapped, in a loop",
    "modules": "our modules of 1998 in a loop",
}


@pytest.mark.parametrize(("group", "contender"), CASES)
@pytest.mark.benchmark(timer=clock)
def test_torch(
    group: str,
    contender: str,
    benchmark: Any,
    report: Any,
    scheduler: Scheduler,
    request: pytest.FixtureRequest,
) -> None:
    benchmark.group = f"torch: {group}, float32"
    timing, timings = scheduler.timing(request, group, contender, MAKERS[group])
    network = workloads.fresh(WORK.network).network if group == "modules" else plain()
    batch = BATCHES[group]
    report(
        timing,
        timings,
        "float32",
        kind="front end",
        row=f"torch: {ROWS[group]}, batch {batch}",
        contender=contender,
        ours=contender != "PyTorch eager",
        batch=batch,
        images=WORK.images,
        shape=[batch, 1, 32, 32],
        threads=1,
        flops=2 * counts.of(network, True) * WORK.images,
    )
