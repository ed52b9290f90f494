"""Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs."""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel


@kernel
def _shares(x, sign, floor, p):
    """Set p_i = exp(sign x_i) / Z, Z = exp(floor) + sum exp(sign x_i); return top, log Z - top.

    `top`, the largest exponent, is taken out before the exponential. The softmax has no floor:
    minus infinity.
    """
    top = floor
    for i in range(x.size):
        if not sign * x[i] <= top:  # NaN takes the lead, and stays in every result
            top = sign * x[i]
    z = math.exp(floor - top)
    for i in range(x.size):
        p[i] = math.exp(sign * x[i] - top)
        z += p[i]
    for i in range(x.size):
        p[i] /= z
    return top, math.log(z)


@kernel
def _losses(x, labels, losses, sign, floor):
    """Set losses = log Z - sign x_label."""
    real = x.dtype.type
    p = np.empty(x.shape[1], x.dtype)
    for n in range(x.shape[0]):
        top, rest = _shares(x[n], real(sign), real(floor), p)
        # Both may be in the hundreds: they cancel before the small rest joins.
        losses[n] = (top - real(sign) * x[n, labels[n]]) + rest


@kernel
def _gradients(x, labels, dx, sign, floor):
    """Set dx = sign (p - [label])."""
    real = x.dtype.type
    for n in range(x.shape[0]):
        _shares(x[n], real(sign), real(floor), dx[n])
        dx[n, labels[n]] -= real(1)
        for i in range(x.shape[1]):
            dx[n, i] *= real(sign)


@kernel
def _hessians(x, hx, sign, floor):
    """Set hx = p (1 - p)."""
    real = x.dtype.type
    for n in range(x.shape[0]):
        _shares(x[n], real(sign), real(floor), hx[n])
        for i in range(x.shape[1]):
            hx[n, i] *= real(1) - hx[n, i]


@kernel
def softmax_cross_entropy(x, labels, losses):
    """Set losses = log sum exp(x) - x[label]."""
    _losses(x, labels, losses, 1.0, -np.inf)


@kernel
def softmax_cross_entropy_backward(x, labels, dx):
    """Set dx = p - [label]."""
    _gradients(x, labels, dx, 1.0, -np.inf)


@kernel
def softmax_cross_entropy_hessian(x, labels, hx):
    """Set hx = p (1 - p)."""
    _hessians(x, hx, 1.0, -np.inf)


@kernel
def mean_squared_error(x, targets, losses, scale):
    """Set losses = scale * sum of (x - t)^2."""
    real = x.dtype.type
    for n in range(x.shape[0]):
        total = real(0)
        for i in range(x.shape[1]):
            difference = x[n, i] - targets[n, i]
            total += difference * difference
        losses[n] = real(scale) * total


@kernel
def mean_squared_error_backward(x, targets, dx, scale):
    """Set dx = 2 scale (x - t)."""
    factor = x.dtype.type(2 * scale)
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            dx[n, i] = factor * (x[n, i] - targets[n, i])


@kernel
def mean_squared_error_hessian(x, targets, hx, scale):
    """Set hx = 2 scale."""
    hx[:] = 2 * scale


@kernel
def map_loss(x, labels, losses, j):
    """Set losses = y_D + log(exp(-j) + sum exp(-y_i)); x holds the penalties y."""
    _losses(x, labels, losses, -1.0, -j)


@kernel
def map_loss_backward(x, labels, dx, j):
    """Set dx_i = [i = D] - p_i."""
    _gradients(x, labels, dx, -1.0, -j)


@kernel
def map_loss_hessian(x, labels, hx, j):
    """Set hx_i = p_i (1 - p_i)."""
    _hessians(x, hx, -1.0, -j)
