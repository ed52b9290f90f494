"""Euclidean radial basis functions: y_i = sum over j of (x_j - w_ij)^2."""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import kernel


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
