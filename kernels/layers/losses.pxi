# needs: nothing
#
# Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs.
# Image by image: ten numbers each are too few for lanes.

from libc.math cimport NAN, exp, expf, log, logf

from lanes cimport real, scratch_free, scratch_new
from program cimport CROSS_ENTROPY, MAP, PENALTY, SQUARED_ERROR, Loss


cdef Loss loss_of(
    Py_ssize_t kind, double floor=0, double scale=0, double on=0, double off=0,
    double smoothing=0, bint exact=False,
) noexcept nogil:
    cdef Loss made
    made.kind, made.floor, made.scale = kind, floor, scale
    made.on, made.off = on, off
    made.smoothing, made.exact, made.smallest_wins = smoothing, exact, False
    return made


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


cdef inline real target_of(
    const Loss *loss, const real *targets, Py_ssize_t label, Py_ssize_t i
) noexcept nogil:
    """Target i of an image: one of its own targets, or what its label makes it."""
    if targets != NULL:
        return targets[i]
    return <real> (loss.on if i == label else loss.off)


cdef inline real value_of(
    const Loss *loss, const real *x, Py_ssize_t k, Py_ssize_t label, const real *targets, real *p
) noexcept nogil:
    cdef Py_ssize_t i
    cdef real top, rest, difference, missed, total = 0
    cdef real sign = -1 if loss.kind == MAP else 1
    if loss.kind == PENALTY:
        return x[label]
    if loss.kind == SQUARED_ERROR:
        for i in range(k):
            difference = x[i] - target_of(loss, targets, label, i)
            total += difference * difference
        return <real> loss.scale * total
    if loss.kind == CROSS_ENTROPY or loss.kind == MAP:
        rest = shares(x, k, sign, <real> loss.floor, &top, p)
        # Both may be in the hundreds: they cancel before the small rest joins.
        missed = top - sign * x[label]
        if loss.smoothing > 0:
            for i in range(k):
                total += top - sign * x[i]
            missed = <real> (1 - loss.smoothing) * missed + <real> (loss.smoothing / k) * total
        return missed + rest
    return <real> NAN  # check_loss has refused what is unknown


cdef real loss_of_targets(
    const Loss *loss, const real *x, Py_ssize_t k, Py_ssize_t label, const real *targets, real *p
) noexcept nogil:
    """log Z - sum of t sign x, or scale * sum of (x - t)^2, or x_label, of one image.

    Without targets of its own, they are what its label makes them. p is scratch for k.
    """
    return value_of(loss, x, k, label, targets, p)


cdef real loss_value(
    const Loss *loss, const real *x, Py_ssize_t k, Py_ssize_t label, real *p
) noexcept nogil:
    """The same, by the label alone: compiled for that, as the engines call it."""
    return value_of(loss, x, k, label, <const real *> NULL, p)


cdef void loss_gradient(
    const Loss *loss, const real *x, Py_ssize_t k, Py_ssize_t label, const real *targets,
    real *dx,
) noexcept nogil:
    """sign (p - t), or 2 scale (x - t), or [label], of one image."""
    cdef Py_ssize_t i
    cdef real top, sign = -1 if loss.kind == MAP else 1
    cdef real each = <real> (loss.smoothing / k)
    if loss.kind == PENALTY:
        for i in range(k):
            dx[i] = i == label
    elif loss.kind == SQUARED_ERROR:
        for i in range(k):
            dx[i] = <real> (2 * loss.scale) * (x[i] - target_of(loss, targets, label, i))
    elif loss.kind == CROSS_ENTROPY or loss.kind == MAP:
        shares(x, k, sign, <real> loss.floor, &top, dx)
        dx[label] -= <real> (1 - loss.smoothing)
        for i in range(k):
            dx[i] = sign * (dx[i] - each)


cdef void loss_hessian(const Loss *loss, const real *x, Py_ssize_t k, real *hx) noexcept nogil:
    """p (1 - p), or 2 scale, or 0, of one image."""
    cdef Py_ssize_t i
    cdef real top, sign = -1 if loss.kind == MAP else 1
    if loss.kind == SQUARED_ERROR or loss.kind == PENALTY:
        for i in range(k):
            hx[i] = <real> (2 * loss.scale)  # 0 of a penalty, which is linear
    elif loss.kind == CROSS_ENTROPY or loss.kind == MAP:
        shares(x, k, sign, <real> loss.floor, &top, hx)
        for i in range(k):
            hx[i] *= 1 - hx[i]


cdef void map_rbf_hessian_rows(
    const real *y, const real *x, const real *w, Py_ssize_t n, Py_ssize_t n_out, Py_ssize_t n_in,
    real floor, real *p, real *hx,
) noexcept nogil:
    """Set hx_j = 2 r + 4 times the variance of x_j - w_ij by the shares p_i, to which that of the
    rubbish class, r, adds a difference of 0; p is scratch for n_out.

    As sums of squares the terms cannot turn negative.
    """
    cdef Py_ssize_t k, i, j
    cdef real top, rest, rubbish, mean, difference, variance
    for k in range(n):
        rest = shares(y, n_out, <real> -1, floor, &top, p)
        rubbish = exponential((floor - top) - rest)
        for j in range(n_in):
            mean = 0
            for i in range(n_out):
                mean += p[i] * (x[j] - w[i * n_in + j])
            variance = rubbish * mean * mean
            for i in range(n_out):
                difference = (x[j] - w[i * n_in + j]) - mean
                variance += p[i] * difference * difference
            hx[j] = 2 * rubbish + 4 * variance
        y += n_out
        x += n_in
        hx += n_in


cdef inline bint misclassified(
    const real *y, Py_ssize_t k, Py_ssize_t label, bint smallest_wins
) noexcept nogil:
    """The first of equals wins, and NaN beats numbers, as in NumPy's argmax and argmin."""
    cdef Py_ssize_t i, winner = 0
    for i in range(1, k):
        if y[winner] != y[winner]:
            break
        if y[i] != y[i] or (y[i] < y[winner] if smallest_wins else y[i] > y[winner]):
            winner = i
    return winner != label


cdef int values_of_all(
    Loss loss, const real[:, ::1] x, const Py_ssize_t *labels, const real *targets,
    real[::1] losses,
) except -1:
    cdef Py_ssize_t n, k = x.shape[1]
    cdef real *p = <real *> scratch_new(k * sizeof(real))
    if p == NULL:
        raise MemoryError
    with nogil:
        for n in range(x.shape[0]):
            losses[n] = loss_of_targets[real](
                &loss, &x[n, 0], k, labels[n] if targets == NULL else 0,
                NULL if targets == NULL else targets + n * k, p,
            )
        scratch_free(p)
    return 0


cdef void gradients_of_all(
    Loss loss, const real[:, ::1] x, const Py_ssize_t *labels, const real *targets,
    real[:, ::1] dx,
) noexcept nogil:
    cdef Py_ssize_t n, k = x.shape[1]
    for n in range(x.shape[0]):
        loss_gradient[real](
            &loss, &x[n, 0], k, labels[n] if targets == NULL else 0,
            NULL if targets == NULL else targets + n * k, &dx[n, 0],
        )


cdef void hessians_of_all(
    Loss loss, const real[:, ::1] x, real[:, ::1] hx
) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(x.shape[0]):
        loss_hessian[real](&loss, &x[n, 0], x.shape[1], &hx[n, 0])


cdef double NO_FLOOR = -float("inf")


cdef inline Loss entropy_of(double smoothing) noexcept nogil:
    return loss_of(CROSS_ENTROPY, NO_FLOOR, 0, 0, 0, smoothing)


def softmax_cross_entropy(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses, double smoothing
):
    """Set losses = log sum exp(x) - sum of t x, t = (1 - smoothing) [label] + smoothing / k."""
    if x.shape[0]:  # else there is no first number to point to
        values_of_all[real](entropy_of(smoothing), x, &labels[0], NULL, losses)


def softmax_cross_entropy_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx, double smoothing
):
    """Set dx = p - t."""
    with nogil:
        gradients_of_all[real](
            entropy_of(smoothing), x, &labels[0] if x.shape[0] else NULL, NULL, dx
        )


def softmax_cross_entropy_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx, double smoothing
):
    """Set hx = p (1 - p), whatever the targets."""
    with nogil:
        hessians_of_all[real](entropy_of(smoothing), x, hx)


def mean_squared_error(
    const real[:, ::1] x, const real[:, ::1] targets, real[::1] losses, double scale
):
    """Set losses = scale * sum of (x - t)^2."""
    if x.shape[0]:
        values_of_all[real](
            loss_of(SQUARED_ERROR, 0, scale), x, NULL, &targets[0, 0], losses
        )


def mean_squared_error_backward(
    const real[:, ::1] x, const real[:, ::1] targets, real[:, ::1] dx, double scale
):
    """Set dx = 2 scale (x - t)."""
    with nogil:
        gradients_of_all[real](
            loss_of(SQUARED_ERROR, 0, scale), x, NULL,
            &targets[0, 0] if x.shape[0] else NULL, dx,
        )


def mean_squared_error_hessian(
    const real[:, ::1] x, const real[:, ::1] targets, real[:, ::1] hx, double scale
):
    """Set hx = 2 scale."""
    with nogil:
        hessians_of_all[real](loss_of(SQUARED_ERROR, 0, scale), x, hx)


def map_loss(const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses, double j):
    """Set losses = y_D + log(exp(-j) + sum exp(-y_i)); x holds the penalties y."""
    if x.shape[0]:
        values_of_all[real](loss_of(MAP, -j), x, &labels[0], NULL, losses)


def map_loss_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx, double j
):
    """Set dx_i = [i = D] - p_i."""
    with nogil:
        gradients_of_all[real](
            loss_of(MAP, -j), x, &labels[0] if x.shape[0] else NULL, NULL, dx
        )


def map_loss_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx, double j
):
    """Set hx_i = p_i (1 - p_i)."""
    with nogil:
        hessians_of_all[real](loss_of(MAP, -j), x, hx)


def map_rbf_hessian(
    const real[:, ::1] y, const real[:, ::1] x, const real[:, ::1] w, real[:, ::1] hx, double j
):
    """Set hx_j = 2 r + 4 [sum p_i d_ij^2 - (sum p_i d_ij)^2], d_ij = x_j - w_ij, r = 1 - sum p."""
    cdef real *p
    if x.shape[0] == 0:
        return
    p = <real *> scratch_new(w.shape[0] * sizeof(real))
    if p == NULL:
        raise MemoryError
    with nogil:
        map_rbf_hessian_rows[real](
            &y[0, 0], &x[0, 0], &w[0, 0], x.shape[0], w.shape[0], w.shape[1], <real> -j, p,
            &hx[0, 0],
        )
        scratch_free(p)


def penalty_loss(const real[:, ::1] x, const Py_ssize_t[::1] labels, real[::1] losses):
    """Set losses = y_D; x holds the penalties y."""
    if x.shape[0]:
        values_of_all[real](loss_of(PENALTY), x, &labels[0], NULL, losses)


def penalty_loss_backward(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] dx
):
    """Set dx_i = [i = D]."""
    with nogil:
        gradients_of_all[real](
            loss_of(PENALTY), x, &labels[0] if x.shape[0] else NULL, NULL, dx
        )


def penalty_loss_hessian(
    const real[:, ::1] x, const Py_ssize_t[::1] labels, real[:, ::1] hx
):
    """Set hx = 0."""
    with nogil:
        hessians_of_all[real](loss_of(PENALTY), x, hx)
