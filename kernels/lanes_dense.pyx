# Dense layers in lanes: x and y hold one vector an input and an output, one image a lane.

from lanes cimport (
    DENSE_OUTPUTS, OUTER_OUTPUTS, OUTER_VECTORS, broadcast, in_register, lane_count, lanes,
    lanes_f32, lanes_f64, splat, transpose_f32, transpose_f64,
)


cdef inline void dense_block(
    Py_ssize_t outputs, const lanes *x, Py_ssize_t n_in, const void *w, Py_ssize_t first,
    Py_ssize_t w_out, Py_ssize_t w_in, const void *b, lanes *y
) noexcept nogil:
    """Some adjacent outputs; `outputs` is a literal where this is called."""
    cdef lanes sums[DENSE_OUTPUTS]
    cdef lanes seen
    cdef Py_ssize_t i, j
    for i in range(outputs):
        sums[i] = splat(y, 0) if b == NULL else broadcast(y, b, first + i)
    for j in range(n_in):
        seen = in_register(x[j])
        for i in range(outputs):
            sums[i] = sums[i] + seen * broadcast(y, w, (first + i) * w_out + j * w_in)
    for i in range(outputs):
        y[first + i] = sums[i]


cdef void dense_tile(
    const lanes *x, Py_ssize_t n_in, const void *w, Py_ssize_t w_out, Py_ssize_t w_in,
    const void *b, lanes *y, Py_ssize_t n_out,
) noexcept nogil:
    """Set y_i = sum over j of w[i w_out + j w_in] x_j, plus b_i: forward, or back with the steps
    exchanged."""
    cdef Py_ssize_t i = 0
    while n_out - i >= DENSE_OUTPUTS:
        dense_block(DENSE_OUTPUTS, x, n_in, w, i, w_out, w_in, b, y)
        i += DENSE_OUTPUTS
    if n_out - i >= 10:
        dense_block(10, x, n_in, w, i, w_out, w_in, b, y)
        i += 10
    while n_out - i >= 4:
        dense_block(4, x, n_in, w, i, w_out, w_in, b, y)
        i += 4
    while i < n_out:
        dense_block(1, x, n_in, w, i, w_out, w_in, b, y)
        i += 1


cdef inline void transposed(
    const lanes *x, Py_ssize_t count, lanes *rows, Py_ssize_t pitch
) noexcept nogil:
    """Set row i of `rows`, `pitch` vectors long, to what lane i of x holds, and zeros behind."""
    cdef Py_ssize_t full = lane_count(x), k = 0, i
    cdef lanes square[16]
    while k < count:
        for i in range(full):
            square[i] = x[k + i] if k + i < count else splat(rows, 0)
        if lanes is lanes_f32:
            transpose_f32(square)
        else:
            transpose_f64(square)
        for i in range(full):
            rows[i * pitch + k // full] = square[i]
        k += full


cdef inline void outer_block(
    Py_ssize_t outputs, Py_ssize_t vectors, const void *dy, const lanes *rows, Py_ssize_t pitch,
    void *dw, Py_ssize_t n_in, Py_ssize_t rest, bint fresh,
) noexcept nogil:
    """Add to `vectors` adjacent vectors of weights of some outputs, or set them where they are
    `fresh`; the last one has `rest` weights, where that is not zero."""
    cdef lanes sums[OUTER_OUTPUTS][OUTER_VECTORS]
    cdef lanes factor
    cdef lanes seen[OUTER_VECTORS]
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), i, k, m
    cdef lanes *row
    for m in range(outputs):
        row = <lanes *> ((<char *> dw) + m * n_in * size)
        for k in range(vectors):
            if fresh:
                sums[m][k] = splat(row, 0)
            elif rest and k == vectors - 1:
                sums[m][k] = splat(row, 0)
                memcpy(&sums[m][k], row + k, rest * size)
            else:
                sums[m][k] = row[k]
    for i in range(full):
        for k in range(vectors):
            seen[k] = in_register(rows[i * pitch + k])
        for m in range(outputs):
            factor = broadcast(rows, dy, m * full + i)
            for k in range(vectors):
                sums[m][k] = sums[m][k] + factor * seen[k]
    for m in range(outputs):
        row = <lanes *> ((<char *> dw) + m * n_in * size)
        for k in range(vectors):
            if rest and k == vectors - 1:
                memcpy(row + k, &sums[m][k], rest * size)
            else:
                row[k] = sums[m][k]


cdef inline void outer_rows(
    Py_ssize_t outputs, const lanes *dy, const lanes *rows, Py_ssize_t pitch, char *dw,
    Py_ssize_t n_in, bint fresh,
) noexcept nogil:
    """All weights of some outputs; `outputs` is a literal where this is called."""
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), k = 0
    while (k + OUTER_VECTORS) * full <= n_in:
        outer_block(
            outputs, OUTER_VECTORS, dy, rows + k, pitch, dw + k * full * size, n_in, 0, fresh
        )
        k += OUTER_VECTORS
    while (k + 1) * full <= n_in:
        outer_block(outputs, 1, dy, rows + k, pitch, dw + k * full * size, n_in, 0, fresh)
        k += 1
    if k * full < n_in:
        outer_block(
            outputs, 1, dy, rows + k, pitch, dw + k * full * size, n_in, n_in - k * full, fresh
        )


cdef void dense_gradient_tile(
    const lanes *dy, Py_ssize_t n_out, const lanes *x, Py_ssize_t n_in, lanes *rows, void *dw,
    void *db, bint fresh,
) noexcept nogil:
    """Add a tile's share to the gradients: dw_ij += sum over the lanes of dy_i x_j, db_i += dy_i;
    or set them to it, where they are `fresh`.

    Vectors run along the inputs: x is transposed first, into `rows`.
    """
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), i = 0, k
    cdef Py_ssize_t pitch = (n_in + full - 1) // full
    transposed(x, n_in, rows, pitch)
    while n_out - i >= OUTER_OUTPUTS:
        outer_rows(
            OUTER_OUTPUTS, dy + i, rows, pitch, (<char *> dw) + i * n_in * size, n_in, fresh
        )
        i += OUTER_OUTPUTS
    while i < n_out:
        outer_rows(1, dy + i, rows, pitch, (<char *> dw) + i * n_in * size, n_in, fresh)
        i += 1
    if db != NULL:
        if fresh:
            memset(db, 0, n_out * size)
        for i in range(n_out):
            add_lanes(dy + i, (<char *> db) + i * size)


cdef inline void add_lanes(const lanes *x, void *total) noexcept nogil:
    """Add the lanes of one vector to a number."""
    cdef Py_ssize_t i, full = lane_count(x)
    for i in range(full):
        if lanes is lanes_f32:
            (<float *> total)[0] += (<const float *> x)[i]
        else:
            (<double *> total)[0] += (<const double *> x)[i]
