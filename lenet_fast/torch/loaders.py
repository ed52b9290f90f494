"""The batches of a loader, as arrays that engines read.

A loader whose samples are always the same is read once and kept in memory; an epoch then takes only
the order of the samples from the loader. Any other is iterated in every epoch, as a loop does.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    default_collate,
)

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.engines import inputs
from lenet_fast.network import Network
from lenet_fast.torch import datasets, tensors
from lenet_fast.torch.criteria import Own
from lenet_fast.torch.datasets import Columns, Samples

_READ = 256
"""How many samples are read at a time."""


class Part(NamedTuple):
    """Some batches of one size; the last may be smaller."""

    x: Array
    labels: Array  # or what else the criterion makes of targets
    order: Array  # numbers of `x` and `labels`
    batch_size: int


class Source(ABC):
    """The batches of a loader.

    Attributes
    ----------
    shape : tuple of int
        Of some images; empty for test data that cannot be had without beginning an epoch.
    batch_size : int
        That of most batches.
    note : str
        How the samples are read.
    """

    shape: tuple[int, ...] = ()
    batch_size: int
    note: str

    def __init__(self, name: str, loader: Any) -> None:
        self.name, self._loader = name, loader

    def bind(self, network: Network, criterion: Own, shape: Sequence[int]) -> None:
        """Set the network that reads the images, the criterion that reads the targets, and the
        shape of an image; check the samples that have been read."""
        self._network, self._criterion, self._shape = network, criterion, tuple(shape)

    @property
    def batches(self) -> int:
        """The number of batches of an epoch; 2 if it is not known."""
        if isinstance(getattr(self._loader, "dataset", None), IterableDataset):
            return 2  # which would warn later if it has more samples than it says
        try:
            return len(self._loader)
        except (TypeError, NotImplementedError):
            return 2

    @abstractmethod
    def parts(self, images: int) -> Iterator[Part]:
        """Yield the batches of an epoch in the loader's order, in parts of at least `images`
        images."""

    def _examples(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[Array, Array]:
        """Return images and labels in the form that engines read."""
        return self._x_of(images), self._labels_of(targets, len(images))

    def _x_of(self, images: torch.Tensor) -> Array:
        with named(self.name):
            x = tensors.without_gradient("images", images, tensors.FLOATS)
            if x.shape[1:] != self._shape:
                raise ValueError(
                    f"images: expected shape (n, {', '.join(map(str, self._shape))}), which the "
                    f"module was read for, got {x.shape}"
                )
            if x.dtype != self._network.dtype:
                raise TypeError(
                    f"images: expected {self._network.dtype}, as the module has, got {x.dtype}; a "
                    "transform or a collate_fn can convert them"
                )
            # The module may take vectors, or images without maps.
            return inputs.images(self._network, x.reshape(len(x), *self._network.input_shape))

    def _labels_of(self, targets: torch.Tensor, count: int) -> Array:
        with named(self.name):
            return self._criterion.labels(targets, count, self._network.output_shape[0])


class _Drained(Source):
    """A loader that is iterated in every epoch."""

    def __init__(self, name: str, loader: Iterable[Any], why: str) -> None:
        super().__init__(name, loader)
        self._first: Columns | None = None
        self._begun: Iterator[Columns] | None = None
        self.note = f"the {name} is read anew in every epoch, because {why}"

    def begin(self) -> None:
        """Begin the first epoch, for the shape of its first batch."""
        pairs = self._pairs()
        self._first = next(pairs, None)
        if self._first is None:
            raise ValueError(f"{self.name}: expected at least one batch, got none")
        self._begun = itertools.chain([self._first], pairs)
        self.shape = tuple(self._first[0].shape)
        self.batch_size = _batch_size(self._loader, self.shape[0])

    def peek(self) -> None:
        """Read a sample, to check it, if that is possible without beginning an epoch."""
        dataset = getattr(self._loader, "dataset", None)
        if getattr(self._loader, "collate_fn", None) is default_collate:
            with contextlib.suppress(Exception), datasets.Watch():
                found = datasets.read(dataset, [0])
                if datasets.is_pair(found):
                    self._first = found[0], found[1]

    def bind(self, network: Network, criterion: Own, shape: Sequence[int]) -> None:
        super().bind(network, criterion, shape)
        if self._first is not None:
            self._examples(*self._first)

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

    @staticmethod
    def _grouped(batches: Iterable[Any], images: int) -> Iterator[list[Any]]:
        """Yield lists of batches of one size; only the last of a list may be smaller."""
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

    def _copied(self, pair: Columns) -> tuple[Array, Array]:
        x, labels = self._examples(*pair)
        return x.copy(), labels  # the loader may use the memory again

    def _pairs(self) -> Iterator[Columns]:
        for batch in self._loader:
            if not datasets.is_pair(batch):
                raise TypeError(
                    f"{self.name}: expected batches of two tensors, images and targets, got "
                    f"{_content(batch)}; a collate_fn can make them"
                )
            images, targets = batch
            yield images, targets


class _Indexed(Source):
    """A loader of which only the order of the samples is read in every epoch."""

    def __init__(self, name: str, loader: DataLoader[Any]) -> None:
        super().__init__(name, loader)
        self.batch_size = _batch_size(loader, 2)

    def parts(self, images: int) -> Iterator[Part]:
        batches = self._batches()
        sizes = np.array([len(batch) for batch in batches])
        order = np.array([*itertools.chain.from_iterable(batches)])
        with named(self.name):
            order = inputs.order(order, len(self._loader.dataset))
        x, labels = self._samples(order)
        starts = np.concatenate([[0], sizes.cumsum()])
        ends = np.append(np.flatnonzero(np.diff(sizes)) + 1, len(sizes))  # of batches of one size
        first = 0
        while first < len(sizes):
            size, end = int(sizes[first]), int(ends[np.searchsorted(ends, first, "right")])
            last = min(end, first + math.ceil(images / size))
            if last == end < len(sizes) and sizes[last] < size:
                last += 1
            yield Part(x, labels, order[starts[first] : starts[last]], size)
            first = last

    @abstractmethod
    def _samples(self, order: Array) -> tuple[Array, Array]:
        """Return arrays that hold at least the samples of these numbers."""

    def _batches(self) -> list[list[int]]:
        """Return the numbers of the samples of each batch.

        A loader with the same samplers draws the same random numbers as the original.
        """
        numbers: DataLoader[Any] = DataLoader(
            _Numbers(),
            batch_sampler=_Whole(self._loader.batch_sampler),
            collate_fn=list,
            generator=self._loader.generator,
        )
        (batches,) = numbers
        if not batches or not all(map(len, batches)):
            found = "an empty one" if batches else "none"
            raise ValueError(f"{self.name}: expected at least one batch, got {found}")
        return batches


class _InMemory(_Indexed):
    """A loader whose data set lies in memory."""

    def __init__(self, name: str, loader: DataLoader[Any], columns: Columns) -> None:
        super().__init__(name, loader)
        self._columns = columns
        self.shape = tuple(columns[0].shape)
        self.note = f"the {name}'s data set is in memory"

    def bind(self, network: Network, criterion: Own, shape: Sequence[int]) -> None:
        super().bind(network, criterion, shape)
        self._arrays = self._examples(*self._columns)

    def _samples(self, order: Array) -> tuple[Array, Array]:
        return self._arrays


class _Materialised(_Indexed):
    """A loader whose samples are read once, in the first epoch that needs them."""

    def __init__(self, name: str, loader: DataLoader[Any], samples: Samples) -> None:
        super().__init__(name, loader)
        self._known = samples
        self.shape = tuple(samples.images.shape)
        megabytes = max(1, round(samples.images.nbytes / 1e6))
        self.note = f"each sample of the {name} is read once, {megabytes:,} MB"

    def bind(self, network: Network, criterion: Own, shape: Sequence[int]) -> None:
        super().bind(network, criterion, shape)
        self._x = self._x_of(self._known.images)
        numbers = self._known.numbers
        labels = self._labels_of(self._known.targets[numbers], len(numbers))
        self._labels = np.empty((len(self._x), *labels.shape[1:]), labels.dtype)
        self._labels[numbers] = labels

    def _samples(self, order: Array) -> tuple[Array, Array]:
        new = self._known.lacking(order)
        with datasets.Watch() as watch:
            for first in range(0, len(new), _READ):
                block = new[first : first + _READ]
                pair = datasets.read(self._loader.dataset, block.tolist())
                _, self._labels[block] = self._examples(*pair)
                with named(self.name):
                    self._known.put(block, pair)
        if watch.drawn:
            datasets.forget(self._loader.dataset)
            raise ValueError(
                f"{self.name}: expected samples that are always the same, because the first ones "
                "were, got some that draw random numbers; pass materialise=False"
            )
        return self._x, self._labels


class _Whole:
    """A batch sampler whose only batch are all batches of another, for speed."""

    def __init__(self, batches: Iterable[list[int]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[list[int]]]:
        return map(list, [iter(self._batches)])  # which begins now, and draws later


class _Numbers(Dataset[Any]):
    """A data set in which each image is its own number."""

    def __getitems__(self, numbers: list[Any]) -> list[Any]:
        return numbers


def read(
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
        loader = _loader(loader, checks.integer("batch_size", batch_size, 1), shuffle)
    elif shuffle:
        raise ValueError("shuffle: expected False without a batch_size, got True")
    if isinstance(loader, Dataset):
        raise TypeError(
            "loader: expected a DataLoader, or a batch_size for a data set, got "
            f"{tensors.kind(loader)} alone"
        )
    source = _source("loader", loader, epochs, materialise)
    if isinstance(source, _Drained):
        source.begin()
    return source


def read_test(loader: object, epochs: int, materialise: bool | None) -> Source:
    """Return the batches of test data, which may be a data set: it draws no random numbers."""
    if isinstance(loader, Dataset):
        loader = DataLoader(loader, batch_size=_READ, generator=torch.Generator())
    source = _source("test", loader, epochs, materialise)
    if isinstance(source, _Drained):
        source.peek()  # A loop begins with it after the first epoch of training.
    return source


def _source(name: str, loader: object, epochs: int, materialise: bool | None) -> Source:
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
    if columns := datasets.columns(loader.dataset):
        return _InMemory(name, loader, columns)
    if epochs == 1 and not materialise:
        return _Drained(name, loader, "there is one epoch")
    samples = datasets.samples(loader.dataset, keep=bool(materialise))
    if isinstance(samples, Samples):
        return _Materialised(name, loader, samples)
    if materialise:
        raise ValueError(f"{name}: expected samples that can be kept, but {samples}")
    return _Drained(name, loader, samples)


def _loader(dataset: object, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    if isinstance(dataset, DataLoader):
        raise ValueError(f"batch_size: expected None with a DataLoader, got {batch_size}")
    if not hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset):
        raise TypeError(f"loader: expected a DataLoader or a data set, got {tensors.kind(dataset)}")
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


def _batch_size(loader: object, first: int) -> int:
    """Return the size of most batches; 1, on which an engine relies, only if all are so small."""
    sampler = loader.batch_sampler if type(loader) is DataLoader else None
    return sampler.batch_size if type(sampler) is BatchSampler else max(2, first)


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
