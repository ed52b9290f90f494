"""Programs for the online engine: the memory layout for one image at a time.

Vectors run along the maps or the columns of a layer, so the order in memory differs from that of
the network's arrays:

- Activations are stored position by position, with all maps of a pixel side by side (h, w, c).
  Only the output of the first convolution may be *planar*: map by map (c, h, pitch), its rows
  padded to whole vectors, if it has so few maps that columns fill vectors better. The pooling layer
  after it reads planar maps and writes the other order. Any other sub-sampling layer with more
  output maps than input maps reads a copy of its input with repeated maps.
- Weights of convolutions along maps are (kh, kw, c_in, maps), with the maps padded to whole
  vectors; those of convolutions along columns are (c_in, kh, kw, maps). Weights of dense and RBF
  layers are stored by rows, padded to whole vectors.

One stretch of memory, counted in numbers, holds all data of one image. After each array there is
room for a vector that starts at its last number.
"""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.checks import Array
from lenet_fast.engines.compile import (
    Memory,
    Program,
    lower,
    overwrites,
    place_parameters,
    records,
    whole,
)
from lenet_fast.engines.program import Activation, Input, Kind, Step
from lenet_fast.network import Network

_SLOPED = (Activation.SCALED_TANH, Activation.TANH, Activation.SIGMOID)
"""What the loops of planar pooling can go back through."""

ALIGNED = 16
"""Numbers: everything begins at a multiple, and has at least as many behind it."""


def lay_out(network: Network, lanes: int) -> Program:
    """Return the program of a network.

    Parameters
    ----------
    network : Network
    lanes : int
        Numbers per vector.

    Raises
    ------
    Unsupported
        If the loops do not support a layer, or not at its position.
    """
    memory, values = Memory(ALIGNED, ALIGNED), Memory(ALIGNED, ALIGNED)
    input_at = memory.take(math.prod(network.input_shape))
    lowered, tables = lower(network)
    links = [_links(step, table) for step, table in zip(lowered, tables, strict=True)]
    planar = _planar(lowered, links, lanes)
    steps = _with_outputs(lowered, planar, lanes, input_at, memory)
    steps, parameters, trained = place_parameters(
        network, steps, values, lambda k, *parameter: _arranged(steps[k], links[k], *parameter)
    )
    steps, masks = _with_masks(steps, links)
    work = memory.take(max(_work(step, lanes) for step in steps))
    image = Input(input_at, *network.input_shape, int(planar > 0), *network.pixel_range)
    return Program(
        steps=records(Step, [step._replace(work=work) for step in steps]),
        tables=masks.astype(network.dtype),
        input=records(Input, [image]),
        size=memory.size,
        parameters=parameters,
        trained=trained,
        values=values.size,
    )


def _groups(step: Step) -> Array:
    """Return which input maps belong to the group of each output map (c_out, c_in)."""
    outputs = step.c_out * step.width // step.c_in  # per group
    return np.arange(step.c_out)[:, None] // outputs == np.arange(step.c_in) // step.width


def _links(step: Step, table: Array | None) -> Array | None:
    """Return which input maps each output map reads (c_out, c_in); None if not a convolution.

    The table includes the groups.
    """
    if table is None:
        return None
    links = _groups(step)
    links[links] = table.reshape(-1)
    return links


def _planar(lowered: list[Step], links: list[Array | None], lanes: int) -> int:
    """Return the number of leading steps that write planar maps: a convolution, its activation."""
    first, linked = lowered[0], links[0]
    if linked is None or not linked.all() or first.unit or first.padded >= 0 or first.stride_h != 1:
        return 0

    def filled(count: int) -> float:
        return count / whole(count, lanes)

    if filled(first.w_out) <= filled(first.c_out):
        return 0
    for k, step in enumerate(lowered[1:], 1):
        if step.kind in (Kind.SUBSAMPLING, Kind.MAXIMUM):
            two_by_two = (step.kh, step.kw, step.stride_v, step.stride_h) == (2, 2, 2, 2)
            return k if two_by_two and step.c_out // step.c_in <= lanes else 0
        if step.kind != Kind.ACTIVATION:
            return 0
    return 0


def _with_outputs(
    lowered: list[Step], planar: int, lanes: int, at: int, memory: Memory
) -> list[Step]:
    """Return the steps with places for inputs, outputs, gradients, and padded inputs."""
    steps: list[Step] = []
    d_at = -1
    for k, step in enumerate(lowered):
        kind = Kind(step.kind)
        if kind == Kind.CONVOLUTION:
            along_columns = k < 1 <= planar
            kind = Kind.CONVOLUTION_ALONG_COLUMNS if along_columns else Kind.CONVOLUTION_ALONG_MAPS
        inputs, count = step.c_in * step.h_bare * step.w_bare, step.c_out * step.h_out * step.w_out
        pitch = size = 0  # of the padded input
        if k <= planar > 0:
            pitch = whole(step.w_in if k == planar else step.w_out, lanes)
            count = step.c_out * step.h_out * (step.w_out if k == planar else pitch)
        elif kind == Kind.CONVOLUTION_ALONG_MAPS:
            pitch = whole(step.c_out, lanes)
        elif kind in (Kind.FULL, Kind.DISTANCES):
            pitch = whole(inputs, lanes)
        if kind == Kind.CONVOLUTION_ALONG_MAPS and step.padded >= 0:
            size = step.c_in * step.h_in * step.w_in
        elif kind == Kind.SUBSAMPLING and step.c_out > step.c_in and not k == planar > 0:
            size = step.c_out * step.h_in * step.w_in
        elif kind in (Kind.FULL, Kind.DISTANCES) and step.c_in > 1 and inputs > step.c_in:
            size = inputs
        padded, d_padded = (memory.take(size) if size else -1 for _ in range(2))
        kept = memory.take(count) if kind == Kind.DROPOUT else -1
        y, dy = at, d_at
        if not overwrites(lowered, k):
            y, dy = memory.take(count), memory.take(count)
        steps.append(
            step._replace(
                kind=kind, x=at, y=y, dx=d_at, dy=dy, padded=padded, d_padded=d_padded,
                planar=int(k <= planar > 0), pitch=pitch, numbers=count, kept=kept,
            )
        )  # fmt: skip
        at, d_at = y, dy
    return _with_planar_way_back(steps, planar)


def _with_planar_way_back(steps: list[Step], planar: int) -> list[Step]:
    """Return the steps with a shorter way back from the planar pooling layer: through the
    activation before it, in one go, and into the place of that one's output."""
    if planar == 2 and steps[1].activation in _SLOPED:
        y = steps[0].y
        steps[2] = steps[2]._replace(activation=steps[1].activation, dx=y)
        steps[1] = steps[1]._replace(dy=y, dx=y, passes=0)
        steps[0] = steps[0]._replace(dy=y)
    return steps


def _arranged(step: Step, links: Array | None, name: str, numbers: Array) -> tuple[Array, int]:
    """Return a parameter's indices in the order in which the loops read them, -1 for padding and
    absent links; and the number of rows if that is the parameter's own order, else 0."""
    rows = pitch = 0
    if name == "w" and step.kind in (Kind.FULL, Kind.DISTANCES):
        rows, pitch = step.c_out, step.pitch
        numbers = numbers.reshape(rows, -1)
    elif name == "w" and step.kind == Kind.CONVOLUTION_ALONG_COLUMNS:
        numbers = numbers.transpose(1, 2, 3, 0)
    elif name == "w" and links is not None:  # along maps
        pitch, spread = step.pitch, np.full((*links.shape, step.kh, step.kw), -1, np.intp)
        spread[_groups(step)] = numbers.reshape(-1, step.kh, step.kw)
        spread[~links] = -1
        numbers = spread.transpose(2, 3, 1, 0)
    elif step.kind == Kind.CONVOLUTION_ALONG_MAPS and step.unit:
        numbers = numbers.transpose(1, 2, 0)
    elif step.kind == Kind.CONVOLUTION_ALONG_MAPS:
        numbers, pitch = numbers.reshape(-1), step.pitch
    missing = max(0, pitch - numbers.shape[-1])
    padding = [(0, 0)] * (numbers.ndim - 1) + [(0, missing)]
    return np.pad(numbers, padding, constant_values=-1).reshape(-1), rows


def _with_masks(steps: list[Step], links: list[Array | None]) -> tuple[list[Step], Array]:
    """Return the steps with places for the masks of their gradients, and the masks."""
    masks: list[Array] = [np.zeros(0)]
    for k, step in enumerate(steps):
        linked = links[k]
        if step.kind == Kind.CONVOLUTION_ALONG_MAPS and linked is not None:
            steps[k] = step._replace(mask=sum(mask.size for mask in masks))
            mask = np.zeros((step.c_in + 1, step.pitch))
            mask[:-1, : step.c_out] = linked.T
            mask[-1, : step.c_out] = 1
            masks.append(mask.reshape(-1))
    return steps, np.concatenate(masks)


def _work(step: Step, lanes: int) -> int:
    """Return the scratch memory of a step, in numbers."""
    if step.kind == Kind.CONVOLUTION_ALONG_COLUMNS:
        # Its weights' gradients lane by lane, and then their sums.
        return (lanes + 1) * whole(step.c_in * step.kh * step.kw * step.c_out, lanes)
    if step.kind == Kind.CONVOLUTION_ALONG_MAPS:
        # The weights, transposed: all columns of a kernel row lie side by side, unless dilated.
        apart = 1 if step.dilation_h == 1 else step.kw
        return step.c_out * step.kh * apart * whole(step.kw // apart * step.c_in, lanes)
    if step.kind == Kind.SUBSAMPLING:  # the gradients of planar maps' weights, lane by lane
        return 2 * step.c_out * lanes
    if step.kind == Kind.DROPOUT:  # the factors map by map
        return step.c_out * step.h_out * step.w_out
    if step.kind == Kind.FULL:  # a gradient at the input that no layer below needs
        return step.pitch
    return 0
