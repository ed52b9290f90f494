# needs: nothing
#
# What becomes of the parameters: the update rules. Only `optimise` and `fused` tell them apart.

from libc.math cimport pow, sqrt, sqrtf

from lanes cimport real
from program cimport ADAMW, SGD, Update


cdef inline bint fused(const Update *update) noexcept nogil:
    """Whether a weight can be changed as soon as its gradient is known."""
    return update.rule == SGD and not update.nesterov


cdef inline void descend_row(
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


cdef void descend(
    const Update *update, const real *gradient, Py_ssize_t count, real *w, real *velocity,
    const real *factors,
) noexcept nogil:
    """Stochastic gradient descent: see lenet_fast.training.optimisers.SGD."""
    if velocity == NULL and factors == NULL:
        descend_row(False, False, False, update, gradient, count, w, velocity, factors)
    elif velocity == NULL:
        descend_row(False, False, True, update, gradient, count, w, velocity, factors)
    elif factors == NULL and not update.nesterov:
        descend_row(True, False, False, update, gradient, count, w, velocity, factors)
    elif factors == NULL:
        descend_row(True, True, False, update, gradient, count, w, velocity, factors)
    else:
        descend_row(True, update.nesterov, True, update, gradient, count, w, velocity, factors)


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef void descend_adaptively(
    const Update *update, long long number, const real *gradient, Py_ssize_t count, real *w,
    real *first, real *second, const real *factors,
) noexcept nogil:
    """Step `number` of AdamW, counted from 1: see lenet_fast.training.optimisers.AdamW."""
    cdef real rate = <real> update.rate, decay = <real> update.weight_decay, change, g
    cdef real beta1 = <real> update.beta1, beta2 = <real> update.beta2
    cdef real rest1 = <real> (1 - update.beta1), rest2 = <real> (1 - update.beta2)
    cdef real epsilon = <real> update.epsilon
    cdef real first_scale = <real> (1 / (1 - pow(update.beta1, <double> number)))
    cdef real second_scale = <real> (1 / (1 - pow(update.beta2, <double> number)))
    cdef Py_ssize_t i
    for i in range(count):
        g = gradient[i]
        first[i] = beta1 * first[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        change = first_scale * first[i] / (root(second_scale * second[i]) + epsilon)
        change += decay * w[i]
        if factors != NULL:
            change *= factors[i]
        w[i] -= rate * change


cdef void optimise(
    const Update *update, long long number, const real *gradient, Py_ssize_t count, real *w,
    real *first, real *second, const real *factors,
) noexcept nogil:
    """Change parameters by their gradient, in the step of this number, counted from 1; nothing
    without a rule. `first` and `second` are what the rule remembers, NULL where it does not."""
    if update.rule == SGD:
        descend(update, gradient, count, w, first, factors)
    elif update.rule == ADAMW:
        descend_adaptively(update, number, gradient, count, w, first, second, factors)
