"""Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs."""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel, part
from lenet_fast.backends.numba_backend.program import CROSS_ENTROPY, MAP, PENALTY, SQUARED_ERROR

__all__ = ["loss_gradients", "loss_hessians", "loss_values", "map_rbf_hessian"]


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
def _loss(x, label, p, sign, floor, smoothing):
    """Return log Z - sum of t sign x; p is scratch."""
    real = x.dtype.type
    top, rest = _shares(x, real(sign), real(floor), p)
    # Both may be in the hundreds: they cancel before the small rest joins.
    missed = top - real(sign) * x[label]
    if smoothing > 0:
        total = real(0)
        for i in range(x.size):
            total += top - real(sign) * x[i]
        missed = real(1 - smoothing) * missed + real(smoothing / x.size) * total
    return missed + rest


@kernel
def _gradient(x, label, dx, sign, floor, smoothing):
    """Set dx = sign (p - t)."""
    real = x.dtype.type
    each = real(smoothing / x.size)
    _shares(x, real(sign), real(floor), dx)
    dx[label] -= real(1 - smoothing)
    for i in range(x.size):
        dx[i] = real(sign) * (dx[i] - each)


@kernel
def _losses(x, labels, losses, sign, floor, smoothing):
    p = np.empty(x.shape[1], x.dtype)
    for n in range(x.shape[0]):
        losses[n] = _loss(x[n], labels[n], p, sign, floor, smoothing)


@kernel
def _gradients(x, labels, dx, sign, floor, smoothing):
    for n in range(x.shape[0]):
        _gradient(x[n], labels[n], dx[n], sign, floor, smoothing)


@kernel
def _hessians(x, hx, sign, floor):
    """Set hx = p (1 - p)."""
    real = x.dtype.type
    for n in range(x.shape[0]):
        _shares(x[n], real(sign), real(floor), hx[n])
        for i in range(x.shape[1]):
            hx[n, i] *= real(1) - hx[n, i]


@kernel
def _squared_errors(x, targets, losses, scale):
    """Set losses = scale * sum of (x - t)^2."""
    real = x.dtype.type
    for n in range(x.shape[0]):
        total = real(0)
        for i in range(x.shape[1]):
            difference = x[n, i] - targets[n, i]
            total += difference * difference
        losses[n] = real(scale) * total


@kernel
def _squared_error_gradients(x, targets, dx, scale):
    """Set dx = 2 scale (x - t)."""
    factor = x.dtype.type(2 * scale)
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            dx[n, i] = factor * (x[n, i] - targets[n, i])


@kernel
def _map_rbf_hessian(y, x, w, floor, p, hx):
    """Set hx of one image: 2 r + 4 times the variance of x_j - w_ij by the shares p_i, to which
    that of the rubbish class, r, adds a difference of 0; p is scratch.

    As sums of squares the terms cannot turn negative.
    """
    real = x.dtype.type
    two, four = real(2), real(4)
    top, rest = _shares(y, real(-1), real(floor), p)
    rubbish = math.exp((real(floor) - top) - rest)
    for j in range(x.size):
        mean = real(0)
        for i in range(y.size):
            mean += p[i] * (x[j] - w[i, j])
        variance = rubbish * mean * mean
        for i in range(y.size):
            difference = (x[j] - w[i, j]) - mean
            variance += p[i] * difference * difference
        hx[j] = two * rubbish + four * variance


@kernel
def map_rbf_hessian(y, x, w, hx, j):
    """Set hx_j = 2 r + 4 [sum p_i d_ij^2 - (sum p_i d_ij)^2], d_ij = x_j - w_ij, r = 1 - sum p."""
    p = np.empty(y.shape[1], y.dtype)
    for n in range(x.shape[0]):
        _map_rbf_hessian(y[n], x[n], w, -j, p, hx[n])


def _exponents(function: str, option: float) -> tuple[float, float, float]:
    """Return sign, floor and smoothing of a loss of shares; else raise KeyError."""
    return {
        "softmax_cross_entropy": (1.0, -math.inf, option),
        "map_loss": (-1.0, -option, 0.0),
    }[function]


def loss_values(x, answers, losses, function, option):
    """Set losses to those of the images; `answers` are labels, or the targets of a squared error.

    `option` is the smoothing of the cross-entropy, the scale of the squared error, or j.
    """
    if function == "mean_squared_error":
        _squared_errors(x, answers, losses, option)
    elif function == "penalty_loss":
        losses[:] = x[np.arange(len(x)), answers]
    else:
        _losses(x, answers, losses, *_exponents(function, option))


def loss_gradients(x, answers, dx, function, option):
    """Set dx to the gradients: 2 scale (x - t), or [label], or sign (p - t)."""
    if function == "mean_squared_error":
        _squared_error_gradients(x, answers, dx, option)
    elif function == "penalty_loss":
        dx[:] = np.arange(x.shape[1]) == answers[:, None]
    else:
        _gradients(x, answers, dx, *_exponents(function, option))


def loss_hessians(x, answers, hx, function, option):
    """Set hx to the diagonals of the Hessians: 2 scale, or 0, or p (1 - p)."""
    if function == "mean_squared_error":
        hx[:] = 2 * option
    elif function == "penalty_loss":
        hx[:] = 0
    else:
        _hessians(x, hx, *_exponents(function, option)[:2])


@part
def _sign(loss):
    return -1.0 if loss.kind == MAP else 1.0


@part
def _difference(loss, x, label, i):
    """Return x_i less its target."""
    return x[i] - x.dtype.type(loss.on if i == label else loss.off)


@part
def loss_value(loss, x, label, p):
    """Return log Z - sum of t sign x, or scale * sum of (x - t)^2, or x_label; p is scratch."""
    real = x.dtype.type
    if loss.kind == PENALTY:
        return x[label]
    if loss.kind == SQUARED_ERROR:
        total = real(0)
        for i in range(x.size):
            difference = _difference(loss, x, label, i)
            total += difference * difference
        return real(loss.scale) * total
    if loss.kind in (CROSS_ENTROPY, MAP):
        return _loss(x, label, p, _sign(loss), loss.floor, loss.smoothing)
    return real(math.nan)  # check_loss has refused what is unknown


@part
def loss_gradient(loss, x, label, dx):
    """Set dx to sign (p - t), or 2 scale (x - t), or [label]."""
    real = x.dtype.type
    if loss.kind == SQUARED_ERROR:
        for i in range(x.size):
            dx[i] = real(2 * loss.scale) * _difference(loss, x, label, i)
    elif loss.kind == PENALTY:
        dx[:] = real(0)
        dx[label] = real(1)
    elif loss.kind in (CROSS_ENTROPY, MAP):
        _gradient(x, label, dx, _sign(loss), loss.floor, loss.smoothing)


@part
def loss_hessian(loss, x, hx):
    """Set hx to p (1 - p), or 2 scale, or 0."""
    real = x.dtype.type
    if loss.kind in (SQUARED_ERROR, PENALTY):
        hx[:] = real(2 * loss.scale)  # 0 of a penalty, which is linear
    elif loss.kind in (CROSS_ENTROPY, MAP):
        _shares(x, real(_sign(loss)), real(loss.floor), hx)
        for i in range(x.size):
            hx[i] *= real(1) - hx[i]


@part
def misclassified(y, label, smallest_wins):
    """Return whether another output wins: the first of equals does, and NaN beats numbers."""
    winner = 0
    for i in range(1, y.size):
        if y[winner] != y[winner]:
            break
        better = y[i] < y[winner] if smallest_wins else y[i] > y[winner]
        if y[i] != y[i] or better:
            winner = i
    return winner != label
