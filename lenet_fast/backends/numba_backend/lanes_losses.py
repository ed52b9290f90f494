"""The loss of each image of a tile, its gradient and Hessian, as rows of numbers.

The twin of what kernels/losses.pyx has for the lane engine.
"""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.losses import _shares

CROSS_ENTROPY, SQUARED_ERROR, MAP = range(3)
# What `loss` holds: its kind, the floor of the exponents, scale and targets of the squared error.
KIND, FLOOR, SCALE, ON, OFF = range(5)


@part
def _difference(loss, x, label, i):
    """Return x_i less its target."""
    return x[i] - x.dtype.type(loss[ON] if i == label else loss[OFF])


@part
def loss_value(loss, x, label, p):
    """Return log Z - sign x_label, or scale * sum of (x - t)^2; p is scratch."""
    real = x.dtype.type
    if loss[KIND] == SQUARED_ERROR:
        total = real(0)
        for i in range(x.size):
            difference = _difference(loss, x, label, i)
            total += difference * difference
        return real(loss[SCALE]) * total
    sign = real(-1 if loss[KIND] == MAP else 1)
    top, rest = _shares(x, sign, real(loss[FLOOR]), p)
    # Both may be in the hundreds: they cancel before the small rest joins.
    return (top - sign * x[label]) + rest


@part
def loss_gradient(loss, x, label, dx):
    """Set dx to sign (p - [label]), or 2 scale (x - t)."""
    real = x.dtype.type
    if loss[KIND] == SQUARED_ERROR:
        for i in range(x.size):
            dx[i] = real(2 * loss[SCALE]) * _difference(loss, x, label, i)
        return
    sign = real(-1 if loss[KIND] == MAP else 1)
    _shares(x, sign, real(loss[FLOOR]), dx)
    dx[label] -= real(1)
    for i in range(x.size):
        dx[i] *= sign


@part
def loss_hessian(loss, x, hx):
    """Set hx to p (1 - p), or 2 scale."""
    real = x.dtype.type
    if loss[KIND] == SQUARED_ERROR:
        hx[:] = real(2 * loss[SCALE])
        return
    _shares(x, real(-1 if loss[KIND] == MAP else 1), real(loss[FLOOR]), hx)
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
