"""Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs."""

from __future__ import annotations

import numpy as np

__all__ = ["loss_gradients", "loss_hessians", "loss_values", "map_rbf_hessian"]


def loss_values(x, answers, losses, function, option):
    """Set losses to those of the images; `answers` are labels, or the targets of a squared error.

    `option` is the smoothing of the cross-entropy, the scale of the squared error, or j.
    """
    losses[...] = _FUNCTIONS[function][0](x, answers, option)


def loss_gradients(x, answers, dx, function, option):
    """Set dx to the gradients."""
    dx[...] = _FUNCTIONS[function][1](x, answers, option)


def loss_hessians(x, answers, hx, function, option):
    """Set hx to the diagonals of the Hessians."""
    hx[...] = _FUNCTIONS[function][2](x, answers, option)


def _softmax(x):
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _cross_entropy(x, labels, smoothing):
    """Return log sum exp(x) - sum of t x, t = (1 - smoothing) [label] + smoothing / k."""
    top = x.max(axis=1)
    sums = np.exp(x - top[:, None]).sum(axis=1)
    missed = top - x[np.arange(len(x)), labels]
    if smoothing:
        missed = (1 - smoothing) * missed + smoothing * (top[:, None] - x).mean(axis=1)
    return np.log(sums) + missed


def _cross_entropy_gradient(x, labels, smoothing):
    """Return p - t."""
    dx = _softmax(x) - x.dtype.type(smoothing / x.shape[1])
    dx[np.arange(len(x)), labels] -= x.dtype.type(1 - smoothing)
    return dx


def _variances(p):
    return p * (1 - p)


def _squared_error(x, targets, scale):
    """Return scale * sum of (x - t)^2."""
    difference = x - targets
    return np.sum(difference * difference, axis=1) * x.dtype.type(scale)


def _map_shares(x, j):
    """Return p_i = exp(-y_i) / Z with Z = exp(-j) + sum exp(-y_i), and log Z in two terms."""
    top = np.maximum(x.dtype.type(-j), -x.min(axis=1))[:, None]
    terms = np.exp(-x - top)
    z = terms.sum(axis=1, keepdims=True) + np.exp(x.dtype.type(-j) - top)
    return terms / z, top[:, 0], np.log(z)[:, 0]


def _map(x, labels, j):
    """Return y_D + log(exp(-j) + sum exp(-y_i)); x holds the penalties y."""
    _, top, rest = _map_shares(x, j)
    # y_D and the largest term may both be in the hundreds: they cancel before the small rest joins.
    return (x[np.arange(len(x)), labels] + top) + rest


def _map_gradient(x, labels, j):
    """Return [i = D] - p_i."""
    dx = -_map_shares(x, j)[0]
    dx[np.arange(len(x)), labels] += 1
    return dx


def _penalty_gradient(x, labels, option):
    """Return [i = D]."""
    return np.arange(x.shape[1]) == labels[:, None]


# Value, gradient, diagonal of the Hessian.
_FUNCTIONS = {
    "softmax_cross_entropy": (
        _cross_entropy,
        _cross_entropy_gradient,
        lambda x, labels, smoothing: _variances(_softmax(x)),
    ),
    "mean_squared_error": (
        _squared_error,
        lambda x, targets, scale: (x - targets) * x.dtype.type(2 * scale),
        lambda x, targets, scale: 2 * scale,
    ),
    "map_loss": (_map, _map_gradient, lambda x, labels, j: _variances(_map_shares(x, j)[0])),
    "penalty_loss": (
        lambda x, labels, option: x[np.arange(len(x)), labels],
        _penalty_gradient,
        lambda x, labels, option: 0,
    ),
}


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
