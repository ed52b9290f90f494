# needs: nothing
#
# Loss of each image, its gradient and the diagonal of its Hessian at the network's outputs.
# Image by image: ten numbers each are too few for lanes.

from libc.math cimport INFINITY, NAN, exp, expf, log, logf
from libc.string cimport memset

from vectors cimport real, scratch_free, scratch_new
from program cimport CROSS_ENTROPY, MAP, PENALTY, SQUARED_ERROR, Loss


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


cdef inline void gradient_of_shares(
    const Loss *loss, Py_ssize_t k, Py_ssize_t label, real *dx
) noexcept nogil:
    """sign (p - t), where dx is p."""
    cdef Py_ssize_t i
    cdef real sign = -1 if loss.kind == MAP else 1
    cdef real each = <real> (loss.smoothing / k)
    dx[label] -= <real> (1 - loss.smoothing)
    for i in range(k):
        dx[i] = sign * (dx[i] - each)


cdef void loss_gradient(
    const Loss *loss, const real *x, Py_ssize_t k, Py_ssize_t label, const real *targets,
    real *dx,
) noexcept nogil:
    """sign (p - t), or 2 scale (x - t), or [label], of one image."""
    cdef Py_ssize_t i
    cdef real top, sign = -1 if loss.kind == MAP else 1
    if loss.kind == PENALTY:
        for i in range(k):
            dx[i] = i == label
    elif loss.kind == SQUARED_ERROR:
        for i in range(k):
            dx[i] = <real> (2 * loss.scale) * (x[i] - target_of(loss, targets, label, i))
    elif loss.kind == CROSS_ENTROPY or loss.kind == MAP:
        shares(x, k, sign, <real> loss.floor, &top, dx)
        gradient_of_shares(loss, k, label, dx)


cdef real loss_with_gradient(
    const Loss *loss, const real *x, Py_ssize_t k, Py_ssize_t label, real *dx
) noexcept nogil:
    """Return the loss of one image, by the label alone, and set its gradient."""
    cdef real value = loss_value(loss, x, k, label, dx)
    if loss.kind == CROSS_ENTROPY or loss.kind == MAP:  # which have left the shares
        gradient_of_shares(loss, k, label, dx)
    else:
        loss_gradient(loss, x, k, label, <const real *> NULL, dx)
    return value


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


# --- operations ---

cdef dict LOSS_NAMES = {
    "softmax_cross_entropy": CROSS_ENTROPY, "mean_squared_error": SQUARED_ERROR, "map_loss": MAP,
    "penalty_loss": PENALTY,
}


cdef struct Batch:
    # A loss, and the answers of its images: labels, or targets.
    Loss loss
    const Py_ssize_t *labels
    const void *targets


cdef Batch batch_of(str function, double option, answers, const real *x) except *:
    """`option` is the smoothing of the cross-entropy, the scale of the squared error, or j."""
    cdef Batch batch
    cdef const Py_ssize_t[::1] labels
    cdef const real[:, ::1] targets
    memset(&batch, 0, sizeof(Batch))
    batch.loss.kind, batch.loss.floor = LOSS_NAMES[function], -INFINITY
    if batch.loss.kind == SQUARED_ERROR:
        batch.loss.scale, targets = option, answers
        batch.targets = &targets[0, 0]
        return batch
    if batch.loss.kind == MAP:
        batch.loss.floor = -option
    elif batch.loss.kind == CROSS_ENTROPY:
        batch.loss.smoothing = option
    labels = answers
    batch.labels = &labels[0]
    return batch


cdef inline Py_ssize_t label_of(const Batch *batch, Py_ssize_t n) noexcept nogil:
    return batch.labels[n] if batch.labels != NULL else 0


cdef inline const real *targets_of(
    const Batch *batch, Py_ssize_t n, const real[:, ::1] x
) noexcept nogil:
    if batch.targets == NULL:
        return NULL
    return (<const real *> batch.targets) + n * x.shape[1]


def loss_values(
    const real[:, ::1] x, answers, real[::1] losses, str function, double option
):
    """Set losses to those of the images; `answers` are labels, or the targets of a squared error.
    """
    cdef Batch batch
    cdef real *p
    cdef Py_ssize_t n
    if x.shape[0] == 0:  # there is no first number to point to
        return
    batch = batch_of[real](function, option, answers, &x[0, 0])
    p = <real *> scratch_new(x.shape[1] * sizeof(real))
    if p == NULL:
        raise MemoryError
    with nogil:
        for n in range(x.shape[0]):
            losses[n] = loss_of_targets[real](
                &batch.loss, &x[n, 0], x.shape[1], label_of(&batch, n),
                targets_of[real](&batch, n, x), p,
            )
        scratch_free(p)


def loss_gradients(
    const real[:, ::1] x, answers, real[:, ::1] dx, str function, double option
):
    """Set dx to the gradients."""
    cdef Batch batch
    cdef Py_ssize_t n
    if x.shape[0] == 0:
        return
    batch = batch_of[real](function, option, answers, &x[0, 0])
    with nogil:
        for n in range(x.shape[0]):
            loss_gradient[real](
                &batch.loss, &x[n, 0], x.shape[1], label_of(&batch, n),
                targets_of[real](&batch, n, x), &dx[n, 0],
            )


def loss_hessians(
    const real[:, ::1] x, answers, real[:, ::1] hx, str function, double option
):
    """Set hx to the diagonals of the Hessians."""
    cdef Batch batch
    cdef Py_ssize_t n
    if x.shape[0] == 0:
        return
    batch = batch_of[real](function, option, answers, &x[0, 0])
    with nogil:
        for n in range(x.shape[0]):
            loss_hessian[real](&batch.loss, &x[n, 0], x.shape[1], &hx[n, 0])


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
