"""Euclidean radial basis functions: y_i = sum over j of (x_j - w_ij)^2."""

from __future__ import annotations

import numpy as np

__all__ = ["rbf", "rbf_backward", "rbf_hessian"]


def rbf(x, w, y):
    """Set y to the squared distance of each input to each centre."""
    difference = x[:, None, :] - w  # (n, n_out, n_in)
    np.sum(difference * difference, axis=2, out=y)


def rbf_backward(dy, x, w, dx, dw):
    """Set dx and dw from dy_i/dx_j = 2 (x_j - w_ij) = -dy_i/dw_ij."""
    slope = 2 * (x[:, None, :] - w) * dy[:, :, None]  # (n, n_out, n_in)
    np.sum(slope, axis=1, out=dx)
    np.sum(-slope, axis=0, out=dw)


def rbf_hessian(hy, dy, x, w, hx, hw):
    """Set hx, hw: the Gauss-Newton part hy slope^2, plus dy times the RBF's own curvature 2."""
    difference = x[:, None, :] - w
    curvature = 4 * hy[:, :, None] * difference * difference + 2 * dy[:, :, None]
    np.sum(curvature, axis=1, out=hx)
    np.sum(curvature, axis=0, out=hw)
