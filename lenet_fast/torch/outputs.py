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
    one = alone or output is not None
    keys, arranged = ([output], _first) if one else _keys(module, shape)
    constants = not torch.is_grad_enabled()
    rows = []
    for key in keys:
        try:
            row = reading.read(module, shape, key, masks=True, views=True, constants=constants)
        except (TypeError, ValueError) as error:
            if len(keys) == 1:
                raise
            several = ", ".join(map(repr, keys))
            raise type(error)(f"{error}; output= chooses one of {several}") from None
        rows.append(row)
    if len({_content(row) for row in rows}) > 1:
        raise ValueError(
            "output: expected outputs that are the same except for a softmax, got others; choose "
            f"one of {', '.join(map(repr, keys))}"
        )
    return rows[0], lambda y: arranged([_ended(row, y) for row in rows])


def _ended(row: Row, y: torch.Tensor) -> torch.Tensor:
    """Return a network's outputs with the module's softmax, in the module's shape."""
    y = y if row.softmax is None else row.softmax(y)
    return y if len(row.output_shape) == 1 else y.reshape(len(y), *row.output_shape)


def _first(outputs: list[torch.Tensor]) -> Any:
    return outputs[0]


def _keys(
    module: nn.Module, shape: tuple[int, ...]
) -> tuple[list[Any], Callable[[list[torch.Tensor]], Any]]:
    """Return the keys of a module's outputs, and what arranges them as the module does."""
    dtype = next((each.dtype for each in module.parameters()), torch.float32)
    try:
        with recording.undisturbed(module, evaluation=False):
            found = module(torch.zeros(2, *shape, dtype=dtype))
    except Exception:  # which the reader explains
        return [None], _first
    kind = type(found)
    if kind not in (tuple, list, dict):
        return [None], _first
    named = found if kind is dict else dict(enumerate(found))
    keys = [key for key, value in named.items() if value is not None]

    def arranged(outputs: list[torch.Tensor]) -> Any:
        made = dict.fromkeys(named) | dict(zip(keys, outputs, strict=True))
        return made if kind is dict else kind(made.values())

    return keys, arranged


def _content(row: Row) -> str:
    """Return what a row computes before the softmax, for comparison."""
    parameters = [list(map(id, place.parameters.values())) for place in row.places]
    constants = [each.tolist() for place in row.places for each in place.constants.values()]
    return repr((row.input_shape, [layer.config() for layer in row.layers], parameters, constants))
