"""Activations on 1-d arrays; slopes are taken from the output, those of GELU from the input.

The exponential is our own: Numba calls the C library's once for each element, while this one
becomes vectors. Each dtype has its own copy, as constants have to be of the array's dtype.
"""

from __future__ import annotations

import math

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel, once, part
from lenet_fast.backends.numba_backend.program import (
    ELU,
    GELU,
    GELU_TANH,
    LEAKY_RELU,
    NO_ACTIVATION,
    RELU,
    SCALED_TANH,
    SIGMOID,
    TANH,
)

__all__ = tuple(
    name + suffix
    for name in (
        *("scaled_tanh", "tanh", "sigmoid", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh"),
    )
    for suffix in ("", "_backward", "_hessian")
)

# What activate() and activate_back() know, and what planar pooling goes back through.
ACTIVATIONS = (SCALED_TANH, TANH, SIGMOID, RELU, LEAKY_RELU, ELU, GELU, GELU_TANH)
SLOPED = (NO_ACTIVATION, SCALED_TANH, TANH, SIGMOID)

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

# Phi(-a) e^(a^2 / 2) is N(a) / D(a) on 0 <= a <= GELU_END: see kernels/layers/activations.pxi.
N0, N1 = np.float32(0.50000000314836), np.float32(0.43927938408414)
N2, N3 = np.float32(0.18396604422478), np.float32(0.040880057557064)
N4 = np.float32(0.0041530635881024)
D1, D2 = np.float32(1.6764437749492), np.float32(1.2055356370270)
D3, D4 = np.float32(0.47140050764639), np.float32(0.10247722562559)
D5 = np.float32(0.010410074931923)
P0, P1, P2 = 0.49999999999999997304, 0.775496538528311104, 0.59494907074800551125
P3, P4, P5 = 0.28997794367501526578, 0.097989191543401117224, 0.023711038861093683728
P6, P7, P8 = 0.0041081484771182782743, 0.00049314321948940276358, 0.000037501936669214744807
P9 = 1.3967462408535559098e-6
Q1, Q2, Q3 = 2.348877637859476946, 2.5640313439595300241, 1.7172796114436327487
Q4, Q5, Q6 = 0.78386466717474573511, 0.25573206116144728273, 0.060663885326209686592
Q7, Q8, Q9 = 0.010391604533358006921, 0.001239627861220964638, 0.000094003414806501087768
Q10 = 3.5011236198174915159e-6

# Of GELU. Beyond the last it is 0 or x.
INVERSE_SQRT_2_PI = 1 / math.sqrt(2 * math.pi)
LINEAR, CUBIC = math.sqrt(8 / math.pi), math.sqrt(8 / math.pi) * 0.044715
GELU_END, GELU_END_32 = 40.0, np.float32(15)
DENSITY_32, QUARTER_32 = np.float32(INVERSE_SQRT_2_PI), np.float32(0.25)
LINEAR_32, CUBIC_32, THREE_32 = np.float32(LINEAR), np.float32(CUBIC), np.float32(3)

# Beyond these, tanh and e^x - 1 are -1, and the exponential is 0.
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
def _expm1_32(x):
    """Return e^x - 1 for x < 0, and else 0, within 2 units in the last place."""
    z = TANH_LEAST_32 if x < TANH_LEAST_32 else x
    k, p = _split_32(z if z < 0 else np.float32(0))
    scale = _power_of_two_32(k)
    return scale * p + (scale - ONE_32)


@kernel
def _expm1_64(x):
    """Return e^x - 1 for x < 0, and else 0, within 2 units in the last place."""
    z = TANH_LEAST if x < TANH_LEAST else x
    k, p = _split_64(z if z < 0 else 0.0)
    scale = _power_of_two_64(k)
    return scale * p + (scale - 1.0)


@kernel
def _normal_tail_32(a):
    """Return Phi(-a), and the density, for 0 <= a <= 15."""
    n = (((N4 * a + N3) * a + N2) * a + N1) * a + N0
    d = ((((D5 * a + D4) * a + D3) * a + D2) * a + D1) * a + ONE_32
    k, p = _split_32(-QUARTER_32 * a * a)
    root = _power_of_two_32(k) * (ONE_32 + p)
    square = root * root
    return square * (n / d), square * DENSITY_32


@once  # alone, LLVM would pair the two polynomials, and could make no vectors of a loop over them
def _normal_tail_64(a):
    """Return Phi(-a), and the density, for 0 <= a <= 40."""
    n = (((((P9 * a + P8) * a + P7) * a + P6) * a + P5) * a + P4) * a + P3
    n = ((n * a + P2) * a + P1) * a + P0
    d = (((((Q10 * a + Q9) * a + Q8) * a + Q7) * a + Q6) * a + Q5) * a + Q4
    d = (((d * a + Q3) * a + Q2) * a + Q1) * a + 1.0
    k, p = _split_64(-0.25 * a * a)
    root = _power_of_two_64(k) * (1.0 + p)
    square = root * root
    return square * (n / d), square * INVERSE_SQRT_2_PI


@kernel
def _logistic_tail_32(a):
    """Return 1 / (1 + e^u) with u = sqrt(8 / pi) (a + 0.044715 a^3), and its density."""
    square = CUBIC_32 * a * a
    tail = _sigmoid_32(-a * (square + LINEAR_32))
    return tail, (THREE_32 * square + LINEAR_32) * (tail * (ONE_32 - tail))


@kernel
def _logistic_tail_64(a):
    """Return 1 / (1 + e^u) with u = sqrt(8 / pi) (a + 0.044715 a^3), and its density."""
    square = CUBIC * a * a
    tail = _sigmoid_64(-a * (square + LINEAR))
    return tail, (3.0 * square + LINEAR) * (tail * (1.0 - tail))


@kernel
def _near(x, end):
    """Return |x|, or the end that it lies beyond; NaN stays."""
    z = -abs(x)  # the other way, LLVM makes branches, and no vectors, of it
    return -(-end if z < -end else z)


@kernel
def _gelu_32(x):
    """Return GELU and its slope: see gelu_gate in the twin."""
    a = _near(x, GELU_END_32)
    tail, density = _normal_tail_32(a)
    gate = tail if x < 0 else ONE_32 - tail
    least = -GELU_END_32 if x < -GELU_END_32 else x
    return least * gate, math.copysign(a, x) * density + gate


@once
def _gelu_64(x):
    """Return GELU and its slope: see gelu_gate in the twin."""
    a = _near(x, GELU_END)
    tail, density = _normal_tail_64(a)
    gate = tail if x < 0 else 1.0 - tail
    least = -GELU_END if x < -GELU_END else x
    return least * gate, math.copysign(a, x) * density + gate


@kernel
def _gelu_tanh_32(x):
    """Return GELU and its slope, with a logistic gate: see gelu_gate in the twin."""
    a = _near(x, GELU_END_32)
    tail, density = _logistic_tail_32(a)
    gate = tail if x < 0 else ONE_32 - tail
    least = -GELU_END_32 if x < -GELU_END_32 else x
    return least * gate, math.copysign(a, x) * density + gate


@kernel
def _gelu_tanh_64(x):
    """Return GELU and its slope, with a logistic gate: see gelu_gate in the twin."""
    a = _near(x, GELU_END)
    tail, density = _logistic_tail_64(a)
    gate = tail if x < 0 else 1.0 - tail
    least = -GELU_END if x < -GELU_END else x
    return least * gate, math.copysign(a, x) * density + gate


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


@kernel
def leaky_relu(x, y, slope):
    """Set y = x where x >= 0, else slope x; NaN stays."""
    share = x.dtype.type(slope)
    for p in range(x.size):
        y[p] = x[p] * share if x[p] < 0 else x[p]


@kernel
def leaky_relu_backward(dy, y, dx, slope):
    """Set dx = dy where y > 0, else slope dy; a NaN in y stays one."""
    one, share = y.dtype.type(1), y.dtype.type(slope)
    for p in range(y.size):
        dx[p] = dy[p] * (one if y[p] > 0 else (share if y[p] <= 0 else y[p]))


@kernel
def leaky_relu_hessian(hy, y, hx, slope):
    """Set hx = hy where y > 0, else slope^2 hy; a NaN in y stays one."""
    one, share = y.dtype.type(1), y.dtype.type(slope)
    for p in range(y.size):
        factor = one if y[p] > 0 else (share if y[p] <= 0 else y[p])
        hx[p] = factor * factor * hy[p]


@kernel
def elu(x, y, alpha):
    """Set y = x where x >= 0, else alpha (e^x - 1), within 4 units in the last place."""
    size = x.dtype.type(alpha)
    if x.itemsize == 4:
        for p in range(x.size):
            y[p] = size * _expm1_32(x[p]) if x[p] < 0 else x[p]
    else:
        for p in range(x.size):
            y[p] = size * _expm1_64(x[p]) if x[p] < 0 else x[p]


@kernel
def elu_backward(dy, y, dx, alpha):
    """Set dx = dy where y > 0, else (y + alpha) dy."""
    one, size = y.dtype.type(1), y.dtype.type(alpha)
    for p in range(y.size):
        dx[p] = (one if y[p] > 0 else y[p] + size) * dy[p]


@kernel
def elu_hessian(hy, y, hx, alpha):
    """Set hx = hy where y > 0, else (y + alpha)^2 hy."""
    one, size = y.dtype.type(1), y.dtype.type(alpha)
    for p in range(y.size):
        slope = one if y[p] > 0 else y[p] + size
        hx[p] = slope * slope * hy[p]


@kernel
def gelu(x, y):
    """Set y = x Phi(x), within 5 units in the last place, and 5 (1 + x^2) on the left of zero."""
    if x.itemsize == 4:
        for p in range(x.size):
            y[p] = _gelu_32(x[p])[0]
    else:
        for p in range(x.size):
            y[p] = _gelu_64(x[p])[0]


@kernel
def gelu_backward(dy, x, dx):
    """Set dx = f' dy."""
    if x.itemsize == 4:
        for p in range(x.size):
            dx[p] = _gelu_32(x[p])[1] * dy[p]
    else:
        for p in range(x.size):
            dx[p] = _gelu_64(x[p])[1] * dy[p]


@kernel
def gelu_hessian(hy, x, hx):
    """Set hx = f'^2 hy."""
    if x.itemsize == 4:
        for p in range(x.size):
            slope = _gelu_32(x[p])[1]
            hx[p] = slope * slope * hy[p]
    else:
        for p in range(x.size):
            slope = _gelu_64(x[p])[1]
            hx[p] = slope * slope * hy[p]


@kernel
def gelu_tanh(x, y):
    """Set y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    if x.itemsize == 4:
        for p in range(x.size):
            y[p] = _gelu_tanh_32(x[p])[0]
    else:
        for p in range(x.size):
            y[p] = _gelu_tanh_64(x[p])[0]


@kernel
def gelu_tanh_backward(dy, x, dx):
    """Set dx = f' dy."""
    if x.itemsize == 4:
        for p in range(x.size):
            dx[p] = _gelu_tanh_32(x[p])[1] * dy[p]
    else:
        for p in range(x.size):
            dx[p] = _gelu_tanh_64(x[p])[1] * dy[p]


@kernel
def gelu_tanh_hessian(hy, x, hx):
    """Set hx = f'^2 hy."""
    if x.itemsize == 4:
        for p in range(x.size):
            slope = _gelu_tanh_32(x[p])[1]
            hx[p] = slope * slope * hy[p]
    else:
        for p in range(x.size):
            slope = _gelu_tanh_64(x[p])[1]
            hx[p] = slope * slope * hy[p]


# --- for the lane engine: in place -------------------------------------------------------------


@part
def activate(step, y):
    """Replace y by its activation."""
    real = y.dtype.type
    zero, slope, amplitude = real(0), real(1), real(1)
    option = real(step.option)
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
    elif step.activation == LEAKY_RELU:
        for p in range(y.size):
            y[p] = y[p] * option if y[p] < zero else y[p]
    elif step.activation == ELU and y.itemsize == 4:
        for p in range(y.size):
            y[p] = option * _expm1_32(y[p]) if y[p] < zero else y[p]
    elif step.activation == ELU:
        for p in range(y.size):
            y[p] = option * _expm1_64(y[p]) if y[p] < zero else y[p]
    elif step.activation == GELU and y.itemsize == 4:
        for p in range(y.size):
            y[p] = _gelu_32(y[p])[0]
    elif step.activation == GELU:
        for p in range(y.size):
            y[p] = _gelu_64(y[p])[0]
    elif step.activation == GELU_TANH and y.itemsize == 4:
        for p in range(y.size):
            y[p] = _gelu_tanh_32(y[p])[0]
    elif step.activation == GELU_TANH:
        for p in range(y.size):
            y[p] = _gelu_tanh_64(y[p])[0]


@part
def activate_back(step, squared, x, y, dx):
    """Multiply dx by f', or by f'^2, of y = f(x)."""
    real = y.dtype.type
    zero, one, a, b = real(0), real(1), real(1), real(1)
    option = real(step.option)
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
    elif step.activation == LEAKY_RELU:
        for p in range(y.size):
            slope = one if y[p] > zero else (option if y[p] <= zero else y[p])
            dx[p] *= slope * slope if squared else slope
    elif step.activation == ELU:
        for p in range(y.size):
            slope = one if y[p] > zero else y[p] + option
            dx[p] *= slope * slope if squared else slope
    elif step.activation == GELU and y.itemsize == 4:
        for p in range(y.size):
            slope = _gelu_32(x[p])[1]
            dx[p] *= slope * slope if squared else slope
    elif step.activation == GELU:
        for p in range(y.size):
            slope = _gelu_64(x[p])[1]
            dx[p] *= slope * slope if squared else slope
    elif step.activation == GELU_TANH and y.itemsize == 4:
        for p in range(y.size):
            slope = _gelu_tanh_32(x[p])[1]
            dx[p] *= slope * slope if squared else slope
    elif step.activation == GELU_TANH:
        for p in range(y.size):
            slope = _gelu_tanh_64(x[p])[1]
            dx[p] *= slope * slope if squared else slope
