"""Dense and RBF layers of one image at a time: vectors run along the inputs.

The twin of kernels/single/dense.pxi.
"""

from __future__ import annotations

from typing import Any

from lenet_fast.backends.numba_backend.jit import block, once, part
from lenet_fast.backends.numba_backend.layers.optimisers import fused
from lenet_fast.backends.numba_backend.vector.blocks import only_lanes, put_lane_sums
from lenet_fast.backends.numba_backend.vector.products import plus_products
from lenet_fast.backends.numba_backend.vector.vectors import (
    get_numbers,
    lane_count_of,
    put_numbers,
    splat,
    spread,
)

# The vectors of inputs whose weights change together.
ROW_VECTORS = 4


# --- forward ------------------------------------------------------------------------------------


def _rows_block(outputs: int, distances: bool) -> Any:
    """Return what sets some outputs; their sums stay in registers, lane by lane."""

    @block
    def rows_block(memory, x, n_in, w, w_at, pitch, y):
        full = lane_count_of(memory)
        sums = splat(memory, 0, outputs)
        whole = n_in // full * full
        for j in range(0, whole, full):
            weights = get_numbers(w, w_at + j, pitch, outputs)
            if distances:
                weights = weights - get_numbers(memory, x + j, 0, outputs)
                sums = sums + weights * weights
            else:
                sums = plus_products(sums, weights, get_numbers(memory, x + j, 0, 1))
        if whole < n_in:  # the last vector ends with the row; what the one before had is left out
            j = max(n_in - full, 0)
            weights = get_numbers(w, w_at + j, pitch, outputs)
            if distances:
                weights = weights - get_numbers(memory, x + j, 0, outputs)
                weights = only_lanes(weights, whole - j, n_in - j)
                sums = sums + weights * weights
            else:
                seen = only_lanes(get_numbers(memory, x + j, 0, 1), whole - j, n_in - j)
                sums = plus_products(sums, weights, seen)
        put_lane_sums(memory, y, sums)

    return rows_block


def _rows(distances: bool) -> Any:
    most, four, one = (_rows_block(outputs, distances) for outputs in (8, 4, 1))

    @part
    def rows(memory, x, n_in, w, w_at, pitch, y, n_out):
        i = 0
        while i < n_out:
            row = w_at + i * pitch
            if n_out - i >= 8:
                most(memory, x, n_in, w, row, pitch, y + i)
                i += 8
            elif n_out - i >= 4:
                four(memory, x, n_in, w, row, pitch, y + i)
                i += 4
            else:
                one(memory, x, n_in, w, row, pitch, y + i)
                i += 1

    return rows


_products, row_distances = _rows(False), _rows(True)
"""row_distances sets y_i to the sum over j of (x_j - w_ij)^2."""


@part
def rows_forward(memory, x, n_in, weights, y, n_out):
    """Set y_i to the sum over j of w_ij x_j, plus b_i where there is one."""
    _products(memory, x, n_in, weights.w, weights.w_at, weights.pitch, y, n_out)
    if weights.b_at >= 0:
        outputs, biases = memory[y : y + n_out], weights.b[weights.b_at :]
        for i in range(n_out):
            outputs[i] += biases[i]


def _back_block(vectors: int, keeps: bool, rolls: bool, own_rates: bool) -> Any:
    """Return what changes all weights that some vectors of inputs go through, or keeps their
    gradients; with or without momentum, with or without a factor per weight. `other` is the
    velocity, or where a gradient is kept."""

    @block
    def back_block(memory, dy, n_out, x, update, w, other, factors, at, pitch, dx):
        full = lane_count_of(memory)
        rate = splat(memory, update.rate, vectors)
        momentum = splat(memory, update.momentum, vectors)
        decay = splat(memory, update.weight_decay, vectors)
        seen, sums = get_numbers(memory, x, full, vectors), splat(memory, 0, vectors)
        for i in range(n_out):
            weights = get_numbers(w, at, full, vectors)
            sums = plus_products(sums, spread(memory, dy + i, 0, 1), weights)
            step = spread(memory, dy + i, 0, vectors) * seen
            if keeps:
                put_numbers(other, at, full, step)
            else:
                step = step + decay * weights
                if rolls:
                    step = step + momentum * get_numbers(other, at, full, vectors)
                    put_numbers(other, at, full, step)
                if own_rates:
                    step = step * get_numbers(factors, at, full, vectors)
                put_numbers(w, at, full, weights - rate * step)
            at += pitch
        put_numbers(memory, dx, full, sums)

    return back_block


def _rows_back(keeps: bool, rolls: bool = False, own_rates: bool = False) -> Any:
    many, one = (_back_block(vectors, keeps, rolls, own_rates) for vectors in (ROW_VECTORS, 1))

    @part
    def rows_back(memory, dy, n_out, x, update, w, other, factors, at, pitch, dx):
        full, j = lane_count_of(memory), 0
        while j < pitch:
            if pitch - j >= ROW_VECTORS * full:
                many(memory, dy, n_out, x + j, update, w, other, factors, at + j, pitch, dx + j)
                j += ROW_VECTORS * full
            else:
                one(memory, dy, n_out, x + j, update, w, other, factors, at + j, pitch, dx + j)
                j += full

    return rows_back


_keep = _rows_back(keeps=True)
_descend, _descend_own_rates, _roll, _roll_own_rates = (
    _rows_back(False, rolls, own_rates) for rolls in (False, True) for own_rates in (False, True)
)


@once
def rows_descend(run, update, dy, n_out, x, at, pitch, dx):
    """Set dx, and change the weights by the rule, unless that needs all gradients at once: then
    write them down."""
    memory, w = run.memory, run.parameters
    state, factors = run.state, run.factors
    if not fused(update):
        _keep(memory, dy, n_out, x, update, w, run.gradients, factors, at, pitch, dx)
    elif len(state) and len(factors):
        _roll_own_rates(memory, dy, n_out, x, update, w, state, factors, at, pitch, dx)
    elif len(state):
        _roll(memory, dy, n_out, x, update, w, state, factors, at, pitch, dx)
    elif len(factors):
        _descend_own_rates(memory, dy, n_out, x, update, w, state, factors, at, pitch, dx)
    else:
        _descend(memory, dy, n_out, x, update, w, state, factors, at, pitch, dx)


@part
def row_distances_back(memory, dy, n_out, x, n_in, w, w_at, pitch, dx):
    """Set dx, from dy_i/dx_j = 2 (x_j - w_ij)."""
    seen, made = memory[x : x + n_in], memory[dx : dx + n_in]
    made[:] = 0
    two = made.dtype.type(2)
    for i in range(n_out):
        first = w_at + i * pitch
        centre, slope = w[first : first + n_in], two * memory[dy + i]
        for j in range(n_in):
            made[j] += (seen[j] - centre[j]) * slope
