"""The steps of a plan, one a layer, on one image: forward, back to the input, to the parameters.

The twin of kernels/engines/online_steps.pxi.
"""

from __future__ import annotations

from lenet_fast.backends.numba_backend.engines.lanes_plan import (
    C_IN,
    C_OUT,
    DX,
    DY,
    FUNCTION,
    H_BARE,
    H_IN,
    KH,
    KIND,
    KW,
    LEFT,
    PASSES,
    TOP,
    UNIT,
    W_BARE,
    W_IN,
    B,
    W,
    X,
    Y,
    inputs_of,
    result_of,
    source_of,
    window_of,
)
from lenet_fast.backends.numba_backend.engines.online_images import (
    add_repeated,
    by_pixel,
    copy_numbers,
    repeat_maps,
)
from lenet_fast.backends.numba_backend.engines.online_plan import (
    ALONG_COLUMNS,
    ALONG_MAPS,
    D_ROOM,
    MASK,
    NUMBERS,
    PITCH,
    PLANAR,
    POOLED_MAXIMUM,
    POOLING,
    ROOM,
    ROWS,
    SQUASHED,
    WORK,
)
from lenet_fast.backends.numba_backend.jit import once, part
from lenet_fast.backends.numba_backend.layers.activations import squash, squash_back
from lenet_fast.backends.numba_backend.layers.optimisers import fused, sgd
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
    return Maps(step[C_OUT], step[H_IN], step[W_IN])


@part
def _input_of(step, memory):
    """Return where a step's input is: padded, map by map, or with its maps repeated, where it must
    be."""
    room, x = step[ROOM], step[X]
    if room < 0:
        if step[KIND] == ROWS:  # vectors of a pooling layer may have reached there
            memory[x + inputs_of(step) : x + step[PITCH]] = 0
        return x
    if step[KIND] == ALONG_MAPS:
        row = step[W_BARE] * step[C_IN]
        for r in range(step[H_BARE]):
            place = room + ((step[TOP] + r) * step[W_IN] + step[LEFT]) * step[C_IN]
            copy_numbers(memory, x + r * row, memory, place, row)
    elif step[KIND] == POOLING:
        repeat_maps(memory, x, inputs_of(step), step[C_OUT] // step[C_IN], room)
    else:
        by_pixel(memory, x, step[H_BARE] * step[W_BARE], step[C_IN], memory, room)
    return room


@once
def step_forward(step, scale, taps, weights, memory, square):
    """Set a step's output. `taps` is where a kernel looks, `square` is scratch."""
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, y, kind = _input_of(step, memory), step[Y], step[KIND]
    if kind == ALONG_COLUMNS:
        columns_forward(memory, x, source, window, taps, weights, y, result)
    elif kind == ALONG_MAPS:
        maps_forward(memory, x, source, window, taps, weights, step[UNIT], y, result)
    elif kind in (POOLING, POOLED_MAXIMUM):
        maxima = kind == POOLED_MAXIMUM
        if step[PLANAR]:
            planar_forward(memory, x, source, maxima, scale, weights, y, result, square)
        else:
            repeated = _repeated_source(step)
            pixels_forward(memory, x, repeated, window, maxima, scale, weights, y, result)
    elif kind == SQUASHED:
        if x != y:
            copy_numbers(memory, x, memory, y, step[NUMBERS])
        squash(step[FUNCTION], memory[y : y + step[NUMBERS]])
    elif kind == ROWS:
        rows_forward(memory, x, inputs_of(step), weights, y, step[C_OUT])
    else:
        row_distances(
            memory, x, inputs_of(step), weights.w, weights.w_at, weights.pitch, y, step[C_OUT]
        )


# --- back ---------------------------------------------------------------------------------------


@part
def _change_numbers(update, gradients, parameters, state, factors, first, count):
    """Change some parameters by their gradients, if the rule does so at once."""
    if fused(update):
        changed = slice(first, first + count)
        sgd(update, gradients[changed], parameters[changed], state[first:], factors[first:])


@once
def _convolution_gradient(run, step):
    """Set the gradients of a convolution's parameters; return how many weights and biases."""
    memory, dw, work = run.memory, run.gradients, run.places[WORK]
    source, result, window = source_of(step), result_of(step), window_of(step)
    x, dy, b = step[X], step[DY], step[B]
    taps = step[KH] * step[KW] * step[C_IN]
    if step[KIND] == ALONG_COLUMNS:
        columns_gradient(memory, x, source, window, dy, result, work, dw, step[W])
        if b >= 0:
            columns_bias_gradient(memory, dy, result, work, dw, b)
        return taps * step[C_OUT], step[C_OUT]
    x = step[ROOM] if step[ROOM] >= 0 else x
    maps_gradient(memory, x, source, window, dy, result, run.masks, step[MASK], dw, step[W])
    if b >= 0 and step[UNIT]:
        copy_numbers(memory, dy, dw, b, step[NUMBERS])
        return taps * step[PITCH], step[NUMBERS]
    if b >= 0:
        mask = step[MASK] + step[C_IN] * step[PITCH]
        maps_bias_gradient(memory, dy, result, run.masks, mask, dw, b)
    return taps * step[PITCH], step[C_OUT]


@once
def _pool_gradient(run, step, scale):
    memory, maps, work = run.memory, step[C_OUT], run.places[WORK]
    if step[PLANAR]:  # step_back has left them in scratch
        fold_lanes(memory, work, 2 * maps, memory, work)
        copy_numbers(memory, work, run.gradients, step[W], maps)
        copy_numbers(memory, work + maps, run.gradients, step[B], maps)
        return
    x = step[ROOM] if step[ROOM] >= 0 else step[X]
    pixels_gradient(
        memory, step[DY], result_of(step), window_of(step), scale, x, _repeated_source(step),
        run.gradients, step[W], step[B],
    )  # fmt: skip


@once
def step_weights(run, step, scale):
    """Find the gradients of a step's parameters, and change these; but for a dense layer's."""
    kind, taps, biases = step[KIND], 0, step[C_OUT]
    if kind in (ALONG_COLUMNS, ALONG_MAPS):
        taps, biases = _convolution_gradient(run, step)
    elif kind == POOLING:
        taps = biases
        _pool_gradient(run, step, scale)
    else:
        copy_numbers(run.memory, step[DY], run.gradients, step[B], biases)
    parameters, state = run.parameters, run.state
    if taps:
        _change_numbers(run.update, run.gradients, parameters, state, run.factors, step[W], taps)
    if step[B] >= 0:
        _change_numbers(run.update, run.gradients, parameters, state, run.factors, step[B], biases)


@once
def _convolution_back(run, step):
    memory, source = run.memory, source_of(step)
    dx = step[D_ROOM] if step[D_ROOM] >= 0 else step[DX]
    maps_back(
        memory, step[DY], result_of(step), window_of(step), run.parameters, step[W], dx, source,
        run.places[WORK],
    )  # fmt: skip
    row = step[W_BARE] * step[C_IN]
    for r in range(step[H_BARE] if step[D_ROOM] >= 0 else 0):
        place = dx + ((step[TOP] + r) * step[W_IN] + step[LEFT]) * step[C_IN]
        copy_numbers(memory, place, memory, step[DX] + r * row, row)


@once
def _pool_back(run, step, scale, square):
    memory, maxima = run.memory, step[KIND] == POOLED_MAXIMUM
    source, result, x, dy, dx = source_of(step), result_of(step), step[X], step[DY], step[DX]
    if step[PLANAR]:
        planar_back(
            memory, step[FUNCTION], dy, result, maxima, scale, run.parameters, step[W], x, dx,
            source, run.places[WORK], square,
        )  # fmt: skip
        return
    if step[ROOM] >= 0:
        x, dx = step[ROOM], step[D_ROOM]
    pixels_back(
        memory, dy, result, window_of(step), maxima, scale, run.parameters, step[W], x, dx,
        _repeated_source(step),
    )  # fmt: skip
    if step[ROOM] >= 0:
        add_repeated(memory, dx, inputs_of(step), step[C_OUT] // step[C_IN], step[DX])


@once
def _rows_back(run, step):
    memory, x = run.memory, step[ROOM] if step[ROOM] >= 0 else step[X]
    dx = step[D_ROOM] if step[D_ROOM] >= 0 else step[DX]
    if step[KIND] == ROWS:
        dx = dx if step[PASSES] else run.places[WORK]
        rows_descend(run, step[DY], step[C_OUT], x, step[W], step[PITCH], dx)
    else:
        row_distances_back(
            memory, step[DY], step[C_OUT], x, inputs_of(step), run.parameters, step[W],
            step[PITCH], dx,
        )  # fmt: skip
    if step[PASSES] and step[D_ROOM] >= 0:
        by_pixel(memory, dx, step[C_IN], step[H_BARE] * step[W_BARE], memory, step[DX])


@once
def step_back(run, step, scale, square):
    """Set the gradient at a step's input; with a dense layer, change its weights, too."""
    kind, memory = step[KIND], run.memory
    if kind == ALONG_MAPS:
        _convolution_back(run, step)
    elif kind in (POOLING, POOLED_MAXIMUM):
        _pool_back(run, step, scale, square)
    elif kind == SQUASHED:
        y, dy, dx, count = step[Y], step[DY], step[DX], step[NUMBERS]
        if dx != dy:
            copy_numbers(memory, dy, memory, dx, count)
        squash_back(step[FUNCTION], False, memory[y : y + count], memory[dx : dx + count])
    else:
        _rows_back(run, step)
