# needs: layers/optimisers (fused)
#
# Dense and RBF layers of one image at a time: vectors run along the inputs, weights lie row by row.
#
# Rows are padded to whole vectors; or they are those of the network itself, and end where they
# end. So the last vector of a row that is no multiple ends with the row, and what it shares with
# the one before counts once.
#
# Training puts the rows of a dense layer in groups, whose rows take turns, a vector each: then
# both directions read the weights from the second-level cache in one stretch, which is much faster
# than several rows side by side.

from libc.string cimport memcpy, memset

from vectors cimport (
    ROW_OUTPUTS, broadcast, element_size, folded, in_register, lane_count, lanes, real, splat,
    vector_bytes,
)
from program cimport Update


cdef void group_rows(
    real *w, Py_ssize_t n_out, Py_ssize_t pitch, bint apart, char *group
) noexcept nogil:
    """Let the rows of each group take turns, or lie apart again. `group` is scratch for one."""
    cdef Py_ssize_t size = vector_bytes(w), vectors = pitch * sizeof(real) // size
    cdef Py_ssize_t i = 0, k, v, rows, first, second
    cdef char *place = <char *> w
    while i < n_out:
        rows = min(<Py_ssize_t> ROW_OUTPUTS, n_out - i)
        memcpy(group, place, rows * vectors * size)
        first, second = (vectors, rows) if apart else (rows, vectors)
        for k in range(first):
            for v in range(second):
                memcpy(place + (v * first + k) * size, group + (k * second + v) * size, size)
        place += rows * vectors * size
        i += rows


# --- forward ---


cdef inline void rows_block(
    Py_ssize_t outputs, bint distances, const lanes *x, Py_ssize_t vectors, const char *w,
    Py_ssize_t down, Py_ssize_t right, Py_ssize_t shared, lanes tail, lanes kept, lanes *sums,
) noexcept nogil:
    """Products, or squared distances, of some outputs, lane by lane; the first two are literals
    where this is called. `down` bytes lead to the next row, `right` bytes to a row's next vector;
    `shared` bytes of the last one are in the one before: -1 if there is no such vector."""
    cdef lanes total[ROW_OUTPUTS]
    cdef lanes seen, weight
    cdef Py_ssize_t i, v
    for i in range(outputs):
        total[i] = splat(sums, 0)
    for v in range(vectors):
        seen = in_register(x[v])
        for i in range(outputs):
            weight = (<const lanes *> (w + i * down))[0]
            if distances:
                weight = weight - seen
                total[i] = total[i] + weight * weight
            else:
                total[i] = total[i] + seen * weight
        w += right
    for i in range(outputs):
        if shared >= 0:
            weight = (<const lanes *> (w + i * down - shared))[0]
            if distances:
                weight = (weight - tail) * kept
                total[i] = total[i] + weight * weight
            else:
                total[i] = total[i] + tail * weight
        sums[i] = total[i]


cdef inline void rows_group(
    bint distances, bint grouped, Py_ssize_t rows, const lanes *x, Py_ssize_t vectors,
    const char *w, Py_ssize_t pitch, Py_ssize_t shared, lanes tail, lanes kept, lanes *sums,
) noexcept nogil:
    """The same of a group of outputs; the first two are literals where this is called."""
    cdef Py_ssize_t k = 0, size = sizeof(lanes)
    cdef Py_ssize_t down = size if grouped else pitch, right = rows * size if grouped else size
    if rows == ROW_OUTPUTS:
        rows_block(
            ROW_OUTPUTS, distances, x, vectors, w, down, ROW_OUTPUTS * size if grouped else size,
            shared, tail, kept, sums,
        )
        return
    while k < rows:
        if rows - k >= 4:
            rows_block(
                4, distances, x, vectors, w + k * down, down, right, shared, tail, kept, sums + k
            )
            k += 4
        else:
            rows_block(
                1, distances, x, vectors, w + k * down, down, right, shared, tail, kept, sums + k
            )
            k += 1


cdef inline void rows_forward(
    bint distances, bint grouped, const lanes *x, Py_ssize_t n_in, const void *w,
    Py_ssize_t pitch, const void *b, lanes *y, Py_ssize_t n_out,
) noexcept nogil:
    """Set y_i to the sum over j of w_ij x_j, plus b_i where there is one; or of (x_j - w_ij)^2.
    `pitch` is the numbers of a row; the first two are literals where this is called."""
    cdef Py_ssize_t full = lane_count(x), size = element_size(x), bytes = pitch * size
    cdef Py_ssize_t vectors = n_in // full, rest = n_in % full, i, k, count, shared = -1
    cdef lanes sums[16]
    cdef lanes total, offset
    cdef lanes tail = splat(y, 0), kept = splat(y, 0), one = splat(y, 1)
    if rest:
        shared = (min(full, n_in) - rest) * size
        memcpy((<char *> &tail) + shared, (<const char *> x) + (n_in - rest) * size, rest * size)
        memcpy((<char *> &kept) + shared, &one, rest * size)
    for i in range(0, n_out, 16):
        count = min(<Py_ssize_t> 16, n_out - i)
        k = 0
        while k < count:
            rows_group(
                distances, grouped, min(<Py_ssize_t> ROW_OUTPUTS, count - k), x, vectors,
                (<const char *> w) + (i + k) * bytes, bytes, shared, tail, kept, sums + k,
            )
            k += ROW_OUTPUTS
        for k in range(count, 16):
            sums[k] = splat(y, 0)
        k = 0
        while k < count:
            total = folded(sums + k)
            if b != NULL:
                memcpy(&offset, (<const char *> b) + (i + k) * size, min(full, count - k) * size)
                total = total + offset
            memcpy((<char *> y) + (i + k) * size, &total, min(full, count - k) * size)
            k += full


# --- back ---


cdef enum Change:
    # What to do with a gradient.
    KEEP  # it is written down
    DESCEND
    DESCEND_OWN_RATES  # a factor per weight
    ROLL  # with momentum
    ROLL_OWN_RATES


cdef inline void rows_back_block(
    Change change, bint decays, Py_ssize_t rows, const void *dy, const lanes *x, lanes *w,
    lanes *other, const lanes *factors, Py_ssize_t vectors, Py_ssize_t right, lanes *dx, lanes rate,
    lanes momentum, lanes decay,
) noexcept nogil:
    """Add to dx what some rows of a group hand back, and change their weights; the first three are
    literals where this is called. `right` vectors lead to a row's next one; `other` is the
    velocity, or where a gradient is kept."""
    cdef lanes shares[ROW_OUTPUTS]
    cdef lanes seen, scaled, total, weight, step
    cdef Py_ssize_t k, v
    for k in range(rows):
        shares[k] = in_register(broadcast(dx, dy, k))
    for v in range(vectors):
        seen = in_register(x[v])
        scaled = rate * seen
        total = dx[v]
        for k in range(rows):
            weight = in_register(w[k])
            total = total + shares[k] * weight
            if change == DESCEND and not decays:  # one multiplication fewer in three
                w[k] = weight - shares[k] * scaled
                continue
            step = shares[k] * seen
            if change == KEEP:
                other[k] = step
            else:
                if decays:
                    step = step + decay * weight
                else:  # rounded before momentum joins, as with a decay of 0
                    step = in_register(step)
                if change == ROLL or change == ROLL_OWN_RATES:
                    step = step + momentum * other[k]
                    other[k] = step
                if change == DESCEND_OWN_RATES or change == ROLL_OWN_RATES:
                    step = step * factors[k]
                w[k] = weight - rate * step
        dx[v] = total
        w += right
        if change != DESCEND and change != DESCEND_OWN_RATES:
            other += right
        if change == DESCEND_OWN_RATES or change == ROLL_OWN_RATES:
            factors += right


cdef inline void rows_back(
    Change change, bint decays, const void *dy, Py_ssize_t n_out, const lanes *x, lanes *w,
    lanes *other, const lanes *factors, Py_ssize_t vectors, lanes *dx, lanes rate, lanes momentum,
    lanes decay,
) noexcept nogil:
    """Set dx, and change the weights: their gradient is dy_i x_j."""
    cdef Py_ssize_t i = 0, k, rows, size = element_size(x)
    cdef const char *shares = <const char *> dy
    memset(dx, 0, vectors * sizeof(lanes))
    while i < n_out:
        rows = min(<Py_ssize_t> ROW_OUTPUTS, n_out - i)
        if rows == ROW_OUTPUTS and decays:
            rows_back_block(
                change, True, ROW_OUTPUTS, shares, x, w, other, factors, vectors, ROW_OUTPUTS, dx,
                rate, momentum, decay,
            )
        elif rows == ROW_OUTPUTS:  # one multiplication fewer in five
            rows_back_block(
                change, False, ROW_OUTPUTS, shares, x, w, other, factors, vectors, ROW_OUTPUTS, dx,
                rate, momentum, decay,
            )
        else:
            for k in range(rows):
                rows_back_block(
                    change, True, 1, shares + k * size, x, w + k, other + k, factors + k, vectors,
                    rows, dx, rate, momentum, decay,
                )
        i += rows
        shares += rows * size
        w += rows * vectors
        other += rows * vectors
        factors += rows * vectors


cdef void rows_descend(
    const Update *update, const void *dy, Py_ssize_t n_out, const lanes *x, lanes *w,
    lanes *velocity, const lanes *factors, lanes *gradient, Py_ssize_t pitch, lanes *dx,
) noexcept nogil:
    """Set dx, and change the weights by the rule, unless that needs all gradients at once: then
    write them down. All that lies like the weights is in groups of rows; `pitch` is in numbers."""
    cdef lanes rate = splat(dx, update.rate), momentum = splat(dx, update.momentum)
    cdef lanes decay = splat(dx, update.weight_decay)
    cdef Py_ssize_t vectors = pitch // lane_count(x)
    cdef bint decays = update.weight_decay != 0
    if not fused(update):
        rows_back(KEEP, decays, dy, n_out, x, w, gradient, w, vectors, dx, rate, momentum, decay)
    elif velocity == NULL and factors == NULL:
        rows_back(DESCEND, decays, dy, n_out, x, w, w, w, vectors, dx, rate, momentum, decay)
    elif velocity == NULL:
        rows_back(
            DESCEND_OWN_RATES, decays, dy, n_out, x, w, w, factors, vectors, dx, rate, momentum,
            decay,
        )
    elif factors == NULL:
        rows_back(ROLL, decays, dy, n_out, x, w, velocity, w, vectors, dx, rate, momentum, decay)
    else:
        rows_back(
            ROLL_OWN_RATES, decays, dy, n_out, x, w, velocity, factors, vectors, dx, rate,
            momentum, decay,
        )
