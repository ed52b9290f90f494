"""The steps of a program, one per layer, on a tile: forward, back to the input, to parameters.

The twin of kernels/engines/lanes_steps.pxi.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.engines.steps import (
    inputs_of,
    outputs_of,
    result_of,
    source_of,
    window_of,
)
from lenet_fast.backends.numba_backend.jit import once, part
from lenet_fast.backends.numba_backend.layers.activations import activate, activate_back
from lenet_fast.backends.numba_backend.layers.conv2d import (
    bias_gradient_tile,
    bias_tile,
    correlate,
    correlate_gradient,
    input_gradient_tile,
    spread_of,
)
from lenet_fast.backends.numba_backend.layers.dense import dense_gradient_tile, dense_tile
from lenet_fast.backends.numba_backend.layers.dropout import drop_tile, layer_key
from lenet_fast.backends.numba_backend.layers.pool2d import max_back_map, max_map
from lenet_fast.backends.numba_backend.layers.rbf import rbf_tile
from lenet_fast.backends.numba_backend.layers.subsample2d import (
    spread_maps,
    subsample_gradient_map,
    subsample_map,
)
from lenet_fast.backends.numba_backend.program import (
    ACTIVATION,
    CONVOLUTION,
    DISTANCES,
    FULL,
    MAXIMUM,
    SUBSAMPLING,
)
from lenet_fast.backends.numba_backend.vector.packing import numbers_of
from lenet_fast.backends.numba_backend.vector.products import total, transposed
from lenet_fast.backends.numba_backend.vector.vectors import (
    copy,
    fill,
    get,
    get_row,
    lane_count_of,
    put,
    put_numbers,
)

# No literals: Numba compiles a function anew for each that it is called with.
ZERO, ONE, NONE = np.intp(0), np.intp(1), np.intp(-1)


# --- forward ------------------------------------------------------------------------------------


@part
def _padded_input(step, memory):
    """Return where the input is, copied between its padding where there is some."""
    if step.padded < 0:
        return step.x
    for c in range(step.c_in):
        for r in range(step.h_bare):
            target = step.padded + (c * step.h_in + step.top + r) * step.w_in + step.left
            copy(memory, step.x + (c * step.h_bare + r) * step.w_bare, target, step.w_bare)
    return step.padded


@part
def step_drop(step, k, memory, x, draw, y):
    """Pass values through dropout; on the way back, their gradients."""
    count = outputs_of(step)
    units = count if step.unit else step.c_out
    if draw.drops:
        key = layer_key(draw.seed, draw.number, k)
        drop_tile(memory, x, units, count // units, key, draw.place, step.option, y)
    elif x != y:
        copy(memory, x, y, count)


@once
def step_forward(run, lists, k, memory):
    """Set a step's output, except dropout's."""
    step, w = run.steps[k], run.parameters
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, y = step.x, step.y
    in_size, out_size = source.rows * source.columns, result.rows * result.columns
    if step.kind == CONVOLUTION:
        bias_tile(memory, w, step.b, step.unit, y, result)
        x, links = _padded_input(step, memory), lists.links[lists.ends[k, 0] : lists.ends[k, 1]]
        correlate(
            memory, x, source, ZERO, source.rows - 1, window, w, step.w, window.kw, ONE, links, y,
            result,
        )  # fmt: skip
    elif step.kind == SUBSAMPLING:
        multiplier = result.count // source.count
        for c in range(result.count):
            subsample_map(
                memory, x + c // multiplier * in_size, source, window, w, step.w, step.b, c,
                step.scale, y + c * out_size, result,
            )  # fmt: skip
    elif step.kind == MAXIMUM:
        for c in range(source.count):
            max_map(memory, x + c * in_size, source, window, y + c * out_size, result)
    elif step.kind == ACTIVATION:
        if x != y:
            copy(memory, x, y, outputs_of(step))
        activate(step, numbers_of(memory, y, outputs_of(step)))
    elif step.kind == FULL:
        n_in = inputs_of(step)
        dense_tile(memory, x, n_in, w, step.w, n_in, ONE, step.b, y, result.count)
    elif step.kind == DISTANCES:
        rbf_tile(memory, x, inputs_of(step), w, step.w, result.count, y)


# --- back ---------------------------------------------------------------------------------------


@part
def _squares(memory, x, count, wanted, scratch):
    """Return where x is, or the squares of it: what the Hessian's pass multiplies with."""
    if not wanted:
        return x
    for k in range(count):
        value = get(memory, x + k)
        put(memory, scratch + k, value * value)
    return scratch


@once
def step_weights(run, lists, k, memory, sums, hessian, gradient):
    """Add a tile's share to the gradients of a step's parameters; those of convolutions and of
    sub-sampling are added lane by lane, in `sums`."""
    step = run.steps[k]
    work = step.work
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, dy = step.x, step.dy
    in_size, out_size = source.rows * source.columns, result.rows * result.columns
    if step.kind == CONVOLUTION:
        x = x if step.padded < 0 else step.padded
        correlate_gradient(
            memory, _squares(memory, x, source.count * in_size, hessian, work), source, window, dy,
            result, lists.links[lists.ends[k, 2] : lists.ends[k, 3]], sums, step.sums_w,
        )  # fmt: skip
        if step.b >= 0:
            bias_gradient_tile(memory, dy, result, step.unit, sums, step.sums_b)
    elif step.kind == SUBSAMPLING:
        multiplier = result.count // source.count
        for c in range(result.count):
            subsample_gradient_map(
                memory, dy + c * out_size, result, x + c // multiplier * in_size, source, window,
                step.scale, hessian, work, sums, step.sums_w + c, step.sums_b + c,
            )  # fmt: skip
    elif step.kind == FULL:
        n_in = inputs_of(step)
        dense_gradient_tile(
            memory, dy, result.count, _squares(memory, x, n_in, hessian, work), n_in, work + n_in,
            gradient, step.w, step.b,
        )  # fmt: skip


@part
def _convolution_back(run, lists, k, memory, parameters):
    step = run.steps[k]
    work = step.work
    source, result, window = source_of(step), result_of(step), window_of(step)
    spread, dx = spread_of(source, window, result), step.dx
    if step.padded >= 0:
        dx = work + spread.count * spread.rows * spread.columns
    links = lists.links[lists.ends[k, 1] : lists.ends[k, 2]]
    input_gradient_tile(
        memory, step.dy, result, parameters, step.w, links, window, dx, source, work
    )
    if step.padded >= 0:
        for c in range(step.c_in):
            for r in range(step.h_bare):
                place = dx + (c * step.h_in + step.top + r) * step.w_in + step.left
                target = step.dx + (c * step.h_bare + r) * step.w_bare
                copy(memory, place, target, step.w_bare)


@once
def step_back(run, lists, k, memory, hessian):
    """Set the gradient at a step's input, except dropout's."""
    step = run.steps[k]
    parameters = run.weights_squared if hessian else run.parameters
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, dx, dy = step.x, step.dx, step.dy
    in_size, out_size = source.rows * source.columns, result.rows * result.columns
    if step.kind == CONVOLUTION:
        _convolution_back(run, lists, k, memory, parameters)
    elif step.kind == SUBSAMPLING:
        multiplier = result.count // source.count
        for c in range(source.count):
            spread_maps(
                memory, dy + c * multiplier * out_size, result, window, run.parameters, step.w, c,
                step.scale, hessian, step.work, dx + c * in_size, source,
            )  # fmt: skip
    elif step.kind == MAXIMUM:
        for c in range(source.count):
            max_back_map(
                memory, dy + c * out_size, result, x + c * in_size, source, window, dx + c * in_size
            )
    elif step.kind == ACTIVATION:
        count = outputs_of(step)
        if dx != dy:
            copy(memory, dy, dx, count)
        x, y = numbers_of(memory, x, count), numbers_of(memory, step.y, count)
        activate_back(step, hessian, x, y, numbers_of(memory, dx, count))
    elif step.kind == FULL:
        n_in = inputs_of(step)
        dense_tile(memory, dy, result.count, parameters, step.w, ONE, n_in, NONE, dx, n_in)


@part
def weights_of(step):
    """Return how many weights are added lane by lane."""
    if step.kind == CONVOLUTION:
        return step.c_out * step.width * step.kh * step.kw
    return step.c_out


@part
def biases_of(step):
    return outputs_of(step) if step.unit else step.c_out


@part
def clear_sums(run, memory):
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step.sums_w >= 0:
            fill(memory, step.sums_w, weights_of(step), 0.0)
        if step.sums_b >= 0:
            fill(memory, step.sums_b, biases_of(step), 0.0)


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
    """Add the lane-by-lane sums to the block's gradient."""
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step.sums_w >= 0:
            _fold_lanes(memory, step.sums_w, weights_of(step), gradient[step.w :])
        if step.sums_b >= 0:
            _fold_lanes(memory, step.sums_b, biases_of(step), gradient[step.b :])
