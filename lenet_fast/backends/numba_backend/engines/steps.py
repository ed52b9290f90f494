"""The arguments of both engines: their types, and checks that the loops know all codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lenet_fast.backends.numba_backend.jit import part, read_only
from lenet_fast.backends.numba_backend.layers.activations import ACTIVATIONS, SLOPED
from lenet_fast.backends.numba_backend.layers.optimisers import RULES
from lenet_fast.backends.numba_backend.program import (
    ACTIVATION,
    CLIPPED,
    CROSS_ENTROPY,
    CURVATURE,
    EXAMPLES,
    FORWARD,
    GRADIENT,
    MAP,
    PENALTY,
    SQUARED_ERROR,
    UPDATE,
)
from lenet_fast.backends.numba_backend.vector.shapes import Maps, Window

_RECORDS = {"input", "loss"}

# The arguments that are written; those squared go where the parameters go.
_WRITTEN = {
    *("parameters", "weights_squared", "state", "gradients", "memory"),
    *("outputs", "d_inputs", "kept", "examples", "totals", "seconds"),
}

# For arguments that may be None: how many axes they have, where that is not 1, and their dtype,
# where it is not the network's.
_AXES = dict.fromkeys(("outputs", "d_outputs", "d_inputs", "seconds"), 2)
_AXES |= {"bytes_images": 3, "float_images": 4}
_DTYPES = {"bytes_images": np.uint8, "order": np.intp, "labels": np.intp, "seconds": np.float64}


def typed(names: Iterable[str], values: Iterable[Any], dtype: Any) -> list[Any]:
    """Return arguments of the types that the loops are compiled for: the rows of tables with one
    row, empty arrays in place of None, and all that is not written read only."""
    return [_typed(name, value, dtype) for name, value in zip(names, values, strict=True)]


def _typed(name: str, value: Any, dtype: Any) -> Any:
    if name in _RECORDS:
        return value[0]
    if value is None:
        value = np.empty((0,) * _AXES.get(name, 1), _DTYPES.get(name, dtype))
    return value if name in _WRITTEN else read_only(value)


@part
def source_of(step):
    return Maps(step.c_in, step.h_in, step.w_in)


@part
def result_of(step):
    return Maps(step.c_out, step.h_out, step.w_out)


@part
def window_of(step):
    return Window(step.kh, step.kw, step.stride_v, step.stride_h, step.dilation_v, step.dilation_h)


@part
def inputs_of(step):
    return step.c_in * step.h_bare * step.w_bare


@part
def outputs_of(step):
    return step.c_out * step.h_out * step.w_out


def check_steps(steps: Any, kinds: tuple[int, ...]) -> None:
    """Raise ValueError if a step is of no kind, or an activation no function, that loops know."""
    columns = (steps[name].tolist() for name in ("kind", "activation", "planar"))
    for k, (kind, activation, planar) in enumerate(zip(*columns, strict=True)):
        _check(f"kind of step {k}", kind, kinds)
        if kind == ACTIVATION:
            _check(f"activation of step {k}", activation, ACTIVATIONS)
        elif planar:
            _check(f"activation of step {k}", activation, SLOPED)


def check_loss(loss: Any) -> None:
    """Raise ValueError if no loop knows the loss."""
    _check("kind of the loss", loss["kind"], (CROSS_ENTROPY, SQUARED_ERROR, MAP, PENALTY))


def check_updates(updates: Any) -> None:
    """Raise ValueError if no loop knows the rule of an update."""
    for k in np.flatnonzero(~np.isin(updates["rule"], RULES)):
        _check("rule of the update", updates["rule"][k], RULES)


def check_items(items: Any) -> None:
    """Raise ValueError if no loop knows the kind of an item."""
    known = (FORWARD, GRADIENT, CURVATURE, EXAMPLES, CLIPPED, UPDATE)
    for k in np.flatnonzero(~np.isin(items["kind"], known)):
        _check(f"kind of item {k}", items["kind"][k], known)


def _check(name: str, number: int, known: tuple[int, ...]) -> None:
    """Raise ValueError if no loop knows a number: none may take it for another."""
    if number not in known:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, known))}, got {number}")
