"""The batches of a loader, as arrays that engines read.

A loader whose samples are always the same is read once and kept in memory; an epoch then takes only
the order of the samples from the loader. Any other is iterated in every epoch, as a loop does.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.engines import inputs
from lenet_fast.network import Network
from lenet_fast.torch import tensors
from lenet_fast.torch.criteria import Criterion

Columns = tuple[torch.Tensor, torch.Tensor]
"""All images of a data set, and all targets."""

_MOST_BYTES = 2**32
"""Larger data sets are kept in memory only on demand."""
_PROBED = 32
"""How many samples are read twice to learn whether they change."""
_READ = 256
"""How many samples are read at a time."""


_OF_TORCHVISION = (
    "torchvision.datasets.mnist.MNIST.__getitem__",  # also FashionMNIST, KMNIST and EMNIST
    "torchvision.datasets.cifar.CIFAR10.__getitem__",  # also CIFAR100
)
"""What reads the samples of data sets whose attributes `data` and `targets` hold them all."""


class Part(NamedTuple):
    """Some batches of one size; the last may be smaller."""

    x: Array
    labels: Array
    order: Array  # numbers of `x` and `labels`
    batch_size: int


class Source(ABC):
    """The batches of a loader.

    Attributes
    ----------
    images, targets : torch.Tensor
        Of some samples, for their shapes and dtypes.
    batch_size : int
        That of most batches.
    note : str
        How the samples are read.
    """

    images: torch.Tensor
    targets: torch.Tensor
    batch_size: int
    note: str

    def __init__(self, name: str) -> None:
        self.name = name

    def bind(self, network: Network, criterion: Criterion) -> None:
        """Set the network that reads the images, and the criterion that reads the targets; check
        the samples that have been read."""
        self._network, self._criterion = network, criterion
        with named(self.name):
            criterion.check_width(self.targets, network.output_shape[0])

    @abstractmethod
    def parts(self, images: int) -> Iterator[Part]:
        """Yield the batches of an epoch in the loader's order, in parts of at least `images`
        images."""

    def _examples(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[Array, Array]:
        """Return images and labels in the form that engines read."""
        with named(self.name):
            x = tensors.without_gradient("images", images, tensors.FLOATS)
            return inputs.examples(self._network, x, self._criterion.labels(targets))

    def _grouped(self, batches: Iterable[Any], images: int) -> Iterator[list[Any]]:
        """Yield lists of batches whose first item has a length: all of the first one's, only the
        last may be shorter."""
        group: list[Any] = []
        found = 0
        for batch in batches:
            size = len(batch[0])
            if group and (size > len(group[0][0]) or len(group[-1][0]) < len(group[0][0])):
                yield group
                group, found = [], 0
            group.append(batch)
            found += size
            if found >= images:
                yield group
                group, found = [], 0
        if group:
            yield group


class _Drained(Source):
    """A loader that is iterated in every epoch."""

    def __init__(self, name: str, loader: Iterable[Any], why: str) -> None:
        super().__init__(name)
        self._loader = loader
        self.note = f"the {name} is read anew in every epoch, because {why}"
        # Begins the first epoch: its first batch has the shapes.
        self._begun: Iterator[Columns] | None = self._pairs()
        first = next(self._begun, None)
        if first is None:
            raise ValueError(f"{name}: expected at least one batch, got none")
        self.images, self.targets = first
        self.batch_size = len(self.images)
        self._begun = itertools.chain([first], self._begun)

    def bind(self, network: Network, criterion: Criterion) -> None:
        super().bind(network, criterion)
        self._examples(self.images, self.targets)

    def parts(self, images: int) -> Iterator[Part]:
        pairs, self._begun = self._begun or self._pairs(), None
        batches = map(self._copied, pairs)
        none = True
        for group in self._grouped(batches, images):
            none = False
            x, labels = map(np.concatenate, zip(*group, strict=True))
            yield Part(x, labels, np.arange(len(x)), len(group[0][0]))
        if none:
            raise ValueError(
                f"{self.name}: expected a batch in every epoch, got none; an iterator that ends "
                "for good is no loader"
            )

    def _copied(self, pair: Columns) -> tuple[Array, Array]:
        x, labels = self._examples(*pair)
        return x.copy(), labels  # the loader may use the memory again

    def _pairs(self) -> Iterator[Columns]:
        for batch in self._loader:
            if not _is_pair(batch):
                raise TypeError(
                    f"{self.name}: expected batches of two tensors, images and targets, got "
                    f"{_content(batch)}; a collate_fn can make them"
                )
            images, targets = batch
            yield images, targets


class _Indexed(Source):
    """A loader of which only the order of the samples is read in every epoch."""

    def __init__(self, name: str, loader: DataLoader[Any]) -> None:
        super().__init__(name)
        self._loader = loader
        # One of the user's need not have such an attribute.
        size = getattr(loader.batch_sampler, "batch_size", None)
        self.batch_size = size if isinstance(size, int) else 2

    def parts(self, images: int) -> Iterator[Part]:
        batches = self._batches()
        x, labels = self._samples(batches)
        for group in self._grouped(((batch,) for batch in batches), images):
            order = np.concatenate([batch for (batch,) in group])
            yield Part(x, labels, order, len(group[0][0]))

    @abstractmethod
    def _samples(self, batches: list[Array]) -> tuple[Array, Array]:
        """Return arrays that hold at least the samples of these batches."""

    def _batches(self) -> list[Array]:
        """Return the numbers of the samples of each batch.

        A loader with the same samplers draws the same random numbers as the original.
        """
        loader = self._loader
        numbers: DataLoader[Any] = DataLoader(
            _Numbers(),
            batch_sampler=loader.batch_sampler,
            collate_fn=np.array,
            generator=loader.generator,
        )
        batches = list(numbers)
        if not batches:
            raise ValueError(f"{self.name}: expected at least one batch, got none")
        with named(self.name):
            inputs.order(np.concatenate(batches), len(loader.dataset))  # type: ignore[arg-type]
        return batches


class _InMemory(_Indexed):
    """A loader whose data set lies in memory."""

    def __init__(self, name: str, loader: DataLoader[Any], columns: Columns) -> None:
        super().__init__(name, loader)
        self.images, self.targets = columns
        self.note = f"the {name}'s data set is in memory"

    def bind(self, network: Network, criterion: Criterion) -> None:
        super().bind(network, criterion)
        self._arrays = self._examples(self.images, self.targets)

    def _samples(self, batches: list[Array]) -> tuple[Array, Array]:
        return self._arrays


class _Materialised(_Indexed):
    """A loader whose samples are read once, in the first epoch that needs them."""

    def __init__(self, name: str, loader: DataLoader[Any], columns: Columns) -> None:
        super().__init__(name, loader)
        self.images, self.targets = columns
        self.note = f"each sample of the {name} is read once, {_megabytes(loader, columns)}"

    def bind(self, network: Network, criterion: Criterion) -> None:
        super().bind(network, criterion)
        x, labels = self._examples(self.images, self.targets)
        count = len(self._loader.dataset)  # type: ignore[arg-type]
        self._x = np.empty((count, *x.shape[1:]), x.dtype)
        self._labels = np.empty(count, labels.dtype)
        self._has = np.zeros(count, bool)

    def _samples(self, batches: list[Array]) -> tuple[Array, Array]:
        numbers = np.unique(np.concatenate(batches))
        new = numbers[~self._has[numbers]]
        with _Watch() as watch:
            for first in range(0, len(new), _READ):
                block = new[first : first + _READ]
                pair = _read(self._loader.dataset, block.tolist())
                self._x[block], self._labels[block] = self._examples(*pair)
        if watch.drawn:
            raise ValueError(
                f"{self.name}: expected samples that are always the same, because the first ones "
                "were, got some that draw random numbers; pass materialise=False"
            )
        self._has[new] = True
        return self._x, self._labels


class _Numbers(Dataset[Any]):
    """A data set in which each image is its own number."""

    def __len__(self) -> int:
        raise NotImplementedError  # the samplers know the length

    def __getitems__(self, numbers: list[int]) -> list[int]:
        return numbers


class _Watch:
    """Watches the global random generators within a ``with`` block, and restores them at its end.

    Attributes
    ----------
    drawn : bool
        Whether a number was drawn.
    """

    def __enter__(self) -> _Watch:
        self._before = self._states()
        self.drawn = False
        return self

    def __exit__(self, *error: object) -> None:
        # Bytes, because arrays and tensors do not compare as a whole.
        self.drawn = pickle.dumps(self._states()) != pickle.dumps(self._before)
        if self.drawn:
            torchs, numpys, pythons = self._before
            torch.set_rng_state(torch.from_numpy(torchs))
            np.random.set_state(numpys)  # noqa: NPY002  (which data sets draw from)
            random.setstate(pythons)

    @staticmethod
    def _states() -> tuple[Array, Any, Any]:
        numpys = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().numpy(), numpys, random.getstate()


def read(
    name: str,
    loader: object,
    epochs: int,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    materialise: bool | None = None,
) -> Source:
    """Return the batches of a loader, or of a data set and a batch size.

    Raises
    ------
    TypeError, ValueError
        If they are no images and targets, or cannot be kept as `materialise` demands.
    """
    if materialise not in (None, True, False):
        raise TypeError(f"materialise: expected a bool or None, got {checks.kind(materialise)}")
    if batch_size is not None:
        loader = _loader(name, loader, checks.integer("batch_size", batch_size, 1), shuffle)
    elif shuffle:
        raise ValueError("shuffle: expected False without a batch_size, got True")
    if isinstance(loader, Dataset):
        raise TypeError(
            f"{name}: expected a DataLoader, or a batch_size for a data set, got "
            f"{tensors.kind(loader)} alone"
        )
    if not isinstance(loader, Iterable):
        raise TypeError(f"{name}: expected a DataLoader or a data set, got {tensors.kind(loader)}")
    if materialise is False:
        return _Drained(name, loader, "materialise=False")
    why = _not_indexed(loader)
    if why:
        if materialise:
            raise ValueError(f"{name}: expected samples that can be kept, got one where {why}")
        return _Drained(name, loader, why)
    assert isinstance(loader, DataLoader)
    if columns := _columns(loader.dataset):
        return _InMemory(name, loader, columns)
    if epochs == 1 and not materialise:
        return _Drained(name, loader, "there is one epoch")
    found = _probe(loader.dataset)
    if not isinstance(found, str) and not materialise and _bytes(loader, found) > _MOST_BYTES:
        found = f"it takes {_megabytes(loader, found)}; to keep it anyway, pass materialise=True"
    if isinstance(found, str):
        if materialise:
            raise ValueError(f"{name}: expected samples that can be kept, but {found}")
        return _Drained(name, loader, found)
    return _Materialised(name, loader, found)


def read_test(loader: object, epochs: int, materialise: bool | None) -> Source:
    """Return the batches of test data, which may be a data set: it draws no random numbers."""
    if isinstance(loader, Dataset):
        loader = DataLoader(loader, batch_size=_READ, generator=torch.Generator())
    return read("test", loader, epochs, materialise=materialise)


def _loader(name: str, dataset: object, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    if isinstance(dataset, DataLoader):
        raise ValueError(f"batch_size: expected None with a DataLoader, got {batch_size}")
    if not hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset):
        raise TypeError(f"{name}: expected a DataLoader or a data set, got {tensors.kind(dataset)}")
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle)  # type: ignore[arg-type]


def _not_indexed(loader: object) -> str:
    """Return why the batches of a loader are not lists of samples of a data set; else ""."""
    if type(loader) is not DataLoader:
        return f"a {type(loader).__name__} may yield anything"
    if isinstance(loader.dataset, IterableDataset):
        return "an IterableDataset may yield anything"
    if loader.batch_sampler is None:
        return "without a batch_size its batches are the data set's"
    if loader.collate_fn is not default_collate:
        return "its collate_fn may make anything of a batch"
    if not hasattr(loader.dataset, "__len__"):
        return "its data set has no length"
    # Such loaders draw other random numbers than those of the samplers and one seed an epoch.
    if loader.persistent_workers:
        return "its persistent workers draw their seed once"
    if loader.num_workers and type(loader.batch_sampler) is not BatchSampler:
        return "with workers its batch_sampler starts twice"
    return ""


def _read(dataset: Any, numbers: list[int]) -> Any:
    """Return what a loader without a collate_fn makes of samples."""
    if getattr(dataset, "__getitems__", None):
        return default_collate(dataset.__getitems__(numbers))
    return default_collate([dataset[number] for number in numbers])


def _probe(dataset: Any) -> Columns | str:
    """Read some samples twice; return them, or why they may change."""
    numbers = np.unique(np.linspace(0, len(dataset) - 1, _PROBED).astype(int)).tolist()
    if not len(dataset):
        return "its data set is empty"
    with _Watch() as watch:
        try:
            first, second = _read(dataset, numbers), _read(dataset, numbers)
        except Exception as error:
            return f"reading it here fails ({type(error).__name__})"
    if watch.drawn:
        return "its samples draw random numbers"
    if not (_is_pair(first) and _is_pair(second)):
        return "its samples are not pairs of an image and a target"
    if not all(map(_same, first, second)):
        return "its samples change when they are read again"
    return first[0], first[1]


def _is_pair(batch: object) -> bool:
    return (
        isinstance(batch, tuple | list)
        and len(batch) == 2
        and all(isinstance(each, torch.Tensor) and each.dim() for each in batch)
    )


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Return whether all bits are the same; NaN is a number like any other."""
    return first.dtype == second.dtype and (
        first.contiguous().numpy().tobytes() == second.contiguous().numpy().tobytes()
    )


def _columns(dataset: object) -> Columns | None:
    """Return all images and targets of a data set, if they can be had without reading each."""
    columns: list[Columns | None]
    if type(dataset) is TensorDataset:
        return dataset.tensors if len(dataset.tensors) == 2 else None
    if type(dataset) is Subset:
        found = _columns(dataset.dataset)
        return found and (found[0][dataset.indices], found[1][dataset.indices])
    if type(dataset) is ConcatDataset:
        columns = [_columns(each) for each in dataset.datasets]
        if any(each is None for each in columns):
            return None
        images, targets = zip(*columns, strict=True)
        try:
            return torch.cat(images), torch.cat(targets)
        except RuntimeError:  # other shapes
            return None
    return _of_torchvision(dataset)


def _of_torchvision(dataset: Any) -> Columns | None:
    """Return the images and targets of torchvision's data sets in memory, whose transforms are none
    but ToTensor and Normalize, which give the same bits for all images at once."""
    made = getattr(type(dataset), "__getitem__", None)
    path = f"{getattr(made, '__module__', '')}.{getattr(made, '__qualname__', '')}"
    if path not in _OF_TORCHVISION:
        return None
    if hasattr(dataset, "__getitems__") or dataset.target_transform is not None:
        return None
    steps = [dataset.transform]
    if _name(dataset.transform) == "Compose":
        steps = dataset.transform.transforms
    if [_name(step) for step in steps] not in (["ToTensor"], ["ToTensor", "Normalize"]):
        return None
    data = torch.as_tensor(dataset.data)
    if data.numel() * torch.get_default_dtype().itemsize > _MOST_BYTES:
        return None
    if data.dtype != torch.uint8 or not len(data) == len(dataset) == len(dataset.targets):
        return None
    data = data.unsqueeze(1) if data.dim() == 3 else data.permute(0, 3, 1, 2).contiguous()
    images = data.to(torch.get_default_dtype()).div_(255)
    for normalise in steps[1:]:
        images = normalise(images)
    targets = torch.as_tensor(dataset.targets)
    numbers = [0, len(data) // 2, len(data) - 1]
    right = _read(dataset, numbers)
    same = (
        _is_pair(right) and _same(right[0], images[numbers]) and _same(right[1], targets[numbers])
    )
    return (images, targets) if same else None


def _name(transform: object) -> str:
    """Return the name of one of torchvision's transforms; else ""."""
    kind = type(transform)
    return kind.__name__ if kind.__module__ == "torchvision.transforms.transforms" else ""


def _bytes(loader: DataLoader[Any], columns: Columns) -> int:
    return columns[0][0].nbytes * len(loader.dataset)  # type: ignore[arg-type]


def _megabytes(loader: DataLoader[Any], columns: Columns) -> str:
    return f"{max(1, round(_bytes(loader, columns) / 1e6)):,} MB"


def _content(batch: object) -> str:
    """Return what a batch consists of, by its types."""
    if isinstance(batch, tuple | list):
        return f"{type(batch).__name__} of ({', '.join(type(each).__name__ for each in batch)})"
    return type(batch).__name__


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Name the argument in an error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
