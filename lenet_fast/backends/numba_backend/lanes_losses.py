"""The loss of each image of a tile, its gradient and Hessian, as rows of numbers.

The twin of what kernels/losses.pyx has for the lane engine.
"""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.losses import _gradient, _loss, _shares

CROSS_ENTROPY, SQUARED_ERROR, MAP, PENALTY = range(4)
# What `loss` holds: its kind, the floor of the exponents, scale and targets of the squared error,
# the smoothing of the cross-entropy, whether the Hessian is taken at the inputs of the RBF layer.
KIND, FLOOR, SCALE, ON, OFF, SMOOTHING, EXACT = range(7)


@part
def _sign(loss):
    return -1.0 if loss[KIND] == MAP else 1.0


@part
def _difference(loss, x, label, i):
    """Return x_i less its target."""
    return x[i] - x.dtype.type(loss[ON] if i == label else loss[OFF])


@part
def loss_value(loss, x, label, p):
    """Return log Z - sum of t sign x, or scale * sum of (x - t)^2, or x_label; p is scratch."""
    real = x.dtype.type
    if loss[KIND] == PENALTY:
        return x[label]
    if loss[KIND] == SQUARED_ERROR:
        total = real(0)
        for i in range(x.size):
            difference = _difference(loss, x, label, i)
            total += difference * difference
        return real(loss[SCALE]) * total
    return _loss(x, label, p, _sign(loss), loss[FLOOR], loss[SMOOTHING])


@part
def loss_gradient(loss, x, label, dx):
    """Set dx to sign (p - t), or 2 scale (x - t), or [label]."""
    real = x.dtype.type
    if loss[KIND] == SQUARED_ERROR:
        for i in range(x.size):
            dx[i] = real(2 * loss[SCALE]) * _difference(loss, x, label, i)
    elif loss[KIND] == PENALTY:
        dx[:] = real(0)
        dx[label] = real(1)
    else:
        _gradient(x, label, dx, _sign(loss), loss[FLOOR], loss[SMOOTHING])


@part
def loss_hessian(loss, x, hx):
    """Set hx to p (1 - p), or 2 scale, or 0."""
    real = x.dtype.type
    if loss[KIND] in (SQUARED_ERROR, PENALTY):
        hx[:] = real(2 * loss[SCALE])  # 0 of a penalty, which is linear
        return
    _shares(x, real(_sign(loss)), real(loss[FLOOR]), hx)
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
