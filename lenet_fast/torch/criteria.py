"""Conversion of PyTorch's criteria to our losses, and of their targets to labels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lenet_fast import checks, choices, losses
from lenet_fast.checks import Array
from lenet_fast.losses import Loss
from lenet_fast.torch import modules, reading, tensors
from lenet_fast.torch.refusals import Beyond

_FUNCTIONS: dict[Callable[..., Any], type[nn.Module]] = {
    functional.cross_entropy: nn.CrossEntropyLoss,
    functional.nll_loss: nn.NLLLoss,
    functional.mse_loss: nn.MSELoss,
}
"""Criteria by the functions that compute the same."""

_KINDS = (*_FUNCTIONS.values(), modules.MAPLoss, modules.PenaltyLoss)

_PER_OUTPUT = (
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss),
    *(nn.BCELoss, nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss),
)


class Own:
    """A criterion of PyTorch or the user's, as it is.

    Attributes
    ----------
    call : callable
        The criterion.
    sums : bool
        Whether it is one of PyTorch that adds the losses of images, instead of their mean.

    Raises
    ------
    TypeError, ValueError
        If it cannot be one.
    """

    def __init__(self, criterion: object) -> None:
        if not callable(criterion) or isinstance(criterion, type):
            raise TypeError(
                "criterion: expected a module, such as nn.CrossEntropyLoss(), or a function, got "
                f"{tensors.kind(criterion)}"
            )
        self.call: Callable[..., Any] = criterion
        self._module = _as_module(criterion)
        reduction = getattr(self._module, "reduction", None)
        if reduction == "none":
            raise ValueError("criterion: expected reduction='mean' or 'sum', got 'none'")
        self.sums = reduction == "sum"

    def check_end(self, softmax: nn.Module | None) -> None:
        """Raise ValueError unless a module ends as PyTorch's criterion requires."""
        kind = type(self._module)
        if kind is nn.NLLLoss and not isinstance(softmax, nn.LogSoftmax):
            found = "none" if softmax is None else f"a {type(softmax).__name__}"
            raise ValueError(
                f"module: expected a last LogSoftmax for nn.NLLLoss, got {found}; without one, "
                "nn.CrossEntropyLoss is the criterion"
            )
        if kind is nn.CrossEntropyLoss and isinstance(softmax, nn.Softmax):
            raise ValueError(
                "module: expected no last softmax for CrossEntropyLoss, which computes one itself, "
                "got Softmax; remove it, or see lenet_fast.torch.wrap"
            )

    def labels(self, targets: torch.Tensor, count: int, outputs: int) -> Array:
        """Return a copy of the targets for so many images, and outputs of the module.

        TypeError or ValueError if they are neither labels nor one number per output.
        """
        array = tensors.without_gradient("targets", targets, (*tensors.INTEGERS, *tensors.FLOATS))
        if array.shape == (count, outputs):
            return array.copy()
        if isinstance(self._module, _PER_OUTPUT):  # which would broadcast labels
            raise ValueError(
                f"targets: expected one number per output, of shape ({count}, {outputs}), got "
                f"{array.dtype} of shape {array.shape}"
            )
        if array.shape != (count,) or array.dtype.kind == "f":
            raise ValueError(
                f"targets: expected labels of shape ({count},), or one number per output, of shape "
                f"({count}, {outputs}), got {array.dtype} of shape {array.shape}"
            )
        if isinstance(self._module, nn.CrossEntropyLoss | nn.NLLLoss):
            used = array[array != self._module.ignore_index]
            checks.labels("labels", used, len(used), outputs)
        return array.copy()

    def errors(self, winners: Array, targets: Array) -> int:
        """Count the wrongly classified images, leaving out those with the ignored label."""
        if targets.ndim == 2:
            return int(np.count_nonzero(winners != targets.argmax(axis=1)))
        ignored = getattr(self._module, "ignore_index", None)
        return int(np.count_nonzero((winners != targets) & (targets != ignored)))


class Criterion(Own):
    """A criterion of PyTorch, and our loss of the same value.

    Attributes
    ----------
    name : str
        Its type.
    output : str
        The network output that the loss fits.

    Raises
    ------
    Beyond
        If there is no such loss.
    TypeError, ValueError
        If it is no criterion.
    """

    def __init__(self, criterion: object) -> None:
        super().__init__(criterion)
        module = self._module
        self._kind, self.name = type(module), type(module).__name__
        if module is None or self._kind not in _KINDS:
            raise Beyond(
                "criterion: expected nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss or their "
                f"functions, MAPLoss or PenaltyLoss, got {tensors.kind(criterion)}"
            )
        try:
            reading.check_hooks("criterion", module)
        except ValueError as error:
            raise Beyond(str(error)) from None
        self._loss: Loss | None = None
        if self._kind is nn.MSELoss:
            _check_mean(module)
            self.output: choices.Output = losses.MeanSquaredError.output
            return  # the loss depends on the targets
        if isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
            _check_mean(module)
            _check_weights(module.weight)
            if module.ignore_index >= 0:
                raise Beyond(
                    "criterion: expected no class to ignore, got "
                    f"ignore_index={module.ignore_index}"
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

    def labels(self, targets: torch.Tensor, count: int, outputs: int) -> Array:
        """Return the classes that targets represent, for so many images, and outputs of the module.

        TypeError or ValueError if they are others than the criterion takes, or other numbers than
        those of the first call.
        """
        return checks.labels("labels", self._classes(targets, outputs), count, outputs)

    def _classes(self, targets: torch.Tensor, outputs: int) -> Array:
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
                raise Beyond(
                    f"targets: expected numbers as in the first batch, for {self._loss}, got those "
                    f"for {loss}"
                )
            return labels
        if self._kind is nn.CrossEntropyLoss and targets.is_floating_point() and targets.dim() > 1:
            numbers = tensors.without_gradient("targets", targets, tensors.FLOATS)
            on, off, labels = _one_hot(numbers)
            if (on, off) != (1.0, 0.0):
                raise Beyond(
                    "targets: expected labels, or probabilities 0 and 1, for nn.CrossEntropyLoss, "
                    f"got {off:g} and {on:g}"
                )
            return labels
        return tensors.without_gradient("targets", targets, tensors.INTEGERS)

    def check_end(self, softmax: nn.Module | None) -> None:
        """Raise an error unless a module ends as the criterion, and our loss, require."""
        super().check_end(softmax)
        # The logarithm of a softmax is its own: CrossEntropyLoss computes the same behind it.
        if softmax is not None and self._kind not in (nn.NLLLoss, nn.CrossEntropyLoss):
            raise Beyond(
                f"module: expected no last softmax for {self.name}, got {type(softmax).__name__}"
            )


def _as_module(criterion: object) -> nn.Module | None:
    """Return a criterion as a module of the same options, also if it is a function of PyTorch."""
    function = criterion.func if isinstance(criterion, functools.partial) else criterion
    kind = next((kind for each, kind in _FUNCTIONS.items() if each is function), None)
    if kind is None:
        return criterion if isinstance(criterion, nn.Module) else None
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


def _check_mean(criterion: nn.Module) -> None:
    if criterion.reduction != "mean":
        raise Beyond(f"criterion: expected reduction='mean', got {criterion.reduction!r}")


def _check_weights(weights: torch.Tensor | None) -> None:
    """Raise Beyond unless all classes have the same weight, which the mean divides out."""
    if weights is not None and not ((weights > 0) & (weights == weights.flatten()[0])).all():
        raise Beyond(
            "criterion: expected weight=None or the same weight for all classes, got others"
        )


def _one_hot(targets: Array) -> tuple[float, float, Array]:
    """Return the target of the right class, that of all others, and the classes."""
    if targets.ndim != 2 or not len(targets) or targets.shape[1] < 2:
        raise ValueError(
            f"targets: expected shape (n, k), one number per class, got {targets.shape}"
        )
    found = losses.one_hot(targets)
    if found is None:
        raise Beyond(
            "targets: expected one number for the right class of every image, and a smaller one "
            "for all others, got more values"
        )
    return found
