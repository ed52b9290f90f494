"""Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs."""

from __future__ import annotations

import numpy as np

__all__ = [
    "map_loss",
    "map_loss_backward",
    "map_loss_hessian",
    "map_rbf_hessian",
    "mean_squared_error",
    "mean_squared_error_backward",
    "mean_squared_error_hessian",
    "penalty_loss",
    "penalty_loss_backward",
    "penalty_loss_hessian",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_hessian",
]


def _softmax(x):
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def softmax_cross_entropy(x, labels, losses, smoothing):
    """Set losses = log sum exp(x) - sum of t x, t = (1 - smoothing) [label] + smoothing / k."""
    top = x.max(axis=1)
    sums = np.exp(x - top[:, None]).sum(axis=1)
    missed = top - x[np.arange(len(x)), labels]
    if smoothing:
        missed = (1 - smoothing) * missed + smoothing * (top[:, None] - x).mean(axis=1)
    losses[...] = np.log(sums) + missed


def softmax_cross_entropy_backward(x, labels, dx, smoothing):
    """Set dx = p - t."""
    np.subtract(_softmax(x), x.dtype.type(smoothing / x.shape[1]), out=dx)
    dx[np.arange(len(x)), labels] -= x.dtype.type(1 - smoothing)


def softmax_cross_entropy_hessian(x, labels, hx, smoothing):
    """Set hx = p (1 - p), whatever the targets."""
    p = _softmax(x)
    np.multiply(p, 1 - p, out=hx)


def mean_squared_error(x, targets, losses, scale):
    """Set losses = scale * sum of (x - t)^2."""
    difference = x - targets
    np.sum(difference * difference, axis=1, out=losses)
    losses *= losses.dtype.type(scale)


def mean_squared_error_backward(x, targets, dx, scale):
    """Set dx = 2 scale (x - t)."""
    np.multiply(x - targets, x.dtype.type(2 * scale), out=dx)


def mean_squared_error_hessian(x, targets, hx, scale):
    """Set hx = 2 scale."""
    hx[...] = 2 * scale


def _map_shares(x, j):
    """Return p_i = exp(-y_i) / Z with Z = exp(-j) + sum exp(-y_i), and log Z in two terms."""
    top = np.maximum(x.dtype.type(-j), -x.min(axis=1))[:, None]
    terms = np.exp(-x - top)
    z = terms.sum(axis=1, keepdims=True) + np.exp(x.dtype.type(-j) - top)
    return terms / z, top[:, 0], np.log(z)[:, 0]


def map_loss(x, labels, losses, j):
    """Set losses = y_D + log(exp(-j) + sum exp(-y_i)); x holds the penalties y."""
    _, top, rest = _map_shares(x, j)
    # y_D and the largest term may both be in the hundreds: they cancel before the small rest joins.
    losses[...] = (x[np.arange(len(x)), labels] + top) + rest


def map_loss_backward(x, labels, dx, j):
    """Set dx_i = [i = D] - p_i."""
    np.negative(_map_shares(x, j)[0], out=dx)
    dx[np.arange(len(x)), labels] += 1


def map_loss_hessian(x, labels, hx, j):
    """Set hx_i = p_i (1 - p_i)."""
    p = _map_shares(x, j)[0]
    np.multiply(p, 1 - p, out=hx)


def map_rbf_hessian(y, x, w, hx, j):
    """Set hx_j = 2 r + 4 [sum p_i d_ij^2 - (sum p_i d_ij)^2], d_ij = x_j - w_ij, r = 1 - sum p.

    In brackets is the variance of d_ij by the shares p_i, to which that of the rubbish class, r,
    adds a difference of 0. As sums of squares the terms cannot turn negative.
    """
    p, top, rest = _map_shares(y, j)
    p, rubbish = p[:, :, None], np.exp((x.dtype.type(-j) - top) - rest)[:, None]
    difference = x[:, None, :] - w  # (n, n_out, n_in)
    mean = (p * difference).sum(axis=1)
    difference -= mean[:, None, :]
    variance = (p * difference * difference).sum(axis=1) + rubbish * mean * mean
    hx[...] = 2 * rubbish + 4 * variance


def penalty_loss(x, labels, losses):
    """Set losses = y_D; x holds the penalties y."""
    losses[...] = x[np.arange(len(x)), labels]


def penalty_loss_backward(x, labels, dx):
    """Set dx_i = [i = D]."""
    dx[...] = 0
    dx[np.arange(len(x)), labels] = 1


def penalty_loss_hessian(x, labels, hx):
    """Set hx = 0."""
    hx[...] = 0
