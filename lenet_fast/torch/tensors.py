"""Conversion of tensors to NumPy arrays that share their memory, with checks."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
import torch

from lenet_fast import checks
from lenet_fast.checks import Array

FLOATS = (torch.float32, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def kind(value: object) -> str:
    """Return the kind of an object of the user's for an error message, without its content."""
    if isinstance(value, int | float | str | type | FunctionType) or value is None:
        return checks.kind(value)
    return f"an object of type {type(value).__name__}"


def array(name: str, value: object, dtypes: tuple[torch.dtype, ...] = FLOATS) -> Array:
    """Return the array that shares a tensor's memory; gradients are ignored.

    TypeError if it is not a tensor, or not dense, not on the CPU, or of another dtype.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, got {checks.kind(value)}")
    if value.layout is not torch.strided or value.is_nested:
        kind = "a nested one" if value.is_nested else str(value.layout)
        raise TypeError(f"{name}: expected a dense tensor, got {kind}")
    if value.device.type != "cpu":
        raise TypeError(f"{name}: expected a tensor on the CPU, got one on {value.device}")
    if value.dtype not in dtypes:
        allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name}: expected a tensor of {allowed}, got {value.dtype}")
    # A tensor may be the lazy negative of its memory, which no array can be.
    shared: Array = value.detach().resolve_neg().numpy()
    return shared


def without_gradient(name: str, value: object, dtypes: tuple[torch.dtype, ...]) -> Array:
    """Like :func:`array`, for a tensor that gets no gradient."""
    shared = array(name, value, dtypes)
    assert isinstance(value, torch.Tensor)
    if value.requires_grad:
        raise ValueError(
            f"{name}: expected a tensor that needs no gradient, got one with requires_grad=True"
        )
    return shared


def table(name: str, value: object) -> Array | None:
    """Return a connection table; it may already be an array."""
    if value is None or isinstance(value, np.ndarray):
        return value
    return array(name, value, (torch.bool,))


def dtype(of: np.dtype[Any]) -> torch.dtype:
    """Return PyTorch's float dtype for NumPy's."""
    return FLOATS[checks.FLOATS.index(of)]
