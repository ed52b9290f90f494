"""``lenet_fast.torch.fit`` against the loop that it replaces: loaders, criteria, optimizers."""

from __future__ import annotations

import copy
import functools
import logging
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import missing, require

from benchmarks import vision

torch = require("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from torch.utils.data import (  # noqa: E402
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torch_scripts import SCRIPTS  # noqa: E402

from lenet_fast.torch import RBF, MAPLoss, datasets, fit, wrap  # noqa: E402
from lenet_fast.training import TrainingDiverged  # noqa: E402

MEMORY, ONCE, ANEW = "is in memory", "read once", "read anew"


@pytest.fixture(autouse=True)
def seeded(calm_torch: None) -> None:
    """Let the other generators begin anew, too."""
    seed(1998)


def needed() -> Any:
    """Return torchvision, or leave the test out."""
    try:
        return vision.torchvision()
    except ImportError as error:
        missing(f"torchvision cannot be imported: {error}")


def seed(number: int) -> None:
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002  (of which old data sets draw)
    random.seed(number)


def states() -> list[bytes]:
    """Return the states of the global random generators."""
    return [
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()).encode(),  # noqa: NPY002
        repr(random.getstate()).encode(),
    ]


def lenet(size: int = 12, *last: Any, channels: int = 1) -> Any:
    side = (size // 2 - 2) // 2
    return nn.Sequential(
        *(nn.Conv2d(channels, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(4 * side * side, 10), *last),
    ).double()


def sgd(module: Any, **options: Any) -> Any:
    options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, **options}
    return torch.optim.SGD(module.parameters(), **options)


def loop(
    module: Any,
    loader: Any,
    criterion: Any,
    optimizer: Any,
    epochs: int,
    after_batch: Callable[[], object] | None = None,
    after_epoch: Callable[[], object] | None = None,
    masks: Any = None,
) -> list[float]:
    """Train as everyone does; return the losses of all batches."""
    losses = []
    for _ in range(epochs):
        for x, targets in loader:
            optimizer.zero_grad()
            loss = criterion(module(x), targets)
            loss.backward()
            for name, parameter in module.named_parameters():
                if masks and name in masks:
                    parameter.grad *= masks[name]
            optimizer.step()
            losses.append(loss.item())
            if after_batch:
                after_batch()
        if after_epoch:
            after_epoch()
    return losses


def assert_same(ours: Any, theirs: Any, bound: float = 1e-9) -> None:
    """Compare modules or optimizers, by their states."""
    found, expected = ours.state_dict(), theirs.state_dict()
    if "param_groups" in found:
        assert found["param_groups"] == expected["param_groups"]
        found, expected = (
            {(k, name): value for k, each in state["state"].items() for name, value in each.items()}
            for state in (found, expected)
        )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value is not None:
            assert (found[name] - value).abs().max() < bound, name


def images(n: int = 60, size: int = 12, channels: int = 1) -> Any:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(n, channels, size, size, generator=generator, dtype=torch.float64)


def labels(n: int = 60) -> Any:
    return torch.arange(n) * 7 % 10


class Pictures(Dataset):  # type: ignore[type-arg]
    """A data set of the user's, which reads one picture at a time."""

    def __init__(self, n: int = 60, transform: Callable[[Any], Any] | None = None) -> None:
        self.x, self.y, self.transform = images(n).numpy(), labels(n).tolist(), transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, k: int) -> tuple[Any, int]:
        x = torch.from_numpy(self.x[k]) * 2 - 1
        return x if self.transform is None else self.transform(x), self.y[k]


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        yield from zip(images(), labels(), strict=True)


class Listed(Dataset):  # type: ignore[type-arg]
    """Reads many at a time."""

    def __len__(self) -> int:
        return 60

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        return [(images()[k], labels()[k]) for k in numbers]


def flipped(x: Any) -> Any:
    return x.flip(2) if torch.rand(()) < 0.5 else x


def noisy(x: Any) -> Any:
    return x + torch.from_numpy(np.random.normal(0, 0.1, x.shape))  # noqa: NPY002


def brighter(x: Any) -> Any:
    return x + random.random()


def own_noise() -> Callable[[Any], Any]:
    rng = np.random.default_rng(3)
    return lambda x: x + torch.from_numpy(rng.normal(0, 0.1, x.shape))


def tensors() -> Any:
    return TensorDataset(images(), labels())


def collated(batch: list[Any]) -> Any:
    x, y = zip(*batch, strict=True)
    return torch.stack(x) / 2, torch.tensor(y)


def seeded_worker(_: int) -> None:
    random.seed(torch.initial_seed())


def split() -> Any:
    return random_split(Pictures(), [44, 16], generator=torch.Generator().manual_seed(1))[0]


LOADERS: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {
    "tensors": (MEMORY, tensors, {"shuffle": True}),
    "subset": (MEMORY, lambda: Subset(tensors(), range(3, 50)), {"shuffle": True}),
    "both": (MEMORY, lambda: ConcatDataset([tensors(), Subset(tensors(), [1, 2])]), {}),
    "workers": (MEMORY, tensors, {"shuffle": True, "num_workers": 2}),
    "own": (ONCE, Pictures, {"shuffle": True}),
    "own, split": (ONCE, split, {"shuffle": True, "drop_last": True}),
    "own, both": (ONCE, lambda: ConcatDataset([Pictures(), Pictures(20)]), {"shuffle": True}),
    "own, workers": (ONCE, Pictures, {"shuffle": True, "num_workers": 2}),
    "own, seeds of workers": (
        ONCE,
        Pictures,
        {"shuffle": True, "num_workers": 1, "worker_init_fn": seeded_worker},
    ),
    "own, sampler": (ONCE, Pictures, {"sampler": SubsetRandomSampler(range(20, 55))}),
    "weighted": (ONCE, Pictures, {"sampler": WeightedRandomSampler([1.0] * 20 + [2.0] * 40, 50)}),
    "many at a time": (ONCE, Listed, {"shuffle": True}),
    "a list": (ONCE, lambda: list(zip(images(), labels(), strict=True)), {"shuffle": True}),
    "batches of any size": (
        ONCE,
        Pictures,
        {
            "batch_size": 1,
            "batch_sampler": [[0, 1], [2, 3, 4], [5], [6, 7, 8, 9], [10, 11, 12, 13], [14, 15]],
        },
    ),
    "flipped": (ANEW, lambda: Pictures(transform=flipped), {"shuffle": True}),
    "flipped, workers": (ANEW, lambda: Pictures(transform=flipped), {"num_workers": 2}),
    "noisy": (ANEW, lambda: Pictures(transform=noisy), {"shuffle": True}),
    "brighter": (ANEW, lambda: Pictures(transform=brighter), {}),
    "own generator": (ANEW, lambda: Pictures(transform=own_noise()), {"shuffle": True}),
    "stream": (ANEW, Stream, {}),
    "collated": (ANEW, tensors, {"shuffle": True, "collate_fn": collated}),
    "persistent": (
        ANEW,
        Pictures,
        {"shuffle": True, "num_workers": 1, "persistent_workers": True},
    ),
    "batches of any size, anew": (
        ANEW,
        lambda: Pictures(transform=flipped),
        {"batch_size": 1, "batch_sampler": [[0], [1, 2, 3], [4, 5, 6], [7], [8, 9]]},
    ),
    "batches of one": (MEMORY, lambda: Subset(tensors(), range(20)), {"batch_size": 1}),
    "whole batches": (ANEW, lambda: [(images(), labels()), (images()[:9], labels()[:9])], {}),
}


@pytest.mark.parametrize("generator", [False, True], ids=["", "generator"])
@pytest.mark.parametrize("name", LOADERS)
def test_any_loader(name: str, generator: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Weights, optimizer and random generators as the loop leaves them; 20 steps and more."""
    how, make, options = LOADERS[name]
    options = {"batch_size": 8, **options}
    if name == "whole batches":
        options["batch_size"] = None
    ours, found, results = lenet(), [], []
    for run in ("loop", "fit"):
        module = copy.deepcopy(ours)
        optimizer = sgd(module)
        if generator:
            options["generator"] = torch.Generator().manual_seed(8)
        loader = DataLoader(make(), **options)
        seed(3)
        given = (module, loader, nn.CrossEntropyLoss(), optimizer)
        if run == "loop":
            losses = loop(*given, 4)
        else:
            arguments = {"criterion": given[2], "optimizer": optimizer}
            arguments["on_batch_end"] = lambda epoch, batch, loss: found.append(loss)
            if name == "own generator":  # which reading twice would advance
                arguments["materialise"] = False
            with caplog.at_level(logging.INFO, "lenet_fast.torch.fitting"):
                fit(module, loader, **arguments, epochs=3)
                fit(module, loader, **arguments)
        results.append((module, optimizer, states()))
    (theirs, right, expected), (mine, optimizer, after) = results
    assert found == pytest.approx(losses, rel=1e-9)
    assert len(losses) >= 20 or name == "whole batches"
    assert how in caplog.messages[0]
    assert_same(mine, theirs)
    assert_same(optimizer, right)
    assert after == expected
    assert (theirs[0].weight - ours[0].weight).abs().max() > 1e-3


@pytest.mark.parametrize("epochs", [(1, 1), (2,)])
@pytest.mark.parametrize("test", [None, flipped, noisy])
def test_a_random_loader_and_test_data(epochs: tuple[int, ...], test: Any) -> None:
    """Test data draw their numbers after an epoch."""
    results = []
    for ours in (False, True):
        seed(2)
        module, losses = lenet(), []
        optimizer, criterion = sgd(module), nn.CrossEntropyLoss()
        loader = DataLoader(Pictures(transform=flipped), batch_size=8, shuffle=True)
        test_loader = DataLoader(Pictures(20, transform=test), batch_size=8, shuffle=True)
        for count in epochs if ours else range(2):
            if ours:
                given = {"criterion": criterion, "optimizer": optimizer, "test": test_loader}
                losses += [row.test_loss for row in fit(module, loader, **given, epochs=count).rows]
                continue
            loop(module, loader, criterion, optimizer, 1)
            with torch.no_grad():
                total = sum(criterion(module(x), y).item() * len(x) for x, y in test_loader)
            losses.append(total / 20)
        results.append((module, losses, states()))
    (theirs, expected, before), (mine, found, after) = results
    assert_same(mine, theirs)
    assert found == pytest.approx(expected, rel=1e-9)
    assert after == before


def test_what_a_loader_is_read_as(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asked for, or else as its cost says."""

    def note(dataset: Any, **options: Any) -> str:
        module = lenet()
        caplog.clear()
        with caplog.at_level(logging.INFO, "lenet_fast.torch.fitting"):
            fit(
                *(module, DataLoader(dataset, batch_size=20)),
                criterion=nn.CrossEntropyLoss(),
                optimizer=sgd(module),
                **options,
            )
        return caplog.messages[0]

    assert "because there is one epoch" in note(Pictures())
    assert ONCE in note(Pictures(), materialise=True)
    assert "materialise=False" in note(Pictures(), epochs=2, materialise=False)
    assert "materialise=False" in note(tensors(), epochs=2, materialise=False)
    assert "draw random numbers" in note(Pictures(transform=flipped), epochs=2)
    assert "change when they are read again" in note(Pictures(transform=own_noise()), epochs=2)
    for dataset, reason in (
        (Pictures(transform=flipped), "its samples draw random numbers"),
        (Pictures(transform=own_noise()), "its samples change"),
        (Stream(), "an IterableDataset may yield anything"),
    ):
        with pytest.raises(ValueError, match=f"^loader: expected .*{reason}"):
            note(dataset, materialise=True)

    monkeypatch.setattr(datasets, "MOST_BYTES", 1000)
    assert "it takes 0.0 GB; materialise=True keeps" in note(Pictures(), epochs=2)
    assert ONCE in note(Pictures(), materialise=True)


def test_samples_are_read_once_and_kept_for_later_calls_on_demand() -> None:
    reads: list[int] = []

    class Counted(Pictures):
        def __getitem__(self, k: int) -> Any:
            reads.append(k)
            return super().__getitem__(k)

    data, ours, probes = Counted(100), lenet(), 2 * 32
    optimizer = sgd(ours)
    given = {"criterion": nn.CrossEntropyLoss(), "optimizer": optimizer}
    for epochs, materialise, expected in (
        *((3, None, probes + 68), (3, None, probes + 68), (1, None, 100)),
        *((1, True, probes + 68), (1, True, probes), (2, True, probes)),
    ):
        loader = DataLoader(data, batch_size=8, shuffle=True)
        fit(ours, loader, **given, epochs=epochs, materialise=materialise)
        assert len(reads) == expected
        reads.clear()
    data.x *= 0.5
    theirs = copy.deepcopy(ours)
    other = sgd(theirs)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    loop(theirs, DataLoader(data, batch_size=8), nn.CrossEntropyLoss(), other, 1)
    fit(ours, DataLoader(data, batch_size=8), **given, materialise=True)
    assert_same(ours, theirs)


def test_samples_that_turn_out_to_be_random_are_no_silent_matter() -> None:
    class Rare(Pictures):
        def __getitem__(self, k: int) -> Any:
            return (torch.rand(1, 12, 12).double(), 1) if k == 31 else super().__getitem__(k)

    module, dataset = lenet(), Rare(200)
    before = copy.deepcopy(module.state_dict())
    given = {"criterion": nn.CrossEntropyLoss(), "optimizer": sgd(module), "epochs": 2}
    with pytest.raises(ValueError, match=r"^loader: .*pass materialise=False"):
        fit(module, DataLoader(dataset, batch_size=20), **given)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    fit(module, DataLoader(dataset, batch_size=20), **given, materialise=False)


def test_a_data_set_with_a_batch_size_and_batches_that_are_no_loader() -> None:
    batches = [(images()[k : k + 8], labels()[k : k + 8]) for k in range(0, 60, 8)]
    for data, loader, options in (
        (Pictures(), DataLoader(Pictures(), 8, shuffle=True), {"batch_size": 8, "shuffle": True}),
        (Stream(), DataLoader(Stream(), 8), {"batch_size": 8}),
        (batches, batches, {}),
    ):
        theirs = lenet()
        ours = copy.deepcopy(theirs)
        seed(3)
        loop(theirs, loader, functional.cross_entropy, sgd(theirs), 3)
        expected = states()
        seed(3)
        given = {"criterion": nn.CrossEntropyLoss(), "optimizer": sgd(ours), "epochs": 3}
        fit(ours, data, **given, **options)
        assert_same(ours, theirs)
        assert states() == expected
    with pytest.raises(ValueError, match=r"^loader: expected a batch in every epoch"):
        fit(ours, iter(batches), **given)
    for sampler, found in (([], "none"), ([[1, 2], []], "an empty one")):
        loader = DataLoader(tensors(), batch_sampler=sampler)
        with pytest.raises(ValueError, match=f"^loader: expected at least one batch, got {found}"):
            fit(ours, loader, **given)


def test_torchvision(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Plain transforms need no reading; others are read once, and random ones anew."""
    torchvision = needed()
    vision.write_mnist(tmp_path, 50, 10)
    transforms, v2 = torchvision.transforms, torchvision.transforms.v2
    torch.set_default_dtype(torch.float64)  # which ToTensor makes
    to_tensor, normalise = transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))

    def mnist(*steps: Any, **options: Any) -> Any:
        return torchvision.datasets.MNIST(tmp_path, transform=transforms.Compose(steps), **options)

    def gray(*steps: Any) -> Any:
        """Return CIFAR-10 without its files."""
        dataset = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
        dataset.data = np.random.default_rng(1).integers(0, 256, (50, 28, 28, 3), dtype=np.uint8)
        dataset.targets, dataset.target_transform = labels(50).tolist(), None
        dataset.transform = transforms.Compose(steps)
        return dataset

    for how, data in (
        (MEMORY, mnist(to_tensor, normalise)),
        (MEMORY, torchvision.datasets.MNIST(tmp_path, transform=to_tensor)),
        (
            MEMORY,
            mnist(v2.ToImage(), v2.ToDtype(torch.float64, scale=True), v2.Normalize([0.5], [0.5])),
        ),
        (ONCE, mnist(v2.ToImage(), v2.Pad(0), v2.ToDtype(torch.float64, scale=True))),
        (MEMORY, Subset(mnist(to_tensor, normalise), range(40))),
        (MEMORY, gray(to_tensor, transforms.Normalize((0.5, 0.4, 0.3), (0.5, 0.5, 0.6)))),
        (ONCE, mnist(transforms.Resize(32), transforms.CenterCrop(28), to_tensor)),
        (ONCE, mnist(to_tensor, normalise, target_transform=lambda y: (y + 1) % 10)),
        (ONCE, mnist(to_tensor, transforms.Lambda(lambda x: x * 2))),
        (ANEW, mnist(transforms.RandomRotation(10), to_tensor, normalise)),
        (ANEW, mnist(to_tensor, transforms.RandomErasing())),
    ):
        theirs = lenet(28, channels=data[0][0].shape[0])
        ours = copy.deepcopy(theirs)
        loader = DataLoader(data, batch_size=16, shuffle=True)
        seed(3)
        loop(theirs, loader, nn.CrossEntropyLoss(), sgd(theirs), 2)
        expected = states()
        seed(3)
        caplog.clear()
        with caplog.at_level(logging.INFO, "lenet_fast.torch.fitting"):
            fit(ours, loader, criterion=nn.CrossEntropyLoss(), optimizer=sgd(ours), epochs=2)
        assert how in caplog.messages[0]
        assert_same(ours, theirs)
        assert states() == expected


def twins(*last: Any) -> tuple[Any, Any]:
    """Return a module twice; `last` modules are at its end."""
    module = lenet(12, *last)
    return module, copy.deepcopy(module)


def one_hot(on: float = 1.0, off: float = 0.0) -> Any:
    return off + (on - off) * functional.one_hot(labels(), 10).double()


CRITERIA: dict[str, tuple[Any, Any, Any]] = {
    "cross_entropy": (functional.cross_entropy, labels(), ()),
    "nll_loss": (functional.nll_loss, labels(), (nn.LogSoftmax(1),)),
    "mse_loss": (functional.mse_loss, one_hot(0.9, -0.2), (nn.Tanh(),)),
    "smooth": (functools.partial(functional.cross_entropy, label_smoothing=0.2), labels(), ()),
    "logarithm twice": (nn.CrossEntropyLoss(label_smoothing=0.1), labels(), (nn.LogSoftmax(1),)),
    "one-hot": (nn.CrossEntropyLoss(label_smoothing=0.1), one_hot(), ()),
    "equal weights": (nn.CrossEntropyLoss(torch.full((10,), 0.3).double()), labels(), ()),
}


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("anew", [False, True], ids=["memory", "anew"])
def test_criteria(name: str, anew: bool) -> None:
    criterion, targets, last = CRITERIA[name]
    ours, theirs = twins(*last)
    loader = DataLoader(TensorDataset(images(), targets), batch_size=8, shuffle=True)
    seed(3)
    losses, found = loop(theirs, loader, criterion, sgd(theirs), 3), []
    seed(3)
    fit(
        *(ours, loader),
        criterion=criterion,
        optimizer=sgd(ours),
        epochs=3,
        materialise=False if anew else None,
        on_batch_end=lambda epoch, batch, loss: found.append((epoch, batch, loss)),
    )
    assert [loss for _, _, loss in found] == pytest.approx(losses, rel=1e-9)
    assert [(epoch, batch) for epoch, batch, _ in found] == [
        (epoch, batch) for epoch in (1, 2, 3) for batch in range(1, 9)
    ]
    assert_same(ours, theirs)


def groups(module: Any, **options: Any) -> list[dict[str, Any]]:
    """Return the parameters in three groups: of the first layer, the last, and in between."""
    first, *middle, last = module.parameters()
    return [{"params": [first]}, {"params": middle, "lr": 0.02}, {"params": [last], **options}]


GROUPS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda m: torch.optim.SGD(groups(m, lr=0.0), 0.01, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda m: torch.optim.AdamW(groups(m, lr=0.003), 0.01),
    "RMSprop": lambda m: torch.optim.RMSprop(groups(m), 0.001, momentum=0.5),
    "Adadelta": lambda m: torch.optim.Adadelta(groups(m, lr=1.0), 0.5, weight_decay=0.1),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_with_rates_of_their_own(name: str) -> None:
    ours, theirs = twins()
    loader = DataLoader(tensors(), batch_size=8)
    other, optimizer = GROUPS[name](theirs), GROUPS[name](ours)
    right, scheduler = (
        torch.optim.lr_scheduler.ExponentialLR(each, 0.9) for each in (other, optimizer)
    )
    loop(theirs, loader, functional.cross_entropy, other, 3, after_epoch=right.step)
    fit(
        *(ours, loader),
        criterion=functional.cross_entropy,
        optimizer=optimizer,
        epochs=3,
        scheduler=scheduler,
        scheduler_step="epoch",
    )
    assert_same(ours, theirs)
    assert_same(optimizer, other)


def test_an_optimizer_of_some_parameters() -> None:
    ours, theirs = twins()
    loader = DataLoader(tensors(), batch_size=8)
    other, optimizer = sgd(theirs[7]), sgd(ours[7])
    loop(theirs, loader, functional.cross_entropy, other, 3)
    fit(ours, loader, criterion=functional.cross_entropy, optimizer=optimizer, epochs=3)
    assert_same(ours, theirs)
    assert_same(optimizer, other)


schedulers = torch.optim.lr_scheduler
SCHEDULERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "step": ("epoch", lambda o: schedulers.StepLR(o, 2, 0.5)),
    "cosine": ("epoch", lambda o: schedulers.CosineAnnealingLR(o, 5)),
    "in a row": (
        "epoch",
        lambda o: schedulers.SequentialLR(
            o, [schedulers.ConstantLR(o, 0.1, 2), schedulers.ExponentialLR(o, 0.5)], [2]
        ),
    ),
    "lambda": ("batch", lambda o: schedulers.LambdaLR(o, lambda k: 0.97**k)),
    "cycle": ("batch", lambda o: schedulers.OneCycleLR(o, 0.1, 60, cycle_momentum=False)),
    "plateau": ("epoch", lambda o: schedulers.ReduceLROnPlateau(o, patience=0, threshold=0.5)),
}


@pytest.mark.parametrize("by_engines", [True, False], ids=["engines", "beyond"])
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_schedulers(name: str, by_engines: bool) -> None:
    step, make = SCHEDULERS[name]
    ours, theirs = twins()
    other, optimizer = sgd(theirs), sgd(ours)
    right, scheduler = make(other), make(optimizer)
    loader, test = DataLoader(tensors(), batch_size=8), DataLoader(Pictures(20), batch_size=8)
    rates = []

    def epoch_ends() -> None:
        """Evaluate and step, as scripts do."""
        rates.append(other.param_groups[0]["lr"])
        with torch.no_grad():
            losses = [
                functional.cross_entropy(theirs(x), y, reduction="sum").item() for x, y in test
            ]
        if step == "epoch":
            right.step(*[sum(losses) / 20] * (name == "plateau"))

    seed(3)
    after_batch = right.step if step == "batch" else None
    criterion = functional.cross_entropy if by_engines else lambda *y: functional.cross_entropy(*y)
    loop(theirs, loader, criterion, other, 5, after_batch, epoch_ends)
    expected = states()
    seed(3)
    given: Any = {"criterion": criterion, "optimizer": optimizer, "test": test}
    given |= {"scheduler": scheduler, "scheduler_step": step}
    history = fit(ours, loader, **given, epochs=3)
    history.rows += fit(ours, loader, **given, epochs=2).rows
    assert_same(ours, theirs)
    assert_same(optimizer, other)
    assert scheduler.last_epoch == right.last_epoch
    assert states() == expected
    if step == "epoch":
        assert [row.rate for row in history.rows] == rates
        assert len(set(rates)) > 1


@pytest.mark.parametrize("step", ["batch", "epoch"])
def test_schedulers_of_a_rate_in_a_tensor(step: str) -> None:
    """To which schedulers write."""
    ours, theirs = twins()
    other, optimizer = (sgd(each, lr=torch.tensor(0.05)) for each in (theirs, ours))
    right, scheduler = (schedulers.ExponentialLR(each, 0.9) for each in (other, optimizer))
    loader, rate = DataLoader(tensors(), batch_size=8), optimizer.param_groups[0]["lr"]
    after = [right.step if step == when else None for when in ("batch", "epoch")]
    loop(theirs, loader, functional.cross_entropy, other, 3, *after)
    given = {"criterion": functional.cross_entropy, "optimizer": optimizer}
    fit(ours, loader, **given, scheduler=scheduler, scheduler_step=step, epochs=3)
    assert_same(ours, theirs)
    assert_same(optimizer, other)
    assert optimizer.param_groups[0]["lr"] is rate


def test_schedulers_that_are_refused() -> None:
    module = lenet()
    optimizer, other = sgd(module), sgd(module)
    before, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    for scheduler, step, text in (
        (schedulers.ReduceLROnPlateau(optimizer), "epoch", "expected .* test=, whose loss"),
        (0.1, "epoch", "expected one of torch.optim.lr_scheduler, got float 0.1"),
        (schedulers.StepLR(other, 2), "epoch", "got one of another"),
        (schedulers.StepLR(optimizer, 2), None, "expected 'batch' or 'epoch', .*got None"),
        (None, "epoch", "expected None without a scheduler, got 'epoch'"),
    ):
        options = {"scheduler": scheduler, "scheduler_step": step, "optimizer": optimizer}
        with pytest.raises((TypeError, ValueError), match=rf"^scheduler(_step)?: .*{text}"):
            fit(
                *(module, DataLoader(tensors(), batch_size=8)),
                criterion=nn.CrossEntropyLoss(),
                **options,
            )
        assert optimizer.param_groups[0]["lr"] == state["param_groups"][0]["lr"] == 0.05
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("make", [sgd, lambda m: torch.optim.Adam(m.parameters(), 0.01)])
def test_masks_keep_pruned_weights_at_zero(make: Callable[[Any], Any]) -> None:
    ours, theirs = twins()
    masks = {
        name: (torch.rand(value.shape) < 0.4).double()
        for name, value in theirs.named_parameters()
        if "weight" in name
    }
    for module in (ours, theirs):
        with torch.no_grad():
            for name, mask in masks.items():
                module.get_parameter(name).mul_(mask)
    loader, other, optimizer = DataLoader(tensors(), batch_size=8), make(theirs), make(ours)
    loop(theirs, loader, functional.cross_entropy, other, 3, masks=masks)
    given = {"criterion": functional.cross_entropy, "optimizer": optimizer}
    fit(ours, loader, **given, masks=masks, epochs=2)
    fit(ours, loader, **given, masks={name: mask.bool() for name, mask in masks.items()})
    assert_same(ours, theirs)
    assert_same(optimizer, other)
    assert any((mask == 0).any() and (mask == 1).any() for mask in masks.values())
    for wrong in ({"8.weight": torch.ones(1)}, {"0.weight": torch.full((3, 1, 3, 3), 0.5)}):
        with pytest.raises(ValueError, match=r"^masks: expected "):
            fit(ours, loader, **given, masks=wrong)


@pytest.mark.parametrize("make", [sgd, lambda m: torch.optim.AdamW(m.parameters(), 0.01)])
def test_pruned_modules(make: Callable[[Any], Any]) -> None:
    ours, theirs = twins()
    for module in (ours, theirs):
        seed(2)
        for name in ("0", "3", "7"):
            prune.random_unstructured(module.get_submodule(name), "weight", 0.5)
    hidden = ours[7].weight_orig[ours[7].weight_mask == 0].clone()
    other, optimizer = make(theirs), make(ours)
    for each in (other, optimizer):
        each.param_groups[0]["weight_decay"] = 0.0  # which would change what is hidden
    loader = DataLoader(Pictures(), batch_size=8)
    loop(theirs, loader, functional.cross_entropy, other, 3)
    given = {"criterion": functional.cross_entropy, "optimizer": optimizer}
    fit(ours, loader, **given, epochs=2, on_epoch_end=lambda row: ours(images()))
    fit(ours, loader, **given)
    assert_same(ours, theirs)
    assert_same(optimizer, other)
    assert torch.equal(ours[7].weight_orig[ours[7].weight_mask == 0], hidden)
    assert (ours(images()) - theirs(images())).abs().max() < 1e-9


INPUTS: dict[str, tuple[Any, Any]] = {
    "vectors": (nn.Sequential(nn.Linear(144, 10)), images().flatten(1)),
    "flattened": (nn.Sequential(nn.Flatten(), nn.Linear(144, 10)), images()[:, 0]),
    "without maps": (
        nn.Sequential(
            nn.Unflatten(1, (1, 12)), nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(128, 10)
        ),
        images()[:, 0],
    ),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("anew", [False, True], ids=["memory", "anew"])
def test_images_of_other_shapes(name: str, anew: bool) -> None:
    ours, x = INPUTS[name]
    ours = copy.deepcopy(ours).double()
    theirs = copy.deepcopy(ours)
    loader = DataLoader(TensorDataset(x, labels()), batch_size=8)
    loop(theirs, loader, functional.cross_entropy, sgd(theirs), 3)
    given = {"criterion": functional.cross_entropy, "optimizer": sgd(ours)}
    fit(ours, loader, **given, epochs=3, materialise=False if anew else None)
    assert_same(ours, theirs)


def test_after_each_epoch_everything_is_as_a_loop_leaves_it() -> None:
    ours, theirs = twins()
    other, optimizer = sgd(theirs), sgd(ours)
    loader, rows = DataLoader(Pictures(), batch_size=8), []

    def compare(row: Any) -> None:
        rows.append(row)
        loop(theirs, loader, nn.CrossEntropyLoss(), other, 1)
        assert_same(ours, theirs)
        assert_same(optimizer, other)

    history = fit(
        *(ours, loader),
        criterion=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        epochs=3,
        on_epoch_end=compare,
    )
    assert rows == history.rows
    assert len(rows) == 3


def test_a_callback_ends_training() -> None:
    module, rows = lenet(), []

    def stop(row: Any) -> bool:
        rows.append(row)
        return row.epoch == 2

    given = {"criterion": nn.CrossEntropyLoss(), "optimizer": sgd(module), "epochs": 4}
    history = fit(module, DataLoader(tensors(), batch_size=8), **given, on_epoch_end=stop)
    assert [row.epoch for row in history.rows] == [1, 2]
    assert history.rows == rows
    assert history.interrupted
    assert not fit(module, DataLoader(tensors(), batch_size=8), **given).interrupted


def with_hook(register: Callable[[Any, Any], object]) -> Callable[[Any], Any]:
    """Return what makes an optimizer, and lets a function register a hook with it or its module."""

    def make(module: Any) -> Any:
        optimizer = sgd(module)
        register(module, optimizer)
        return optimizer

    return make


def hooked_criterion() -> Any:
    criterion = nn.CrossEntropyLoss()
    criterion.register_forward_hook(lambda module, x, y: y / 2)
    return criterion


def stepped(module: Any) -> Any:
    """Return an optimizer that has made a step with one parameter more than the others."""
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    module[0].weight.grad = torch.ones_like(module[0].weight)
    optimizer.step()
    return optimizer


def smoothed(outputs: Any, targets: Any) -> Any:
    """Label smoothing as people write it."""
    logarithms = outputs.log_softmax(1)
    right = logarithms.gather(1, targets[:, None])[:, 0]
    return -(0.9 * right + 0.1 * logarithms.mean(1)).mean()


class HalfMAP(MAPLoss):
    def forward(self, x: Any, targets: Any) -> Any:
        return super().forward(x, targets) / 2


def parameters(kind: Any, **options: Any) -> Callable[[Any], Any]:
    """Return what makes an optimizer of a module."""
    return lambda module: kind(module.parameters(), **options)


def cycle(optimizer: Any) -> Any:
    return schedulers.OneCycleLR(optimizer, 0.1, 30)


def later(optimizer: Any) -> Any:
    """Return a scheduler of the rate, and after three steps also of the momentum."""
    first = schedulers.ConstantLR(optimizer, 0.5, 2)
    return schedulers.SequentialLR(optimizer, [first, cycle(optimizer)], [3])


def apart(optimizer: Any) -> Any:
    return schedulers.LambdaLR(optimizer, [lambda k: 1.0, lambda k: 0.9**k, lambda k: 1.0])


optim = torch.optim
SOFT = torch.rand(60, 10, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
WEIGHTS = torch.arange(1, 11).double()
BEYOND: dict[str, tuple[str, dict[str, Any]]] = {
    "weight": ("criterion: .* same weight", {"criterion": nn.CrossEntropyLoss(WEIGHTS)}),
    "sum": ("reduction='mean', got 'sum'", {"criterion": nn.CrossEntropyLoss(reduction="sum")}),
    "sum by a partial": (
        "reduction='mean', got 'sum'",
        {"criterion": functools.partial(functional.cross_entropy, reduction="sum")},
    ),
    "ignored": ("ignore_index=3", {"criterion": nn.CrossEntropyLoss(ignore_index=3)}),
    "ignored, logarithm": (
        "ignore_index=3",
        {"criterion": nn.NLLLoss(ignore_index=3), "last": [nn.LogSoftmax(1)]},
    ),
    "lambda": (
        "criterion: .* got the function <lambda>",
        {"criterion": lambda y, t: functional.cross_entropy(y, t)},
    ),
    "def": ("criterion: .* got the function smoothed", {"criterion": smoothed}),
    "margin": ("of type MultiMarginLoss", {"criterion": nn.MultiMarginLoss()}),
    "hook of the loss": ("criterion: .* without hooks", {"criterion": hooked_criterion()}),
    "loss of its own": ("of type HalfMAP", {"criterion": HalfMAP(), "last": [nn.ReLU()]}),
    "soft": ("loader: targets: .* more values", {"criterion": nn.MSELoss(), "targets": SOFT}),
    "probabilities": ("loader: targets: ", {"targets": SOFT.softmax(1)}),
    "softmax": (
        "module: expected no last softmax",
        {"criterion": nn.MSELoss(), "targets": SOFT, "last": [nn.Softmax(1)]},
    ),
    "mse sum": (
        "reduction='mean', got 'sum'",
        {
            "criterion": nn.MSELoss(reduction="sum"),
            "targets": SOFT,
            "optimizer": lambda m: sgd(m, lr=0.001),
        },
    ),
    "dampening": ("dampening=0", {"optimizer": lambda m: sgd(m, dampening=0.5)}),
    "maximize": ("maximize=False", {"optimizer": lambda m: sgd(m, maximize=True, lr=1e-4)}),
    "amsgrad": ("amsgrad=False", {"optimizer": parameters(optim.Adam, lr=0.01, amsgrad=True)}),
    "no epsilon": ("optimizer: epsilon", {"optimizer": parameters(optim.Adam, lr=0.01, eps=0)}),
    "Adagrad": ("got an object of type Adagrad", {"optimizer": parameters(optim.Adagrad)}),
    "NAdam": ("got an object of type NAdam", {"optimizer": parameters(optim.NAdam, lr=0.01)}),
    "RAdam": ("got an object of type RAdam", {"optimizer": parameters(optim.RAdam, lr=0.01)}),
    "groups": (
        "one weight_decay for all",
        {"optimizer": lambda m: optim.SGD(groups(m, weight_decay=0.1), 0.05)},
    ),
    "steps": ("the same number of steps", {"optimizer": stepped}),
    "hook of a gradient": (
        "parameters without hooks",
        {"optimizer": with_hook(lambda m, o: m[0].weight.register_hook(torch.sign))},
    ),
    "hook of a step": (
        "optimizer: expected one without hooks",
        {"optimizer": with_hook(lambda m, o: o.register_step_pre_hook(clipped))},
    ),
    "one cycle": ("scheduler: .* the momentum", {"scheduler": cycle, "step": "batch"}),
    "one cycle later": ("scheduler: .* the momentum", {"scheduler": later, "step": "batch"}),
    "rates apart": (
        "scheduler: .* in proportion",
        {
            "scheduler": apart,
            "step": "epoch",
            "optimizer": lambda m: torch.optim.SGD(groups(m), 0.1),
        },
    ),
}


def clipped(optimizer: Any, *arguments: Any) -> None:
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.1)


@pytest.mark.parametrize("anew", [False, True], ids=["memory", "anew"])
@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_beyond_the_engines(name: str, anew: bool, caplog: pytest.LogCaptureFixture) -> None:
    """PyTorch's own criterion, optimizer and scheduler, as in the loop; 24 steps."""
    reason, options = BEYOND[name]
    criterion = options.get("criterion", functional.cross_entropy)
    step, targets = options.get("step"), options.get("targets", labels())
    ours, theirs = twins(*options.get("last", ()))
    other, optimizer = (options.get("optimizer", sgd)(each) for each in (theirs, ours))
    right, scheduler = (options.get("scheduler", lambda o: None)(o) for o in (other, optimizer))
    loader = DataLoader(TensorDataset(images(), targets), batch_size=8, shuffle=True)
    held = ours[0].weight.grad = torch.full_like(ours[0].weight, 7.0)
    seed(3)
    after = [right.step if step == when else None for when in ("batch", "epoch")]
    losses, found = loop(theirs, loader, criterion, other, 3, *after), []
    expected = states()
    seed(3)
    history = fit(
        *(ours, loader),
        criterion=criterion,
        optimizer=optimizer,
        scheduler=scheduler,
        scheduler_step=step,
        epochs=3,
        materialise=False if anew else None,
        on_batch_end=lambda epoch, batch, loss: found.append(loss),
    )
    assert found == pytest.approx(losses, rel=1e-9)
    assert_same(ours, theirs)
    assert_same(optimizer, other)
    assert states() == expected
    assert "forward" not in vars(ours)
    assert ours[0].weight.grad is held
    assert (held == 7).all()
    assert [len(history.rows), history.train_images] == [3, 60]
    (message,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert message.startswith("PyTorch's own criterion, optimizer and scheduler")
    assert re.search(reason, message)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_history_beyond_the_engines(reduction: str) -> None:
    """Losses are the mean over batches, or per image; ignored images are no errors."""
    module = lenet(12, nn.Dropout(0.5))
    criterion = nn.CrossEntropyLoss(WEIGHTS, ignore_index=3, reduction=reduction)
    test = DataLoader(Pictures(20), batch_size=8)
    given = {"criterion": criterion, "optimizer": sgd(module, lr=0.002), "test": test}
    history = fit(module, DataLoader(tensors(), batch_size=8), **given)
    module.eval()
    total = errors = 0.0
    with torch.no_grad():
        for x, y in test:
            total += criterion(module(x), y).item() * (len(x) if reduction == "mean" else 1)
            errors += ((module(x).argmax(1) != y) & (y != 3)).sum().item()
    assert history.rows[0].test_loss == pytest.approx(total / 20, rel=1e-9)
    assert history.rows[0].test_errors == errors
    assert 0 < errors < 20
    assert 0 < history.rows[0].train_errors <= 54
    assert history.rows[0].rate == 0.002


def test_dropout_beyond_the_engines_is_that_of_wrap() -> None:
    ours, theirs = twins(nn.Dropout(0.4))
    other, optimizer = (torch.optim.Adagrad(each.parameters()) for each in (theirs, ours))
    loader = DataLoader(tensors(), batch_size=8, shuffle=True)
    seed(3)
    loop(wrap(theirs), loader, functional.cross_entropy, other, 2)
    expected = states()
    seed(3)
    fit(ours, loader, criterion=functional.cross_entropy, optimizer=optimizer, epochs=2)
    assert_same(ours, theirs)
    assert states() == expected


@pytest.mark.parametrize("pruned", [False, True])
def test_masks_beyond_the_engines(pruned: bool) -> None:
    """What is masked stays as it is, in spite of weight decay."""
    module = lenet()
    mask = torch.rand(module[0].weight.shape) < 0.5
    if pruned:
        prune.custom_from_mask(module[0], "weight", mask)
    name = "weight_orig" if pruned else "weight"
    before = module[0].get_parameter(name).detach().clone()
    fit(
        *(module, DataLoader(tensors(), batch_size=8)),
        criterion=smoothed,
        optimizer=sgd(module),
        masks=None if pruned else {"0.weight": mask},
    )
    changed = module[0].get_parameter(name) != before
    assert torch.equal(changed, mask)
    assert 0 < mask.sum() < mask.numel()


@pytest.mark.parametrize("end", ["interrupted", "diverged", "failed"])
def test_ends_beyond_the_engines(end: str) -> None:
    """The module is as after the finished batches: three, and with Ctrl-C four."""
    ours, theirs = twins()
    loader, calls = DataLoader(tensors(), batch_size=8), []

    def criterion(outputs: Any, targets: Any) -> Any:
        loss = functional.cross_entropy(outputs, targets)
        calls.append(loss)
        if len(calls) < 4:
            return loss
        if end == "failed":
            raise ZeroDivisionError
        if end == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        return loss * (torch.nan if end == "diverged" else 1)

    expected, text = {
        "interrupted": (KeyboardInterrupt, None),
        "diverged": (TrainingDiverged, r"^after 3 steps at rate 0\.05: .* got nan\. The module is"),
        "failed": (ZeroDivisionError, None),
    }[end]
    done = 4 if end == "interrupted" else 3
    other, optimizer = (torch.optim.Adagrad(each.parameters(), 0.05) for each in (theirs, ours))
    loop(theirs, list(loader)[:done], functional.cross_entropy, other, 1)
    with pytest.raises(expected, match=text):
        fit(ours, loader, criterion=criterion, optimizer=optimizer, epochs=2)
    assert_same(ours, theirs)
    assert_same(optimizer, other)
    assert "forward" not in vars(ours)
    assert ours[0].weight.grad is None


def test_a_criterion_with_parameters_and_a_module_of_several_outputs() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(10).double())

        def forward(self, outputs: Any, targets: Any) -> Any:
            return functional.cross_entropy(outputs * self.scale, targets)

    class Two(nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            return self.module(x), None

    ours, theirs = twins()
    loader, results = DataLoader(Pictures(), batch_size=8), []
    for module in (ours, theirs):
        criterion = Scaled()
        both = [*module.parameters(), *criterion.parameters()]
        optimizer = torch.optim.SGD(both, 0.1, momentum=0.5)
        if module is theirs:
            loop(theirs, loader, criterion, optimizer, 3)
        else:
            fit(Two(ours), loader, criterion=criterion, optimizer=optimizer, epochs=3)
        results.append(criterion)
    assert_same(ours, theirs)
    assert_same(*results)
    assert (results[0].scale - 1).abs().max() > 1e-3


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax twice": (
        "module: expected no last softmax for CrossEntropyLoss",
        {"criterion": nn.CrossEntropyLoss(WEIGHTS), "last": [nn.Softmax(1)]},
    ),
    "one output": (
        "module: expected several outputs",
        {
            "criterion": nn.BCEWithLogitsLoss(),
            "targets": torch.ones(60, 1).double(),
            "last": [nn.Linear(10, 1).double()],
        },
    ),
    "no logarithm": (
        "module: expected a last LogSoftmax for nn.NLLLoss",
        {"criterion": nn.NLLLoss(reduction="sum")},
    ),
    "labels": (
        "loader: labels: expected labels from 0 to 9, got 10",
        {"criterion": nn.CrossEntropyLoss(WEIGHTS), "targets": labels() + 1},
    ),
    "no labels": (
        "loader: targets: expected labels of shape (60,), or one number per output",
        {"criterion": smoothed, "targets": torch.rand(60)},
    ),
    "labels for squares": (
        "loader: targets: expected one number per output",
        {"criterion": nn.MSELoss(reduction="sum")},
    ),
    "class": ("criterion: expected a module, such as", {"criterion": nn.NLLLoss}),
    "no reduction": (
        "criterion: expected reduction='mean' or 'sum', got 'none'",
        {"criterion": nn.CrossEntropyLoss(reduction="none")},
    ),
    "many numbers": (
        "criterion: expected one that returns one number, got one of shape (8,)",
        {"criterion": lambda y, t: functional.cross_entropy(y, t, reduction="none")},
    ),
    "no tensor": (
        "criterion: expected one that returns one number, got None",
        {"criterion": lambda y, t: None},
    ),
    "another module": (
        "optimizer: expected only parameters of the module",
        {"optimizer": lambda m: torch.optim.Adagrad(lenet().parameters())},
    ),
    "closure": (
        "optimizer: expected one whose step() needs no closure",
        {"optimizer": parameters(torch.optim.LBFGS)},
    ),
    "differentiable": (
        "optimizer: expected differentiable=False",
        {"optimizer": lambda m: sgd(m, differentiable=True)},
    ),
    "another optimizer": (
        "scheduler: expected one of the optimizer",
        {"criterion": smoothed, "scheduler": lambda o: cycle(sgd(lenet())), "step": "batch"},
    ),
    "engine": ("engine: expected", {"criterion": smoothed, "engine": "fast"}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_beyond_the_engines(name: str) -> None:
    text, options = MISTAKES[name]
    module = lenet(12, *options.get("last", ()))
    optimizer = options.get("optimizer", sgd)(module)
    before, state = copy.deepcopy(module.state_dict()), repr(optimizer.state_dict())
    data = TensorDataset(images(), options.get("targets", labels()))
    with pytest.raises((TypeError, ValueError)) as caught:
        fit(
            *(module, DataLoader(data, batch_size=8)),
            criterion=options.get("criterion", functional.cross_entropy),
            optimizer=optimizer,
            scheduler=options.get("scheduler", lambda o: None)(optimizer),
            scheduler_step=options.get("step"),
            engine=options.get("engine", "auto"),
        )
    assert str(caught.value).startswith(text)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert repr(optimizer.state_dict()) == state


def test_all_refusals_come_in_one_message() -> None:
    module = lenet(28, nn.Softmax(1), nn.ReLU())
    with pytest.raises(ValueError, match=r"^fit: ") as caught:
        fit(
            module,
            tensors(),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.LBFGS(module.parameters()),
            test=5,
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "fit: this cannot be trained:"
    starts = ["- loader: ", "- test: ", "- criterion: ", "- optimizer: ", "- 9: "]
    assert len(lines) == len(starts) + 1
    for line, start in zip(lines[1:], starts, strict=True):
        assert line.startswith(start)
        assert "expected " in line
    assert "batch_size" in lines[1]
    assert "a module, such as nn.CrossEntropyLoss(), or a function, got the class" in lines[3]
    assert "no closure, got an object of type LBFGS; lenet_fast.torch.wrap takes any" in lines[4]


def batches(*changes: tuple[int, Any, Any]) -> Any:
    """Return good batches but for some."""
    made = [(images(8), labels(8)) for _ in range(4)]
    for k, x, y in changes:
        made[k] = (made[k][0] if x is None else x, made[k][1] if y is None else y)
    return made


WRONG: dict[str, tuple[str, Any]] = {
    "half": ("images: expected a tensor of float32", batches((0, images(8).half(), None))),
    "complex": ("images: expected a tensor of float32", batches((0, images(8) * 1j, None))),
    "sparse": ("images: expected a dense tensor", batches((0, images(8).to_sparse(), None))),
    "elsewhere": ("images: expected a tensor on the CPU", batches((0, images(8).to("meta"), None))),
    "another dtype": (
        "images: expected float64, as the module has",
        batches((0, images(8).float(), None)),
    ),
    "flat": ("expected images (n, c, h, w)", batches((0, images(8).flatten(0), None))),
    "labels": ("labels: expected labels from 0 to 9, got 10", batches((0, None, labels(8) + 1))),
    "negative": (
        "labels: expected labels from 0 to 9, got -100",
        batches((0, None, -100 + 0 * labels(8))),
    ),
    "columns": ("labels: expected shape (8,)", batches((0, None, labels(8)[:, None]))),
    "labels of floats": (
        "targets: expected a tensor of int64",
        batches((0, None, labels(8).double())),
    ),
    "fewer labels": ("labels: expected shape (8,)", batches((0, None, labels(7)))),
    "later probabilities": (
        "targets: expected one number for the right class",
        batches((2, None, torch.rand(8, 10).double())),
    ),
    "no batches": ("expected at least one batch", []),
    "names": ("expected batches of two tensors", [{"x": images(8), "y": labels(8)}]),
    "later shape": ("images: expected shape (n, 1, 12, 12)", batches((2, images(8, 13), None))),
    "later labels": ("labels: expected labels from 0 to 9", batches((2, None, labels(8) + 1))),
}


@pytest.mark.parametrize("name", WRONG)
def test_batches_that_do_not_fit(name: str) -> None:
    text, loader = WRONG[name]
    module = lenet()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises((TypeError, ValueError)) as caught:
        fit(module, loader, criterion=nn.CrossEntropyLoss(), optimizer=sgd(module))
    assert str(caught.value).startswith(f"loader: {text}")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_criteria_that_do_not_fit_the_end() -> None:
    for last, criterion, text in (
        (nn.Softmax(1), nn.CrossEntropyLoss(), "no last softmax for CrossEntropyLoss, which"),
        (nn.Softmax(1), nn.NLLLoss(), "a last LogSoftmax for nn.NLLLoss, got a Softmax"),
        (nn.Identity(), nn.NLLLoss(), "a last LogSoftmax .*nn.CrossEntropyLoss is the criterion"),
    ):
        module = lenet(12, last)
        with pytest.raises(ValueError, match=f"^module: expected {text}"):
            fit(module, DataLoader(tensors(), 8), criterion=criterion, optimizer=sgd(module))


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_with_one_line_changed(name: str, tmp_path: Path) -> None:
    torchvision = needed()
    vision.write_mnist(tmp_path, 100, 20)
    torch.set_default_dtype(torch.float64)
    results = []
    for ours in (False, True):
        seed(3)
        model, printed = SCRIPTS[name](torchvision, tmp_path, ours)
        results.append((model, printed, states()))
    (theirs, expected, before), (mine, found, after) = results
    assert_same(mine, theirs)
    assert np.allclose(np.ravel(found), np.ravel(expected), rtol=1e-9, atol=0)
    assert after == before


@pytest.mark.parametrize(("maps", "noted"), [(8, False), (40, True)])
def test_large_layers_are_noted(maps: int, noted: bool, caplog: pytest.LogCaptureFixture) -> None:
    convolutions = [nn.Conv2d(1, maps, 3), nn.ReLU(), nn.Conv2d(maps, maps, 3)]
    module = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(maps * 64, 10))
    images, labels = torch.rand(8, 1, 12, 12), torch.arange(8)
    fit(
        module,
        DataLoader(TensorDataset(images, labels), batch_size=8),
        criterion=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(module.parameters(), lr=0.01),
    )
    assert any("training gains less over PyTorch" in text for text in caplog.messages) == noted


def test_distances_are_no_scores() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 84), RBF()).double()
    loader = DataLoader(TensorDataset(torch.rand(8, 1, 8, 8).double(), torch.arange(8)))
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match="criterion: expected MAPLoss or PenaltyLoss after a last"):
        fit(module, loader, criterion=nn.CrossEntropyLoss(), optimizer=sgd(module))
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())
