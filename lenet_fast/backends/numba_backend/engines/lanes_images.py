"""Between images and lanes: filling a tile, and from its outputs to the loss and back."""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.engines.steps import inputs_of
from lenet_fast.backends.numba_backend.jit import array_part, part
from lenet_fast.backends.numba_backend.layers.losses import (
    _map_rbf_hessian,
    loss_gradient,
    loss_hessian,
    loss_value,
    misclassified,
)
from lenet_fast.backends.numba_backend.layers.rbf import rbf_back_rows, rbf_hessian_rows
from lenet_fast.backends.numba_backend.program import DISTANCES
from lenet_fast.backends.numba_backend.vector.packing import numbers_of, pack, unpack
from lenet_fast.backends.numba_backend.vector.products import transposed
from lenet_fast.backends.numba_backend.vector.vectors import (
    fill,
    get_bytes,
    lane_count_of,
    put_row,
    splat,
)


@array_part
def _fill_from_bytes(run, first, images, memory):
    """The pixels of bytes images, on the network's scale, in the middle of its input.

    Lanes without an image get the last one.
    """
    full, real = lane_count_of(memory), memory.dtype.type
    rows, columns = run.bytes_images.shape[1:]
    pixels = run.bytes_images.reshape(-1)
    background = real(run.input.background)
    scale = real((run.input.foreground - run.input.background) / 255)
    width = run.input.columns
    corner = (run.input.rows - rows) // 2 * width + (width - columns) // 2
    chosen = np.empty(full, np.int64)
    for i in range(full):
        image = first + min(i, images - 1)
        chosen[i] = (run.order[image] if len(run.order) else image) * rows * columns
    for r in range(rows):
        target = run.input.at + corner + r * width
        if columns < full:
            for s in range(columns):
                for i in range(full):
                    pixel = real(pixels[chosen[i] + r * columns + s])
                    memory[(target + s) * full + i] = pixel * scale + background
            continue
        for k in range(0, columns, full):  # the last square may overlap the one before it
            s = min(k, columns - full)
            square = transposed(get_bytes(memory, pixels, chosen, r * columns + s))
            square = square * splat(memory, scale, full) + splat(memory, background, full)
            put_row(memory, target + s, 1, square)


@part
def fill_tile(run, first, images, memory):
    """Set the input of a tile to some images; lanes without one repeat one of them."""
    if len(run.bytes_images):
        _fill_from_bytes(run, first, images, memory)
        return
    count = run.input.maps * run.input.rows * run.input.columns
    x = run.float_images.reshape(-1)[first * count :]
    pack(x, count, images, count, memory, run.input.at)
    full = lane_count_of(memory)
    tile = numbers_of(memory, run.input.at, count)
    for p in range(count if images < full else 0):
        tile[p * full + images : (p + 1) * full] = tile[p * full]


@part
def _score(run, rows, full, first, images, back, hessian, totals):
    """Add loss and errors of the images whose outputs are the first rows, and write their
    gradients, and Hessians, behind the outputs; rows without an image get zeros.

    With an RBF layer at the end, what is behind is the gradient, or Hessian, at its inputs.
    """
    last = run.steps[len(run.steps) - 1]
    k, n_in = last.c_out, inputs_of(last)
    size = full * k
    if back:
        rows[size : 3 * size] = 0
    given = len(run.d_outputs) > 0
    for i in range(0 if given else images):
        label, at = run.labels[first + i], i * k
        y, dy = rows[at : at + k], rows[size + at : size + at + k]
        totals[0] += loss_value(run.loss, y, label, dy)
        totals[1] += misclassified(y, label, run.loss.smallest_wins)
        if back:
            loss_gradient(run.loss, y, label, dy)
        if hessian:
            loss_hessian(run.loss, y, rows[2 * size + at : 2 * size + at + k])
    for i in range(images if given else 0):
        for p in range(k):
            rows[size + i * k + p] = run.d_outputs[first + i, p]
    if back and last.kind == DISTANCES and last.passes:
        x, w = rows[3 * size :], run.parameters[last.w :]
        dy, dx = rows[size:], x[full * n_in :]
        if hessian and run.loss.exact:
            _map_rbf_hessian_rows(run, rows, x, images, rows[2 * size :], dx)
            dx[images * n_in : full * n_in] = 0
        elif hessian:
            rbf_hessian_rows(rows[2 * size :], dy, x, w, full, k, n_in, dx)
        else:
            rbf_back_rows(dy, x, w, full, k, n_in, dx)


@part
def _map_rbf_hessian_rows(run, y, x, images, p, hx):
    """Set hx, image by image; p is scratch."""
    last = run.steps[len(run.steps) - 1]
    k, n_in, at = last.c_out, inputs_of(last), last.w
    w = run.parameters[at : at + k * n_in].reshape(k, n_in)
    for i in range(images):
        one = slice(i * n_in, (i + 1) * n_in)
        _map_rbf_hessian(y[i * k : (i + 1) * k], x[one], w, run.loss.floor, p[:k], hx[one])


@part
def finish_tile(run, memory, first, images, back, hessian, totals):
    """From the outputs of a tile to its loss, and to the gradient that goes back from there."""
    last, full = run.steps[len(run.steps) - 1], lane_count_of(memory)
    k, n_in = last.c_out, inputs_of(last)
    rows = memory[last.rows * full :]
    x = rows[3 * full * k :]
    unpack(memory, last.y, k, full, rows)
    if len(run.outputs):
        for i in range(images):
            for p in range(k):
                run.outputs[first + i, p] = rows[i * k + p]
    if len(run.labels) == 0 and len(run.d_outputs) == 0:
        return
    if back and last.kind == DISTANCES:
        unpack(memory, last.x, n_in, full, x)
    _score(run, rows, full, first, images, back, hessian, totals)
    if not back:
        return
    if last.kind != DISTANCES:
        slopes = rows[(2 if hessian else 1) * full * k :]
        pack(slopes, k, full, k, memory, last.dy)
    elif last.passes:
        pack(x[full * n_in :], n_in, full, n_in, memory, last.dx)


@part
def set_borders(run, memory):
    """Write what stays during a call: the background around the images, and the padding."""
    if len(run.bytes_images):
        count = run.input.maps * run.input.rows * run.input.columns
        fill(memory, run.input.at, count, run.input.background)
    for k in range(len(run.steps)):
        step = run.steps[k]
        if step.padded >= 0:
            fill(memory, step.padded, step.c_in * step.h_in * step.w_in, step.pad_value)
