# Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs.

from libc.math cimport exp, expf, log, logf

from common cimport real, scratch_free, scratch_new


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
    const real[::1] x, real sign, real floor, real *top, real *p
) noexcept nogil:
    """Set p_i = exp(sign x_i) / Z, Z = exp(floor) + sum exp(sign x_i); return log Z - top.

    `top`, the largest exponent, is taken out before the exponential. The softmax has no floor:
    minus infinity.
    """
    cdef Py_ssize_t i
    cdef real z, largest = floor
    for i in range(x.shape[0]):
        if not sign * x[i] <= largest:  # NaN takes the lead, and stays in every result
            largest = sign * x[i]
    z = exponential(floor - largest)
    for i in range(x.shape[0]):
        p[i] = exponential(sign * x[i] - largest)
        z += p[i]
    for i in range(x.shape[0]):
        p[i] /= z
    top[0] = largest
    return logarithm(z)


cdef void share_losses(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses, real sign, real floor,
    real *p,
) noexcept nogil:
    """Set losses = log Z - sign x_label."""
    cdef Py_ssize_t n
    cdef real top, rest
    for n in range(x.shape[0]):
        rest = shares(x[n], sign, floor, &top, p)
        # Both may be in the hundreds: they cancel before the small rest joins.
        losses[n] = (top - sign * x[n, labels[n]]) + rest


cdef void share_gradients(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx, real sign, real floor
) noexcept nogil:
    """Set dx = sign (p - [label])."""
    cdef Py_ssize_t n, i
    cdef real top
    for n in range(x.shape[0]):
        shares(x[n], sign, floor, &top, &dx[n, 0])
        dx[n, labels[n]] -= 1
        for i in range(x.shape[1]):
            dx[n, i] *= sign


cdef void share_hessians(
    const real[:, ::1] x, real[:, ::1] hx, real sign, real floor
) noexcept nogil:
    """Set hx = p (1 - p)."""
    cdef Py_ssize_t n, i
    cdef real top
    for n in range(x.shape[0]):
        shares(x[n], sign, floor, &top, &hx[n, 0])
        for i in range(x.shape[1]):
            hx[n, i] *= 1 - hx[n, i]


cdef int share_losses_checked(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses, real sign, double floor
) except -1:
    cdef real *p = <real *> scratch_new(x.shape[1] * sizeof(real))
    if p == NULL:
        raise MemoryError
    with nogil:
        share_losses(x, labels, losses, sign, <real> floor, p)
        scratch_free(p)
    return 0


cdef double NO_FLOOR = -float("inf")


def softmax_cross_entropy(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses
):
    """Set losses = log sum exp(x) - x[label]."""
    share_losses_checked(x, labels, losses, 1, NO_FLOOR)


def softmax_cross_entropy_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx
):
    """Set dx = p - [label]."""
    with nogil:
        share_gradients(x, labels, dx, 1, <real> NO_FLOOR)


def softmax_cross_entropy_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx
):
    """Set hx = p (1 - p)."""
    with nogil:
        share_hessians(x, hx, 1, <real> NO_FLOOR)


def mean_squared_error(
    const real[:, ::1] x, const real[:, ::1] targets, real[::1] losses, double scale
):
    """Set losses = scale * sum of (x - t)^2."""
    cdef Py_ssize_t n, i
    cdef real difference, total
    with nogil:
        for n in range(x.shape[0]):
            total = 0
            for i in range(x.shape[1]):
                difference = x[n, i] - targets[n, i]
                total += difference * difference
            losses[n] = <real> scale * total


def mean_squared_error_backward(
    const real[:, ::1] x, const real[:, ::1] targets, real[:, ::1] dx, double scale
):
    """Set dx = 2 scale (x - t)."""
    cdef Py_ssize_t n, i
    with nogil:
        for n in range(x.shape[0]):
            for i in range(x.shape[1]):
                dx[n, i] = <real> (2 * scale) * (x[n, i] - targets[n, i])


def mean_squared_error_hessian(
    const real[:, ::1] x, const real[:, ::1] targets, real[:, ::1] hx, double scale
):
    """Set hx = 2 scale."""
    cdef Py_ssize_t n, i
    with nogil:
        for n in range(x.shape[0]):
            for i in range(x.shape[1]):
                hx[n, i] = <real> (2 * scale)


def map_loss(const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses, double j):
    """Set losses = y_D + log(exp(-j) + sum exp(-y_i)); x holds the penalties y."""
    share_losses_checked(x, labels, losses, -1, -j)


def map_loss_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx, double j
):
    """Set dx_i = [i = D] - p_i."""
    with nogil:
        share_gradients(x, labels, dx, -1, <real> -j)


def map_loss_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx, double j
):
    """Set hx_i = p_i (1 - p_i)."""
    with nogil:
        share_hessians(x, hx, -1, <real> -j)
