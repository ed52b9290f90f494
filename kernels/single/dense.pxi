# needs: layers/optimisers (fused)
#
# Dense and RBF layers of one image at a time: vectors run along the inputs, weights lie row by row.
#
# Rows are padded to whole vectors; or they are those of the network itself, and end where they
# end. So the last vector of a row that is no multiple ends with the row, and what it shares with
# the one before counts once.

from libc.string cimport memcpy

from vectors cimport (
    ROW_OUTPUTS, ROW_VECTORS, broadcast, element_size, in_register, lane_count, lanes, splat,
    transpose,
)
from program cimport Update


cdef inline void rows_block(
    Py_ssize_t outputs, bint distances, const lanes *x, Py_ssize_t vectors, const char *w,
    Py_ssize_t pitch, Py_ssize_t tail_at, lanes tail, lanes kept, lanes *sums,
) noexcept nogil:
    """Products, or squared distances, of some outputs, lane by lane; the first two are literals
    where this is called. `pitch` is in bytes, `tail_at` in numbers."""
    cdef lanes total[ROW_OUTPUTS]
    cdef lanes seen, weight
    cdef Py_ssize_t i, v, size = element_size(x)
    for i in range(outputs):
        total[i] = splat(sums, 0)
    for v in range(vectors):
        seen = in_register(x[v])
        for i in range(outputs):
            weight = (<const lanes *> (w + i * pitch))[v]
            if distances:
                weight = weight - seen
                total[i] = total[i] + weight * weight
            else:
                total[i] = total[i] + seen * weight
    for i in range(outputs):
        if tail_at >= 0:
            weight = (<const lanes *> (w + i * pitch + tail_at * size))[0]
            if distances:
                weight = (weight - tail) * kept
                total[i] = total[i] + weight * weight
            else:
                total[i] = total[i] + tail * weight
        sums[i] = total[i]


cdef inline void rows_forward(
    bint distances, const lanes *x, Py_ssize_t n_in, const void *w, Py_ssize_t pitch,
    const void *b, lanes *y, Py_ssize_t n_out,
) noexcept nogil:
    """Set y_i to the sum over j of w_ij x_j, plus b_i where there is one; or of (x_j - w_ij)^2.
    `pitch` numbers lead to the next row."""
    cdef Py_ssize_t full = lane_count(x), size = element_size(x), bytes = pitch * size
    cdef Py_ssize_t vectors = n_in // full, rest = n_in % full, i = 0, k, count, tail_at = -1
    cdef lanes sums[16]
    cdef lanes total
    cdef lanes tail = splat(y, 0), kept = splat(y, 0), one = splat(y, 1)
    cdef const char *row = <const char *> w
    if rest:
        tail_at = max(n_in - full, <Py_ssize_t> 0)
        k = n_in - rest - tail_at  # what the vector before has, too
        memcpy((<char *> &tail) + k * size, (<const char *> x) + (n_in - rest) * size, rest * size)
        memcpy((<char *> &kept) + k * size, &one, rest * size)
    while i < n_out:
        count = min(full, n_out - i)
        k = 0
        while k < count:
            if count - k >= ROW_OUTPUTS:
                rows_block(
                    ROW_OUTPUTS, distances, x, vectors, row, bytes, tail_at, tail, kept, sums + k
                )
                k += ROW_OUTPUTS
                row += ROW_OUTPUTS * bytes
            elif count - k >= 4:
                rows_block(4, distances, x, vectors, row, bytes, tail_at, tail, kept, sums + k)
                k += 4
                row += 4 * bytes
            else:
                rows_block(1, distances, x, vectors, row, bytes, tail_at, tail, kept, sums + k)
                k += 1
                row += bytes
        for k in range(count, full):
            sums[k] = splat(y, 0)
        transpose(sums)
        total = sums[0]
        for k in range(1, full):
            total = total + sums[k]
        if b != NULL:
            memcpy(sums, (<const char *> b) + i * size, count * size)
            total = total + sums[0]
        memcpy((<char *> y) + i * size, &total, count * size)
        i += full


cdef enum Change:
    # What to do with a gradient.
    KEEP  # it is written down
    DESCEND
    DESCEND_OWN_RATES  # a factor per weight
    ROLL  # with momentum
    ROLL_OWN_RATES


cdef inline void rows_back_block(
    Change change, Py_ssize_t vectors, const void *dy, Py_ssize_t n_out, const lanes *x, lanes *w,
    lanes *other, const lanes *factors, Py_ssize_t pitch, lanes *dx, lanes rate, lanes momentum,
    lanes decay,
) noexcept nogil:
    """Some vectors of inputs, and all weights that they go through; the first two are literals
    where this is called. `pitch` is in vectors; `other` is the velocity, or where a gradient is
    kept."""
    cdef lanes seen[ROW_VECTORS]
    cdef lanes sums[ROW_VECTORS]
    cdef lanes share, weight, step
    cdef Py_ssize_t i, v
    for v in range(vectors):
        seen[v] = in_register(x[v])
        sums[v] = splat(dx, 0)
    for i in range(n_out):
        share = broadcast(dx, dy, i)
        for v in range(vectors):
            weight = in_register(w[v])
            sums[v] = sums[v] + share * weight
            if change == KEEP:
                other[v] = share * seen[v]
            else:
                step = share * seen[v] + decay * weight
                if change == ROLL or change == ROLL_OWN_RATES:
                    step = step + momentum * other[v]
                    other[v] = step
                if change == DESCEND_OWN_RATES or change == ROLL_OWN_RATES:
                    step = step * factors[v]
                w[v] = weight - rate * step
        w += pitch
        if change != DESCEND and change != DESCEND_OWN_RATES:
            other += pitch
        if change == DESCEND_OWN_RATES or change == ROLL_OWN_RATES:
            factors += pitch
    for v in range(vectors):
        dx[v] = sums[v]


cdef inline void rows_back(
    Change change, const void *dy, Py_ssize_t n_out, const lanes *x, lanes *w, lanes *other,
    const lanes *factors, Py_ssize_t pitch, lanes *dx, lanes rate, lanes momentum, lanes decay,
) noexcept nogil:
    """Set dx, and change the weights: their gradient is dy_i x_j."""
    cdef Py_ssize_t v = 0
    while v < pitch:
        if pitch - v >= ROW_VECTORS:
            rows_back_block(
                change, ROW_VECTORS, dy, n_out, x + v, w + v, other + v, factors + v, pitch,
                dx + v, rate, momentum, decay,
            )
            v += ROW_VECTORS
        else:
            rows_back_block(
                change, 1, dy, n_out, x + v, w + v, other + v, factors + v, pitch, dx + v, rate,
                momentum, decay,
            )
            v += 1


cdef void rows_descend(
    const Update *update, const void *dy, Py_ssize_t n_out, const lanes *x, lanes *w,
    lanes *velocity, const lanes *factors, lanes *gradient, Py_ssize_t pitch, lanes *dx,
) noexcept nogil:
    """Set dx, and change the weights by the rule, unless that needs all gradients at once: then
    write them down. `pitch` is in numbers."""
    cdef lanes rate = splat(dx, update.rate), momentum = splat(dx, update.momentum)
    cdef lanes decay = splat(dx, update.weight_decay)
    cdef Py_ssize_t vectors = pitch // lane_count(x)
    if not fused(update):
        rows_back(KEEP, dy, n_out, x, w, gradient, w, vectors, dx, rate, momentum, decay)
    elif velocity == NULL and factors == NULL:
        rows_back(DESCEND, dy, n_out, x, w, w, w, vectors, dx, rate, momentum, decay)
    elif velocity == NULL:
        rows_back(
            DESCEND_OWN_RATES, dy, n_out, x, w, w, factors, vectors, dx, rate, momentum, decay
        )
    elif factors == NULL:
        rows_back(ROLL, dy, n_out, x, w, velocity, w, vectors, dx, rate, momentum, decay)
    else:
        rows_back(
            ROLL_OWN_RATES, dy, n_out, x, w, velocity, factors, vectors, dx, rate, momentum, decay
        )
