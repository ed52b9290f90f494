"""The steps of a program, one per layer, on one image: forward, back to the input, to parameters.

The twin of kernels/engines/online_steps.pxi.
"""

from __future__ import annotations

from lenet_fast.backends.numba_backend.engines.online_images import (
    add_repeated,
    by_pixel,
    copy_numbers,
    repeat_maps,
)
from lenet_fast.backends.numba_backend.engines.steps import (
    inputs_of,
    result_of,
    source_of,
    window_of,
)
from lenet_fast.backends.numba_backend.jit import once, part
from lenet_fast.backends.numba_backend.layers.activations import activate, activate_back
from lenet_fast.backends.numba_backend.layers.dropout import (
    draw_factors,
    image_key,
    layer_key,
    times_factors,
)
from lenet_fast.backends.numba_backend.layers.optimisers import optimise_at_once
from lenet_fast.backends.numba_backend.program import (
    ACTIVATION,
    CONVOLUTION_ALONG_COLUMNS,
    CONVOLUTION_ALONG_MAPS,
    DISTANCES,
    DROPOUT,
    FULL,
    MAXIMUM,
    SUBSAMPLING,
)
from lenet_fast.backends.numba_backend.single.conv2d_columns import (
    columns_bias_gradient,
    columns_forward,
    columns_gradient,
)
from lenet_fast.backends.numba_backend.single.conv2d_maps import (
    maps_back,
    maps_bias_gradient,
    maps_forward,
    maps_gradient,
)
from lenet_fast.backends.numba_backend.single.dense import (
    row_distances,
    row_distances_back,
    rows_descend,
    rows_forward,
)
from lenet_fast.backends.numba_backend.single.pool2d import (
    pixels_back,
    pixels_forward,
    pixels_gradient,
    planar_back,
    planar_forward,
)
from lenet_fast.backends.numba_backend.vector.packing import fold_lanes
from lenet_fast.backends.numba_backend.vector.shapes import Maps

# --- forward ------------------------------------------------------------------------------------


@part
def _repeated_source(step):
    """Return the input of a pooling layer with its maps repeated, as many as output maps."""
    return Maps(step.c_out, step.h_in, step.w_in)


@part
def _input_of(step, memory):
    """Return where a step's input is: padded, map by map, or with its maps repeated, where it must
    be."""
    padded, x = step.padded, step.x
    if padded < 0:
        if step.kind == FULL:  # vectors of a pooling layer may have reached there
            memory[x + inputs_of(step) : x + step.pitch] = 0
        return x
    if step.kind == CONVOLUTION_ALONG_MAPS:
        row = step.w_bare * step.c_in
        for r in range(step.h_bare):
            place = padded + ((step.top + r) * step.w_in + step.left) * step.c_in
            copy_numbers(memory, x + r * row, memory, place, row)
    elif step.kind == SUBSAMPLING:
        repeat_maps(memory, x, inputs_of(step), step.c_out // step.c_in, padded)
    elif step.kind in (FULL, DISTANCES):
        by_pixel(memory, x, step.h_bare * step.w_bare, step.c_in, memory, padded)
    return padded


@once
def step_forward(step, taps, weights, memory, square):
    """Set a step's output. `taps` is where a kernel looks, `square` is scratch."""
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, y, kind = _input_of(step, memory), step.y, step.kind
    if kind == CONVOLUTION_ALONG_COLUMNS:
        columns_forward(memory, x, source, window, taps, weights, y, result)
    elif kind == CONVOLUTION_ALONG_MAPS:
        maps_forward(memory, x, source, window, taps, weights, step.unit, y, result)
    elif kind in (SUBSAMPLING, MAXIMUM):
        maxima = kind == MAXIMUM
        if step.planar:
            planar_forward(memory, x, source, maxima, step.scale, weights, y, result, square)
        else:
            repeated = _repeated_source(step)
            pixels_forward(memory, x, repeated, window, maxima, step.scale, weights, y, result)
    elif kind == ACTIVATION:
        if x != y:
            copy_numbers(memory, x, memory, y, step.numbers)
        activate(step, memory[y : y + step.numbers])
    elif kind == FULL:
        rows_forward(memory, x, inputs_of(step), weights, y, step.c_out)
    elif kind == DISTANCES:
        row_distances(
            memory, x, inputs_of(step), weights.w, weights.w_at, weights.pitch, y, step.c_out
        )
    elif kind == DROPOUT and x != y:
        copy_numbers(memory, x, memory, y, step.numbers)


@part
def draw_kept(step, k, seed, number, memory):
    """Draw the factors of a dropout layer, in the order of its units in memory."""
    pixels, maps, work = step.h_out * step.w_out, step.c_out, step.work
    key = image_key(layer_key(seed, number, k), 0)
    draw_factors(key, step.numbers if step.unit else maps, step.option, memory, work)
    if step.unit:
        by_pixel(memory, work, maps, pixels, memory, step.kept)
    else:
        for p in range(pixels):
            copy_numbers(memory, work, memory, step.kept + p * maps, maps)


# --- back ---------------------------------------------------------------------------------------


@part
def _change_numbers(update, gradients, parameters, state, factors, first, count):
    """Change some parameters by their gradients, if the rule does so at once."""
    changed = slice(first, first + count)
    w, state, factors = parameters[changed], state[first:], factors[first:]
    optimise_at_once(update, gradients[changed], w, state, factors)


@once
def _convolution_gradient(run, step):
    """Set the gradients of a convolution's parameters; return how many weights and biases."""
    memory, dw, work = run.memory, run.gradients, step.work
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, dy, b = step.x, step.dy, step.b
    taps = step.kh * step.kw * step.c_in
    if step.kind == CONVOLUTION_ALONG_COLUMNS:
        columns_gradient(memory, x, source, window, dy, result, work, dw, step.w)
        if b >= 0:
            columns_bias_gradient(memory, dy, result, work, dw, b)
        return taps * step.c_out, step.c_out
    x = step.padded if step.padded >= 0 else x
    maps_gradient(memory, x, source, window, dy, result, run.masks, step.mask, dw, step.w)
    if b >= 0 and step.unit:
        copy_numbers(memory, dy, dw, b, step.numbers)
        return taps * step.pitch, step.numbers
    if b >= 0:
        mask = step.mask + step.c_in * step.pitch
        maps_bias_gradient(memory, dy, result, run.masks, mask, dw, b)
    return taps * step.pitch, step.c_out


@once
def _pool_gradient(run, step):
    memory, maps, work = run.memory, step.c_out, step.work
    if step.planar:  # step_back has left them in scratch
        fold_lanes(memory, work, 2 * maps, memory, work)
        copy_numbers(memory, work, run.gradients, step.w, maps)
        copy_numbers(memory, work + maps, run.gradients, step.b, maps)
        return
    x = step.padded if step.padded >= 0 else step.x
    pixels_gradient(
        memory, step.dy, result_of(step), window_of(step), step.scale, x, _repeated_source(step),
        run.gradients, step.w, step.b,
    )  # fmt: skip


@once
def step_weights(run, update, step):
    """Find the gradients of a step's parameters, and change these; but for a dense layer's."""
    kind, taps, biases = step.kind, 0, step.c_out
    if kind in (CONVOLUTION_ALONG_COLUMNS, CONVOLUTION_ALONG_MAPS):
        taps, biases = _convolution_gradient(run, step)
    elif kind == SUBSAMPLING:
        taps = biases
        _pool_gradient(run, step)
    elif kind == FULL:
        copy_numbers(run.memory, step.dy, run.gradients, step.b, biases)
    parameters, state = run.parameters, run.state
    if taps:
        _change_numbers(update, run.gradients, parameters, state, run.factors, step.w, taps)
    if step.b >= 0:
        _change_numbers(update, run.gradients, parameters, state, run.factors, step.b, biases)


@once
def _convolution_back(run, step):
    memory, source = run.memory, source_of(step)
    dx = step.d_padded if step.d_padded >= 0 else step.dx
    maps_back(
        memory, step.dy, result_of(step), window_of(step), run.parameters, step.w, dx, source,
        step.work,
    )  # fmt: skip
    row = step.w_bare * step.c_in
    for r in range(step.h_bare if step.d_padded >= 0 else 0):
        place = dx + ((step.top + r) * step.w_in + step.left) * step.c_in
        copy_numbers(memory, place, memory, step.dx + r * row, row)


@once
def _pool_back(run, step, square):
    memory, maxima = run.memory, step.kind == MAXIMUM
    source, result, x, dy, dx = source_of(step), result_of(step), step.x, step.dy, step.dx
    if step.planar:
        planar_back(
            memory, step.activation, dy, result, maxima, step.scale, run.parameters, step.w, x, dx,
            source, step.work, square,
        )  # fmt: skip
        return
    if step.padded >= 0:
        x, dx = step.padded, step.d_padded
    pixels_back(
        memory, dy, result, window_of(step), maxima, step.scale, run.parameters, step.w, x, dx,
        _repeated_source(step),
    )  # fmt: skip
    if step.padded >= 0:
        add_repeated(memory, dx, inputs_of(step), step.c_out // step.c_in, step.dx)


@once
def _rows_back(run, update, step):
    memory, x = run.memory, step.padded if step.padded >= 0 else step.x
    dx = step.d_padded if step.d_padded >= 0 else step.dx
    if step.kind == FULL:
        dx = dx if step.passes else step.work
        rows_descend(run, update, step.dy, step.c_out, x, step.w, step.pitch, dx)
    elif step.kind == DISTANCES:
        row_distances_back(
            memory, step.dy, step.c_out, x, inputs_of(step), run.parameters, step.w,
            step.pitch, dx,
        )  # fmt: skip
    if step.passes and step.d_padded >= 0:
        by_pixel(memory, dx, step.c_in, step.h_bare * step.w_bare, memory, step.dx)


@once
def step_back(run, update, step, square):
    """Set the gradient at a step's input; with a dense layer, change its weights, too."""
    kind, memory = step.kind, run.memory
    if kind == CONVOLUTION_ALONG_MAPS:
        _convolution_back(run, step)
    elif kind in (SUBSAMPLING, MAXIMUM):
        _pool_back(run, step, square)
    elif kind == ACTIVATION:
        x, y, dy, dx, count = step.x, step.y, step.dy, step.dx, step.numbers
        if dx != dy:
            copy_numbers(memory, dy, memory, dx, count)
        x_row, y_row = memory[x : x + count], memory[y : y + count]
        activate_back(step, False, x_row, y_row, memory[dx : dx + count])
    elif kind in (FULL, DISTANCES):
        _rows_back(run, update, step)
    elif kind == DROPOUT and update.seed >= 0:
        times_factors(memory, step.dy, step.kept, step.numbers, step.dx)
    elif kind == DROPOUT and step.dx != step.dy:
        copy_numbers(memory, step.dy, memory, step.dx, step.numbers)
