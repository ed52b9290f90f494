# needs: nothing
#
# Activations on arrays laid out as one row. Slopes are taken from the output, those of GELU from
# the input.
#
# docs/developing.rst lists what a new one needs.

from libc.math cimport NAN
from libc.string cimport memcpy

from vectors cimport (
    CURVE_VECTORS, absolute, at_least, lane_count, lanes, lanes_f32, lanes_f64, power_of_two_f32,
    power_of_two_f64, real, splat, splat_f32, splat_f64, where_negative, with_sign,
)
from program cimport (
    ELU, GELU, GELU_TANH, LEAKY_RELU, NO_ACTIVATION, RELU, SCALED_TANH, SIGMOID, TANH, Activation,
    Step,
)

# What activate() and activate_back() know, by name, and sloped().
cdef dict ACTIVATION_NAMES = {
    "scaled_tanh": SCALED_TANH, "tanh": TANH, "sigmoid": SIGMOID, "relu": RELU,
    "leaky_relu": LEAKY_RELU, "elu": ELU, "gelu": GELU, "gelu_tanh": GELU_TANH,
}
cdef tuple ACTIVATIONS = tuple(ACTIVATION_NAMES.values())
cdef tuple SLOPED = (NO_ACTIVATION, SCALED_TANH, TANH, SIGMOID)

cdef enum:
    DEGREE_F32 = 5
    DEGREE_F64 = 10
    FAR_F32 = -15  # from here on, GELU's gate is 0
    FAR_F64 = -40

# (2^r - 1) / r - 1 on |r| <= 1/2: without the 1, less is lost in rounding. Minimax in the relative
# error of 2^r - 1, which is 0.2 of half a unit in the last place; those of float32 were then chosen
# among their neighbours, so that tanh is never wrong by more than 3 units.
cdef float[6] POWER_F32 = [
    -0.3068528175, 0.2402264625, 0.05550364032, 0.009618237615, 0.00133910263, 0.0001543280669,
]
cdef double[11] POWER_F64 = [
    -0.30685281944005468879, 0.24022650695910097894, 0.055504108664821235884,
    0.0096181291076070637334, 0.0013333558146531797367, 0.00015403530441483287602,
    0.000015252733701055642806, 1.3215442722797012868e-6, 1.0178121363590149623e-7,
    7.0725619688983660351e-9, 4.445527956326519086e-10,
]

# ln 2 in two parts: n times the first is exact for every n that occurs.
cdef double LN2_HIGH_F32 = 0.693359375
cdef double LN2_LOW_F32 = -2.12194440e-4
cdef double LN2_HIGH_F64 = 6.93147180369123816490e-01
cdef double LN2_LOW_F64 = 1.90821492927058770002e-10
cdef double LOG2_E = 1.4426950408889634

# Phi(-a) e^(a^2 / 2), the share of the normal distribution beyond a over e^(-a^2 / 2), is
# N(a) / D(a) on 0 <= a <= 15 and 40: with a relative error of 6.3e-9 and 5.4e-17, a tenth and a
# quarter of a unit in the last place. All coefficients are positive: nothing cancels.
cdef enum:
    TAIL_F32 = 5
    TAIL_F64 = 10

cdef float[5] TAIL_N_F32 = [
    0.50000000314836, 0.43927938408414, 0.18396604422478, 0.040880057557064, 0.0041530635881024,
]
cdef float[6] TAIL_D_F32 = [
    1, 1.6764437749492, 1.2055356370270, 0.47140050764639, 0.10247722562559, 0.010410074931923,
]
cdef double[10] TAIL_N_F64 = [
    0.49999999999999997304, 0.775496538528311104, 0.59494907074800551125, 0.28997794367501526578,
    0.097989191543401117224, 0.023711038861093683728, 0.0041081484771182782743,
    0.00049314321948940276358, 0.000037501936669214744807, 1.3967462408535559098e-6,
]
cdef double[11] TAIL_D_F64 = [
    1, 2.348877637859476946, 2.5640313439595300241, 1.7172796114436327487, 0.78386466717474573511,
    0.25573206116144728273, 0.060663885326209686592, 0.010391604533358006921,
    0.001239627861220964638, 0.000094003414806501087768, 3.5011236198174915159e-6,
]

cdef double INVERSE_SQRT_2_PI = 0.39894228040143267794
cdef double LINEAR = 1.5957691216057307117  # sqrt(8 / pi)
cdef double CUBIC = LINEAR * 0.044715

# 1998, appendix A.
cdef double AMPLITUDE = 1.7159
cdef double SLOPE = 2.0 / 3.0


cdef inline lanes rounding(lanes *_) noexcept nogil:
    """1.5 * 2^23, or 2^52: the sum with a number near zero ends in the nearest integer."""
    return splat(_, 1.5 * 2.0**23 if lanes is lanes_f32 else 1.5 * 2.0**52)


cdef inline void octaves(Py_ssize_t count, lanes *z, lanes *power) noexcept nogil:
    """Let z become r, with 2^z = 2^(n + r), and power n in its last bits.

    `count` vectors go through each operation together, here and in the functions below: each
    operation waits for the one before, and a core does not look far enough ahead to begin the next
    vector meanwhile.
    """
    cdef Py_ssize_t j
    for j in range(count):
        power[j] = z[j] + rounding(z)
    for j in range(count):
        z[j] = z[j] - (power[j] - rounding(z))


cdef inline void octaves_of_exponent(Py_ssize_t count, lanes *z, lanes *power) noexcept nogil:
    """The same for e^z, from parts of ln 2: a large z, rounded to octaves at once, would lose many
    units in the last place of the result."""
    cdef lanes n[CURVE_VECTORS]
    cdef lanes high, low
    cdef Py_ssize_t j
    if lanes is lanes_f32:
        high, low = splat_f32(<float> LN2_HIGH_F32), splat_f32(<float> LN2_LOW_F32)
    else:
        high, low = splat_f64(LN2_HIGH_F64), splat_f64(LN2_LOW_F64)
    for j in range(count):
        power[j] = z[j] * splat(z, LOG2_E) + rounding(z)
    for j in range(count):
        n[j] = power[j] - rounding(z)
    for j in range(count):
        z[j] = z[j] - n[j] * high
    for j in range(count):
        z[j] = (z[j] - n[j] * low) * splat(z, LOG2_E)


cdef inline void power_minus_one(Py_ssize_t count, lanes *z, lanes *power) noexcept nogil:
    """Let power become 2^n, and z 2^r - 1, for the n not below -120 (float) or -1000."""
    cdef lanes q[CURVE_VECTORS]
    cdef Py_ssize_t i, j
    if lanes is lanes_f32:
        for j in range(count):
            q[j] = splat_f32(POWER_F32[DEGREE_F32])
        for i in range(DEGREE_F32 - 1, -1, -1):
            for j in range(count):
                q[j] = q[j] * z[j] + splat_f32(POWER_F32[i])
        for j in range(count):
            power[j] = power_of_two_f32(power[j])
    else:
        for j in range(count):
            q[j] = splat_f64(POWER_F64[DEGREE_F64])
        for i in range(DEGREE_F64 - 1, -1, -1):
            for j in range(count):
                q[j] = q[j] * z[j] + splat_f64(POWER_F64[i])
        for j in range(count):
            power[j] = power_of_two_f64(power[j])
    for j in range(count):
        z[j] = z[j] * q[j] + z[j]


cdef inline void tanh_lanes(Py_ssize_t count, lanes *x, lanes a, lanes b) noexcept nogil:
    """b tanh(a x) for positive a and b; tanh is within 3 units in the last place.

    tanh |x| = -t / (2 + t) with t = e^(-2 |x|) - 1 = 2^n (2^r - 1) + (2^n - 1), which cancels
    nothing. Beyond 20, tanh is 1.
    """
    cdef lanes t[CURVE_VECTORS]
    cdef lanes power[CURVE_VECTORS]
    cdef lanes *_ = NULL
    cdef lanes one = splat(_, 1), two = splat(_, 2), factor = splat(_, -2 * LOG2_E) * a
    cdef Py_ssize_t j
    for j in range(count):
        t[j] = at_least(absolute(x[j]) * factor, -60 if lanes is lanes_f32 else -120)
    octaves(count, t, power)
    power_minus_one(count, t, power)
    for j in range(count):
        t[j] = power[j] * t[j] + (power[j] - one)
    for j in range(count):
        x[j] = b * with_sign(t[j] / (two + t[j]), x[j])


cdef inline void sigmoid_lanes(Py_ssize_t count, lanes *x) noexcept nogil:
    """1 / (1 + e^-x), within 5 units in the last place.

    With e = e^-|x| it is 1 / (1 + e), or e / (1 + e) on the left. The square of e^(-|x| / 2)
    reaches the numbers next to zero, for which 2^n alone would be too small.
    """
    cdef lanes e[CURVE_VECTORS]
    cdef lanes power[CURVE_VECTORS]
    cdef lanes *_ = NULL
    cdef lanes one = splat(_, 1)
    cdef Py_ssize_t j
    for j in range(count):
        e[j] = at_least(absolute(x[j]) * splat(_, -0.5), -60 if lanes is lanes_f32 else -400)
    octaves_of_exponent(count, e, power)
    power_minus_one(count, e, power)
    for j in range(count):
        e[j] = power[j] * e[j] + power[j]
    for j in range(count):
        e[j] = e[j] * e[j]
    for j in range(count):
        x[j] = where_negative(x[j], e[j], one) / (one + e[j])


cdef inline void elu_lanes(Py_ssize_t count, lanes *x, lanes alpha) noexcept nogil:
    """x, or alpha (e^x - 1) on the left, within 4 units in the last place.

    e^x - 1 = 2^n (2^r - 1) + (2^n - 1), which cancels nothing. Below -20 (float), it is -1.
    """
    cdef lanes t[CURVE_VECTORS]
    cdef lanes power[CURVE_VECTORS]
    cdef lanes *_ = NULL
    cdef lanes one = splat(_, 1), zero = splat(_, 0), log2_e = splat(_, LOG2_E)
    cdef Py_ssize_t j
    for j in range(count):
        t[j] = where_negative(x[j], x[j], zero) * log2_e
        t[j] = at_least(t[j], -30 if lanes is lanes_f32 else -60)
    octaves(count, t, power)
    power_minus_one(count, t, power)
    for j in range(count):
        x[j] = where_negative(x[j], alpha * (power[j] * t[j] + (power[j] - one)), x[j])


cdef inline lanes normal_tail(lanes a, lanes *density) noexcept nogil:
    """Phi(-a), the normal distribution function, for 0 <= a <= 15 (float) or 40; set the density.

    It is e^(-a^2 / 2) N(a) / D(a). The square of e^(-a^2 / 4) reaches the numbers next to zero, for
    which 2^n alone would be too small.
    """
    cdef lanes *_ = NULL
    cdef lanes n, d, root, power
    cdef Py_ssize_t i
    if lanes is lanes_f32:
        n = splat_f32(TAIL_N_F32[TAIL_F32 - 1])
        d = splat_f32(TAIL_D_F32[TAIL_F32])
        for i in range(TAIL_F32 - 1, 0, -1):
            n = n * a + splat_f32(TAIL_N_F32[i - 1])
            d = d * a + splat_f32(TAIL_D_F32[i])
        n = n / (d * a + splat_f32(TAIL_D_F32[0]))
    else:
        n = splat_f64(TAIL_N_F64[TAIL_F64 - 1])
        d = splat_f64(TAIL_D_F64[TAIL_F64])
        for i in range(TAIL_F64 - 1, 0, -1):
            n = n * a + splat_f64(TAIL_N_F64[i - 1])
            d = d * a + splat_f64(TAIL_D_F64[i])
        n = n / (d * a + splat_f64(TAIL_D_F64[0]))
    root = a * a * splat(_, -0.25 * LOG2_E)
    octaves(1, &root, &power)
    power_minus_one(1, &root, &power)
    root = power * root + power
    density[0] = root * root * splat(_, INVERSE_SQRT_2_PI)
    return root * root * n


cdef inline lanes logistic_tail(lanes a, lanes *density) noexcept nogil:
    """1 / (1 + e^u) with u = sqrt(8 / pi) (a + 0.044715 a^3), in the place of normal_tail."""
    cdef lanes *_ = NULL
    cdef lanes square = splat(_, CUBIC) * a * a
    cdef lanes tail = splat(_, -1) * a * (square + splat(_, LINEAR))
    sigmoid_lanes(1, &tail)
    density[0] = (splat(_, 3) * square + splat(_, LINEAR)) * (tail * (splat(_, 1) - tail))
    return tail


cdef inline lanes gelu_gate(
    Activation function, lanes x, lanes *near, lanes *density
) noexcept nogil:
    """What GELU multiplies x with. Set its derivative, and `near` to x or the end that it lies
    beyond: beyond -15 and 15 (float), or -40 and 40, the gate is 0 or 1."""
    cdef lanes *_ = NULL
    cdef lanes tail = splat(_, NAN)
    cdef lanes a = absolute(x) * splat(_, -1)
    a = absolute(at_least(a, FAR_F32 if lanes is lanes_f32 else FAR_F64))
    near[0] = with_sign(a, x)
    if function == GELU:
        tail = normal_tail(a, density)
    elif function == GELU_TANH:
        tail = logistic_tail(a, density)
    return where_negative(x, tail, splat(_, 1) - tail)


cdef inline lanes gelu_lanes(Activation function, lanes x) noexcept nogil:
    """x Phi(x), within 5 units in the last place, and 5 (1 + x^2) on the left of zero."""
    cdef lanes near, density, gate = gelu_gate(function, x, &near, &density)
    # Minus infinity is not to meet the gate's zero.
    return at_least(x, FAR_F32 if lanes is lanes_f32 else FAR_F64) * gate


cdef inline lanes gelu_slope(Activation function, lanes x) noexcept nogil:
    cdef lanes near, density, gate = gelu_gate(function, x, &near, &density)
    return near * density + gate


cdef inline void curve(
    Activation function, Py_ssize_t count, const lanes *x, lanes *y, lanes a, lanes b
) noexcept nogil:
    """Set some vectors to the activation of others; of the tanhs, b tanh(a x); of ELU, a is alpha.
    `function` and `count` are literals where this is called."""
    cdef lanes made[CURVE_VECTORS]
    cdef Py_ssize_t j
    for j in range(count):
        made[j] = x[j]
    if function == SIGMOID:
        sigmoid_lanes(count, made)
    elif function == SCALED_TANH or function == TANH:
        tanh_lanes(count, made, a, b)
    elif function == ELU:
        elu_lanes(count, made, a)
    else:
        for j in range(count):
            made[j] = gelu_lanes(function, made[j])
    for j in range(count):
        y[j] = made[j]


cdef inline void curve_row(
    Activation function, const lanes *x, Py_ssize_t size, lanes *y, double a, double b
) noexcept nogil:
    """Set y to the activation of x; `function` is a literal."""
    cdef Py_ssize_t vectors = size // lane_count(y), p = 0
    cdef size_t rest = size * sizeof(lanes) // lane_count(y) - vectors * sizeof(lanes)
    cdef lanes u = splat(y, a), v = splat(y, b), last = u
    while p + CURVE_VECTORS <= vectors:
        curve(function, CURVE_VECTORS, x + p, y + p, u, v)
        p += CURVE_VECTORS
    while p < vectors:
        curve(function, 1, x + p, y + p, u, v)
        p += 1
    if rest:
        memcpy(&last, x + vectors, rest)
        curve(function, 1, &last, &last, u, v)
        memcpy(y + vectors, &last, rest)


cdef inline void curve_row_of(
    Activation function, const real *x, Py_ssize_t size, real *y, double a, double b
) noexcept nogil:
    if real is float:
        curve_row(function, <const lanes_f32 *> x, size, <lanes_f32 *> y, a, b)
    else:
        curve_row(function, <const lanes_f64 *> x, size, <lanes_f64 *> y, a, b)


cdef void activate(const Step *step, const real *x, Py_ssize_t size, real *y) noexcept nogil:
    """Set y to the activation of x, which it may be."""
    cdef Py_ssize_t i
    cdef real slope = <real> step.option
    if step.activation == SCALED_TANH:
        curve_row_of(SCALED_TANH, x, size, y, SLOPE, AMPLITUDE)
    elif step.activation == TANH:
        curve_row_of(TANH, x, size, y, 1, 1)
    elif step.activation == SIGMOID:
        curve_row_of(SIGMOID, x, size, y, 1, 1)
    elif step.activation == RELU:
        for i in range(size):
            y[i] = 0 if x[i] < 0 else x[i]
    elif step.activation == LEAKY_RELU:
        for i in range(size):
            y[i] = x[i] * slope if x[i] < 0 else x[i]
    elif step.activation == ELU:
        curve_row_of(ELU, x, size, y, step.option, 1)
    elif step.activation == GELU:
        curve_row_of(GELU, x, size, y, 1, 1)
    elif step.activation == GELU_TANH:
        curve_row_of(GELU_TANH, x, size, y, 1, 1)


cdef inline void slope_row(
    Activation function, bint squared, double option, const real *dy, const real *y,
    Py_ssize_t size, real *dx,
) noexcept nogil:
    """`function` and `squared` are literals where this is called. A NaN in y stays one."""
    cdef Py_ssize_t i
    cdef real t, slope = 0, a = <real> (1 / AMPLITUDE), b = <real> (AMPLITUDE * SLOPE)
    cdef real c = <real> option
    cdef real one = 1  # a literal would be a double, and with it the whole product
    for i in range(size):
        if function == SCALED_TANH:
            t = y[i] * a
            slope = b * (one - t * t)
        elif function == TANH:
            slope = one - y[i] * y[i]
        elif function == SIGMOID:
            slope = y[i] * (one - y[i])
        elif function == LEAKY_RELU:
            slope = 1 if y[i] > 0 else (c if y[i] <= 0 else y[i])
        elif function == ELU:
            slope = 1 if y[i] > 0 else y[i] + c
        dx[i] = (slope * slope if squared else slope) * dy[i]


cdef inline lanes gelu_share(
    Activation function, bint squared, lanes dy, lanes x
) noexcept nogil:
    cdef lanes slope = gelu_slope(function, x)
    return (slope * slope if squared else slope) * dy


cdef inline void gelu_slope_row(
    Activation function, bint squared, const lanes *dy, const lanes *x, Py_ssize_t size, lanes *dx
) noexcept nogil:
    """As slope_row, but the slope is taken from the input."""
    cdef Py_ssize_t vectors = size // lane_count(x), p
    cdef size_t rest = size * sizeof(lanes) // lane_count(x) - vectors * sizeof(lanes)
    cdef lanes seen = splat(dx, 0), share = seen
    for p in range(vectors):
        dx[p] = gelu_share(function, squared, dy[p], x[p])
    if rest:
        memcpy(&seen, x + vectors, rest)
        memcpy(&share, dy + vectors, rest)
        share = gelu_share(function, squared, share, seen)
        memcpy(dx + vectors, &share, rest)


cdef inline void gelu_slope_row_of(
    Activation function, bint squared, const real *dy, const real *x, Py_ssize_t size, real *dx
) noexcept nogil:
    if real is float:
        gelu_slope_row(
            function, squared, <const lanes_f32 *> dy, <const lanes_f32 *> x, size,
            <lanes_f32 *> dx,
        )
    else:
        gelu_slope_row(
            function, squared, <const lanes_f64 *> dy, <const lanes_f64 *> x, size,
            <lanes_f64 *> dx,
        )


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


cdef inline void all_slopes(
    const Step *step, bint squared, const real *dy, const real *x, const real *y, Py_ssize_t size,
    real *dx,
) noexcept nogil:
    """`squared` is a literal where this is called."""
    cdef Py_ssize_t i
    if step.activation == RELU:  # a NaN in y stays one
        for i in range(size):
            dx[i] = dy[i] if y[i] > 0 else (0 if y[i] <= 0 else y[i])
    elif step.activation == SCALED_TANH:
        slope_row(SCALED_TANH, squared, 0, dy, y, size, dx)
    elif step.activation == TANH:
        slope_row(TANH, squared, 0, dy, y, size, dx)
    elif step.activation == SIGMOID:
        slope_row(SIGMOID, squared, 0, dy, y, size, dx)
    elif step.activation == LEAKY_RELU:
        slope_row(LEAKY_RELU, squared, step.option, dy, y, size, dx)
    elif step.activation == ELU:
        slope_row(ELU, squared, step.option, dy, y, size, dx)
    elif step.activation == GELU:
        gelu_slope_row_of(GELU, squared, dy, x, size, dx)
    elif step.activation == GELU_TANH:
        gelu_slope_row_of(GELU_TANH, squared, dy, x, size, dx)


cdef void activate_back(
    const Step *step, bint squared, const real *dy, const real *x, const real *y, Py_ssize_t size,
    real *dx,
) noexcept nogil:
    """Set dx, which dy may be, to f' dy, or to f'^2 dy, of y = f(x)."""
    if squared:
        all_slopes(step, True, dy, x, y, size, dx)
    else:
        all_slopes(step, False, dy, x, y, size, dx)


# --- operations ---


def activation(const real[::1] x, real[::1] y, str function, double option):
    """Set y to the activation of x."""
    cdef Step step
    assert x.shape[0] == y.shape[0]
    step.activation, step.option = ACTIVATION_NAMES[function], option
    if x.shape[0]:  # else there is no first element to point to
        with nogil:
            activate[real](&step, &x[0], x.shape[0], &y[0])


cdef inline void multiply_by_slope(
    str function, double option, bint squared, const real[::1] dy, const real[::1] seen,
    real[::1] dx,
):
    cdef Step step
    step.activation, step.option = ACTIVATION_NAMES[function], option
    if seen.shape[0]:
        with nogil:
            activate_back[real](
                &step, squared, &dy[0], &seen[0], &seen[0], seen.shape[0], &dx[0]
            )


def activation_backward(
    const real[::1] dy, const real[::1] seen, real[::1] dx, str function, double option
):
    """Set dx = f' dy; `seen` is the output, or with GELU the input."""
    multiply_by_slope(function, option, False, dy, seen, dx)


def activation_hessian(
    const real[::1] hy, const real[::1] seen, real[::1] hx, str function, double option
):
    """Set hx = f'^2 hy."""
    multiply_by_slope(function, option, True, hy, seen, hx)
