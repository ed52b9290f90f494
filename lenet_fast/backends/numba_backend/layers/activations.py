"""Activations on 1-d arrays; slopes are taken from the output, those of GELU from the input.

The exponential is our own: Numba calls the C library's once for each element, while this one
becomes vectors. Constants have to be of the array's dtype, so each dtype has its own formulas.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba.extending import overload

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

__all__ = ("activation", "activation_backward", "activation_hessian")

# What activate() and activate_back() know, by name, and what planar pooling goes back through.
ACTIVATION_NAMES = {
    "scaled_tanh": SCALED_TANH,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
}
ACTIVATIONS = tuple(ACTIVATION_NAMES.values())
SLOPED = (NO_ACTIVATION, SCALED_TANH, TANH, SIGMOID)

# 1998, appendix A.
AMPLITUDE = 1.7159
SLOPE = 2 / 3

LOG2_E = 1.4426950408889634
INVERSE_SQRT_2_PI = 1 / math.sqrt(2 * math.pi)
LINEAR, CUBIC = math.sqrt(8 / math.pi), math.sqrt(8 / math.pi) * 0.044715


class _Single:
    """Constants of float32; the coefficient of the highest power is first."""

    real, word, mantissa, bias = np.float32, np.int32, 23, 127
    # ln 2 in two parts: n times the first is exact for every n that occurs.
    ln2_high, ln2_low = 0.693359375, -2.12194440e-4
    # (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2: minimax in the relative error of e^r - 1, which they
    # reach within 0.005 of half a unit in the last place.
    expm1 = (
        *(0.000198458941785, 0.00139408232237, 0.00833338979711, 0.0416663586001),
        *(0.166666663671, 0.500000004466),
    )
    # Beyond these, tanh and e^x - 1 are -1, the exponential is 0, and GELU is 0 or x.
    tanh_least, exp_least, gelu_end = -20, -104, 15
    # Phi(-a) e^(a^2 / 2) is N(a) / D(a) on 0 <= a <= gelu_end: see kernels/layers/activations.pxi.
    tail_n = (
        *(0.0041530635881024, 0.040880057557064, 0.18396604422478, 0.43927938408414),
        *(0.50000000314836,),
    )
    tail_d = (
        *(0.010410074931923, 0.10247722562559, 0.47140050764639, 1.2055356370270),
        *(1.6764437749492, 1.0),
    )


class _Double:
    """Likewise, of float64."""

    real, word, mantissa, bias = np.float64, np.int64, 52, 1023
    ln2_high, ln2_low = 6.93147180369123816490e-01, 1.90821492927058770002e-10
    expm1 = (
        *(2.0875317653080347264e-9, 2.5109195085198882982e-8, 2.7557403299093797548e-7),
        *(2.7557243804283535217e-6, 2.4801587171038972342e-5, 0.00019841269886477197704),
        *(0.0013888888888963504538, 0.0083333333333215136885, 0.041666666666666505741),
        *(0.16666666666666676696, 0.50000000000000000087),
    )
    tanh_least, exp_least, gelu_end = -40, -746, 40
    tail_n = (
        *(1.3967462408535559098e-6, 0.000037501936669214744807, 0.00049314321948940276358),
        *(0.0041081484771182782743, 0.023711038861093683728, 0.097989191543401117224),
        *(0.28997794367501526578, 0.59494907074800551125, 0.775496538528311104),
        *(0.49999999999999997304,),
    )
    tail_d = (
        *(3.5011236198174915159e-6, 0.000094003414806501087768, 0.001239627861220964638),
        *(0.010391604533358006921, 0.060663885326209686592, 0.25573206116144728273),
        *(0.78386466717474573511, 1.7172796114436327487, 2.5640313439595300241),
        *(2.348877637859476946, 1.0),
    )


# --- formulas -----------------------------------------------------------------------------------


def _polynomial(real: Any, coefficients: tuple[float, ...]) -> Any:
    first, others = real(coefficients[0]), tuple(map(real, coefficients[1:]))

    @once
    def polynomial(x):
        y = first
        for other in others:
            y = y * x + other
        return y

    return polynomial


def _exponentials(c: Any) -> tuple[Any, Any]:
    """Return functions for e^z - 1 and for the root of e^(2 z), of a dtype, z <= 0."""
    real, word = c.real, c.word
    mantissa, bias = word(c.mantissa), word(c.bias << c.mantissa)
    log2_e, ln2_high, ln2_low = real(LOG2_E), real(c.ln2_high), real(c.ln2_low)
    # Added to a float, it leaves the nearest integer in its low bits.
    rounding, one = real(1.5 * 2**c.mantissa), real(1)
    polynomial = _polynomial(real, c.expm1)

    @part
    def split(z):
        """Return 2^n and e^r - 1 for z = n ln 2 + r."""
        k = z * log2_e + rounding
        n = k - rounding
        r = (z - n * ln2_high) - n * ln2_low
        bits = real(k).view(word) << mantissa
        return word(bits + bias).view(real), r * r * polynomial(r) + r

    @part
    def exp_minus_one(z):
        """Nothing cancels."""
        scale, p = split(z)
        return scale * p + (scale - one)

    @part
    def exp_root(z):
        """Return e^z: its square reaches the numbers next to zero."""
        scale, p = split(z)
        return scale * (one + p)

    return exp_minus_one, exp_root


def _gelu(c: Any, tail_of: Any, inlined: Any) -> Any:
    """Return a function for GELU and its slope: see gelu_gate in the twin.

    `tail_of` returns the gate at -a, and its derivative, for 0 <= a <= c.gelu_end.
    """
    zero, one, end = map(c.real, (0, 1, c.gelu_end))

    @inlined
    def gelu(x):
        z = -abs(x)  # the other way, LLVM makes branches, and no vectors, of it
        a = -(-end if z < -end else z)  # NaN stays
        tail, density = tail_of(a)
        gate = tail if x < zero else one - tail
        least = -end if x < -end else x
        return least * gate, math.copysign(a, x) * density + gate

    return gelu


def _formulas(c: Any) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the activations of a number, and their slopes, for a dtype."""
    real, values, slopes = c.real, {}, {}
    zero, quarter, half, one, two, three = map(real, (0, 0.25, 0.5, 1, 2, 3))
    tanh_least, exp_least = real(c.tanh_least), real(c.exp_least)
    amplitude, slope = real(AMPLITUDE), real(SLOPE)
    inverse, steepest = real(1 / AMPLITUDE), real(AMPLITUDE * SLOPE)
    linear, cubic, peak = real(LINEAR), real(CUBIC), real(INVERSE_SQRT_2_PI)
    exp_minus_one, exp_root = _exponentials(c)
    # Alone, LLVM would pair the two polynomials, and could make no vectors of a loop over them.
    alone = part if real is np.float32 else once
    n, d = _polynomial(real, c.tail_n), _polynomial(real, c.tail_d)

    @part
    def tanh(x):
        """Within 3 units in the last place.

        tanh |x| = -t / (2 + t) with t = e^(-2 |x|) - 1 = 2^n (e^r - 1) + (2^n - 1).
        """
        z = -abs(x)
        t = exp_minus_one(two * (tanh_least if z < tanh_least else z))  # NaN stays
        return math.copysign(t / (two + t), x)

    @part
    def sigmoid(x):
        """1 / (1 + e^-x), within 5 units in the last place; no overflow on either side."""
        z = -abs(x)
        root = exp_root(half * (exp_least if z < exp_least else z))
        small = root * root
        return (small if x < zero else one) / (one + small)

    @part
    def expm1(x):
        """e^x - 1 for x < 0, and else 0, within 2 units in the last place."""
        z = tanh_least if x < tanh_least else x
        return exp_minus_one(z if z < zero else zero)

    @alone
    def normal_tail(a):
        root = exp_root(-quarter * a * a)
        square = root * root
        return square * (n(a) / d(a)), square * peak

    @part
    def logistic_tail(a):
        """1 / (1 + e^u) with u = sqrt(8 / pi) (a + 0.044715 a^3)."""
        square = cubic * a * a
        tail = sigmoid(-a * (square + linear))
        return tail, (three * square + linear) * (tail * (one - tail))

    gelu, gelu_tanh = _gelu(c, normal_tail, alone), _gelu(c, logistic_tail, part)
    values[SCALED_TANH] = lambda function, x, option: amplitude * tanh(slope * x)
    values[TANH] = lambda function, x, option: tanh(x)
    values[SIGMOID] = lambda function, x, option: sigmoid(x)
    values[RELU] = lambda function, x, option: zero if x < zero else x
    values[LEAKY_RELU] = lambda function, x, option: x * option if x < zero else x
    values[ELU] = lambda function, x, option: option * expm1(x) if x < zero else x
    values[GELU] = lambda function, x, option: gelu(x)[0]
    values[GELU_TANH] = lambda function, x, option: gelu_tanh(x)[0]

    def scaled_tanh_slope(function, y, option):
        t = y * inverse
        return steepest * (one - t * t)

    def leaky_relu_slope(function, y, option):
        return one if y > zero else (option if y <= zero else y)

    slopes[SCALED_TANH] = scaled_tanh_slope
    slopes[TANH] = lambda function, y, option: one - y * y
    slopes[SIGMOID] = lambda function, y, option: y * (one - y)
    slopes[RELU] = slopes[LEAKY_RELU] = leaky_relu_slope
    slopes[ELU] = lambda function, y, option: one if y > zero else y + option
    slopes[GELU] = lambda function, y, option: gelu(y)[1]
    slopes[GELU_TANH] = lambda function, y, option: gelu_tanh(y)[1]
    return values, slopes


_FORMULAS = {"float32": _formulas(_Single), "float64": _formulas(_Double)}


def _value(function: int, x: Any, option: Any) -> Any:
    """Return the activation of a number; compiled code calls it with a literal function."""
    return _FORMULAS[x.dtype.name][0][function](function, x, option)


def _slope(function: int, y: Any, option: Any) -> Any:
    """Return the slope, from the output y; of GELU, from the input."""
    return _FORMULAS[y.dtype.name][1][function](function, y, option)


@overload(_value, prefer_literal=True, inline="always")
def _compiled_value(function, x, option):
    return _FORMULAS[x.name][0][function.literal_value]


@overload(_slope, prefer_literal=True, inline="always")
def _compiled_slope(function, y, option):
    return _FORMULAS[y.name][1][function.literal_value]


@once
def _activate(function, x, y, option):
    """Set y to the activation of x, which it may be; `function` is a literal."""
    for p in range(x.size):
        y[p] = _value(function, x[p], option)


@once
def _multiply_by_slope(function, squared, dy, y, dx, option):
    """Set dx, which dy may be, to f' dy, or to f'^2 dy; `function` and `squared` are literals."""
    zero, relu = y.dtype.type(0), function == RELU
    for p in range(y.size):
        slope = _slope(function, y[p], option)
        if relu:  # an infinite gradient is not to meet a zero
            dx[p] = dy[p] if slope > zero else slope
        else:
            dx[p] = (slope * slope if squared else slope) * dy[p]


# --- operations ---------------------------------------------------------------------------------


@functools.cache
def _kernels(name: str) -> Any:
    """Return the loops of an activation: forward, backward, Hessian; compiled when called."""
    function = ACTIVATION_NAMES[name]

    def forward(x, y, option):
        _activate(function, x, y, x.dtype.type(option))

    def backward(dy, y, dx, option):
        _multiply_by_slope(function, False, dy, y, dx, y.dtype.type(option))

    def hessian(hy, y, hx, option):
        _multiply_by_slope(function, True, hy, y, hx, y.dtype.type(option))

    loops: Any = (forward, backward, hessian)
    for each in loops:
        each.__qualname__ = f"{name}_{each.__name__}"
    return tuple(map(kernel, loops))


def activation(x, y, function, option):
    """Set y to the activation of x."""
    _kernels(function)[0](x, y, option)


def activation_backward(dy, seen, dx, function, option):
    """Set dx = f' dy; `seen` is the output, or with GELU the input."""
    _kernels(function)[1](dy, seen, dx, option)


def activation_hessian(hy, seen, hx, function, option):
    """Set hx = f'^2 hy."""
    _kernels(function)[2](hy, seen, hx, option)


# --- for the engines: in place ------------------------------------------------------------------


@part
def activate(step, y):
    """Replace y by its activation."""
    option = y.dtype.type(step.option)
    if step.activation == SCALED_TANH:
        _activate(SCALED_TANH, y, y, option)
    elif step.activation == TANH:
        _activate(TANH, y, y, option)
    elif step.activation == SIGMOID:
        _activate(SIGMOID, y, y, option)
    elif step.activation == RELU:
        _activate(RELU, y, y, option)
    elif step.activation == LEAKY_RELU:
        _activate(LEAKY_RELU, y, y, option)
    elif step.activation == ELU:
        _activate(ELU, y, y, option)
    elif step.activation == GELU:
        _activate(GELU, y, y, option)
    elif step.activation == GELU_TANH:
        _activate(GELU_TANH, y, y, option)


@part
def activate_back(step, squared, x, y, dx):
    """Multiply dx by f', or by f'^2, of y = f(x)."""
    option = y.dtype.type(step.option)
    for _ in range(2 if squared else 1):  # one loop for both: half as much to compile
        if step.activation == SCALED_TANH:
            _multiply_by_slope(SCALED_TANH, False, dx, y, dx, option)
        elif step.activation == TANH:
            _multiply_by_slope(TANH, False, dx, y, dx, option)
        elif step.activation == SIGMOID:
            _multiply_by_slope(SIGMOID, False, dx, y, dx, option)
        elif step.activation == RELU:
            _multiply_by_slope(RELU, False, dx, y, dx, option)
        elif step.activation == LEAKY_RELU:
            _multiply_by_slope(LEAKY_RELU, False, dx, y, dx, option)
        elif step.activation == ELU:
            _multiply_by_slope(ELU, False, dx, y, dx, option)
        elif step.activation == GELU:
            _multiply_by_slope(GELU, False, dx, x, dx, option)
        elif step.activation == GELU_TANH:
            _multiply_by_slope(GELU_TANH, False, dx, x, dx, option)
