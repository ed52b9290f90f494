"""Squashing functions; every slope is taken from the output y."""

from __future__ import annotations

import numpy as np

AMPLITUDE = 1.7159
SLOPE = 2 / 3


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
    small = np.exp(-np.abs(x))
    y[...] = np.where(x < 0, small, 1) / (1 + small)


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
