"""Activations; slopes are taken from the output y, but those of GELU from the input x."""

from __future__ import annotations

import math

import numpy as np

__all__ = tuple(
    name + suffix
    for name in (
        *("scaled_tanh", "tanh", "sigmoid", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh"),
    )
    for suffix in ("", "_backward", "_hessian")
)

AMPLITUDE = 1.7159
SLOPE = 2 / 3

# Of GELU's two forms. Beyond 40 on either side they are 0 or x in both dtypes.
INVERSE_SQRT_2 = math.sqrt(1 / 2)
INVERSE_SQRT_2_PI = 1 / math.sqrt(2 * math.pi)
LINEAR, CUBIC = math.sqrt(8 / math.pi), math.sqrt(8 / math.pi) * 0.044715
GELU_END = 40


def scaled_tanh(x, y):
    """Set y = 1.7159 tanh(2 x / 3)."""
    np.multiply(x, x.dtype.type(SLOPE), out=y)
    np.tanh(y, out=y)
    y *= y.dtype.type(AMPLITUDE)


def _scaled_tanh_slope(y):
    t = y * y.dtype.type(1 / AMPLITUDE)
    return y.dtype.type(AMPLITUDE * SLOPE) * (1 - t * t)


def scaled_tanh_backward(dy, y, dx):
    """Set dx = f' dy."""
    np.multiply(_scaled_tanh_slope(y), dy, out=dx)


def scaled_tanh_hessian(hy, y, hx):
    """Set hx = f'^2 hy."""
    np.multiply(_scaled_tanh_slope(y) ** 2, hy, out=hx)


def tanh(x, y):
    """Set y = tanh(x)."""
    np.tanh(x, out=y)


def tanh_backward(dy, y, dx):
    """Set dx = (1 - y^2) dy."""
    np.multiply(1 - y * y, dy, out=dx)


def tanh_hessian(hy, y, hx):
    """Set hx = (1 - y^2)^2 hy."""
    np.multiply((1 - y * y) ** 2, hy, out=hx)


def sigmoid(x, y):
    """Set y = 1 / (1 + exp(-x)), without overflow on either side."""
    y[...] = _logistic(x)


def _logistic(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def sigmoid_backward(dy, y, dx):
    """Set dx = y (1 - y) dy."""
    np.multiply(y * (1 - y), dy, out=dx)


def sigmoid_hessian(hy, y, hx):
    """Set hx = (y (1 - y))^2 hy."""
    np.multiply((y * (1 - y)) ** 2, hy, out=hx)


def relu(x, y):
    """Set y = max(x, 0); NaN and -0 stay."""
    y[...] = np.where(x < 0, x.dtype.type(0), x)


def relu_backward(dy, y, dx):
    """Set dx = dy where y > 0, else 0; a NaN in y stays one."""
    dx[...] = np.where(y > 0, dy, np.where(np.isnan(y), y, y.dtype.type(0)))


def relu_hessian(hy, y, hx):
    """Set hx = hy where y > 0, else 0."""
    relu_backward(hy, y, hx)


def leaky_relu(x, y, slope):
    """Set y = x where x >= 0, else slope x."""
    y[...] = np.where(x < 0, x * x.dtype.type(slope), x)


def _leaky_relu_slope(y, slope):
    return np.where(y > 0, y.dtype.type(1), np.where(np.isnan(y), y, y.dtype.type(slope)))


def leaky_relu_backward(dy, y, dx, slope):
    """Set dx = dy where y > 0, else slope dy; a NaN in y stays one."""
    np.multiply(_leaky_relu_slope(y, slope), dy, out=dx)


def leaky_relu_hessian(hy, y, hx, slope):
    """Set hx = hy where y > 0, else slope^2 hy; a NaN in y stays one."""
    np.multiply(_leaky_relu_slope(y, slope) ** 2, hy, out=hx)


def elu(x, y, alpha):
    """Set y = x where x >= 0, else alpha (e^x - 1)."""
    y[...] = np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


def _elu_slope(y, alpha):
    return np.where(y > 0, y.dtype.type(1), y + y.dtype.type(alpha))


def elu_backward(dy, y, dx, alpha):
    """Set dx = dy where y > 0, else (y + alpha) dy."""
    np.multiply(_elu_slope(y, alpha), dy, out=dx)


def elu_hessian(hy, y, hx, alpha):
    """Set hx = hy where y > 0, else (y + alpha)^2 hy."""
    np.multiply(_elu_slope(y, alpha) ** 2, hy, out=hx)


_erfc = np.frompyfunc(math.erfc, 1, 1)  # NumPy has none of its own


def _normal(x):
    """Return the normal distribution's Phi(x), in float64."""
    return 0.5 * np.asarray(_erfc(-INVERSE_SQRT_2 * x.astype(np.float64)), np.float64)


def gelu(x, y):
    """Set y = x Phi(x)."""
    np.multiply(np.maximum(x, -GELU_END), _normal(x), out=y, casting="same_kind")


def _gelu_slope(x):
    near = np.clip(x, -GELU_END, GELU_END)
    return _normal(x) + near * INVERSE_SQRT_2_PI * np.exp(-0.5 * near * near)


def gelu_backward(dy, x, dx):
    """Set dx = (Phi(x) + x Phi'(x)) dy."""
    np.multiply(_gelu_slope(x), dy, out=dx, casting="same_kind")


def gelu_hessian(hy, x, hx):
    """Set hx = (Phi(x) + x Phi'(x))^2 hy."""
    np.multiply(_gelu_slope(x) ** 2, hy, out=hx, casting="same_kind")


def _gelu_tanh_gate(x):
    """Return 1 / (1 + e^-u) with u = sqrt(8 / pi) (x + 0.044715 x^3), and its derivative."""
    linear, square = x.dtype.type(LINEAR), x.dtype.type(CUBIC) * x * x
    tail = _logistic(-np.abs(x) * (linear + square))
    return np.where(x < 0, tail, 1 - tail), (linear + 3 * square) * tail * (1 - tail)


def gelu_tanh(x, y):
    """Set y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    gate, _ = _gelu_tanh_gate(np.clip(x, -GELU_END, GELU_END))
    np.multiply(np.maximum(x, -GELU_END), gate, out=y)


def _gelu_tanh_slope(x):
    near = np.clip(x, -GELU_END, GELU_END)
    gate, density = _gelu_tanh_gate(near)
    return near * density + gate


def gelu_tanh_backward(dy, x, dx):
    """Set dx = f' dy."""
    np.multiply(_gelu_tanh_slope(x), dy, out=dx)


def gelu_tanh_hessian(hy, x, hx):
    """Set hx = f'^2 hy."""
    np.multiply(_gelu_tanh_slope(x) ** 2, hy, out=hx)
