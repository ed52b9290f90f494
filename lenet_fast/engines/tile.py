"""Programs for the lane engine: the memory layout for one tile of images at a time.

A tile has as many images as a vector has lanes. One stretch of memory, counted in vectors, holds
all data of a tile: the outputs of the layers, their gradients, and scratch. Parameters have the
order of the network's own arrays.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

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
from lenet_fast.engines.program import Input, Item, ItemKind, Kind, Step
from lenet_fast.network import Network

BLOCKS = 8
"""Most blocks per batch, and so most threads that can work on it. Each has its own gradient, and
all gradients together should fit into the cache."""

TILES = 4
"""Tiles per item in passes that only go forward, and most that go through large layers together."""

LARGE = 1 << 17
"""Weights from which on a dense layer is large: no longer in the second-level cache when the next
tile comes."""

ITEMS = 16
"""Items that predictions of few images are cut into, if they have so many tiles."""

WORTH_A_THREAD = 2**21
"""Multiply-adds of a prediction per thread: 0.02 to 0.05 ms, while to start work in a second thread
takes 0.01 to 0.03 ms, or nearly nothing where it has just ended a call."""

PIECE = 8192
"""Parameters per update item."""

ALIKE = 512
"""Parameters that the loops update at a time. Where an update is cut at multiples of it, each
parameter passes through the same instructions as in one piece."""


def lay_out(network: Network, lanes: int, *, inputs: bool = False) -> Program:
    """Return the program of a network.

    Parameters
    ----------
    network : Network
    lanes : int
        Images per vector.
    inputs : bool
        Whether gradients go back to the images. Parameters lie where they do without.

    Raises
    ------
    Unsupported
        If the loops do not support a layer, or not at its position.
    """
    memory, values = Memory(), Memory()
    input_at = memory.take(math.prod(network.input_shape))
    steps, tables = lower(network)
    steps, parameters, trained = place_parameters(
        network, steps, values, lambda k, name, numbers: (numbers.reshape(-1), 1)
    )
    if inputs:
        steps = [step._replace(passes=1) for step in steps]
    steps = _with_outputs(steps, input_at, memory)
    steps = [_with_sums(step, memory) for step in steps]
    work = memory.take(max(_work(step, lanes) for step in steps))
    last = steps[-1]
    rows = memory.take(3 * last.c_out + 2 * last.c_in * last.h_bare * last.w_bare)
    links = [np.zeros(0, np.uint8)]
    for k, table in enumerate(tables):
        if table is not None:
            steps[k] = steps[k]._replace(table=sum(each.size for each in links))
            links.append(table.astype(np.uint8).reshape(-1))
    large = [k for k, step in enumerate(steps) if _dense_weights(step) >= LARGE]
    tiles, split = (TILES, large[0]) if large else (1, len(steps))
    image = Input(
        *(input_at, *network.input_shape, 0, *network.pixel_range, memory.size, tiles, split)
    )
    return Program(
        steps=records(Step, [step._replace(work=work, rows=rows) for step in steps]),
        tables=np.concatenate(links),
        input=records(Input, [image]),
        size=memory.size * tiles,
        parameters=parameters,
        trained=trained,
        values=values.size,
    )


def _with_outputs(steps: list[Step], at: int, memory: Memory) -> list[Step]:
    """Return the steps with places for inputs, outputs and their gradients.

    Gradients alternate between two stretches: an output's gradient is not needed once the input's
    is computed. Those of dense layers, which are small, have their own: the norms of the gradients
    per example, and the scaled sum, are computed from them at the end.
    """
    outputs: list[tuple[int, int]] = []  # place and stretch of the gradient of each step's
    sizes = [0, 0]
    for k, step in enumerate(steps):
        if overwrites(steps, k):
            outputs.append(outputs[-1])
            continue
        size = step.c_out * step.h_out * step.w_out
        stretch = int(bool(outputs) and outputs[-1][1] == 0)
        if step.kind == Kind.FULL:
            stretch = len(sizes)
            sizes.append(0)
        outputs.append((memory.take(size), stretch))
        sizes[stretch] = max(sizes[stretch], size)
    of_input = int(outputs[0][1] == 0)
    if steps[0].passes:
        size = steps[0].c_in * steps[0].h_bare * steps[0].w_bare
        sizes[of_input] = max(sizes[of_input], size)
    gradients = [memory.take(size) for size in sizes]
    at_input = gradients[of_input] if steps[0].passes else -1
    places = [(at, at_input), *((y, gradients[stretch]) for y, stretch in outputs)]
    return [
        step._replace(x=places[k][0], dx=places[k][1], y=places[k + 1][0], dy=places[k + 1][1])
        for k, step in enumerate(steps)
    ]


def _with_sums(step: Step, memory: Memory) -> Step:
    """Return a step with places for its padded input and for gradients added lane by lane."""
    if step.padded >= 0:
        step = step._replace(padded=memory.take(step.c_in * step.h_in * step.w_in))
    if step.learns and step.kind == Kind.CONVOLUTION:
        step = step._replace(sums_w=memory.take(step.c_out * step.width * step.kh * step.kw))
        if step.b >= 0:
            biases = step.h_out * step.w_out if step.unit else 1
            step = step._replace(sums_b=memory.take(step.c_out * biases))
    elif step.learns and step.kind == Kind.SUBSAMPLING:
        step = step._replace(sums_w=memory.take(step.c_out), sums_b=memory.take(step.c_out))
    return step


def _dense_weights(step: Step) -> int:
    """Return the weights of a dense layer; 0 for other layers."""
    return step.c_in * step.h_in * step.w_in * step.c_out if step.kind == Kind.FULL else 0


def _work(step: Step, lanes: int) -> int:
    """Return the scratch memory of a step, in vectors."""
    inputs = step.c_in * step.h_in * step.w_in
    if step.kind == Kind.CONVOLUTION:
        spread_rows = step.h_in + (step.kh - 1) * step.dilation_v
        spread_columns = step.w_in + (step.kw - 1) * step.dilation_h
        return step.c_out * spread_rows * spread_columns + inputs
    if step.kind == Kind.FULL:  # the squares of the inputs, and the inputs transposed
        return inputs + whole(inputs, lanes)
    return step.h_out * step.w_out


class Work(NamedTuple):
    """A list of items for the loops."""

    kind: ItemKind  # of all items except updates
    items: Array
    batches: tuple[slice, ...]  # where the blocks of each batch are
    images: tuple[int, ...]  # per batch
    blocks: int  # most per batch


def blocks_of(first: int, last: int, lanes: int, together: int = 1) -> list[tuple[int, int]]:
    """Return the blocks of a batch: whole tiles, except in the last one.

    Where several tiles go together through large layers, blocks have as many if that leaves two
    blocks: each has a gradient of its own, which is large, too.

    Examples
    --------
    With 16 images per vector, 100 images are seven tiles, and so seven blocks:

    >>> from lenet_fast.engines import tile
    >>> tile.blocks_of(0, 100, lanes=16)
    [(0, 16), (16, 32), (32, 48), (48, 64), (64, 80), (80, 96), (96, 100)]
    >>> len(tile.blocks_of(0, 512, lanes=16))
    8
    """
    tiles = -(-(last - first) // lanes)
    count = min(tiles, BLOCKS, max(2, tiles // together))
    edges = [min(first + tiles * k // count * lanes, last) for k in range(count + 1)]
    return list(itertools.pairwise(edges))


@functools.lru_cache(maxsize=16)
def forward_items(n: int, lanes: int) -> Work:
    return _independent(ItemKind.FORWARD, n, TILES * lanes)


@functools.lru_cache(maxsize=16)
def predict_items(n: int, lanes: int, items: int = ITEMS) -> Work:
    """Return items like those of :func:`forward_items`, smaller ones of few images, so that there
    are as many as `items`: no sum over images has another order for it."""
    tiles = -(-n // lanes)
    return _independent(ItemKind.FORWARD, n, min(TILES, -(-tiles // items)) * lanes)


def multiply_adds(program: Program) -> int:
    """Return about how many multiply-adds a prediction of one image takes."""
    return sum(_cost(Step(*row)) for row in program.steps.tolist())


def threads_worth(multiply_adds: int) -> int:
    """Return how many threads a prediction with so many multiply-adds keeps busy."""
    return max(multiply_adds // WORTH_A_THREAD, 1)


def _cost(step: Step) -> int:
    """Return the multiply-adds of a step for one image; other work counts by its outputs."""
    outputs = step.c_out * step.h_out * step.w_out
    if step.kind in (Kind.FULL, Kind.DISTANCES):
        return outputs * step.c_in * step.h_bare * step.w_bare
    return outputs * step.kh * step.kw * (step.width if step.kind == Kind.CONVOLUTION else 1)


@functools.lru_cache(maxsize=16)
def example_items(n: int, lanes: int) -> Work:
    return _independent(ItemKind.EXAMPLES, n, lanes)


def _independent(kind: ItemKind, n: int, size: int) -> Work:
    """Return items of `size` images that nothing has to wait for."""
    items = [Item(kind, k, min(k + size, n), 0) for k in range(0, n, size)]
    return _listed(kind, items, [slice(0, len(items))], [n])


@functools.lru_cache(maxsize=16)
def batch_items(
    n: int,
    batch_size: int,
    lanes: int,
    trained: int,
    kind: ItemKind,
    mean: bool = True,
    together: int = 1,
) -> Work:
    """Return the items of batches: their images, and the updates with the mean of the gradients,
    or their sum."""
    items: list[Item] = []
    batches, sizes = [], []
    for step, start in enumerate(range(0, n, batch_size)):
        stop = min(start + batch_size, n)
        opened, images = len(items), stop - start
        share = images if mean else 1
        blocks = blocks_of(start, stop, lanes, together)
        items += [
            Item(kind, *block, opened, k, step=step, start=start) for k, block in enumerate(blocks)
        ]
        batches.append(slice(opened, len(items)))
        sizes.append(images)
        opened = len(items)
        items += [
            Item(ItemKind.UPDATE, k, min(k + PIECE, trained), opened, len(blocks), share, step)
            for k in range(0, trained, PIECE)
        ]
    return _listed(kind, items, batches, sizes)


def cuts(count: int, parts: int, unit: int = 1) -> list[int]:
    """Return where `count` things are cut into parts of nearly the same size, at multiples of
    `unit`.

    Examples
    --------
    >>> from lenet_fast.engines import tile
    >>> tile.cuts(8, 3), tile.cuts(1200, 2, unit=512)
    ([0, 2, 5, 8], [0, 512, 1200])
    """
    units = -(-count // unit)
    return [min(units * k // parts * unit, count) for k in range(parts + 1)]


class Share(NamedTuple):
    """What one of several processes does for a batch."""

    blocks: tuple[int, ...]  # where the blocks of the batch are cut, process by process
    gradients: Work  # of its blocks
    update: Work  # of its part of the parameters, with the gradients of all blocks


@functools.lru_cache(maxsize=16)
def shares(
    n: int,
    batch_size: int,
    lanes: int,
    trained: int,
    kind: ItemKind,
    together: int,
    rank: int,
    ranks: int,
) -> tuple[Share, ...]:
    """Return what the process number `rank` of `ranks` does for each batch: the same blocks, in
    the same order, as by :func:`batch_items`."""
    first, last = cuts(trained, ranks, ALIKE)[rank : rank + 2]
    found = []
    for step, start in enumerate(range(0, n, batch_size)):
        stop = min(start + batch_size, n)
        blocks = blocks_of(start, stop, lanes, together)
        parts, images = cuts(len(blocks), ranks), stop - start
        own = [
            Item(kind, *blocks[k], 0, k, step=step, start=start)
            for k in range(*parts[rank : rank + 2])
        ]
        # Updates wait for the blocks before them: here, for as many items without images.
        update = [Item(ItemKind.FORWARD, 0, 0, 0, step=step) for _ in blocks]
        update += [
            Item(ItemKind.UPDATE, k, min(k + PIECE, last), len(blocks), len(blocks), images, step)
            for k in range(first, last, PIECE)
        ]
        found.append(
            Share(
                tuple(parts),
                _listed(kind, own, [slice(0, len(own))], [images]),
                _listed(ItemKind.FORWARD, update, [slice(len(blocks), len(update))], [images]),
            )
        )
    return tuple(found)


def part_of(work: Work, first: int, last: int) -> Work:
    """Return some items of a list whose items wait for no others."""
    return _listed(work.kind, work.items[first:last], [slice(0, last - first)], list(work.images))


def _listed(
    kind: ItemKind, items: list[Item] | Array, batches: list[slice], images: list[int]
) -> Work:
    array = records(Item, items) if isinstance(items, list) else items
    array.setflags(write=False)  # it is cached and shared
    blocks = max(batch.stop - batch.start for batch in batches)
    return Work(kind, array, tuple(batches), tuple(images), blocks)
