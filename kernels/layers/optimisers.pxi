# needs: nothing
#
# The update rules. Only `optimise` and `fused` distinguish them.

from libc.math cimport pow, sqrt, sqrtf

from vectors cimport real
from program cimport ADADELTA, ADAM, ADAMW, NO_RULE, RMSPROP, SGD, Update

cdef tuple RULES = (NO_RULE, SGD, ADAMW, ADAM, RMSPROP, ADADELTA)


cdef inline bint fused(const Update *update) noexcept nogil:
    """Whether a weight can be changed as soon as its gradient is known."""
    return update.rule == SGD and not update.nesterov


cdef inline void sgd_row(
    bint heavy, bint nesterov, bint own_rates, const Update *update, const real *gradient,
    Py_ssize_t count, real *w, real *velocity, const real *factors,
) noexcept nogil:
    """The first three are literals where this is called."""
    cdef real rate = <real> update.rate, momentum = <real> update.momentum
    cdef real decay = <real> update.weight_decay, change
    cdef Py_ssize_t i
    for i in range(count):
        change = gradient[i] + decay * w[i]
        if heavy:
            velocity[i] = momentum * velocity[i] + change
            change = change + momentum * velocity[i] if nesterov else velocity[i]
        w[i] -= rate * (factors[i] * change if own_rates else change)


cdef void sgd(
    const Update *update, const real *gradient, Py_ssize_t count, real *w, real *velocity,
    const real *factors,
) noexcept nogil:
    """Stochastic gradient descent: see lenet_fast.training.SGD."""
    if velocity == NULL and factors == NULL:
        sgd_row(False, False, False, update, gradient, count, w, velocity, factors)
    elif velocity == NULL:
        sgd_row(False, False, True, update, gradient, count, w, velocity, factors)
    elif factors == NULL and not update.nesterov:
        sgd_row(True, False, False, update, gradient, count, w, velocity, factors)
    elif factors == NULL:
        sgd_row(True, True, False, update, gradient, count, w, velocity, factors)
    else:
        sgd_row(True, update.nesterov, True, update, gradient, count, w, velocity, factors)


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline void adam_row(
    bint decoupled, const Update *update, long long number, const real *gradient,
    Py_ssize_t count, real *w, real *first, real *second, const real *factors,
) noexcept nogil:
    """`decoupled` is a literal where this is called."""
    cdef real rate = <real> update.rate, decay = <real> update.weight_decay, change, g
    cdef real beta1 = <real> update.beta1, beta2 = <real> update.beta2
    cdef real rest1 = <real> (1 - update.beta1), rest2 = <real> (1 - update.beta2)
    cdef real epsilon = <real> update.epsilon
    cdef real first_scale = <real> (1 / (1 - pow(update.beta1, <double> number)))
    cdef real second_scale = <real> (1 / (1 - pow(update.beta2, <double> number)))
    cdef Py_ssize_t i
    for i in range(count):
        g = gradient[i]
        if not decoupled:
            g = g + decay * w[i]
        first[i] = beta1 * first[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        change = first_scale * first[i] / (root(second_scale * second[i]) + epsilon)
        if decoupled:
            change += decay * w[i]
        if factors != NULL:
            change *= factors[i]
        w[i] -= rate * change


cdef void adam(
    const Update *update, long long number, const real *gradient, Py_ssize_t count, real *w,
    real *first, real *second, const real *factors,
) noexcept nogil:
    """Step `number`, counted from 1: see lenet_fast.training.Adam."""
    adam_row(False, update, number, gradient, count, w, first, second, factors)


cdef void adamw(
    const Update *update, long long number, const real *gradient, Py_ssize_t count, real *w,
    real *first, real *second, const real *factors,
) noexcept nogil:
    """Step `number`, counted from 1: see lenet_fast.training.AdamW."""
    adam_row(True, update, number, gradient, count, w, first, second, factors)


cdef inline void rmsprop_row(
    bint heavy, bint centered, const Update *update, const real *gradient, Py_ssize_t count,
    real *w, real *squares, real *velocity, real *means, const real *factors,
) noexcept nogil:
    """The first two are literals where this is called."""
    cdef real rate = <real> update.rate, momentum = <real> update.momentum
    cdef real decay = <real> update.weight_decay, epsilon = <real> update.epsilon
    cdef real beta1 = <real> update.beta1, beta2 = <real> update.beta2, g, spread, change
    cdef real rest1 = <real> (1 - update.beta1), rest2 = <real> (1 - update.beta2)
    cdef Py_ssize_t i
    for i in range(count):
        g = gradient[i] + decay * w[i]
        squares[i] = beta2 * squares[i] + rest2 * g * g
        spread = squares[i]
        if centered:
            means[i] = beta1 * means[i] + rest1 * g
            spread = spread - means[i] * means[i]
            spread = 0 if spread < 0 else spread  # by rounding
        change = g / (root(spread) + epsilon)
        if heavy:
            velocity[i] = momentum * velocity[i] + change
            change = velocity[i]
        if factors != NULL:
            change *= factors[i]
        w[i] -= rate * change


cdef void rmsprop(
    const Update *update, const real *gradient, Py_ssize_t count, real *w, real *state,
    Py_ssize_t apart, const real *factors,
) noexcept nogil:
    """See lenet_fast.training.RMSprop."""
    cdef real *second = state + apart
    cdef real *third = second + apart
    if update.momentum and update.beta1:
        rmsprop_row(True, True, update, gradient, count, w, state, second, third, factors)
    elif update.momentum:
        rmsprop_row(True, False, update, gradient, count, w, state, second, NULL, factors)
    elif update.beta1:
        rmsprop_row(False, True, update, gradient, count, w, state, NULL, second, factors)
    else:
        rmsprop_row(False, False, update, gradient, count, w, state, NULL, NULL, factors)


cdef void adadelta(
    const Update *update, const real *gradient, Py_ssize_t count, real *w, real *squares,
    real *changes, const real *factors,
) noexcept nogil:
    """See lenet_fast.training.Adadelta."""
    cdef real rate = <real> update.rate, decay = <real> update.weight_decay
    cdef real beta2 = <real> update.beta2, rest2 = <real> (1 - update.beta2)
    cdef real epsilon = <real> update.epsilon, g, change
    cdef Py_ssize_t i
    for i in range(count):
        g = gradient[i] + decay * w[i]
        squares[i] = beta2 * squares[i] + rest2 * g * g
        change = root(changes[i] + epsilon) / root(squares[i] + epsilon) * g
        changes[i] = beta2 * changes[i] + rest2 * change * change
        if factors != NULL:
            change *= factors[i]
        w[i] -= rate * change


cdef void optimise(
    const Update *update, long long number, const real *gradient, Py_ssize_t count, real *w,
    real *state, Py_ssize_t apart, const real *factors,
) noexcept nogil:
    """Change parameters by their gradient, in the step of this number, counted from 1; nothing
    without a rule. `state` is the first of the arrays that the rule keeps, NULL where it keeps
    none; each of the others begins `apart` numbers behind the one before."""
    if update.rule == SGD:
        sgd(update, gradient, count, w, state, factors)
    elif update.rule == ADAMW:
        adamw(update, number, gradient, count, w, state, state + apart, factors)
    elif update.rule == ADAM:
        adam(update, number, gradient, count, w, state, state + apart, factors)
    elif update.rule == RMSPROP:
        rmsprop(update, gradient, count, w, state, apart, factors)
    elif update.rule == ADADELTA:
        adadelta(update, gradient, count, w, state, state + apart, factors)
