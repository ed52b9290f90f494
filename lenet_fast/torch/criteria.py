"""Conversion of PyTorch's criteria to our losses, and of their targets to labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lenet_fast import checks, losses
from lenet_fast.checks import Array
from lenet_fast.losses import Loss
from lenet_fast.torch import modules, sequential, tensors


def read(criterion: object, targets: torch.Tensor) -> tuple[Loss, Array]:
    """Return our loss of the same value, and the classes that the targets represent.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss, or the targets do not fit it.
    """
    kind = type(criterion)
    if isinstance(criterion, nn.Module):
        sequential.check_plain("criterion", criterion)
    if kind is nn.MSELoss:
        _mean(criterion)
        on, off, labels = _one_hot(tensors.without_gradient("targets", targets, tensors.FLOATS))
        return losses.MeanSquaredError(on, off, scale=1 / targets.shape[1]), labels
    if kind is nn.CrossEntropyLoss or kind is nn.NLLLoss:
        _mean(criterion)
        assert isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss)
        if criterion.weight is not None:
            raise ValueError("criterion: expected weight=None, got weights of the classes")
        if criterion.ignore_index >= 0:
            raise ValueError(
                f"criterion: expected no class to ignore, got ignore_index={criterion.ignore_index}"
            )
        loss: Loss = losses.CrossEntropy(getattr(criterion, "label_smoothing", 0.0))
    elif kind is modules.MAPLoss:
        assert isinstance(criterion, modules.MAPLoss)
        loss = losses.MAP(criterion.j)
    elif kind is modules.PenaltyLoss:
        loss = losses.Penalty()
    else:
        raise TypeError(
            "criterion: expected nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, MAPLoss or "
            f"PenaltyLoss, got {checks.kind(criterion)}"
        )
    return loss, tensors.without_gradient("targets", targets, tensors.INTEGERS)


def check_end(criterion: object, softmax: nn.Module | None) -> None:
    """Raise ValueError unless a module ends as a criterion requires."""
    if isinstance(criterion, nn.NLLLoss):
        if not isinstance(softmax, nn.LogSoftmax):
            raise ValueError("module: expected a last LogSoftmax for nn.NLLLoss, got none")
    elif softmax is not None:
        raise ValueError(
            f"module: expected no last softmax for {type(criterion).__name__}, got {softmax}"
        )


def check_width(criterion: object, targets: torch.Tensor, outputs: int) -> None:
    """Raise ValueError unless numeric targets have one number per output."""
    if isinstance(criterion, nn.MSELoss) and targets.shape[1] != outputs:
        raise ValueError(
            f"targets: expected {outputs} numbers per image, one per output of the module, got "
            f"{targets.shape[1]}"
        )


def _mean(criterion: object) -> None:
    reduction = getattr(criterion, "reduction", None)
    if reduction != "mean":
        raise ValueError(f"criterion: expected reduction='mean', got {reduction!r}")


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
            "for all others, got more values"
        )
    return float(on), float(off), labels
