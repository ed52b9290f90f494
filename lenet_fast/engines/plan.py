"""A network as a program for the lane engine: what its compiled loops work off.

A tile is as many images as a vector has lanes. All that one tile needs lies in one stretch of
memory, counted in vectors: the outputs of the layers, their gradients, and scratch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.engines.program import Activation, Input, Kind, Step
from lenet_fast.layers import (
    RBF,
    AvgPool2D,
    Conv2D,
    Dense,
    Layer,
    MaxPool2D,
    ReLU,
    ScaledTanh,
    Shape,
    Sigmoid,
    Subsample2D,
    Tanh,
)
from lenet_fast.network import Network


class Unsupported(ValueError):  # noqa: N818  (what it is, as in StopIteration)
    """The lane and online engines cannot run this; the message says what, such as a layer."""


@functools.cache
def record_type(kind: type[NamedTuple]) -> np.dtype[Any]:
    """Return the dtype of a record of the program, with one field for each of its own."""
    types = {int: np.intp, float: np.float64}
    return np.dtype([(name, types[each]) for name, each in get_type_hints(kind).items()])


def records(kind: type[NamedTuple], rows: Sequence[tuple[Any, ...]]) -> Array:
    """Return records of the program as a structured array."""
    return np.array(rows, record_type(kind))


class Place(NamedTuple):
    """Where one parameter lies among all of them."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """A network, ready for the loops.

    Attributes
    ----------
    steps : structured ndarray (layers,)
        Their fields are those of :class:`~lenet_fast.engines.program.Step`.
    tables : uint8 ndarray
        The connections of all convolutions, one after the other.
    input : structured ndarray (1,)
        Likewise an :class:`~lenet_fast.engines.program.Input`.
    size : int
        Vectors of memory that a thread needs.
    parameters : tuple of Place
        Those that learn come first.
    trained : int
        Numbers that learn.
    values : int
        Numbers in all parameters.
    """

    steps: Array
    tables: Array
    input: Array
    size: int
    parameters: tuple[Place, ...]
    trained: int
    values: int


_ACTIVATIONS: dict[type[Layer], Activation] = {
    ScaledTanh: Activation.SCALED_TANH,
    Tanh: Activation.TANH,
    Sigmoid: Activation.SIGMOID,
    ReLU: Activation.RELU,
}
_KNOWN = (*_ACTIVATIONS, Conv2D, Dense, RBF, MaxPool2D, AvgPool2D, Subsample2D)


class _Memory:
    """Hands out stretches of memory, one behind the other."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, vectors: int) -> int:
        first, self.size = self.size, self.size + vectors
        return first


def _covers(layer: Conv2D, input_shape: Shape) -> bool:
    """Return whether a convolution is a dense layer: one position, which sees all of the input."""
    return (
        layer.kernel == tuple(input_shape[1:])
        and not any(layer.padding)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.table is None
    )


def make(network: Network, lanes: int) -> Plan:
    """Return the plan of a network.

    Parameters
    ----------
    network : Network
    lanes : int
        Images a vector holds.

    Raises
    ------
    Unsupported
        If there is a layer that the loops do not know, or not in its place.
    """
    parameters, trained, values = _parameters(network)
    memory = _Memory()
    input_at = memory.take(math.prod(network.input_shape))
    rows, tables = steps(network, {place.name: place.first for place in parameters})
    rows, sizes, owner = _with_outputs(rows, input_at, memory)
    rows = _with_gradients(rows, sizes, owner, memory)
    rows = _with_rooms(rows, memory)
    work = memory.take(max(_work(row, lanes) for row in rows))
    last = rows[-1]
    outputs = memory.take(3 * last.c_out + 2 * last.c_in * last.h_bare * last.w_bare)
    image = Input(input_at, *network.input_shape, 0, *network.pixel_range)
    return Plan(
        steps=records(Step, [row._replace(work=work, rows=outputs) for row in rows]),
        tables=np.concatenate([*tables, np.zeros(0, np.uint8)]),
        input=records(Input, [image]),
        size=memory.size,
        parameters=parameters,
        trained=trained,
        values=values,
    )


def steps(network: Network, firsts: dict[str, int]) -> tuple[list[Step], list[Array]]:
    """Return what the layers are, without places in memory: steps, and connections.

    `firsts` says where parameters begin. Raises Unsupported as :func:`make` does.
    """
    learning = [k for k, layer in enumerate(network.layers) if layer.trainable]
    lowest = learning[0] if learning else len(network.layers)
    rows: list[Step] = []
    tables: list[Array] = []
    for k, layer in enumerate(network.layers):
        row, table = _step(layer, network.shapes[k], network.shapes[k + 1])
        if row.kind == Kind.DISTANCES and k < len(network.layers) - 1:
            raise Unsupported(
                f"layer {layer.name}: only engine='layers' runs an RBF layer that is not the last"
            )
        row = row._replace(
            learns=int(layer.trainable),
            passes=int(k > lowest),
            w=firsts.get(f"{layer.name}.w", -1),
            b=firsts.get(f"{layer.name}.b", -1),
        )
        if table is not None:
            row = row._replace(table=sum(len(each) for each in tables))
            tables.append(table)
        rows.append(row)
    return rows, tables


def _with_outputs(
    rows: list[Step], at: int, memory: _Memory
) -> tuple[list[Step], list[int], list[int]]:
    """Return the steps with places for their inputs and outputs; then the sizes of the outputs
    that have a place of their own, and which of them each step writes.

    An activation overwrites its input, unless that is the input of the network or the output of an
    activation, whose slope is taken from it.
    """
    placed: list[Step] = []
    sizes: list[int] = []
    owner: list[int] = []
    for k, row in enumerate(rows):
        y = at
        if row.kind != Kind.ACTIVATION or k == 0 or rows[k - 1].kind == Kind.ACTIVATION:
            sizes.append(row.c_out * row.h_out * row.w_out)
            y = memory.take(sizes[-1])
        owner.append(len(sizes) - 1)
        placed.append(row._replace(x=at, y=y))
        at = y
    return placed, sizes, owner


def _parameters(network: Network) -> tuple[tuple[Place, ...], int, int]:
    """Return where each parameter goes, how many numbers learn, and how many there are."""
    trainable = network.trainable_names
    arrays = network.parameters
    places, first, trained = [], 0, 0
    for name in [*trainable, *(name for name in arrays if name not in trainable)]:
        places.append(Place(name, first, first + arrays[name].size))
        first = places[-1].last
        if name in trainable:
            trained = first
    return tuple(places), trained, first


def _step(layer: Layer, shape: Shape, output: Shape) -> tuple[Step, Array | None]:
    """Return what a layer is by itself: its step, its connections."""
    if type(layer) not in _KNOWN:  # what a subclass computes may be something else
        raise Unsupported(f"layer {layer.name}: only engine='layers' knows {type(layer).__name__}")
    c, h, w = (*shape, 1, 1)[:3]
    c_out, h_out, w_out = (*output, 1, 1)[:3]
    sizes = {"c_in": c, "h_in": h, "w_in": w, "h_bare": h, "w_bare": w}
    sizes |= {"c_out": c_out, "h_out": h_out, "w_out": w_out}
    if type(layer) in _ACTIVATIONS:
        return Step(Kind.ACTIVATION, _ACTIVATIONS[type(layer)], **sizes), None
    if isinstance(layer, Conv2D) and not _covers(layer, shape):
        return _convolution(layer, sizes)
    if isinstance(layer, Conv2D | Dense):
        return Step(Kind.FULL, **sizes), None
    if isinstance(layer, RBF):
        return Step(Kind.DISTANCES, **sizes), None
    assert isinstance(layer, MaxPool2D | AvgPool2D | Subsample2D)
    kind = Kind.MAXIMUM if isinstance(layer, MaxPool2D) else Kind.SUBSAMPLING
    (kh, kw), (stride_v, stride_h) = layer.kernel, layer.stride
    windows = {"kh": kh, "kw": kw, "stride_v": stride_v, "stride_h": stride_h}
    summed = isinstance(layer, Subsample2D) and layer.reduction == "sum"
    return Step(kind, **sizes, **windows, scale=1.0 if summed else 1 / (kh * kw)), None


def _convolution(layer: Conv2D, sizes: dict[str, int]) -> tuple[Step, Array]:
    top, bottom, left, right = layer.padding
    width = layer.c_in // layer.groups
    sizes = sizes | {
        "h_in": sizes["h_in"] + top + bottom,
        "w_in": sizes["w_in"] + left + right,
        "width": width,
        "unit": int(layer.bias == "unit"),
    }
    names = ("kh", "kw", "stride_v", "stride_h", "dilation_v", "dilation_h", "top", "left")
    numbers = (*layer.kernel, *layer.stride, *layer.dilation, top, left)
    step = Step(
        Kind.CONVOLUTION,
        pad_value=layer.pad_value,
        padded=0 if any(layer.padding) else -1,  # its place comes later
        **sizes,
        **dict(zip(names, numbers, strict=True)),
    )
    table = np.ones((layer.c_out, width), bool) if layer.table is None else layer.table
    return step, np.ascontiguousarray(table, np.uint8).reshape(-1)


def _with_gradients(
    rows: list[Step], sizes: list[int], owner: list[int], memory: _Memory
) -> list[Step]:
    """Return the steps with places for gradients: two stretches take turns, since the gradient
    above is of no use once the one below is there."""
    rooms = [memory.take(max(sizes[turn::2], default=0)) for turn in (0, 1)]

    def place(k: int) -> int:
        return rooms[owner[k] % 2] if k >= 0 else -1

    return [row._replace(dy=place(k), dx=place(k - 1)) for k, row in enumerate(rows)]


def _with_rooms(rows: list[Step], memory: _Memory) -> list[Step]:
    """Return the steps with places for padded inputs and for gradients added lane by lane."""
    placed = []
    for row in rows:
        if row.padded >= 0:
            row = row._replace(padded=memory.take(row.c_in * row.h_in * row.w_in))
        if row.learns and row.kind == Kind.CONVOLUTION:
            row = row._replace(sums_w=memory.take(row.c_out * row.width * row.kh * row.kw))
            if row.b >= 0:
                biases = row.h_out * row.w_out if row.unit else 1
                row = row._replace(sums_b=memory.take(row.c_out * biases))
        elif row.learns and row.kind == Kind.SUBSAMPLING:
            row = row._replace(sums_w=memory.take(row.c_out), sums_b=memory.take(row.c_out))
        placed.append(row)
    return placed


def _work(row: Step, lanes: int) -> int:
    """Return how many vectors of scratch a step needs."""
    inputs = row.c_in * row.h_in * row.w_in
    if row.kind == Kind.CONVOLUTION:
        spread_rows = row.h_in + (row.kh - 1) * row.dilation_v
        spread_columns = row.w_in + (row.kw - 1) * row.dilation_h
        return row.c_out * spread_rows * spread_columns + inputs
    if row.kind == Kind.FULL:  # the squares of the inputs, and the inputs transposed
        return inputs + -(-inputs // lanes) * lanes
    return row.h_out * row.w_out


def aligned(count: int, dtype: np.dtype[Any]) -> Array:
    """Return an array of numbers, not set, that begins with a cache line."""
    line = 64
    raw = np.empty(count * dtype.itemsize + line, np.uint8)
    first = -raw.ctypes.data % line
    return raw[first : first + count * dtype.itemsize].view(dtype)
