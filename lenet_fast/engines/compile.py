"""Compile a network to a program for the compiled loops.

:func:`lower` translates each layer to a :class:`~lenet_fast.engines.program.Step`. Then one of two
layouts assigns places in memory: ``tile.py`` for a tile of images at a time, one image per vector
lane, ``single.py`` for one image at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.engines import program
from lenet_fast.engines.program import Kind, Step
from lenet_fast.layers import (
    ACTIVATIONS,
    RBF,
    Activation,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Layer,
    MaxPool2D,
    Shape,
    Subsample2D,
)
from lenet_fast.network import Network


class Unsupported(ValueError):  # noqa: N818  (named like StopIteration)
    """The lane or online engine cannot run this; the message names, for instance, a layer.

    Examples
    --------
    >>> from lenet_fast import engines, losses, models
    >>> try:
    ...     engines.create(models.lenet5(), losses.MAP(), engine="lanes", backend="numpy")
    ... except engines.Unsupported as error:
    ...     print(str(error).partition(",")[0])
    engine: expected 'layers' with the numpy backend
    """


@functools.cache
def record_type(kind: type[NamedTuple]) -> np.dtype[Any]:
    """Return the structured dtype of a record of the program, field by field.

    Examples
    --------
    >>> from lenet_fast.engines import compile, program
    >>> dtype = compile.record_type(program.Update)
    >>> dtype.names[:3], dtype["rate"]
    (('rule', 'rate', 'momentum'), dtype('float64'))
    """
    types = {int: np.intp, float: np.float64}
    return np.dtype([(name, types[each]) for name, each in get_type_hints(kind).items()])


def records(kind: type[NamedTuple], rows: Sequence[tuple[Any, ...]]) -> Array:
    """Return records of the program as a structured array.

    Examples
    --------
    >>> from lenet_fast.engines import compile, program
    >>> rows = compile.records(program.Step, [program.Step(program.Kind.FULL, c_in=84, c_out=10)])
    >>> rows["c_in"], rows["w"]  # no place for weights yet
    (array([84]), array([-1]))
    """
    return np.array(rows, record_type(kind))


@dataclass(frozen=True)
class ParameterSlice:
    """Where a parameter lies among all parameters: from ``first`` to ``last``.

    ``size`` is its number of elements. ``index`` maps places to elements, with -1 for padding and
    absent links. If ``rows`` is not 0, the elements keep their order, as that many padded rows.
    """

    name: str
    size: int
    first: int
    last: int
    index: Array
    rows: int

    def pack(self, array: Array, packed: Array) -> None:
        """Copy the parameter, or an array of its layout, to its place, except into padding."""
        if array.size != self.size:
            raise ValueError(f"{self.name}: expected {self.size} numbers, got {array.size}")
        part = packed[self.first : self.last]
        if self.rows and part.size == self.size:  # as below, faster: each prediction does it
            part[...] = array.reshape(-1)
        elif self.rows:
            array = array.reshape(self.rows, -1)
            part.reshape(self.rows, -1)[:, : array.shape[1]] = array
        else:
            linked = self.index >= 0
            part[linked] = array.reshape(-1)[self.index[linked]]

    def unpack(self, packed: Array, array: Array) -> None:
        """Copy it back into an array of any memory layout, except to absent links."""
        part = packed[self.first : self.last]
        if self.rows:
            rows = part.reshape(self.rows, -1)[:, : self.size // self.rows]
            array[...] = rows.reshape(array.shape)
        else:
            linked = self.index >= 0
            np.put(array, self.index[linked], part[linked])


@dataclass(frozen=True)
class Program:
    """A network compiled for the loops.

    Attributes
    ----------
    steps : structured ndarray (layers,)
        With the fields of :class:`~lenet_fast.engines.program.Step`.
    tables : ndarray
        Connections of the convolutions, one convolution after the other. For a tile: their tables
        (c_out, width), uint8. For a single image: gradient masks (c_in + 1, pitch) of convolutions
        along maps, in the network's dtype, with 1 for links and 0 for padding and absent links; the
        last row belongs to the bias.
    input : structured ndarray (1,)
        With the fields of :class:`~lenet_fast.engines.program.Input`.
    size : int
        Memory per thread: in vectors for a tile, in numbers for a single image.
    parameters : tuple of ParameterSlice
        Trainable ones come first.
    trained, values : int
        Counts of trainable and of all numbers, including padding.
    """

    steps: Array
    tables: Array
    input: Array
    size: int
    parameters: tuple[ParameterSlice, ...]
    trained: int
    values: int

    @functools.cached_property
    def learned(self) -> list[ParameterSlice]:
        """The trainable parameters."""
        return [part for part in self.parameters if part.last <= self.trained]


_KNOWN = (
    *ACTIVATIONS.values(),
    *(Conv2D, Dense, RBF, MaxPool2D, AvgPool2D, Subsample2D, Dropout, Dropout2D),
)

_DROPPED_IN_PLACE = (
    program.Activation.RELU,
    program.Activation.LEAKY_RELU,
    *program.FROM_INPUT,
)
"""Activations whose output dropout may overwrite: their slope comes from the input, or from the
sign of the output; and where a unit is dropped, nothing goes back."""


class Memory:
    """Allocates stretches of memory, one after the other.

    Each begins at a multiple of `unit`, with at least `gap` after it.

    Examples
    --------
    >>> from lenet_fast.engines.compile import Memory
    >>> memory = Memory(unit=16)
    >>> memory.take(5), memory.take(20), memory.take(1), memory.size
    (0, 16, 48, 64)
    """

    def __init__(self, unit: int = 1, gap: int = 0) -> None:
        self.size, self._unit, self._gap = 0, unit, gap

    def take(self, count: int) -> int:
        """Allocate a stretch; return where it begins."""
        first = self.size
        self.size += whole(count, self._unit) + self._gap
        return first


def whole(count: int, unit: int) -> int:
    """Return `count` rounded up to a multiple of a unit.

    Examples
    --------
    >>> from lenet_fast.engines.compile import whole
    >>> whole(17, 16), whole(32, 16)
    (32, 32)
    """
    return -(-count // unit) * unit


def lower(network: Network) -> tuple[list[Step], list[Array | None]]:
    """Return a step per layer, without places in memory.

    The second list has the connections (c_out, width) of convolutions, None for other layers.

    Raises
    ------
    Unsupported
        If the loops do not support a layer, or not at its position.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.engines import compile, program
    >>> steps, tables = compile.lower(models.lenet1())
    >>> [program.Kind(step.kind).name for step in steps[:4]]
    ['CONVOLUTION', 'ACTIVATION', 'SUBSAMPLING', 'ACTIVATION']
    >>> steps[0].c_out, steps[0].h_out, int(tables[4].sum())  # H3 has 20 links
    (4, 24, 20)
    """
    learning = [k for k, layer in enumerate(network.layers) if layer.trainable]
    lowest = learning[0] if learning else len(network.layers)
    steps: list[Step] = []
    tables: list[Array | None] = []
    for k, layer in enumerate(network.layers):
        step, table = _lower(layer, network.shapes[k], network.shapes[k + 1])
        if step.kind == Kind.DISTANCES and k < len(network.layers) - 1:
            raise Unsupported(
                f"layer {layer.name}: only engine='layers' runs an RBF layer that is not the last"
            )
        steps.append(step._replace(learns=int(layer.trainable), passes=int(k > lowest)))
        tables.append(table)
    return steps, tables


def overwrites(steps: list[Step], k: int) -> bool:
    """Return whether a step overwrites its input.

    An activation and dropout do, except the first step, whose input is the image, and except where
    the derivative of this activation, or of one before it, is computed from that input.

    Examples
    --------
    >>> from lenet_fast import models
    >>> from lenet_fast.engines import compile
    >>> steps, _ = compile.lower(models.lenet1())
    >>> [compile.overwrites(steps, k) for k in range(4)]  # the activations
    [False, True, False, True]
    >>> steps, _ = compile.lower(models.lenet5(activation="gelu"))
    >>> compile.overwrites(steps, 1)  # GELU needs its input again
    False
    """
    if k == 0:
        return False
    if steps[k].kind == Kind.DROPOUT:
        return not _keeps(steps, k - 1) or steps[k - 1].activation in _DROPPED_IN_PLACE
    return (
        steps[k].kind == Kind.ACTIVATION
        and steps[k].activation not in program.FROM_INPUT
        and not _keeps(steps, k - 1)
    )


def _keeps(steps: list[Step], k: int) -> bool:
    """Return whether the memory of a step's output holds what an activation may need again."""
    if steps[k].kind == Kind.DROPOUT and overwrites(steps, k):
        return _keeps(steps, k - 1)
    return steps[k].kind == Kind.ACTIVATION


def place_parameters(
    network: Network,
    steps: list[Step],
    memory: Memory,
    arranged: Callable[[int, str, Array], tuple[Array, int]],
) -> tuple[list[Step], tuple[ParameterSlice, ...], int]:
    """Return the steps with places for their parameters; these places, trainable ones first; and
    the count of trainable numbers.

    `arranged` takes the index of a step, the name of a parameter, and 0, 1, 2, ... in its shape. It
    returns `index` and `rows` of the :class:`ParameterSlice`.
    """
    steps, parameters, trained = steps.copy(), [], 0
    layers = list(enumerate(network.layers))
    for k, layer in sorted(layers, key=lambda each: not each[1].trainable):
        for name, array in layer.parameters.items():
            numbers = np.arange(array.size, dtype=np.intp).reshape(array.shape)
            index, rows = arranged(k, name, numbers)
            first = memory.take(index.size)
            place = first, first + index.size, index, rows
            parameters.append(ParameterSlice(f"{layer.name}.{name}", array.size, *place))
            steps[k] = steps[k]._replace(**{name: first})
        if layer.trainable:
            trained = memory.size
    return steps, tuple(parameters), trained


def _covers(layer: Conv2D, input_shape: Shape) -> bool:
    """Return whether a convolution is a dense layer: one position that reads the whole input."""
    return (
        layer.kernel == tuple(input_shape[1:])
        and not any(layer.padding)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.table is None
    )


def _lower(layer: Layer, shape: Shape, output: Shape) -> tuple[Step, Array | None]:
    """Return the step of a layer, and of a convolution its connections (c_out, width)."""
    if type(layer) not in _KNOWN:  # a subclass may compute something else
        raise Unsupported(f"layer {layer.name}: only engine='layers' knows {type(layer).__name__}")
    if isinstance(layer, MaxPool2D) and layer.ties != "first":
        raise Unsupported(f"layer {layer.name}: only engine='layers' knows ties={layer.ties!r}")
    c, h, w = (*shape, 1, 1)[:3]
    c_out, h_out, w_out = (*output, 1, 1)[:3]
    sizes = {"c_in": c, "h_in": h, "w_in": w, "h_bare": h, "w_bare": w}
    sizes |= {"c_out": c_out, "h_out": h_out, "w_out": w_out}
    if isinstance(layer, Activation):
        function = program.Activation[layer.function.upper()]
        return Step(Kind.ACTIVATION, function, layer.option, **sizes), None
    if isinstance(layer, Conv2D) and not _covers(layer, shape):
        return _convolution(layer, sizes)
    if isinstance(layer, Conv2D | Dense):
        return Step(Kind.FULL, **sizes), None
    if isinstance(layer, RBF):
        return Step(Kind.DISTANCES, **sizes), None
    if isinstance(layer, Dropout):
        return Step(Kind.DROPOUT, option=layer.p, unit=int(not layer.by_map), **sizes), None
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
        padded=0 if any(layer.padding) else -1,  # a layout sets its place
        **sizes,
        **dict(zip(names, numbers, strict=True)),
    )
    table = np.ones((layer.c_out, width), bool) if layer.table is None else layer.table
    return step, table
