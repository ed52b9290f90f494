"""The online engine: forward, loss, back and update, an image at a time.

The twin of kernels/engines/online.pxi.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba.np.numpy_support import from_dtype

from lenet_fast.backends.numba_backend.engines.online_images import (
    fill_bytes,
    fill_floats,
    set_borders,
)
from lenet_fast.backends.numba_backend.engines.online_run import (
    ONLINE_KINDS,
    Run,
    Weights,
    tap_table,
)
from lenet_fast.backends.numba_backend.engines.online_steps import (
    draw_kept,
    step_back,
    step_forward,
    step_weights,
)
from lenet_fast.backends.numba_backend.engines.steps import (
    check_loss,
    check_steps,
    check_updates,
    typed,
)
from lenet_fast.backends.numba_backend.jit import borrowing_kernel, part, sources
from lenet_fast.backends.numba_backend.layers.dropout import times_factors
from lenet_fast.backends.numba_backend.layers.losses import loss_gradient, loss_value, misclassified
from lenet_fast.backends.numba_backend.layers.optimisers import fused, optimise
from lenet_fast.backends.numba_backend.program import DROPOUT, FULL, SUBSAMPLING
from lenet_fast.backends.numba_backend.vector.shared import (
    flush_small,
    new_clock,
    restore_small,
    seconds_now,
)
from lenet_fast.backends.numba_backend.vector.vectors import lane_count


@part
def _lap(run, clock, place, since):
    """Add the time since then to that at a place of `seconds`; return the time."""
    if len(run.seconds) == 0:
        return since
    now = seconds_now(clock)
    # One index: Numba compiles a function once for each literal number that it is called with.
    run.seconds.reshape(-1)[place] += now - since
    return now


@functools.cache
def _compiled(version: str) -> Any:
    @borrowing_kernel
    def train(run, taps, ends, square, clock):
        """Forward, loss, back and update, image by image, until a loss is not finite."""
        version  # noqa: B018  (closed over: what is kept on disk is of these sources)
        before = flush_small()
        set_borders(run.steps, run.memory)
        w, last = run.parameters, run.steps[len(run.steps) - 1]
        y = run.memory[last.y : last.y + last.c_out]
        dy = run.memory[last.dy : last.dy + last.c_out]
        for i in range(len(run.order)):
            if len(run.bytes_images):
                fill_bytes(run.memory, run.input, run.bytes_images[run.order[i]])
            else:
                floats, size = run.float_images.reshape(-1), run.float_images[0].size
                fill_floats(run.memory, run.input, floats, run.order[i] * size)

            update = run.updates[i]
            since = seconds_now(clock) if len(run.seconds) else 0.0
            for k in range(len(run.steps)):
                step = run.steps[k]
                weights = Weights(w, step.w, w, step.b, step.pitch)
                if step.kind == DROPOUT and update.seed >= 0:
                    draw_kept(step, k, update.seed, update.done, run.memory)
                    times_factors(run.memory, step.x, step.kept, step.numbers, step.y)
                else:
                    step_forward(step, taps[ends[k] : ends[k + 1]], weights, run.memory, square)
                since = _lap(run, clock, 3 * k, since)

            label = run.labels[i]
            run.totals[i, 0] = loss_value(run.loss, y, label, dy)
            run.totals[i, 1] = misclassified(y, label, run.loss.smallest_wins)
            if not math.isfinite(run.totals[i, 0]):
                break
            loss_gradient(run.loss, y, label, dy)

            since = seconds_now(clock) if len(run.seconds) else 0.0
            for k in range(len(run.steps) - 1, -1, -1):
                step = run.steps[k]
                # Dense layers change their weights on the way; planar pooling finds their gradient.
                finds = step.kind == FULL or (step.kind == SUBSAMPLING and step.planar)
                if step.passes or (step.learns and finds):
                    step_back(run, update, step, square)
                    since = _lap(run, clock, 3 * k + 1, since)
                if step.learns and (step.kind != FULL or step.b >= 0):
                    step_weights(run, update, step)
                    since = _lap(run, clock, 3 * k + 2, since)
            if not fused(update):  # a rule that needs all gradients at once
                dw = run.gradients
                optimise(update, update.done + 1, dw, w, run.state, len(dw), run.factors)
        restore_small(before)

    return train


def run_online(*arguments: Any) -> None:
    """Train on images, one after the other, until there are none or a loss is not finite.

    lenet_fast/engines/online.py builds the arguments, which are those of :class:`Run`; None means:
    not used in this call.
    """
    given = Run(*arguments)
    check_steps(given.steps, ONLINE_KINDS)
    check_loss(given.loss[0])
    check_updates(given.updates)
    dtype = given.memory.dtype
    run = Run(*typed(Run._fields, given, dtype))
    clock = new_clock(given.seconds is not None)
    full = lane_count(from_dtype(dtype))
    square = np.zeros(full * full, dtype)
    _compiled(sources())(run, *tap_table(given.steps), square, clock)
