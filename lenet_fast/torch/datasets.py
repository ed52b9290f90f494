"""The samples of a data set: whether they are always the same, and those that lie in memory."""

from __future__ import annotations

import contextlib
import pickle
import random
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate

from lenet_fast.checks import Array

Columns = tuple[torch.Tensor, torch.Tensor]
"""All images of a data set, and all targets; or those of a batch."""

MOST_BYTES = 2**32
"""Larger data sets are kept in memory only on demand."""
_PROBED = 32
"""How many samples are read twice to learn whether they change."""
_OF_TORCHVISION = (
    "torchvision.datasets.mnist.MNIST.__getitem__",  # also FashionMNIST, KMNIST and EMNIST
    "torchvision.datasets.cifar.CIFAR10.__getitem__",  # also CIFAR100
)
"""What reads the samples of data sets whose attributes `data` and `targets` hold them all."""


_AT_ONCE = {"Normalize", "ToDtype", "ConvertImageDtype"}
"""Transforms of torchvision that take many images."""


class Watch:
    """Watches the global random generators within a ``with`` block, and restores them at its end.

    Attributes
    ----------
    drawn : bool
        Whether a number was drawn.
    """

    def __enter__(self) -> Watch:
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


def read(dataset: Any, numbers: list[int]) -> Any:
    """Return what a loader without a collate_fn makes of samples."""
    if getattr(dataset, "__getitems__", None):
        return default_collate(dataset.__getitems__(numbers))
    return default_collate([dataset[number] for number in numbers])


class Samples:
    """Those samples of a data set that have been read.

    Attributes
    ----------
    images, targets : torch.Tensor
        Of all samples; of those that have not been read, anything.
    """

    def __init__(self, count: int, numbers: Array, read: Columns) -> None:
        self.images, self.targets = (each.new_empty((count, *each.shape[1:])) for each in read)
        self._has = np.zeros(count, bool)
        self.put(numbers, read)

    @property
    def numbers(self) -> Array:
        """Numbers of the samples that have been read."""
        return np.flatnonzero(self._has)

    def put(self, numbers: Array, read: Columns) -> None:
        """Keep what was read; ValueError if its shapes or dtypes are others than those so far."""
        for ours, theirs in zip((self.images, self.targets), read, strict=True):
            if (ours.shape[1:], ours.dtype) != (theirs.shape[1:], theirs.dtype):
                raise ValueError(
                    f"expected samples like the first, {tuple(ours.shape[1:])} of {ours.dtype}, "
                    f"got {tuple(theirs.shape[1:])} of {theirs.dtype}"
                )
            ours[numbers] = theirs.detach()
        self._has[numbers] = True

    def lacking(self, numbers: Array) -> Array:
        """Return which of these samples have not been read."""
        numbers = np.unique(numbers)
        return numbers[~self._has[numbers]]

    def same(self, numbers: Array, read: Columns) -> bool:
        """Return whether samples that are read again are as before."""
        known = self._has[numbers]
        ours = self.images[numbers][known], self.targets[numbers][known]
        return all(map(_same, ours, (read[0][known], read[1][known])))


_KEPT: WeakKeyDictionary[Any, Samples] = WeakKeyDictionary()
"""The samples of data sets that shall be kept for later calls."""


def samples(dataset: Any, keep: bool) -> Samples | str:
    """Return samples of a data set that are always the same, or why they cannot be kept.

    Some are read twice to find out whether they change. With `keep`, all those that are read are
    there in the next call, as long as those are the same then, whatever memory they take.
    """
    if not len(dataset):
        return "its data set is empty"
    numbers = np.unique(np.linspace(0, len(dataset) - 1, _PROBED).astype(int))
    with Watch() as watch:
        try:
            first, second = read(dataset, numbers.tolist()), read(dataset, numbers.tolist())
        except Exception as error:  # the loader will raise it again, as it does in a loop
            return f"reading it here fails ({type(error).__name__})"
    if watch.drawn:
        return "its samples draw random numbers"
    if not (is_pair(first) and is_pair(second)):
        return "its samples are not pairs of an image and a target"
    if not all(map(_same, first, second)):
        return "its samples change when they are read again"
    size = len(dataset) * first[0][0].nbytes
    if size > MOST_BYTES and not keep:
        return f"it takes {size / 1e9:.1f} GB; materialise=True keeps it anyway"
    pair = first[0], first[1]
    with contextlib.suppress(TypeError):  # which is no key
        kept = _KEPT.get(dataset) if keep else None
        if kept is not None and len(kept.images) == len(dataset) and kept.same(numbers, pair):
            return kept
    found = Samples(len(dataset), numbers, pair)
    with contextlib.suppress(TypeError):
        if keep:
            _KEPT[dataset] = found
    return found


def forget(dataset: Any) -> None:
    """Keep no samples for later calls."""
    with contextlib.suppress(TypeError):
        _KEPT.pop(dataset, None)


def is_pair(batch: object) -> bool:
    return (
        isinstance(batch, tuple | list)
        and len(batch) == 2
        and all(isinstance(each, torch.Tensor) and each.dim() for each in batch)
    )


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(first.detach(), second.detach())


def columns(dataset: object, numbers: Any = slice(None)) -> Columns | None:
    """Return the images and targets of a data set, or of the samples of these numbers, if they can
    be had without reading each."""
    if type(dataset) is TensorDataset:
        if len(dataset.tensors) != 2:
            return None
        images, targets = dataset.tensors
        return images[numbers], targets[numbers]
    if type(dataset) is Subset:
        return columns(dataset.dataset, np.asarray(dataset.indices)[numbers])
    if type(dataset) is ConcatDataset:
        parts = [part for each in dataset.datasets if (part := columns(each))]
        shapes = {(images.shape[1:], images.dtype, targets.dtype) for images, targets in parts}
        if len(parts) < len(dataset.datasets) or len(shapes) > 1:
            return None
        images, targets = map(torch.cat, zip(*parts, strict=True))
        return images[numbers], targets[numbers]
    return _of_torchvision(dataset, numbers)


def _of_torchvision(dataset: Any, numbers: Any) -> Columns | None:
    """Return samples of torchvision's data sets in memory, whose transforms are such that they give
    the same bits for all images at once."""
    method = getattr(type(dataset), "__getitem__", None)
    path = f"{getattr(method, '__module__', '')}.{getattr(method, '__qualname__', '')}"
    if path not in _OF_TORCHVISION:
        return None
    if hasattr(dataset, "__getitems__") or dataset.target_transform is not None:
        return None
    steps = [dataset.transform]
    if _name(dataset.transform) == "Compose":
        steps = dataset.transform.transforms
    first, *others = map(_name, steps or [None])
    if first not in ("ToTensor", "ToImage") or not {*others} <= _AT_ONCE:
        return None
    data, targets = torch.as_tensor(dataset.data), torch.as_tensor(dataset.targets)
    if data.dtype != torch.uint8 or not len(data) == len(dataset) == len(targets):
        return None
    data, targets = data[numbers], targets[numbers]
    if not len(data) or data.numel() * torch.get_default_dtype().itemsize > MOST_BYTES:
        return None
    data = data.unsqueeze(1) if data.dim() == 3 else data.permute(0, 3, 1, 2).contiguous()
    images = data if first == "ToImage" else data.to(torch.get_default_dtype()).div_(255)
    for step in steps[1:]:
        images = step(images)
    tried = [0, len(data) // 2, len(data) - 1]
    right = read(dataset, np.arange(len(dataset))[numbers][tried].tolist())
    same = is_pair(right) and all(map(_same, right, (images[tried], targets[tried])))
    return (images, targets) if same else None


def _name(transform: object) -> str:
    """Return the name of one of torchvision's transforms; else ""."""
    kind = type(transform)
    return kind.__name__ if kind.__module__.startswith("torchvision.transforms.") else ""
