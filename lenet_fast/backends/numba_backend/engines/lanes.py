"""The lane engine: a whole network a tile of images at a time, one image per vector lane.

The twin of kernels/engines/lanes.pxi, where items and phases are explained.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_fast.backends.numba_backend.engines.lanes_examples import add_clipped, write_examples
from lenet_fast.backends.numba_backend.engines.lanes_images import (
    fill_tile,
    finish_tile,
    set_borders,
)
from lenet_fast.backends.numba_backend.engines.lanes_run import Draw, Lists, Program, Run
from lenet_fast.backends.numba_backend.engines.lanes_steps import (
    clear_sums,
    fold_sums,
    step_back,
    step_drop,
    step_forward,
    step_weights,
)
from lenet_fast.backends.numba_backend.engines.steps import (
    check_items,
    check_loss,
    check_steps,
    check_updates,
    typed,
    window_of,
)
from lenet_fast.backends.numba_backend.jit import array_part, kernel, once, part, sources
from lenet_fast.backends.numba_backend.layers.conv2d import (
    LINK,
    list_by_input,
    list_by_target,
    without_gaps,
)
from lenet_fast.backends.numba_backend.layers.optimisers import optimise
from lenet_fast.backends.numba_backend.program import (
    ACTIVATION,
    CLIPPED,
    CONVOLUTION,
    CURVATURE,
    DISTANCES,
    DROPOUT,
    EXAMPLES,
    FORWARD,
    FULL,
    MAXIMUM,
    NO_RULE,
    SUBSAMPLING,
    UPDATE,
)
from lenet_fast.backends.numba_backend.vector.packing import unpack
from lenet_fast.backends.numba_backend.vector.shared import (
    add_shared,
    flush_small,
    new_clock,
    read_shared,
    restore_small,
    seconds_now,
)
from lenet_fast.backends.numba_backend.vector.vectors import CONV_MAPS, lane_count_of

# What threads share: the next item, how many are done, whether to stop; a cache line each.
TICKET, DONE, STOP = 0, 8, 16

PATIENCE = 20_000  # how often a thread looks whether others are done, before it lets them run

_KINDS = (CONVOLUTION, SUBSAMPLING, MAXIMUM, ACTIVATION, FULL, DISTANCES, DROPOUT)


@part
def _lap(run, clock, place, since):
    """Add the time since then to that at a place of `seconds`; return the time."""
    if len(run.seconds) == 0:
        return since
    now = seconds_now(clock)
    # One index: Numba compiles a function once for each literal number that it is called with.
    run.seconds.reshape(-1)[place] += now - since
    return now


@once
def _images_item(run, lists, item, totals, memory, clock):
    """A block of images: forward, and back with its own gradient or Hessian; only back where the
    tiles' memory is kept of the way forward."""
    full = lane_count_of(memory)
    learning, hessian = item.kind != FORWARD, item.kind == CURVATURE
    # Whether the images' gradients stay apart, those of dense layers as factors.
    alone = item.kind == EXAMPLES or item.kind == CLIPPED
    gradient = run.gradients[item.block * run.trained : (item.block + 1) * run.trained]
    update = run.updates[item.step]
    drops = update.seed >= 0
    totals[:] = 0
    if learning and item.kind != EXAMPLES:
        gradient[:] = 0
    if learning:
        clear_sums(run, memory)
    for first in range(item.first, item.last, full):
        images = min(item.last - first, full)
        draw = Draw(drops, update.seed, update.done, first - item.start)
        values, again = memory, len(run.kept) == 0
        if not again:
            tile = run.input.size * full
            values = run.kept[first // full * tile : (first // full + 1) * tile]
            if not learning:
                set_borders(run, values)
        if again or not learning:
            fill_tile(run, first, images, values)
        since = seconds_now(clock) if len(run.seconds) else 0.0
        for k in range(len(run.steps) if again or not learning else 0):
            step = run.steps[k]
            if step.kind == DROPOUT:
                step_drop(step, k, values, step.x, draw, step.y)
            else:
                step_forward(run, lists, k, values)
            since = _lap(run, clock, 3 * k, since)
        finish_tile(run, values, first, images, learning, hessian, totals)
        since = seconds_now(clock) if len(run.seconds) else 0.0
        for k in range(len(run.steps) - 1, -1 if learning else len(run.steps) - 1, -1):
            if run.steps[k].learns and not (alone and run.steps[k].kind == FULL):
                step_weights(run, lists, k, values, memory, hessian, gradient)
                since = _lap(run, clock, 3 * k + 2, since)
            step = run.steps[k]
            if step.passes and step.kind == DROPOUT:
                step_drop(step, k, values, step.dy, draw, step.dx)
                since = _lap(run, clock, 3 * k + 1, since)
            elif step.passes and step.kind != DISTANCES:
                step_back(run, lists, k, values, hessian)
                since = _lap(run, clock, 3 * k + 1, since)
        if len(run.d_inputs):
            pixels = run.d_inputs.shape[1]
            target = run.d_inputs.reshape(-1)[first * pixels :]
            unpack(values, run.steps[0].dx, pixels, images, target)
        if item.kind == EXAMPLES:
            write_examples(run, memory, first, images)
        elif item.kind == CLIPPED:
            add_clipped(run, memory, gradient)
        if alone:
            clear_sums(run, memory)
    if learning and not alone:
        fold_sums(run, memory, gradient)


@part
def update_item(run, item):
    """Add the gradients of all blocks, in their order, and update the parameters with the mean."""
    first, last, trained = item.first, item.last, run.trained
    gradient = run.gradients[first:last]
    real = gradient.dtype.type
    for block in range(1, item.block):
        other = run.gradients[block * trained + first : block * trained + last]
        for i in range(gradient.size):
            gradient[i] += other[i]
    share = real(1.0 / item.images)
    for i in range(gradient.size):
        gradient[i] *= share
    w, state, factors = run.parameters[first:], run.state[first:], run.factors[first:]
    update = run.updates[item.step]
    optimise(update, update.done + 1, gradient, w, state, trained, factors)


@array_part
def list_links(run):
    """Return the links of all convolutions."""
    most = 1
    for k in range(len(run.steps)):
        if run.steps[k].kind == CONVOLUTION:
            most += 3 * run.steps[k].c_in * run.steps[k].c_out + 1
    links, ends = np.zeros((most, LINK), np.int64), np.zeros((len(run.steps), 4), np.int64)
    at = 0
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step.kind != CONVOLUTION:
            continue
        table, taps = run.tables[step.table :], step.kh * step.kw
        c_out, c_in, width = step.c_out, step.c_in, step.width
        seen, made = step.h_in * step.w_in, step.h_out * step.w_out
        ends[k, 0] = at
        for backward in range(2):
            positions = seen if backward else made
            together = 1 if backward and without_gaps(window_of(step)) else CONV_MAPS
            at += list_by_target(
                table, c_out, c_in, width, taps, positions, backward, together, links[at:]
            )
            ends[k, 1 + backward] = at
        at += list_by_input(table, c_out, c_in, width, taps, made, links[at:])
        ends[k, 3] = at
    return Lists(links, ends)


@part
def _finite_loss(run, item):
    """Return whether the batch that an update waits for has a finite loss."""
    loss = 0.0
    for k in range(item.opened - item.block, item.opened):
        loss += run.totals[k, 0]
    return math.isfinite(loss)


@functools.cache
def _compiled(version: str) -> Any:
    @kernel
    def run_items(run, ticket, shared, memory, clock):
        """Take items until there are none; several threads may do so together. Where a loss is not
        finite, nothing is updated, and all threads stop.

        `ticket` is an item already taken, or -1. Return one that has to wait for long, or -1.
        """
        version  # noqa: B018  (closed over: what is kept on disk is of these sources)
        if ticket < 0:
            set_borders(run, memory)
        lists = list_links(run)
        while True:
            if ticket < 0:
                ticket = add_shared(shared, TICKET, 1)
            if ticket >= len(run.items):
                return -1
            item = run.items[ticket]
            turns = 0
            while read_shared(shared, DONE) < item.opened:
                if read_shared(shared, STOP):
                    return -1
                if turns == PATIENCE:
                    return ticket
                turns += 1
            if read_shared(shared, STOP):
                return -1
            before = flush_small()
            if item.kind != UPDATE:
                _images_item(run, lists, item, run.totals[ticket], memory, clock)
            elif run.updates[item.step].rule == NO_RULE or _finite_loss(run, item):
                update_item(run, item)
            else:
                add_shared(shared, STOP, 1)
            restore_small(before)
            add_shared(shared, DONE, 1)
            ticket = -1

    return run_items


def checked_program(*arguments: Any) -> Program:
    """Return a network and its loss for :func:`run`, checked once."""
    program = Program(*arguments)
    check_steps(program.steps, _KINDS)
    check_loss(program.loss[0])
    return Program(*typed(Program._fields, program, None))


def run(arguments: tuple[Any, ...], memories: list[Any], together: Callable[..., None]) -> None:
    """Process a list of items on a network, each memory's thread at the same time.

    Parameters
    ----------
    arguments : tuple
        A :class:`Program`, then what :class:`Run` has besides: see lenet_fast/engines/lanes.py.
    memories : list of ndarray
        One per thread.
    together : callable
        Runs a function on all of them at the same time.
    """
    given = run_of(arguments)
    if not len(given.items):
        return
    check_items(given.items)
    check_updates(given.updates)
    run_items = _compiled(sources())
    shared = np.zeros(24, np.int64)
    clock = new_clock(len(given.seconds) > 0)

    def work(memory: Any) -> None:
        ticket = -1
        try:
            while (ticket := run_items(given, ticket, shared, memory, clock)) >= 0:
                time.sleep(0)
        except BaseException:
            shared[STOP] = 1  # the other threads must not wait for an item that fails
            raise

    together(work, memories)


def run_of(arguments: tuple[Any, ...]) -> Run:
    """Return the arguments of :func:`run` as the loops read them."""
    program, *others = arguments
    given, own = Run(*program, *others), len(program)
    if given.updates is None:
        given = given._replace(updates=program.no_updates)
    return Run(*program, *typed(Run._fields[own:], given[own:], given.parameters.dtype))
