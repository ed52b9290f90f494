"""Activations; slopes are taken from the output y, but those of GELU from the input x."""

from __future__ import annotations

import math

import numpy as np

__all__ = ("activation", "activation_backward", "activation_hessian")

AMPLITUDE = 1.7159
SLOPE = 2 / 3

# Of GELU's two forms. Beyond 40 on either side they are 0 or x in both dtypes.
INVERSE_SQRT_2 = math.sqrt(1 / 2)
INVERSE_SQRT_2_PI = 1 / math.sqrt(2 * math.pi)
LINEAR, CUBIC = math.sqrt(8 / math.pi), math.sqrt(8 / math.pi) * 0.044715
GELU_END = 40


def activation(x, y, function, option):
    """Set y to the activation of x; `option` is LeakyReLU's slope, or ELU's alpha."""
    y[...] = _VALUES[function](x, x.dtype.type(option))


def activation_backward(dy, seen, dx, function, option):
    """Set dx = f' dy; `seen` is the output, or with GELU the input. A NaN there stays one."""
    slope = _SLOPES[function](seen, seen.dtype.type(option))
    if function == "relu":  # an infinite gradient must not meet a zero
        dx[...] = np.where(slope > 0, dy, slope)
    else:
        np.multiply(slope, dy, out=dx, casting="same_kind")


def activation_hessian(hy, seen, hx, function, option):
    """Set hx = f'^2 hy."""
    slope = _SLOPES[function](seen, seen.dtype.type(option))
    if function == "relu":
        hx[...] = np.where(slope > 0, hy, slope)
    else:
        np.multiply(slope**2, hy, out=hx, casting="same_kind")


def _logistic(x):
    """Return 1 / (1 + e^-x), without overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


_erfc = np.frompyfunc(math.erfc, 1, 1)  # NumPy has none of its own


def _normal(x):
    """Return the normal distribution's Phi(x), in float64."""
    return 0.5 * np.asarray(_erfc(-INVERSE_SQRT_2 * x.astype(np.float64)), np.float64)


def _gelu_tanh_gate(x):
    """Return 1 / (1 + e^-u) with u = sqrt(8 / pi) (x + 0.044715 x^3), and its derivative."""
    linear, square = x.dtype.type(LINEAR), x.dtype.type(CUBIC) * x * x
    tail = _logistic(-np.abs(x) * (linear + square))
    return np.where(x < 0, tail, 1 - tail), (linear + 3 * square) * tail * (1 - tail)


def _gelu_tanh(x, option):
    gate, _ = _gelu_tanh_gate(np.clip(x, -GELU_END, GELU_END))
    return np.maximum(x, -GELU_END) * gate


_VALUES = {
    "scaled_tanh": lambda x, _: np.tanh(x * x.dtype.type(SLOPE)) * x.dtype.type(AMPLITUDE),
    "tanh": lambda x, _: np.tanh(x),
    "sigmoid": lambda x, _: _logistic(x),
    "relu": lambda x, _: np.where(x < 0, x.dtype.type(0), x),  # NaN and -0 stay
    "leaky_relu": lambda x, slope: np.where(x < 0, x * slope, x),
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "gelu": lambda x, _: np.maximum(x, -GELU_END) * _normal(x),
    "gelu_tanh": _gelu_tanh,
}


def _scaled_tanh_slope(y, option):
    t = y * y.dtype.type(1 / AMPLITUDE)
    return y.dtype.type(AMPLITUDE * SLOPE) * (1 - t * t)


def _leaky_relu_slope(y, slope):
    return np.where(y > 0, y.dtype.type(1), np.where(np.isnan(y), y, slope))


def _gelu_slope(x, option):
    near = np.clip(x, -GELU_END, GELU_END)
    return _normal(x) + near * INVERSE_SQRT_2_PI * np.exp(-0.5 * near * near)


def _gelu_tanh_slope(x, option):
    near = np.clip(x, -GELU_END, GELU_END)
    gate, density = _gelu_tanh_gate(near)
    return near * density + gate


_SLOPES = {
    "scaled_tanh": _scaled_tanh_slope,
    "tanh": lambda y, _: 1 - y * y,
    "sigmoid": lambda y, _: y * (1 - y),
    "relu": _leaky_relu_slope,
    "leaky_relu": _leaky_relu_slope,
    "elu": lambda y, alpha: np.where(y > 0, y.dtype.type(1), y + alpha),
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
}
