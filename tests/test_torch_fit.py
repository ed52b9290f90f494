"""``lenet_fast.torch.fit`` against the loop that it replaces: loaders, criteria, optimizers."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import require

torch = require("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
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

from lenet_fast.torch import fit  # noqa: E402

MEMORY, ONCE, ANEW = "is in memory", "read once", "read anew"


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use one thread, and leave PyTorch as it was."""
    monkeypatch.setenv("LENET_FAST_THREADS", "1")
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        seed(1998)
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


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


def test_what_a_loader_is_read_as(caplog: pytest.LogCaptureFixture) -> None:
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
