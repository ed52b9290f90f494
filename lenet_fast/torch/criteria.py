"""Conversion of PyTorch's criteria to our losses, and of their targets to labels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lenet_fast import losses
from lenet_fast.checks import Array
from lenet_fast.losses import Loss
from lenet_fast.torch import modules, reading, tensors

_FUNCTIONS: dict[Callable[..., Any], type[nn.Module]] = {
    functional.cross_entropy: nn.CrossEntropyLoss,
    functional.nll_loss: nn.NLLLoss,
    functional.mse_loss: nn.MSELoss,
}
"""Criteria by the functions that compute the same."""


class Criterion:
    """A criterion of PyTorch, and our loss of the same value.

    Attributes
    ----------
    output : str
        The network output that the loss fits.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss.
    """

    def __init__(self, criterion: object) -> None:
        self._module = module = _module(criterion)
        self._kind = type(module)
        self._loss: Loss | None = None
        if self._kind is nn.MSELoss:
            _check_mean(module)
            self.output = losses.MeanSquaredError.output
            return  # the loss depends on the targets
        if isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
            _check_mean(module)
            _check_weights(module.weight)
            if module.ignore_index >= 0:
                raise ValueError(
                    "criterion: expected no class to ignore, got "
                    f"ignore_index={module.ignore_index}; lenet_fast.torch.wrap can ignore one"
                )
            self._loss = losses.CrossEntropy(getattr(module, "label_smoothing", 0.0))
        elif isinstance(module, modules.MAPLoss):
            self._loss = losses.MAP(module.j)
        else:
            self._loss = losses.Penalty()
        self.output = self._loss.output

    @property
    def loss(self) -> Loss:
        """Our loss; that of MSELoss is known after the first :meth:`labels`."""
        assert self._loss is not None
        return self._loss

    def labels(self, targets: torch.Tensor, outputs: int) -> Array:
        """Return the classes that targets represent, for so many outputs of the module.

        TypeError or ValueError if they are others than the criterion takes, or other numbers than
        those of the first call.
        """
        if targets.is_floating_point() and targets.dim() == 2 and targets.shape[1] != outputs:
            raise ValueError(
                f"targets: expected {outputs} numbers per image, one per output of the module, got "
                f"{targets.shape[1]}"
            )
        if self._kind is nn.MSELoss:
            numbers = tensors.without_gradient("targets", targets, tensors.FLOATS)
            on, off, labels = _one_hot(numbers)
            loss = losses.MeanSquaredError(on, off, scale=1 / numbers.shape[1])
            if self._loss is None:
                self._loss = loss
            elif loss.config() != self._loss.config():
                raise ValueError(
                    f"targets: expected numbers as in the first batch, for {self._loss}, got those "
                    f"for {loss}"
                )
            return labels
        if self._kind is nn.CrossEntropyLoss and targets.is_floating_point() and targets.dim() > 1:
            numbers = tensors.without_gradient("targets", targets, tensors.FLOATS)
            on, off, labels = _one_hot(numbers)
            if (on, off) != (1.0, 0.0):
                raise ValueError(
                    "targets: expected labels, or probabilities 0 and 1, for nn.CrossEntropyLoss, "
                    f"got {off:g} and {on:g}"
                )
            return labels
        return tensors.without_gradient("targets", targets, tensors.INTEGERS)

    def check_end(self, softmax: nn.Module | None) -> None:
        """Raise ValueError unless a module ends as the criterion requires."""
        name = self._kind.__name__
        if self._kind is nn.NLLLoss:
            if not isinstance(softmax, nn.LogSoftmax):
                found = "none" if softmax is None else f"a {type(softmax).__name__}"
                raise ValueError(
                    f"module: expected a last LogSoftmax for nn.NLLLoss, got {found}; without one, "
                    "nn.CrossEntropyLoss is the criterion"
                )
        # The logarithm of a softmax is its own: CrossEntropyLoss computes the same behind it.
        elif softmax is not None and not (
            self._kind is nn.CrossEntropyLoss and isinstance(softmax, nn.LogSoftmax)
        ):
            raise ValueError(
                f"module: expected no last softmax for {name}, which computes one itself, got "
                f"{type(softmax).__name__}; remove it, or see lenet_fast.torch.wrap"
                if self._kind is nn.CrossEntropyLoss
                else f"module: expected no last softmax for {name}, got {type(softmax).__name__}; "
                "lenet_fast.torch.wrap takes any"
            )


def _module(criterion: object) -> nn.Module:
    """Return a criterion as a module, also if it is a function."""
    function = criterion.func if isinstance(criterion, functools.partial) else criterion
    kind = next((kind for each, kind in _FUNCTIONS.items() if each is function), None)
    if kind is not None:
        options: dict[str, Any] = {}
        if isinstance(criterion, functools.partial):
            if criterion.args:
                raise ValueError(
                    "criterion: expected a partial with options by name, got "
                    f"{len(criterion.args)} by position"
                )
            options = criterion.keywords
        try:
            return kind(**options)
        except TypeError as error:
            raise TypeError(f"criterion: expected options of PyTorch's, got {error}") from None
    known = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, modules.MAPLoss, modules.PenaltyLoss)
    if isinstance(criterion, nn.Module):
        reading.check_hooks("criterion", criterion)
        if type(criterion) in known:
            return criterion
    raise TypeError(
        "criterion: expected nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss or their functions, "
        f"MAPLoss or PenaltyLoss, got {tensors.kind(criterion)}; lenet_fast.torch.wrap takes any"
    )


def _check_mean(criterion: nn.Module) -> None:
    reduction = getattr(criterion, "reduction", None)
    if reduction != "mean":
        raise ValueError(
            f"criterion: expected reduction='mean', got {reduction!r}; lenet_fast.torch.wrap takes "
            "any"
        )


def _check_weights(weights: torch.Tensor | None) -> None:
    """Raise ValueError unless all classes have the same weight, which the mean divides out."""
    if weights is not None and not ((weights > 0) & (weights == weights.flatten()[0])).all():
        raise ValueError(
            "criterion: expected weight=None or the same weight for all classes, got others; "
            "lenet_fast.torch.wrap takes any"
        )


def _one_hot(targets: Array) -> tuple[float, float, Array]:
    """Return the target of the right class, that of all others, and the classes."""
    if targets.ndim != 2 or not len(targets) or targets.shape[1] < 2:
        raise ValueError(
            f"targets: expected shape (n, k), one number per class, got {targets.shape}"
        )
    labels = targets.argmax(axis=1)
    on, off = targets.max(), targets.min()
    expected = np.full_like(targets, off)
    expected[np.arange(len(labels)), labels] = on
    if not np.array_equal(expected, targets) or not on > off:
        raise ValueError(
            "targets: expected one number for the right class of every image, and a smaller one "
            "for all others, got more values; lenet_fast.torch.wrap takes any"
        )
    return float(on), float(off), labels
