# Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs.

from libc.math cimport exp, expf, log, logf

from common cimport LossOptions, real, scratch_free, scratch_new


cdef inline real exponential(real x) noexcept nogil:
    if real is float:
        return expf(x)
    else:
        return exp(x)


cdef inline real logarithm(real x) noexcept nogil:
    if real is float:
        return logf(x)
    else:
        return log(x)


cdef inline real shares(
    const real *x, Py_ssize_t k, real sign, real floor, real *top, real *p
) noexcept nogil:
    """Set p_i = exp(sign x_i) / Z, Z = exp(floor) + sum exp(sign x_i); return log Z - top.

    `top`, the largest exponent, is taken out before the exponential. The softmax has no floor:
    minus infinity.
    """
    cdef Py_ssize_t i
    cdef real z, largest = floor
    for i in range(k):
        if not sign * x[i] <= largest:  # NaN takes the lead, and stays in every result
            largest = sign * x[i]
    z = exponential(floor - largest)
    for i in range(k):
        p[i] = exponential(sign * x[i] - largest)
        z += p[i]
    for i in range(k):
        p[i] /= z
    top[0] = largest
    return logarithm(z)


cdef enum LossKind:
    CROSS_ENTROPY
    SQUARED_ERROR
    MAP


cdef LossOptions loss_options(
    Py_ssize_t kind, double floor, double scale=0, double on=0, double off=0
) noexcept nogil:
    cdef LossOptions options
    options.kind, options.floor, options.scale = kind, floor, scale
    options.on, options.off = on, off
    return options


cdef inline real target_of(
    LossOptions *loss, const real *targets, Py_ssize_t label, Py_ssize_t i
) noexcept nogil:
    """Target i of an image: one of its own targets, or what its label makes it."""
    if targets != NULL:
        return targets[i]
    return <real> (loss.on if i == label else loss.off)


cdef real loss_value(
    LossOptions *loss, const real *x, Py_ssize_t k, Py_ssize_t label, const real *targets, real *p
) noexcept nogil:
    """log Z - sign x_label, or scale * sum of (x - t)^2, of one image; p is scratch for k."""
    cdef Py_ssize_t i
    cdef real top, rest, difference, total = 0
    cdef real sign = -1 if loss.kind == MAP else 1
    if loss.kind == SQUARED_ERROR:
        for i in range(k):
            difference = x[i] - target_of(loss, targets, label, i)
            total += difference * difference
        return <real> loss.scale * total
    rest = shares(x, k, sign, <real> loss.floor, &top, p)
    # Both may be in the hundreds: they cancel before the small rest joins.
    return (top - sign * x[label]) + rest


cdef void loss_gradient(
    LossOptions *loss, const real *x, Py_ssize_t k, Py_ssize_t label, const real *targets,
    real *dx,
) noexcept nogil:
    """sign (p - [label]), or 2 scale (x - t), of one image."""
    cdef Py_ssize_t i
    cdef real top, sign = -1 if loss.kind == MAP else 1
    if loss.kind == SQUARED_ERROR:
        for i in range(k):
            dx[i] = <real> (2 * loss.scale) * (x[i] - target_of(loss, targets, label, i))
        return
    shares(x, k, sign, <real> loss.floor, &top, dx)
    dx[label] -= 1
    for i in range(k):
        dx[i] *= sign


cdef void loss_hessian(LossOptions *loss, const real *x, Py_ssize_t k, real *hx) noexcept nogil:
    """p (1 - p), or 2 scale, of one image."""
    cdef Py_ssize_t i
    cdef real top, sign = -1 if loss.kind == MAP else 1
    if loss.kind == SQUARED_ERROR:
        for i in range(k):
            hx[i] = <real> (2 * loss.scale)
        return
    shares(x, k, sign, <real> loss.floor, &top, hx)
    for i in range(k):
        hx[i] *= 1 - hx[i]


cdef int values_of_all(
    LossOptions loss, const real[:, ::1] x, const Py_ssize_t *labels, const real *targets,
    real[::1] losses,
) except -1:
    cdef Py_ssize_t n, k = x.shape[1]
    cdef real *p = <real *> scratch_new(k * sizeof(real))
    if p == NULL:
        raise MemoryError
    with nogil:
        for n in range(x.shape[0]):
            losses[n] = loss_value[real](
                &loss, &x[n, 0], k, labels[n] if targets == NULL else 0,
                NULL if targets == NULL else targets + n * k, p,
            )
        scratch_free(p)
    return 0


cdef void gradients_of_all(
    LossOptions loss, const real[:, ::1] x, const Py_ssize_t *labels, const real *targets,
    real[:, ::1] dx,
) noexcept nogil:
    cdef Py_ssize_t n, k = x.shape[1]
    for n in range(x.shape[0]):
        loss_gradient[real](
            &loss, &x[n, 0], k, labels[n] if targets == NULL else 0,
            NULL if targets == NULL else targets + n * k, &dx[n, 0],
        )


cdef void hessians_of_all(
    LossOptions loss, const real[:, ::1] x, real[:, ::1] hx
) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(x.shape[0]):
        loss_hessian[real](&loss, &x[n, 0], x.shape[1], &hx[n, 0])


cdef double NO_FLOOR = -float("inf")


def softmax_cross_entropy(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses
):
    """Set losses = log sum exp(x) - x[label]."""
    if x.shape[0]:  # else there is no first number to point to
        values_of_all[real](loss_options(CROSS_ENTROPY, NO_FLOOR), x, &labels[0], NULL, losses)


def softmax_cross_entropy_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx
):
    """Set dx = p - [label]."""
    with nogil:
        gradients_of_all[real](
            loss_options(CROSS_ENTROPY, NO_FLOOR), x, &labels[0] if x.shape[0] else NULL, NULL, dx
        )


def softmax_cross_entropy_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx
):
    """Set hx = p (1 - p)."""
    with nogil:
        hessians_of_all[real](loss_options(CROSS_ENTROPY, NO_FLOOR), x, hx)


def mean_squared_error(
    const real[:, ::1] x, const real[:, ::1] targets, real[::1] losses, double scale
):
    """Set losses = scale * sum of (x - t)^2."""
    if x.shape[0]:
        values_of_all[real](
            loss_options(SQUARED_ERROR, 0, scale), x, NULL, &targets[0, 0], losses
        )


def mean_squared_error_backward(
    const real[:, ::1] x, const real[:, ::1] targets, real[:, ::1] dx, double scale
):
    """Set dx = 2 scale (x - t)."""
    with nogil:
        gradients_of_all[real](
            loss_options(SQUARED_ERROR, 0, scale), x, NULL,
            &targets[0, 0] if x.shape[0] else NULL, dx,
        )


def mean_squared_error_hessian(
    const real[:, ::1] x, const real[:, ::1] targets, real[:, ::1] hx, double scale
):
    """Set hx = 2 scale."""
    with nogil:
        hessians_of_all[real](loss_options(SQUARED_ERROR, 0, scale), x, hx)


def map_loss(const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses, double j):
    """Set losses = y_D + log(exp(-j) + sum exp(-y_i)); x holds the penalties y."""
    if x.shape[0]:
        values_of_all[real](loss_options(MAP, -j), x, &labels[0], NULL, losses)


def map_loss_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx, double j
):
    """Set dx_i = [i = D] - p_i."""
    with nogil:
        gradients_of_all[real](
            loss_options(MAP, -j), x, &labels[0] if x.shape[0] else NULL, NULL, dx
        )


def map_loss_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx, double j
):
    """Set hx_i = p_i (1 - p_i)."""
    with nogil:
        hessians_of_all[real](loss_options(MAP, -j), x, hx)
