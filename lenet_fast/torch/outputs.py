"""The outputs of a module: which of them a network computes, and how the module arranges them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lenet_fast.torch import reading, recording
from lenet_fast.torch.rows import Row

Result = Callable[[torch.Tensor], Any]


def read(
    module: nn.Module, shape: tuple[int, ...], output: int | str | None, alone: bool = False
) -> tuple[Row, Result]:
    """Return what a module computes, and what makes its result of the network's outputs.

    With `alone` the result is the output, also if the module returns it in a tuple or dict.
    """
    several = [] if alone or output is not None else _keys(module, shape)
    key = reading.TOGETHER if several else output
    constants = not torch.is_grad_enabled()
    try:
        row = reading.read(module, shape, key, masks=True, views=True, constants=constants)
        if several:
            return row, _arranged(module, row)
    except (TypeError, ValueError) as error:
        if not several:
            raise
        choice = ", ".join(map(repr, several))
        raise type(error)(f"{error}; output= chooses one of {choice}") from None
    return row, lambda y: _ended(row, y)


def _ended(row: Row, y: torch.Tensor) -> torch.Tensor:
    """Return a network's outputs with the module's softmax, in the module's shape."""
    y = y if row.softmax is None else row.softmax(y)
    return y if len(row.output_shape) == 1 else y.reshape(len(y), *row.output_shape)


def _arranged(module: nn.Module, row: Row) -> Result:
    """Return what makes all outputs of a module of their common value: as the module does, by
    functions of PyTorch."""
    (found, source), (others, another) = row.outputs
    row.beside = recording.constants(found, source)

    def arranged(y: torch.Tensor) -> Any:
        return recording.with_tensors(found, source, _ended(row, y))

    try:
        with recording.undisturbed(module, evaluation=False):
            made = recording.with_tensors(found, source, another.tensor)
            expected = recording.with_tensors(others, another, another.tensor)
            torch.testing.assert_close(made, expected)
    except Exception:
        raise ValueError(
            "output: expected outputs that the same functions make in each call, got others"
        ) from None
    return arranged


def _keys(module: nn.Module, shape: tuple[int, ...]) -> list[Any]:
    """Return the keys of a module's outputs, if there are several."""
    dtype = next((each.dtype for each in module.parameters()), torch.float32)
    try:
        with recording.undisturbed(module, evaluation=False):
            found = module(torch.zeros(2, *shape, dtype=dtype))
    except Exception:  # which the reader explains
        return []
    if type(found) not in (tuple, list, dict):
        return []
    return list(found if isinstance(found, dict) else range(len(found)))
