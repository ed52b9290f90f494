# needs: nothing
#
# Activations on arrays laid out as one row; slopes are taken from the output.

from libc.math cimport NAN
from libc.string cimport memcpy

from lanes cimport (
    absolute_f32, absolute_f64, at_least_f32, at_least_f64, lane_count, lanes, lanes_f32, lanes_f64,
    power_of_two_f32, power_of_two_f64, quotient_f32, real, splat, splat_f32, splat_f64,
    where_negative_f32, where_negative_f64, with_sign_f32, with_sign_f64,
)
from program cimport NO_ACTIVATION, RELU, SCALED_TANH, SIGMOID, TANH, Activation, Step

cdef enum:
    DEGREE_F32 = 5
    DEGREE_F64 = 10

# (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2: minimax in the relative error of e^r - 1, which they
# reach within 0.005 of half a unit in the last place.
cdef float[6] EXPM1_F32 = [
    0.500000004466, 0.166666663671, 0.0416663586001, 0.00833338979711, 0.00139408232237,
    0.000198458941785,
]
cdef double[11] EXPM1_F64 = [
    0.50000000000000000087, 0.16666666666666676696, 0.041666666666666505741,
    0.0083333333333215136885, 0.0013888888888963504538, 0.00019841269886477197704,
    0.000024801587171038972342, 2.7557243804283535217e-6, 2.7557403299093797548e-7,
    2.5109195085198882982e-8, 2.0875317653080347264e-9,
]

# ln 2 in two parts: n times the first is exact for every n that occurs.
cdef double LN2_HIGH_F32 = 0.693359375
cdef double LN2_LOW_F32 = -2.12194440e-4
cdef double LN2_HIGH_F64 = 6.93147180369123816490e-01
cdef double LN2_LOW_F64 = 1.90821492927058770002e-10
cdef double LOG2_E = 1.4426950408889634

# 1998, appendix A.
cdef double AMPLITUDE = 1.7159
cdef double SLOPE = 2.0 / 3.0


cdef inline lanes exp_minus_one(lanes z, lanes *power) noexcept nogil:
    """Return e^z = power * (1 + it), for the z <= 0 that are not below -80 (float) or -700.

    z = n ln 2 + r; power is 2^n, and what is returned is e^r - 1.
    """
    cdef lanes k, n, r, q
    cdef Py_ssize_t i
    if lanes is lanes_f32:
        k = z * splat_f32(<float> LOG2_E) + splat_f32(12582912)  # 1.5 * 2^23 rounds to an integer
        n = k - splat_f32(12582912)
        r = (z - n * splat_f32(<float> LN2_HIGH_F32)) - n * splat_f32(<float> LN2_LOW_F32)
        q = splat_f32(EXPM1_F32[DEGREE_F32])
        for i in range(DEGREE_F32 - 1, -1, -1):
            q = q * r + splat_f32(EXPM1_F32[i])
        power[0] = power_of_two_f32(k)
    else:
        k = z * splat_f64(LOG2_E) + splat_f64(6755399441055744)  # 1.5 * 2^52
        n = k - splat_f64(6755399441055744)
        r = (z - n * splat_f64(LN2_HIGH_F64)) - n * splat_f64(LN2_LOW_F64)
        q = splat_f64(EXPM1_F64[DEGREE_F64])
        for i in range(DEGREE_F64 - 1, -1, -1):
            q = q * r + splat_f64(EXPM1_F64[i])
        power[0] = power_of_two_f64(k)
    return r * r * q + r


cdef inline lanes tanh_lanes(lanes x) noexcept nogil:
    """tanh, within 3 units in the last place.

    tanh |x| = -t / (2 + t) with t = e^(-2 |x|) - 1 = 2^n (e^r - 1) + (2^n - 1), which cancels
    nothing.
    """
    cdef lanes t, power
    if lanes is lanes_f32:
        # Beyond 20, tanh is 1.
        t = exp_minus_one(at_least_f32(absolute_f32(x) * splat_f32(-2), splat_f32(-40)), &power)
        t = power * t + (power - splat_f32(1))
        return with_sign_f32(quotient_f32(t, splat_f32(2) + t), x)
    else:
        t = exp_minus_one(at_least_f64(absolute_f64(x) * splat_f64(-2), splat_f64(-80)), &power)
        t = power * t + (power - splat_f64(1))
        return with_sign_f64(t / (splat_f64(2) + t), x)


cdef inline lanes sigmoid_lanes(lanes x) noexcept nogil:
    """1 / (1 + e^-x), within 5 units in the last place.

    With e = e^-|x| it is 1 / (1 + e), or e / (1 + e) on the left. The square of e^(-|x| / 2)
    reaches the numbers next to zero, for which 2^n alone would be too small.
    """
    cdef lanes t, power, root, small, one
    if lanes is lanes_f32:
        one = splat_f32(1)
        t = exp_minus_one(at_least_f32(absolute_f32(x) * splat_f32(-0.5), splat_f32(-60)), &power)
        root = power * t + power
        small = root * root
        return quotient_f32(where_negative_f32(x, small, one), one + small)
    else:
        one = splat_f64(1)
        t = exp_minus_one(at_least_f64(absolute_f64(x) * splat_f64(-0.5), splat_f64(-400)), &power)
        root = power * t + power
        small = root * root
        return where_negative_f64(x, small, one) / (one + small)


cdef inline lanes curve(lanes x, bint sigmoid, lanes slope, lanes amplitude) noexcept nogil:
    if sigmoid:
        return sigmoid_lanes(x)
    return amplitude * tanh_lanes(slope * x)


cdef void curve_row(
    const lanes *x, Py_ssize_t size, lanes *y, bint sigmoid, double slope, double amplitude
) noexcept nogil:
    """Set y to amplitude * tanh(slope * x), or to the sigmoid of x, a vector at a time."""
    cdef Py_ssize_t vectors = size // lane_count(y), p
    cdef size_t rest = size * sizeof(lanes) // lane_count(y) - vectors * sizeof(lanes)
    cdef lanes a = splat(y, slope), b = splat(y, amplitude), last = a
    for p in range(vectors):
        y[p] = curve(x[p], sigmoid, a, b)
    if rest:
        memcpy(&last, x + vectors, rest)
        last = curve(last, sigmoid, a, b)
        memcpy(y + vectors, &last, rest)


cdef inline void curve_row_of(
    const real *x, Py_ssize_t size, real *y, bint sigmoid, double slope, double amplitude
) noexcept nogil:
    if real is float:
        curve_row(<const lanes_f32 *> x, size, <lanes_f32 *> y, sigmoid, slope, amplitude)
    else:
        curve_row(<const lanes_f64 *> x, size, <lanes_f64 *> y, sigmoid, slope, amplitude)


cdef void activate(const Step *step, const real *x, Py_ssize_t size, real *y) noexcept nogil:
    """Set y to the activation of x, which it may be."""
    cdef Py_ssize_t i
    if step.activation == SCALED_TANH:
        curve_row_of(x, size, y, False, SLOPE, AMPLITUDE)
    elif step.activation == TANH:
        curve_row_of(x, size, y, False, 1, 1)
    elif step.activation == SIGMOID:
        curve_row_of(x, size, y, True, 1, 1)
    elif step.activation == RELU:
        for i in range(size):
            y[i] = 0 if x[i] < 0 else x[i]


cdef inline void slope_row(
    Activation function, bint squared, const real *dy, const real *y, Py_ssize_t size, real *dx
) noexcept nogil:
    """`function` and `squared` are literals where this is called."""
    cdef Py_ssize_t i
    cdef real t, slope = 0, a = <real> (1 / AMPLITUDE), b = <real> (AMPLITUDE * SLOPE)
    for i in range(size):
        if function == SCALED_TANH:
            t = y[i] * a
            slope = b * (1 - t * t)
        elif function == TANH:
            slope = 1 - y[i] * y[i]
        elif function == SIGMOID:
            slope = y[i] * (1 - y[i])
        dx[i] = (slope * slope if squared else slope) * dy[i]


cdef inline lanes sloped(Activation function, lanes dy, lanes y) noexcept nogil:
    """f' dy, the slope taken from y = f(x); `function` is a literal where this is called."""
    cdef lanes *_ = NULL
    cdef lanes one = splat(_, 1), t
    if function == SCALED_TANH:
        t = y * splat(_, 1 / AMPLITUDE)
        return splat(_, AMPLITUDE * SLOPE) * (one - t * t) * dy
    elif function == TANH:
        return (one - y * y) * dy
    elif function == SIGMOID:
        return y * (one - y) * dy
    elif function == NO_ACTIVATION:
        return dy
    return splat(_, NAN)  # check_steps has refused what is unknown


cdef void activate_back(
    const Step *step, bint squared, const real *dy, const real *y, Py_ssize_t size, real *dx
) noexcept nogil:
    """Set dx, which dy may be, to f' dy, or to f'^2 dy; the slope is taken from y = f(x)."""
    cdef Py_ssize_t i
    if step.activation == RELU:  # a NaN in y stays one
        for i in range(size):
            dx[i] = dy[i] if y[i] > 0 else (0 if y[i] <= 0 else y[i])
    elif step.activation == SCALED_TANH and squared:
        slope_row(SCALED_TANH, True, dy, y, size, dx)
    elif step.activation == SCALED_TANH:
        slope_row(SCALED_TANH, False, dy, y, size, dx)
    elif step.activation == TANH and squared:
        slope_row(TANH, True, dy, y, size, dx)
    elif step.activation == TANH:
        slope_row(TANH, False, dy, y, size, dx)
    elif step.activation == SIGMOID and squared:
        slope_row(SIGMOID, True, dy, y, size, dx)
    elif step.activation == SIGMOID:
        slope_row(SIGMOID, False, dy, y, size, dx)


cdef inline void activate_all(
    Activation function, const real[::1] x, real[::1] y
) noexcept nogil:
    cdef Step step
    step.activation = function
    if x.shape[0]:  # else there is no first element to point to
        activate[real](&step, &x[0], x.shape[0], &y[0])


cdef inline void activate_back_all(
    Activation function, bint squared, const real[::1] dy, const real[::1] y, real[::1] dx
) noexcept nogil:
    cdef Step step
    step.activation = function
    if y.shape[0]:
        activate_back[real](&step, squared, &dy[0], &y[0], y.shape[0], &dx[0])


def scaled_tanh(const real[::1] x, real[::1] y):
    """Set y = 1.7159 tanh(2 x / 3)."""
    assert x.shape[0] == y.shape[0]
    with nogil:
        activate_all(SCALED_TANH, x, y)


def scaled_tanh_backward(const real[::1] dy, const real[::1] y, real[::1] dx):
    """Set dx = f' dy."""
    with nogil:
        activate_back_all(SCALED_TANH, False, dy, y, dx)


def scaled_tanh_hessian(const real[::1] hy, const real[::1] y, real[::1] hx):
    """Set hx = f'^2 hy."""
    with nogil:
        activate_back_all(SCALED_TANH, True, hy, y, hx)


def tanh(const real[::1] x, real[::1] y):
    """Set y = tanh(x)."""
    assert x.shape[0] == y.shape[0]
    with nogil:
        activate_all(TANH, x, y)


def tanh_backward(const real[::1] dy, const real[::1] y, real[::1] dx):
    """Set dx = f' dy."""
    with nogil:
        activate_back_all(TANH, False, dy, y, dx)


def tanh_hessian(const real[::1] hy, const real[::1] y, real[::1] hx):
    """Set hx = f'^2 hy."""
    with nogil:
        activate_back_all(TANH, True, hy, y, hx)


def sigmoid(const real[::1] x, real[::1] y):
    """Set y = 1 / (1 + exp(-x)), without overflow on either side."""
    assert x.shape[0] == y.shape[0]
    with nogil:
        activate_all(SIGMOID, x, y)


def sigmoid_backward(const real[::1] dy, const real[::1] y, real[::1] dx):
    """Set dx = f' dy."""
    with nogil:
        activate_back_all(SIGMOID, False, dy, y, dx)


def sigmoid_hessian(const real[::1] hy, const real[::1] y, real[::1] hx):
    """Set hx = f'^2 hy."""
    with nogil:
        activate_back_all(SIGMOID, True, hy, y, hx)


def relu(const real[::1] x, real[::1] y):
    """Set y = max(x, 0); NaN stays."""
    assert x.shape[0] == y.shape[0]
    with nogil:
        activate_all(RELU, x, y)


def relu_backward(const real[::1] dy, const real[::1] y, real[::1] dx):
    """Set dx = f' dy."""
    with nogil:
        activate_back_all(RELU, False, dy, y, dx)


def relu_hessian(const real[::1] hy, const real[::1] y, real[::1] hx):
    """Set hx = f'^2 hy."""
    with nogil:
        activate_back_all(RELU, True, hy, y, hx)
