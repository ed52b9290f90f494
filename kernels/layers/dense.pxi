# needs: vector/gemm (gemm, gemm_scratch)
#
# Fully connected layer. In lanes, x and y hold one vector per input and output, one image per lane;
# the operations on whole batches are three matrix products.

from libc.string cimport memcpy, memset

from vectors cimport (
    DENSE_OUTPUTS, OUTER_OUTPUTS, OUTER_VECTORS, broadcast, element_size, in_register, lane_count,
    lanes, lanes_f32, real, scratch_free, scratch_new, splat, transpose,
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
        transpose(square)
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


cdef inline void add_lanes(const lanes *x, void *total) noexcept nogil:
    """Add the lanes of one vector to a number."""
    cdef Py_ssize_t i, full = lane_count(x)
    for i in range(full):
        if lanes is lanes_f32:
            (<float *> total)[0] += (<const float *> x)[i]
        else:
            (<double *> total)[0] += (<const double *> x)[i]


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


def dense(const real[:, ::1] x, const real[:, ::1] w, const real[::1] b, real[:, ::1] y):
    """Set y = x w^T + b."""
    cdef Py_ssize_t n, i
    cdef real *scratch = NULL
    assert y.shape[0] == x.shape[0] and y.shape[1] == w.shape[0] and x.shape[1] == w.shape[1]
    if x.shape[0] == 0:
        return
    scratch = <real *> scratch_new(gemm_scratch(scratch) * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for n in range(y.shape[0]):
            for i in range(y.shape[1]):
                y[n, i] = b[i]
        gemm(
            x.shape[0], w.shape[0], x.shape[1], &x[0, 0], x.shape[1], 1, &w[0, 0], 1, w.shape[1],
            &y[0, 0], y.shape[1], scratch,
        )
        scratch_free(scratch)


def dense_input_gradient(const real[:, ::1] dy, const real[:, ::1] w, real[:, ::1] dx):
    """Set dx = dy w."""
    cdef Py_ssize_t n, j
    cdef real *scratch = NULL
    assert dx.shape[0] == dy.shape[0] and dy.shape[1] == w.shape[0] and dx.shape[1] == w.shape[1]
    if dy.shape[0] == 0:
        return
    scratch = <real *> scratch_new(gemm_scratch(scratch) * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for n in range(dx.shape[0]):
            for j in range(dx.shape[1]):
                dx[n, j] = 0
        gemm(
            dy.shape[0], w.shape[1], w.shape[0], &dy[0, 0], dy.shape[1], 1, &w[0, 0], w.shape[1],
            1, &dx[0, 0], dx.shape[1], scratch,
        )
        scratch_free(scratch)


def dense_weight_gradient(
    const real[:, ::1] dy, const real[:, ::1] x, real[:, ::1] dw, real[::1] db
):
    """Set dw = dy^T x and db = sum of dy over the batch."""
    cdef Py_ssize_t n, i, j
    cdef real *scratch = NULL
    assert dw.shape[0] == dy.shape[1] and dw.shape[1] == x.shape[1] and db.shape[0] == dy.shape[1]
    scratch = <real *> scratch_new(gemm_scratch(scratch) * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for i in range(dw.shape[0]):
            db[i] = 0
            for j in range(dw.shape[1]):
                dw[i, j] = 0
        for n in range(dy.shape[0]):
            for i in range(dy.shape[1]):
                db[i] += dy[n, i]
        if dy.shape[0]:
            gemm(
                dy.shape[1], x.shape[1], dy.shape[0], &dy[0, 0], 1, dy.shape[1], &x[0, 0],
                x.shape[1], 1, &dw[0, 0], dw.shape[1], scratch,
            )
        scratch_free(scratch)
