"""The data of a loader, and their order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, TensorDataset, default_collate

from lenet_fast import checks
from lenet_fast.checks import Array
from lenet_fast.engines import inputs
from lenet_fast.network import Network
from lenet_fast.torch import tensors


def sampler_of(loader: object) -> BatchSampler:
    """Return a loader's batch sampler, after checking that it alone determines the batches."""
    if type(loader) is not DataLoader:
        raise TypeError(f"loader: expected a DataLoader, got {checks.kind(loader)}")
    sampler = loader.batch_sampler
    if type(sampler) is not BatchSampler:
        raise ValueError(
            f"loader: expected a batch_size and no batch_sampler, got {checks.kind(sampler)}"
        )
    if loader.collate_fn is not default_collate:
        raise ValueError(f"loader: expected no collate_fn, got {checks.kind(loader.collate_fn)}")
    if loader.num_workers:
        raise ValueError(f"loader: expected num_workers=0, got {loader.num_workers}")
    return sampler


def tensors_of(name: str, dataset: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and targets."""
    if type(dataset) is not TensorDataset or len(dataset.tensors) != 2:
        raise TypeError(
            f"{name}: expected a TensorDataset of images and targets, got {checks.kind(dataset)}"
        )
    images, targets = dataset.tensors
    return images, targets


def examples(
    name: str, network: Network, images: torch.Tensor, labels: Array
) -> tuple[Array, Array]:
    """Return images and labels in the form that engines read."""
    with _named(name):
        x = tensors.without_gradient("images", images, tensors.FLOATS)
        return inputs.examples(network, x, labels)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the argument in an error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


class _Numbers(Dataset[Any]):
    """A data set in which each image is its own number."""

    def __len__(self) -> int:
        raise NotImplementedError  # the samplers know the length

    def __getitems__(self, numbers: list[int]) -> list[int]:
        return numbers


def parts(loader: DataLoader[Any], images: int) -> Iterator[Array]:
    """Yield the numbers of the images in the loader's order, in groups of whole batches with at
    least `images` images.

    A loader with the same samplers draws the same random numbers as the original.
    """
    numbers: DataLoader[Any] = DataLoader(
        _Numbers(),
        batch_sampler=loader.batch_sampler,
        collate_fn=np.array,
        generator=loader.generator,
    )
    part: list[Array] = []
    none = True
    for batch in numbers:
        none = False
        part.append(batch)
        if sum(map(len, part)) >= images:
            yield _joined(part, loader)
            part = []
    if part:
        yield _joined(part, loader)
    if none:
        raise ValueError("loader: expected at least one batch, got none")


def _joined(part: list[Array], loader: DataLoader[Any]) -> Array:
    with _named("loader"):
        return inputs.order(np.concatenate(part), len(loader.dataset))  # type: ignore[arg-type]
