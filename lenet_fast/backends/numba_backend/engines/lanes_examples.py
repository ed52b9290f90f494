"""The lane engine's gradients image by image, after the way back of a tile.

The twin of kernels/engines/lanes_examples.pxi, where the rule is explained.
"""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.backends.numba_backend.engines.lanes_steps import biases_of, weights_of
from lenet_fast.backends.numba_backend.engines.steps import inputs_of
from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.layers.dense import dense_gradient_tile
from lenet_fast.backends.numba_backend.program import FULL
from lenet_fast.backends.numba_backend.vector.packing import numbers_of, unpack
from lenet_fast.backends.numba_backend.vector.products import total, transposed
from lenet_fast.backends.numba_backend.vector.vectors import (
    fill,
    get,
    get_numbers,
    get_row,
    lane_count_of,
    put,
    put_numbers,
    splat,
)


@part
def _outer_products(memory, dy, n_out, x, n_in, images, rows, dw):
    """Write dy_i x_j of each image, one image after the other."""
    full = lane_count_of(memory)
    seen = numbers_of(memory, rows, n_in)
    unpack(memory, x, n_in, images, seen)
    for i in range(images):
        for m in range(n_out):
            factor, at = memory[(dy + m) * full + i], (i * n_out + m) * n_in
            for j in range(n_in):
                dw[at + j] = factor * seen[i * n_in + j]


@part
def write_examples(run, memory, first, images):
    """Write the gradients of a tile's images: all those of one parameter lie together."""
    room = run.examples.size // run.trained
    for k in range(len(run.steps)):
        step = run.steps[k]
        if not step.learns:
            continue
        weights, biases, sums_b = weights_of(step), biases_of(step), step.sums_b
        if step.kind == FULL:
            weights, sums_b = step.c_out * inputs_of(step), step.dy
        w = run.examples[step.w * room + first * weights :]
        if step.kind == FULL:
            rows = step.work + inputs_of(step)
            _outer_products(memory, step.dy, step.c_out, step.x, inputs_of(step), images, rows, w)
        else:
            unpack(memory, step.sums_w, weights, images, w)
        if step.b >= 0:
            unpack(memory, sums_b, biases, images, run.examples[step.b * room + first * biases :])


@part
def _sum_squares(memory, at, count, target):
    """Set a vector to the sum of the squares of others."""
    squares = get(memory, at) * get(memory, at)
    for k in range(1, count):
        squares = squares + get(memory, at + k) * get(memory, at + k)
    put(memory, target, squares)


@part
def _clip_shares(run, memory, at):
    """Set a vector to what each lane's gradient is multiplied with, so that its norm is at most
    `clip`; the two behind it are scratch."""
    full, w, b = lane_count_of(memory), at + 1, at + 2
    fill(memory, at, 1, 0.0)
    for k in range(len(run.steps)):
        step = run.steps[k]
        if not step.learns:
            continue
        fill(memory, b, 1, 0.0)
        if step.kind == FULL:
            _sum_squares(memory, step.x, inputs_of(step), w)
            if step.b >= 0:
                put(memory, w, get(memory, w) + splat(memory, 1, 1))
            _sum_squares(memory, step.dy, step.c_out, b)
            put(memory, at, get(memory, at) + get(memory, w) * get(memory, b))
        else:
            _sum_squares(memory, step.sums_w, weights_of(step), w)
            if step.b >= 0:
                _sum_squares(memory, step.sums_b, biases_of(step), b)
            put(memory, at, get(memory, at) + (get(memory, w) + get(memory, b)))
    shares = numbers_of(memory, at, 1)
    for i in range(full):
        norm = math.sqrt(np.float64(shares[i]))
        shares[i] = run.clip / norm if norm > run.clip else 1.0


@part
def _scale(memory, at, count, share):
    """Multiply vectors with another."""
    factor = get(memory, share)
    for k in range(count):
        put(memory, at + k, get(memory, at + k) * factor)


@part
def _add_lanes(memory, sums, count, target):
    """Add to numbers the sums of the lanes of `count` vectors."""
    full = lane_count_of(memory)
    whole = count // full * full
    for k in range(0, whole, full):
        square = transposed(get_row(memory, sums + k, 1, full))
        put_numbers(target, k, 1, get_numbers(target, k, 1, 1) + total(square))
    for k in range(whole, count):
        folded = memory[(sums + k) * full]
        for i in range(1, full):
            folded += memory[(sums + k) * full + i]
        target[k] += folded


@part
def add_clipped(run, memory, gradient):
    """Add the gradients of a tile's images to the block's, each scaled to a norm of at most
    `clip`."""
    share = run.steps[len(run.steps) - 1].rows
    _clip_shares(run, memory, share)
    for k in range(len(run.steps)):
        step = run.steps[k]
        if not step.learns:
            continue
        if step.kind == FULL:
            n_in = inputs_of(step)
            _scale(memory, step.dy, step.c_out, share)
            dense_gradient_tile(
                memory, step.dy, step.c_out, step.x, n_in, step.work + n_in, gradient, step.w,
                step.b,
            )  # fmt: skip
        else:
            _scale(memory, step.sums_w, weights_of(step), share)
            _add_lanes(memory, step.sums_w, weights_of(step), gradient[step.w :])
            if step.b >= 0:
                _scale(memory, step.sums_b, biases_of(step), share)
                _add_lanes(memory, step.sums_b, biases_of(step), gradient[step.b :])
