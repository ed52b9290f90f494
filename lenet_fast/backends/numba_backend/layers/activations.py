"""Activations on 1-d arrays; slopes are taken from the output.

The exponential is our own: Numba calls the C library's once for each element, while this one
becomes vectors. Each dtype has its own copy, as constants have to be of the array's dtype.
"""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel, part
from lenet_fast.backends.numba_backend.program import RELU, SCALED_TANH, SIGMOID, TANH

# 1998, appendix A.
AMPLITUDE = 1.7159
SLOPE = 2 / 3

# (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2: minimax in the relative error of e^r - 1, which they
# reach within 0.005 of half a unit in the last place.
A0, A1, A2 = np.float32(0.500000004466), np.float32(0.166666663671), np.float32(0.0416663586001)
A3, A4 = np.float32(0.00833338979711), np.float32(0.00139408232237)
A5 = np.float32(0.000198458941785)
B0, B1, B2 = 0.50000000000000000087, 0.16666666666666676696, 0.041666666666666505741
B3, B4, B5 = 0.0083333333333215136885, 0.0013888888888963504538, 0.00019841269886477197704
B6, B7, B8 = 2.4801587171038972342e-5, 2.7557243804283535217e-6, 2.7557403299093797548e-7
B9, B10 = 2.5109195085198882982e-8, 2.0875317653080347264e-9

# ln 2 in two parts: n times the first is exact for every n that occurs.
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOG2_E_32 = np.float32(LOG2_E)
LN2_HIGH_32, LN2_LOW_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)

# Added to a float, these leave the nearest integer in its low bits: 1.5 times 2^23, 2^52.
ROUND = 6755399441055744.0
ROUND_32 = np.float32(12582912.0)

# Beyond these, tanh is -1 and the exponential 0.
TANH_LEAST, EXP_LEAST = -40.0, -746.0
TANH_LEAST_32, EXP_LEAST_32 = np.float32(-20), np.float32(-104)
HALF_32, ONE_32, TWO_32 = np.float32(0.5), np.float32(1), np.float32(2)


@kernel
def _power_of_two_32(k):
    """Return 2^n for k = ROUND + n, -126 <= n <= 127."""
    bits = np.float32(k).view(np.int32) << np.int32(23)
    return np.int32(bits + np.int32(127 << 23)).view(np.float32)


@kernel
def _power_of_two_64(k):
    """Return 2^n for k = ROUND + n, -1022 <= n <= 1023."""
    bits = np.float64(k).view(np.int64) << np.int64(52)
    return np.int64(bits + np.int64(1023 << 52)).view(np.float64)


@kernel
def _split_32(z):
    """Return k = ROUND + n and e^r - 1 for z = n ln 2 + r."""
    k = z * LOG2_E_32 + ROUND_32
    n = k - ROUND_32
    r = (z - n * LN2_HIGH_32) - n * LN2_LOW_32
    q = ((((A5 * r + A4) * r + A3) * r + A2) * r + A1) * r + A0
    return k, r * r * q + r


@kernel
def _split_64(z):
    """Return k = ROUND + n and e^r - 1 for z = n ln 2 + r."""
    k = z * LOG2_E + ROUND
    n = k - ROUND
    r = (z - n * LN2_HIGH) - n * LN2_LOW
    q = ((((B10 * r + B9) * r + B8) * r + B7) * r + B6) * r + B5
    q = ((((q * r + B4) * r + B3) * r + B2) * r + B1) * r + B0
    return k, r * r * q + r


@kernel
def _tanh_32(x):
    """Return tanh x, within 3 units in the last place.

    tanh |x| = -t / (2 + t) with t = e^(-2 |x|) - 1 = 2^n (e^r - 1) + (2^n - 1): nothing cancels.
    """
    z = -abs(x)
    k, p = _split_32(TWO_32 * (TANH_LEAST_32 if z < TANH_LEAST_32 else z))  # NaN stays
    scale = _power_of_two_32(k)
    t = scale * p + (scale - ONE_32)
    return math.copysign(t / (TWO_32 + t), x)


@kernel
def _tanh_64(x):
    """Return tanh x, within 3 units in the last place."""
    z = -abs(x)
    k, p = _split_64(2.0 * (TANH_LEAST if z < TANH_LEAST else z))
    scale = _power_of_two_64(k)
    t = scale * p + (scale - 1.0)
    return math.copysign(t / (2.0 + t), x)


@kernel
def _sigmoid_32(x):
    """Return 1 / (1 + e^-x), within 5 units in the last place; no overflow on either side.

    e^-|x| is the square of e^(-|x| / 2), whose power of two never leaves the normal numbers.
    """
    z = -abs(x)
    k, p = _split_32(HALF_32 * (EXP_LEAST_32 if z < EXP_LEAST_32 else z))
    root = _power_of_two_32(k) * (ONE_32 + p)
    small = root * root
    return (small if x < 0 else ONE_32) / (ONE_32 + small)


@kernel
def _sigmoid_64(x):
    """Return 1 / (1 + e^-x), within 5 units in the last place."""
    z = -abs(x)
    k, p = _split_64(0.5 * (EXP_LEAST if z < EXP_LEAST else z))
    root = _power_of_two_64(k) * (1.0 + p)
    small = root * root
    return (small if x < 0 else 1.0) / (1.0 + small)


@kernel
def scaled_tanh(x, y):
    """Set y = 1.7159 tanh(2 x / 3), within 5 units in the last place."""
    real = x.dtype.type
    slope, amplitude = real(SLOPE), real(AMPLITUDE)
    if x.itemsize == 4:
        for p in range(x.size):
            y[p] = amplitude * _tanh_32(slope * x[p])
    else:
        for p in range(x.size):
            y[p] = amplitude * _tanh_64(slope * x[p])


@kernel
def scaled_tanh_backward(dy, y, dx):
    """Set dx = f' dy."""
    real = y.dtype.type
    one, a, b = real(1), real(1 / AMPLITUDE), real(AMPLITUDE * SLOPE)
    for p in range(y.size):
        t = y[p] * a
        dx[p] = b * (one - t * t) * dy[p]


@kernel
def scaled_tanh_hessian(hy, y, hx):
    """Set hx = f'^2 hy."""
    real = y.dtype.type
    one, a, b = real(1), real(1 / AMPLITUDE), real(AMPLITUDE * SLOPE)
    for p in range(y.size):
        t = y[p] * a
        slope = b * (one - t * t)
        hx[p] = slope * slope * hy[p]


@kernel
def tanh(x, y):
    """Set y = tanh(x)."""
    if x.itemsize == 4:
        for p in range(x.size):
            y[p] = _tanh_32(x[p])
    else:
        for p in range(x.size):
            y[p] = _tanh_64(x[p])


@kernel
def tanh_backward(dy, y, dx):
    """Set dx = (1 - y^2) dy."""
    one = y.dtype.type(1)
    for p in range(y.size):
        dx[p] = (one - y[p] * y[p]) * dy[p]


@kernel
def tanh_hessian(hy, y, hx):
    """Set hx = (1 - y^2)^2 hy."""
    one = y.dtype.type(1)
    for p in range(y.size):
        slope = one - y[p] * y[p]
        hx[p] = slope * slope * hy[p]


@kernel
def sigmoid(x, y):
    """Set y = 1 / (1 + e^-x)."""
    if x.itemsize == 4:
        for p in range(x.size):
            y[p] = _sigmoid_32(x[p])
    else:
        for p in range(x.size):
            y[p] = _sigmoid_64(x[p])


@kernel
def sigmoid_backward(dy, y, dx):
    """Set dx = y (1 - y) dy."""
    one = y.dtype.type(1)
    for p in range(y.size):
        dx[p] = y[p] * (one - y[p]) * dy[p]


@kernel
def sigmoid_hessian(hy, y, hx):
    """Set hx = (y (1 - y))^2 hy."""
    one = y.dtype.type(1)
    for p in range(y.size):
        slope = y[p] * (one - y[p])
        hx[p] = slope * slope * hy[p]


@kernel
def relu(x, y):
    """Set y = max(x, 0); NaN stays."""
    zero = x.dtype.type(0)
    for p in range(x.size):
        y[p] = zero if x[p] < zero else x[p]


@kernel
def relu_backward(dy, y, dx):
    """Set dx = dy where y > 0, else 0; a NaN in y stays one."""
    zero = y.dtype.type(0)
    for p in range(y.size):
        dx[p] = dy[p] if y[p] > zero else (zero if y[p] <= zero else y[p])


@kernel
def relu_hessian(hy, y, hx):
    """Set hx = hy where y > 0, else 0; a NaN in y stays one."""
    zero = y.dtype.type(0)
    for p in range(y.size):
        hx[p] = hy[p] if y[p] > zero else (zero if y[p] <= zero else y[p])


# --- for the lane engine: in place -------------------------------------------------------------


@part
def activate(step, y):
    """Replace y by its activation."""
    real = y.dtype.type
    zero, slope, amplitude = real(0), real(1), real(1)
    if step.activation == SCALED_TANH:
        slope, amplitude = real(SLOPE), real(AMPLITUDE)
    if step.activation == RELU:
        for p in range(y.size):
            y[p] = zero if y[p] < zero else y[p]
    elif step.activation == SIGMOID and y.itemsize == 4:
        for p in range(y.size):
            y[p] = _sigmoid_32(y[p])
    elif step.activation == SIGMOID:
        for p in range(y.size):
            y[p] = _sigmoid_64(y[p])
    elif step.activation in (SCALED_TANH, TANH) and y.itemsize == 4:
        for p in range(y.size):
            y[p] = amplitude * _tanh_32(slope * y[p])
    elif step.activation in (SCALED_TANH, TANH):
        for p in range(y.size):
            y[p] = amplitude * _tanh_64(slope * y[p])


@part
def activate_back(step, squared, y, dx):
    """Multiply dx by f', or by f'^2; the slope is taken from y = f(x)."""
    real = y.dtype.type
    zero, one, a, b = real(0), real(1), real(1), real(1)
    if step.activation == SCALED_TANH:
        a, b = real(1 / AMPLITUDE), real(AMPLITUDE * SLOPE)
    if step.activation == RELU:  # a NaN in y stays one
        for p in range(y.size):
            dx[p] = dx[p] if y[p] > zero else (zero if y[p] <= zero else y[p])
    elif step.activation == SIGMOID:
        for p in range(y.size):
            slope = y[p] * (one - y[p])
            dx[p] *= slope * slope if squared else slope
    elif step.activation in (SCALED_TANH, TANH):
        for p in range(y.size):
            t = y[p] * a
            slope = b * (one - t * t)
            dx[p] *= slope * slope if squared else slope
