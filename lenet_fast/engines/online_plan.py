"""A network as a program for the online engine: what its compiled loops work off.

One image at a time, vectors run along the maps or the columns of a layer, so the order in which
numbers lie differs from that of the network's arrays:

- Activations lie position by position, all maps of a pixel side by side (h, w, c). Only what the
  first convolution makes may be *planar*: map by map (c, h, pitch), its rows padded to whole
  vectors, if there are so few maps that vectors are better filled along the columns. The pooling
  layer behind it reads planar maps and writes the other order. Any other sub-sampling layer with
  more output maps than input maps first has each input map repeated.
- Convolutions along maps have their weights as (kh, kw, c_in, maps), the maps padded to whole
  vectors, those along columns as (c_in, kh, kw, maps), dense and RBF layers by rows, padded
  likewise.

All that one image needs lies in one stretch of memory, counted in numbers. Behind everything
there is room for a vector that starts at its last number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.engines import plan
from lenet_fast.engines.program import Activation, Input, Kind, Step
from lenet_fast.network import Network

ALIGNED = 16
"""Numbers: everything begins at a multiple, and has at least as many behind it."""


@dataclass(frozen=True)
class Place:
    """Where a parameter lies among all of them.

    ``index`` says which of its numbers is where, -1 for padding and absent links. If ``rows`` is
    not 0, they lie in their own order, as so many rows, padded at their ends.
    """

    name: str
    first: int
    index: Array
    rows: int

    def pack(self, array: Array, packed: Array) -> None:
        """Put the parameter, or what is laid out like it, among all; leave padding alone."""
        if self.rows:
            array = array.reshape(self.rows, -1)
            self._as_rows(packed)[:, : array.shape[1]] = array
        else:
            there = self.index >= 0
            self._part(packed)[there] = array.reshape(-1)[self.index[there]]

    def unpack(self, packed: Array, array: Array) -> None:
        """Set the parameter in place, of any layout; leave absent links alone."""
        if self.rows:
            found = self._as_rows(packed)[:, : array.size // self.rows]
            array[...] = found.reshape(array.shape)
        else:
            there = self.index >= 0
            np.put(array, self.index[there], self._part(packed)[there])

    def _part(self, packed: Array) -> Array:
        return packed[self.first : self.first + self.index.size]

    def _as_rows(self, packed: Array) -> Array:
        return self._part(packed).reshape(self.rows, -1)


@dataclass(frozen=True)
class Plan:
    """A network, ready for the loops.

    Attributes
    ----------
    steps : structured ndarray (layers,)
        Their fields are those of :class:`~lenet_fast.engines.program.Step`.
    masks : ndarray (m,)
        Of convolutions along maps: 1 for each link, 0 for none and for padding, (c_in, maps);
        then as many for the bias. In the network's dtype.
    input : structured ndarray (1,)
        Likewise an :class:`~lenet_fast.engines.program.Input`.
    size : int
        Numbers of memory.
    parameters : tuple of Place
        Those that learn come first.
    trained, values : int
        Numbers that learn, and all, padding included.
    """

    steps: Array
    masks: Array
    input: Array
    size: int
    parameters: tuple[Place, ...]
    trained: int
    values: int


class _Memory:
    """Hands out stretches of memory, one behind the other."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, numbers: int) -> int:
        first = self.size
        self.size += whole(numbers, ALIGNED) + ALIGNED
        return first


def whole(count: int, unit: int) -> int:
    """Return `count`, or the next multiple of a unit above it."""
    return -(-count // unit) * unit


def make(network: Network, lanes: int) -> Plan:
    """Return the plan of a network.

    Parameters
    ----------
    network : Network
    lanes : int
        Numbers a vector holds.

    Raises
    ------
    Unsupported
        If there is a layer that the loops do not know, or not in its place.
    """
    bare, tables = plan.steps(network, dict.fromkeys(network.parameters, 0))
    links = [_links(row, tables) for row in bare]
    planar = _planar(bare, links, lanes)
    memory = _Memory()
    input_at = memory.take(math.prod(network.input_shape))
    rows = _with_activations(bare, planar, lanes, input_at, memory)
    rows, parameters, trained, values = _with_parameters(network, rows, links)
    rows, masks = _with_masks(rows, links)
    work = memory.take(max(_work(row, lanes) for row in rows))
    image = Input(input_at, *network.input_shape, int(planar > 0), *network.pixel_range)
    return Plan(
        steps=plan.records(Step, [row._replace(work=work) for row in rows]),
        masks=masks.astype(network.dtype),
        input=plan.records(Input, [image]),
        size=memory.size,
        parameters=parameters,
        trained=trained,
        values=values,
    )


def _links(row: Step, tables: list[Array]) -> Array | None:
    """Return which of all input maps an output map sees (c_out, c_in); None if not a convolution.

    Groups become part of the table.
    """
    if row.kind != Kind.CONVOLUTION:
        return None
    table = np.concatenate(tables)[row.table :][: row.c_out * row.width]
    links = np.zeros((row.c_out, row.c_in), bool)
    each = row.c_out * row.width // row.c_in  # output maps a group
    for o, seen in enumerate(table.reshape(row.c_out, row.width)):
        first = o // each * row.width
        links[o, first : first + row.width] = seen
    return links


def _planar(bare: list[Step], links: list[Array | None], lanes: int) -> int:
    """Return how many of the first steps write planar maps: a convolution and its activation."""
    first, seen = bare[0], links[0]
    if seen is None or not seen.all() or first.unit or first.padded >= 0 or first.stride_h != 1:
        return 0

    def filled(count: int) -> float:
        return count / whole(count, lanes)

    if filled(first.w_out) <= filled(first.c_out):
        return 0
    for k, row in enumerate(bare[1:], 1):
        if row.kind in (Kind.SUBSAMPLING, Kind.MAXIMUM):
            by_quads = (row.kh, row.kw, row.stride_v, row.stride_h) == (2, 2, 2, 2)
            return k if by_quads and row.c_out // row.c_in <= lanes else 0
        if row.kind != Kind.ACTIVATION:
            return 0
    return 0


def _with_activations(
    bare: list[Step], planar: int, lanes: int, at: int, memory: _Memory
) -> list[Step]:
    """Return the steps with places for inputs, outputs, gradients, and rooms of their own.

    An activation overwrites its input, unless that is the input of the network or the output of an
    activation.
    """
    rows: list[Step] = []
    d_at = -1
    for k, row in enumerate(bare):
        kind = Kind(row.kind)
        if kind == Kind.CONVOLUTION:
            along_columns = k < 1 <= planar
            kind = Kind.CONVOLUTION_ALONG_COLUMNS if along_columns else Kind.CONVOLUTION_ALONG_MAPS
        inputs, count = row.c_in * row.h_bare * row.w_bare, row.c_out * row.h_out * row.w_out
        pitch = 0
        if k <= planar > 0:
            pitch = whole(row.w_in if k == planar else row.w_out, lanes)
            count = row.c_out * row.h_out * (row.w_out if k == planar else pitch)
        elif kind == Kind.CONVOLUTION_ALONG_MAPS:
            pitch = whole(row.c_out, lanes)
        elif kind in (Kind.FULL, Kind.DISTANCES):
            pitch = whole(inputs, lanes)
        padded = d_padded = -1
        if kind == Kind.CONVOLUTION_ALONG_MAPS and row.padded >= 0:
            padded, d_padded = (memory.take(row.c_in * row.h_in * row.w_in) for _ in range(2))
        elif kind == Kind.SUBSAMPLING and row.c_out > row.c_in and not k == planar > 0:
            padded, d_padded = (memory.take(row.c_out * row.h_in * row.w_in) for _ in range(2))
        elif kind in (Kind.FULL, Kind.DISTANCES) and row.c_in > 1 and row.h_bare * row.w_bare > 1:
            padded, d_padded = memory.take(inputs), memory.take(inputs)
        y, dy = at, d_at
        if kind != Kind.ACTIVATION or k == 0 or rows[-1].kind == Kind.ACTIVATION:
            y, dy = memory.take(count), memory.take(count)
        rows.append(
            row._replace(
                kind=kind, x=at, y=y, dx=d_at, dy=dy, padded=padded, d_padded=d_padded,
                planar=int(k <= planar > 0), pitch=pitch, numbers=count,
            )
        )  # fmt: skip
        at, d_at = y, dy
    return _with_planar_way_back(rows, planar)


def _with_planar_way_back(rows: list[Step], planar: int) -> list[Step]:
    """Return the steps with a shorter way back from the planar pooling layer: through the
    activation before it, in one go, and into the place of that one's output."""
    if planar == 2 and rows[1].activation != Activation.RELU:
        made = rows[0].y
        rows[2] = rows[2]._replace(activation=rows[1].activation, dx=made)
        rows[1] = rows[1]._replace(dy=made, dx=made, passes=0)
        rows[0] = rows[0]._replace(dy=made)
    return rows


def _with_parameters(
    network: Network, rows: list[Step], links: list[Array | None]
) -> tuple[list[Step], tuple[Place, ...], int, int]:
    """Return the steps with places for their parameters; these places, those that learn first;
    the numbers that learn, and all of them."""
    memory, places, trained = _Memory(), [], 0
    layers = list(enumerate(network.layers))
    for k, layer in sorted(layers, key=lambda each: not each[1].trainable):
        for name, array in layer.parameters.items():
            numbers = np.arange(array.size, dtype=np.intp).reshape(array.shape)
            index = _order(rows[k], name, numbers, links[k])
            first = memory.take(index.size)
            by_rows = name == "w" and rows[k].kind in (Kind.FULL, Kind.DISTANCES)
            places.append(
                Place(f"{layer.name}.{name}", first, index, rows[k].c_out if by_rows else 0)
            )
            rows[k] = rows[k]._replace(**{name: first})
        if layer.trainable:
            trained = memory.size
    return rows, tuple(places), trained, memory.size


def _order(row: Step, name: str, numbers: Array, links: Array | None) -> Array:
    """Return the numbers of a parameter in the order in which the loops read them."""
    if name == "b":
        if row.kind == Kind.CONVOLUTION_ALONG_MAPS and row.unit:
            return numbers.transpose(1, 2, 0).reshape(-1)
        pitch = row.pitch if row.kind == Kind.CONVOLUTION_ALONG_MAPS else 0
        return _padded(numbers.reshape(-1), pitch)
    if row.kind == Kind.CONVOLUTION_ALONG_COLUMNS:
        return numbers.transpose(1, 2, 3, 0).reshape(-1)
    if row.kind == Kind.CONVOLUTION_ALONG_MAPS:
        assert links is not None
        spread = np.full((row.c_out, row.c_in, row.kh, row.kw), -1, np.intp)
        width = numbers.shape[1]
        each = row.c_out * width // row.c_in
        for o in range(row.c_out):
            first = o // each * width
            spread[o, first : first + width] = numbers[o]
        spread[~links] = -1
        return _padded(spread.transpose(2, 3, 1, 0), row.pitch).reshape(-1)
    if row.kind in (Kind.FULL, Kind.DISTANCES):
        return _padded(numbers.reshape(row.c_out, -1), row.pitch).reshape(-1)
    return numbers.reshape(-1)


def _padded(numbers: Array, count: int) -> Array:
    """Return an array with -1 behind its last axis, up to a length."""
    missing = max(0, count - numbers.shape[-1])
    return np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, missing)], constant_values=-1)


def _with_masks(rows: list[Step], links: list[Array | None]) -> tuple[list[Step], Array]:
    """Return the steps with places for the masks of their gradients, and these masks."""
    masks: list[Array] = [np.zeros(0)]
    for k, row in enumerate(rows):
        seen = links[k]
        if row.kind == Kind.CONVOLUTION_ALONG_MAPS and seen is not None:
            rows[k] = row._replace(mask=sum(mask.size for mask in masks))
            mask = np.zeros((row.c_in + 1, row.pitch))
            mask[:-1, : row.c_out] = seen.T
            mask[-1, : row.c_out] = 1
            masks.append(mask.reshape(-1))
    return rows, np.concatenate(masks)


def runs(row: Step) -> tuple[int, int]:
    """Return how many stretches of inputs a kernel row reads, and how long each is: all of its
    columns lie side by side, unless it is dilated."""
    return (1, row.kw * row.c_in) if row.dilation_h == 1 else (row.kw, row.c_in)


def _work(row: Step, lanes: int) -> int:
    """Return how many numbers of scratch a step needs."""
    if row.kind == Kind.CONVOLUTION_ALONG_COLUMNS:
        # Its weights' gradients lane by lane, and then their sums.
        return (lanes + 1) * whole(row.c_in * row.kh * row.kw * row.c_out, lanes)
    if row.kind == Kind.CONVOLUTION_ALONG_MAPS:  # the weights, transposed
        count, length = runs(row)
        return row.c_out * row.kh * count * whole(length, lanes)
    if row.kind == Kind.SUBSAMPLING:  # the gradients of planar maps' weights, lane by lane
        return 2 * row.c_out * lanes
    if row.kind == Kind.FULL:  # a gradient that nobody wants
        return row.pitch
    return 0
