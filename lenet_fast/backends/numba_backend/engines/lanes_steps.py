"""The steps of a plan, one a layer, on one tile: forward, back to the input, to the parameters.

The twin of kernels/engines/lanes_steps.pxi.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.engines.lanes_plan import (
    C_IN,
    C_OUT,
    CONVOLUTION,
    DX,
    DY,
    FULL,
    FUNCTION,
    H_BARE,
    H_IN,
    KH,
    KIND,
    KW,
    LEFT,
    MAXIMUM,
    PADDED,
    SQUASHING,
    SUBSAMPLING,
    SUMS_B,
    SUMS_W,
    TOP,
    UNIT,
    W_BARE,
    W_IN,
    WIDTH,
    WORK,
    B,
    W,
    X,
    Y,
    inputs_of,
    outputs_of,
    result_of,
    source_of,
    window_of,
)
from lenet_fast.backends.numba_backend.jit import once, part
from lenet_fast.backends.numba_backend.layers.activations import squash, squash_back
from lenet_fast.backends.numba_backend.layers.conv2d import (
    bias_gradient_tile,
    bias_tile,
    correlate,
    correlate_gradient,
    input_gradient_tile,
    spread_of,
)
from lenet_fast.backends.numba_backend.layers.dense import dense_gradient_tile, dense_tile
from lenet_fast.backends.numba_backend.layers.pool2d import max_back_map, max_map
from lenet_fast.backends.numba_backend.layers.rbf import rbf_tile
from lenet_fast.backends.numba_backend.layers.subsample2d import (
    spread_maps,
    subsample_gradient_map,
    subsample_map,
)
from lenet_fast.backends.numba_backend.vector.lanes import (
    copy,
    fill,
    get,
    get_row,
    lane_count_of,
    put,
    put_numbers,
)
from lenet_fast.backends.numba_backend.vector.packing import numbers_of
from lenet_fast.backends.numba_backend.vector.products import total, transposed

# No literals: Numba compiles a function anew for each that it is called with.
ZERO, ONE, NONE = np.intp(0), np.intp(1), np.intp(-1)


# --- forward ------------------------------------------------------------------------------------


@part
def _padded_input(step, memory):
    """Return where the input is, copied between its padding where there is some."""
    if step[PADDED] < 0:
        return step[X]
    for c in range(step[C_IN]):
        for r in range(step[H_BARE]):
            target = step[PADDED] + (c * step[H_IN] + step[TOP] + r) * step[W_IN] + step[LEFT]
            copy(memory, step[X] + (c * step[H_BARE] + r) * step[W_BARE], target, step[W_BARE])
    return step[PADDED]


@once
def step_forward(run, lists, k, memory):
    """Set a step's output."""
    step, w = run.steps[k], run.parameters
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, y = step[X], step[Y]
    wide, narrow = source.rows * source.columns, result.rows * result.columns
    if step[KIND] == CONVOLUTION:
        bias_tile(memory, w, step[B], step[UNIT], y, result)
        x, links = _padded_input(step, memory), lists.links[lists.ends[k, 0] : lists.ends[k, 1]]
        correlate(
            memory, x, source, ZERO, source.rows - 1, window, w, step[W], window.kw, ONE, links, y,
            result,
        )  # fmt: skip
    elif step[KIND] == SUBSAMPLING:
        multiplier = result.count // source.count
        for c in range(result.count):
            subsample_map(
                memory, x + c // multiplier * wide, source, window, w, step[W], step[B], c,
                run.reals[k], y + c * narrow, result,
            )  # fmt: skip
    elif step[KIND] == MAXIMUM:
        for c in range(source.count):
            max_map(memory, x + c * wide, source, window, y + c * narrow, result)
    elif step[KIND] == SQUASHING:
        if x != y:
            copy(memory, x, y, outputs_of(step))
        squash(step[FUNCTION], numbers_of(memory, y, outputs_of(step)))
    elif step[KIND] == FULL:
        n_in = inputs_of(step)
        dense_tile(memory, x, n_in, w, step[W], n_in, ONE, step[B], y, result.count)
    else:
        rbf_tile(memory, x, inputs_of(step), w, step[W], result.count, y)


# --- back ---------------------------------------------------------------------------------------


@part
def _squares(memory, x, count, wanted, room):
    """Return where x is, or the squares of it: what the Hessian's pass multiplies with."""
    if not wanted:
        return x
    for k in range(count):
        value = get(memory, x + k)
        put(memory, room + k, value * value)
    return room


@once
def step_weights(run, lists, k, memory, hessian, gradient):
    """Add a tile's share to the gradients of a step's parameters."""
    step, work = run.steps[k], run.places[WORK]
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, dy = step[X], step[DY]
    wide, narrow = source.rows * source.columns, result.rows * result.columns
    if step[KIND] == CONVOLUTION:
        x = x if step[PADDED] < 0 else step[PADDED]
        correlate_gradient(
            memory, _squares(memory, x, source.count * wide, hessian, work), source, window, dy,
            result, lists.links[lists.ends[k, 2] : lists.ends[k, 3]], step[SUMS_W],
        )  # fmt: skip
        if step[B] >= 0:
            bias_gradient_tile(memory, dy, result, step[UNIT], step[SUMS_B])
    elif step[KIND] == SUBSAMPLING:
        multiplier = result.count // source.count
        for c in range(result.count):
            subsample_gradient_map(
                memory, dy + c * narrow, result, x + c // multiplier * wide, source, window,
                run.reals[k], hessian, work, step[SUMS_W] + c, step[SUMS_B] + c,
            )  # fmt: skip
    elif step[KIND] == FULL:
        n_in = inputs_of(step)
        dense_gradient_tile(
            memory, dy, result.count, _squares(memory, x, n_in, hessian, work), n_in, work + n_in,
            gradient, step[W], step[B],
        )  # fmt: skip


@part
def _convolution_back(run, lists, k, memory, parameters):
    step, work = run.steps[k], run.places[WORK]
    source, result, window = source_of(step), result_of(step), window_of(step)
    spread, dx = spread_of(source, window, result), step[DX]
    if step[PADDED] >= 0:
        dx = work + spread.count * spread.rows * spread.columns
    links = lists.links[lists.ends[k, 1] : lists.ends[k, 2]]
    input_gradient_tile(
        memory, step[DY], result, parameters, step[W], links, window, dx, source, work
    )
    if step[PADDED] >= 0:
        for c in range(step[C_IN]):
            for r in range(step[H_BARE]):
                place = dx + (c * step[H_IN] + step[TOP] + r) * step[W_IN] + step[LEFT]
                target = step[DX] + (c * step[H_BARE] + r) * step[W_BARE]
                copy(memory, place, target, step[W_BARE])


@once
def step_back(run, lists, k, memory, hessian):
    """Set the gradient at a step's input."""
    step = run.steps[k]
    parameters = run.weights_squared if hessian else run.parameters
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, dx, dy = step[X], step[DX], step[DY]
    wide, narrow = source.rows * source.columns, result.rows * result.columns
    if step[KIND] == CONVOLUTION:
        _convolution_back(run, lists, k, memory, parameters)
    elif step[KIND] == SUBSAMPLING:
        multiplier = result.count // source.count
        for c in range(source.count):
            spread_maps(
                memory, dy + c * multiplier * narrow, result, window, run.parameters, step[W], c,
                run.reals[k], hessian, run.places[WORK], dx + c * wide, source,
            )  # fmt: skip
    elif step[KIND] == MAXIMUM:
        for c in range(source.count):
            max_back_map(
                memory, dy + c * narrow, result, x + c * wide, source, window, dx + c * wide
            )
    elif step[KIND] == SQUASHING:
        count = outputs_of(step)
        if dx != dy:
            copy(memory, dy, dx, count)
        y = numbers_of(memory, step[Y], count)
        squash_back(step[FUNCTION], hessian, y, numbers_of(memory, dx, count))
    elif step[KIND] == FULL:
        n_in = inputs_of(step)
        dense_tile(memory, dy, result.count, parameters, step[W], ONE, n_in, NONE, dx, n_in)


@part
def _weights_of(step):
    """Return how many weights are added lane by lane."""
    if step[KIND] == CONVOLUTION:
        return step[C_OUT] * step[WIDTH] * step[KH] * step[KW]
    return step[C_OUT]


@part
def _biases_of(step):
    return outputs_of(step) if step[UNIT] else step[C_OUT]


@part
def clear_sums(run, memory):
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step[SUMS_W] >= 0:
            fill(memory, step[SUMS_W], _weights_of(step), 0.0)
        if step[SUMS_B] >= 0:
            fill(memory, step[SUMS_B], _biases_of(step), 0.0)


@part
def _fold_lanes(memory, sums, count, target):
    """Set a number to the sum of the lanes of a vector, the first lane first; `count` of them."""
    full = lane_count_of(memory)
    whole = count // full * full
    for k in range(0, whole, full):
        square = get_row(memory, sums + k, 1, full)
        put_numbers(target, k, 1, total(transposed(square)))
    for k in range(whole, count):
        target[k] = memory[(sums + k) * full]
        for i in range(1, full):
            target[k] += memory[(sums + k) * full + i]


@part
def fold_sums(run, memory, gradient):
    """What was added lane by lane becomes part of the block's gradient."""
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step[SUMS_W] >= 0:
            _fold_lanes(memory, step[SUMS_W], _weights_of(step), gradient[step[W] :])
        if step[SUMS_B] >= 0:
            _fold_lanes(memory, step[SUMS_B], _biases_of(step), gradient[step[B] :])
