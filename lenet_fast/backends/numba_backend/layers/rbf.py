"""Euclidean radial basis functions: y_i = sum over j of (x_j - w_ij)^2."""

from __future__ import annotations

from typing import Any

from lenet_fast.backends.numba_backend.jit import block, kernel, part
from lenet_fast.backends.numba_backend.vector.vectors import get_row, put_row, splat, spread

__all__ = ["rbf", "rbf_backward", "rbf_hessian"]


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


# --- the operations -----------------------------------------------------------------------------


@kernel
def rbf(x, w, y):
    """Set y to the squared distance of each input to each centre."""
    zero = y.dtype.type(0)
    for n in range(x.shape[0]):
        for i in range(w.shape[0]):
            total = zero
            for j in range(w.shape[1]):
                difference = x[n, j] - w[i, j]
                total += difference * difference
            y[n, i] = total


@kernel
def rbf_backward(dy, x, w, dx, dw):
    """Set dx and dw from dy_i/dx_j = 2 (x_j - w_ij) = -dy_i/dw_ij."""
    two = dx.dtype.type(2)
    dx[:] = 0
    dw[:] = 0
    for n in range(x.shape[0]):
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                slope = two * (x[n, j] - w[i, j]) * dy[n, i]
                dx[n, j] += slope
                dw[i, j] -= slope


@kernel
def rbf_hessian(hy, dy, x, w, hx, hw):
    """Set hx, hw: the Gauss-Newton part hy slope^2, plus dy times the RBF's own curvature 2."""
    two, four = hx.dtype.type(2), hx.dtype.type(4)
    hx[:] = 0
    hw[:] = 0
    for n in range(x.shape[0]):
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                difference = x[n, j] - w[i, j]
                curvature = four * hy[n, i] * difference * difference + two * dy[n, i]
                hx[n, j] += curvature
                hw[i, j] += curvature
