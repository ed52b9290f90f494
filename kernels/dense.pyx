# Fully connected layer: three matrix products.

from common cimport real, scratch_free, scratch_new


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
