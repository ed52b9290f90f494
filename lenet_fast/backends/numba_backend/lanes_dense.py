"""Dense layers and radial basis functions of a packed tile: a vector an input and an output.

The twin of kernels/lanes_dense.pyx, and of what kernels/rbf.pyx has for the lane engine.
"""

from __future__ import annotations

from typing import Any

from lenet_fast.backends.numba_backend.jit import block, part
from lenet_fast.backends.numba_backend.lanes import (
    DENSE_OUTPUTS,
    get,
    get_numbers,
    get_row,
    lane_count_of,
    put_numbers,
    put_row,
    splat,
    spread,
)
from lenet_fast.backends.numba_backend.lanes_products import plus_products, transposed


def _dense_block(outputs: int) -> Any:
    """Return what sets some adjacent outputs, whose sums stay in registers."""

    @block
    def dense_block(memory, x, n_in, w, w_at, w_out, w_in, b_at, y):
        sums = splat(memory, 0, outputs)
        if b_at >= 0:
            sums = spread(w, b_at, 1, outputs)
        for j in range(n_in):
            factors = spread(w, w_at + j * w_in, w_out, outputs)
            sums = plus_products(sums, factors, get(memory, x + j))
        put_row(memory, y, 1, sums)

    return dense_block


_dense_most, _dense_ten, _dense_four, _dense_one = (
    _dense_block(outputs) for outputs in (DENSE_OUTPUTS, 10, 4, 1)
)


@part
def dense_tile(memory, x, n_in, w, w_at, w_out, w_in, b_at, y, n_out):
    """Set y_i = sum over j of w[w_at + i w_out + j w_in] x_j, plus w[b_at + i], if b_at is not -1:
    forward, or back with the steps exchanged."""
    i = 0
    while i < n_out:
        at, bias = w_at + i * w_out, b_at + i if b_at >= 0 else -1
        if n_out - i >= DENSE_OUTPUTS:
            _dense_most(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += DENSE_OUTPUTS
        elif n_out - i >= 10:
            _dense_ten(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += 10
        elif n_out - i >= 4:
            _dense_four(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += 4
        else:
            _dense_one(memory, x, n_in, w, at, w_out, w_in, bias, y + i)
            i += 1


# --- the gradient of the weights ----------------------------------------------------------------


@part
def _transpose(memory, x, count, rows, pitch):
    """Set row i of `rows`, `pitch` vectors long, to what lane i of x holds.

    Where they are no whole vectors, the last one lies over the one before it, and has zeros there.
    """
    full = lane_count_of(memory)
    for k in range(pitch):
        first = min(k * full, count - full)
        put_row(memory, rows + k, pitch, transposed(get_row(memory, x + first, 1, full)))
        for i in range(full):
            for j in range(k * full - first):
                memory[(rows + i * pitch + k) * full + j] = 0


def _outer_block(outputs: int) -> Any:
    """Return what adds to one vector of weights of some adjacent outputs."""

    @block
    def outer_block(memory, dy, rows, pitch, dw, dw_at, n_in):
        full = lane_count_of(memory)
        sums = get_numbers(dw, dw_at, n_in, outputs)
        for i in range(full):
            factors = spread(memory, dy * full + i, full, outputs)
            sums = plus_products(sums, factors, get(memory, rows + i * pitch))
        put_numbers(dw, dw_at, n_in, sums)

    return outer_block


_outer_most, _outer_ten, _outer_four, _outer_one = (
    _outer_block(outputs) for outputs in (DENSE_OUTPUTS, 10, 4, 1)
)


@part
def _outer(memory, dy, n_out, rows, pitch, dw, dw_at, n_in):
    """Add to one vector of weights of all outputs."""
    i = 0
    while i < n_out:
        at = dw_at + i * n_in
        if n_out - i >= DENSE_OUTPUTS:
            _outer_most(memory, dy + i, rows, pitch, dw, at, n_in)
            i += DENSE_OUTPUTS
        elif n_out - i >= 10:
            _outer_ten(memory, dy + i, rows, pitch, dw, at, n_in)
            i += 10
        elif n_out - i >= 4:
            _outer_four(memory, dy + i, rows, pitch, dw, at, n_in)
            i += 4
        else:
            _outer_one(memory, dy + i, rows, pitch, dw, at, n_in)
            i += 1


@part
def _sum_lanes(memory, x, y, total):
    """Return total + x, or total + x y, summed over the lanes; y is -1 for none."""
    full = lane_count_of(memory)
    for i in range(full):
        total += memory[x * full + i] * memory[y * full + i] if y >= 0 else memory[x * full + i]
    return total


@part
def dense_gradient_tile(memory, dy, n_out, x, n_in, rows, dw, w_at, b_at):
    """Add a tile's share to the gradients: dw_ij += sum over the lanes of dy_i x_j, db_i += dy_i.

    Vectors run along the inputs: x is transposed first, into `rows`.
    """
    full = lane_count_of(memory)
    if n_in < full:
        for i in range(n_out):
            for j in range(n_in):
                place = w_at + i * n_in + j
                dw[place] = _sum_lanes(memory, dy + i, x + j, dw[place])
    else:
        pitch = (n_in + full - 1) // full
        _transpose(memory, x, n_in, rows, pitch)
        for k in range(pitch):
            place = w_at + min(k * full, n_in - full)
            _outer(memory, dy, n_out, rows + k, pitch, dw, place, n_in)
    if b_at >= 0:
        for i in range(n_out):
            dw[b_at + i] = _sum_lanes(memory, dy + i, -1, dw[b_at + i])


# --- radial basis functions ---------------------------------------------------------------------


def _rbf_block(outputs: int) -> Any:
    @block
    def rbf_block(memory, x, n_in, w, w_at, y):
        sums = splat(memory, 0, outputs)
        for j in range(n_in):
            seen = get_row(memory, x + j, 0, outputs)  # the same for all
            difference = seen - spread(w, w_at + j, n_in, outputs)
            sums = sums + difference * difference
        put_row(memory, y, 1, sums)

    return rbf_block


_rbf_five, _rbf_one = _rbf_block(5), _rbf_block(1)


@part
def rbf_tile(memory, x, n_in, w, w_at, n_out, y):
    """Set y to the squared distance of each lane's input to each centre."""
    i = 0
    while n_out - i >= 5:
        _rbf_five(memory, x, n_in, w, w_at + i * n_in, y + i)
        i += 5
    while i < n_out:
        _rbf_one(memory, x, n_in, w, w_at + i * n_in, y + i)
        i += 1


@part
def rbf_back_rows(dy, x, w, n, n_out, n_in, dx):
    """Set dx, image by image, from dy_i/dx_j = 2 (x_j - w_ij)."""
    dx[: n * n_in] = 0
    two = dx.dtype.type(2)
    for k in range(n):
        seen, made = x[k * n_in : (k + 1) * n_in], dx[k * n_in : (k + 1) * n_in]
        for i in range(n_out):
            centre, slope = w[i * n_in : (i + 1) * n_in], two * dy[k * n_out + i]
            for j in range(n_in):
                made[j] += (seen[j] - centre[j]) * slope


@part
def rbf_hessian_rows(hy, dy, x, w, n, n_out, n_in, hx):
    """Set hx: the Gauss-Newton part hy slope^2, plus dy times the RBF's own curvature 2."""
    hx[: n * n_in] = 0
    two = hx.dtype.type(2)
    for k in range(n):
        seen, made = x[k * n_in : (k + 1) * n_in], hx[k * n_in : (k + 1) * n_in]
        for i in range(n_out):
            centre = w[i * n_in : (i + 1) * n_in]
            bend, curvature = two * two * hy[k * n_out + i], two * dy[k * n_out + i]
            for j in range(n_in):
                difference = seen[j] - centre[j]
                made[j] += bend * difference * difference + curvature
