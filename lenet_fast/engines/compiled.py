"""Arguments of the compiled loops: parameters in a program's order, and records."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lenet_fast import losses, memory
from lenet_fast.checks import Array
from lenet_fast.engines import program
from lenet_fast.engines.compile import ParameterSlice, Program, Unsupported, records
from lenet_fast.engines.interface import Optimiser
from lenet_fast.engines.program import LossKind, Update
from lenet_fast.losses import Loss
from lenet_fast.network import Network


def pack(program: Program, network: Network, parameters: Array) -> None:
    """Copy a network's parameters to where the loops read them, except into padding."""
    arrays = network.parameters
    for part in program.parameters:
        part.pack(arrays[part.name], parameters)


def packed(
    program: Program,
    kinds: Sequence[Mapping[str, Array]],
    dtype: np.dtype[Any],
    padding: float = 0,
) -> Array:
    """Return arrays laid out like the trainable parameters, one kind after the other.

    Each kind is a dict by parameter name; missing parameters are filled with `padding`.
    """
    if not kinds:
        return np.empty(0, dtype)
    array = memory.aligned(len(kinds) * program.trained, dtype)
    array[...] = padding
    for k, arrays in enumerate(kinds):
        for part in program.learned:
            if part.name in arrays:
                part.pack(arrays[part.name], array[k * program.trained :])
    return array


class Shared:
    """Finds the memory where arrays lie as the loops read them, one behind the other: then nothing
    has to be copied. :class:`lenet_fast.network.Network` and the optimisers allocate them so.

    Parameters
    ----------
    parts : sequence of ParameterSlice
        Of each kind of arrays.
    apart : int
        How many numbers the arrays of a kind are behind those of the kind before.
    """

    def __init__(self, parts: Sequence[ParameterSlice], apart: int) -> None:
        self._parts, self._apart = parts, apart
        self._plain = all(part.rows and part.last - part.first == part.size for part in parts)
        self._arrays: list[Array] = []
        self._memory: Array | None = None

    def find(self, arrays: list[Array]) -> Array | None:
        """Return the memory of the arrays, kind by kind, as one array, or None if they lie
        elsewhere."""
        same = len(arrays) == len(self._arrays)
        if not same or any(map(operator.is_not, arrays, self._arrays)):
            self._arrays, self._memory = arrays, self._look(arrays)
        return self._memory

    def _look(self, arrays: list[Array]) -> Array | None:
        if not (self._plain and arrays and isinstance(owner := arrays[0].base, np.ndarray)):
            return None
        size, count, dtype = arrays[0].itemsize, len(self._parts), arrays[0].dtype
        start = arrays[0].ctypes.data - self._parts[0].first * size
        for k, array in enumerate(arrays):
            part, place = self._parts[k % count], k // count * self._apart
            if (
                array.base is not owner
                or array.ctypes.data != start + (place + part.first) * size
                or (array.size, array.dtype) != (part.size, dtype)
                or not (array.flags.c_contiguous and array.flags.writeable)
            ):
                return None
        first = start - owner.ctypes.data
        last = (len(arrays) // count - 1) * self._apart + self._parts[-1].last
        if first < 0 or first + last * size > owner.nbytes or not owner.flags.c_contiguous:
            return None
        return np.ndarray(last, dtype, owner, first)


def image_arguments(x: Array) -> tuple[Array | None, Array | None]:
    """Return images as arguments of the loops: bytes and floats, one of which is None."""
    return (x, None) if x.dtype == np.uint8 else (None, x)


def check_rule(optimiser: Optimiser) -> None:
    """Raise Unsupported unless the loops know an optimiser's rule."""
    name = optimiser.rule.name
    if name not in program.RULES:
        raise Unsupported(f"optimiser: only engine='layers' knows the rule {name!r}")


def update_records(
    optimiser: Optimiser, slots: Sequence[Mapping[str, Array]], rates: Array, seed: int
) -> Array:
    """Return the records of an optimiser's updates with these slots, one per learning rate; the
    seed is that of dropout."""
    options = optimiser.rule._asdict()
    name = options.pop("name")
    update = Update(program.RULES[name], seed=seed, **options)
    if len(slots) != update.slots:
        raise ValueError(
            f"optimiser: expected {update.slots} slots with the rule {name!r}, got {len(slots)}"
        )
    updates = np.repeat(records(Update, [update]), len(rates))
    updates["rate"] = rates
    updates["done"] = np.arange(optimiser.steps, optimiser.steps + len(rates))
    return updates


def loss_record(loss: Loss, *, smallest_wins: bool) -> Array:
    """Return a loss as a record."""
    if type(loss) is losses.CrossEntropy:
        record = program.Loss(
            LossKind.CROSS_ENTROPY, floor=-math.inf, smoothing=float(loss.smoothing)
        )
    elif type(loss) is losses.MeanSquaredError:
        record = program.Loss(LossKind.SQUARED_ERROR, scale=loss.scale, on=loss.on, off=loss.off)
    elif type(loss) is losses.MAP:
        record = program.Loss(LossKind.MAP, floor=-loss.j, exact=int(loss.curvature == "exact"))
    elif type(loss) is losses.Penalty:
        record = program.Loss(LossKind.PENALTY)
    else:
        raise Unsupported(f"loss: only engine='layers' knows {type(loss).__name__}")
    return records(program.Loss, [record._replace(smallest_wins=int(smallest_wins))])
