# needs: nothing
#
# Euclidean radial basis functions: y_i = sum over j of (x_j - w_ij)^2.

from libc.string cimport memset

from vectors cimport (
    broadcast, element_size, in_register, lane_count, lanes, lanes_f32, lanes_f64, pack, real,
    scratch_free, scratch_new, splat, unpack, vector_bytes,
)


cdef inline void rbf_block(
    Py_ssize_t outputs, const lanes *x, Py_ssize_t n_in, const void *w, Py_ssize_t first, lanes *y
) noexcept nogil:
    """Some adjacent outputs of a tile; `outputs` is a literal, so the sums stay in registers."""
    cdef lanes sums[5]
    cdef lanes seen, difference
    cdef Py_ssize_t i, j
    for i in range(outputs):
        sums[i] = splat(y, 0)
    for j in range(n_in):
        seen = in_register(x[j])
        for i in range(outputs):
            difference = seen - broadcast(y, w, (first + i) * n_in + j)
            sums[i] = sums[i] + difference * difference
    for i in range(outputs):
        y[first + i] = sums[i]


cdef void rbf_tile(
    const lanes *x, Py_ssize_t n_in, const void *w, Py_ssize_t n_out, lanes *y
) noexcept nogil:
    """Set y to the squared distance of each lane's input to each centre."""
    cdef Py_ssize_t i = 0
    while n_out - i >= 5:
        rbf_block(5, x, n_in, w, i, y)
        i += 5
    while i < n_out:
        rbf_block(1, x, n_in, w, i, y)
        i += 1


cdef void rbf_tiles(
    lanes *memory, const void *x, Py_ssize_t n, Py_ssize_t n_in, const void *w, Py_ssize_t n_out,
    void *y,
) noexcept nogil:
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory), i = 0, images
    while i < n:
        images = min(n - i, full)
        pack((<const char *> x) + i * n_in * size, n_in, images, n_in, memory)
        rbf_tile(memory, n_in, w, n_out, memory + n_in)
        unpack(memory + n_in, n_out, images, (<char *> y) + i * n_out * size, n_out)
        i += full


def rbf(const real[:, ::1] x, const real[:, ::1] w, real[:, ::1] y):
    """Set y to the squared distance of each input to each centre."""
    cdef real *tag = NULL
    cdef void *memory
    if x.shape[0] == 0 or w.shape[0] == 0:
        return
    memory = scratch_new(vector_bytes(tag) * (w.shape[0] + w.shape[1]))
    if memory == NULL:
        raise MemoryError
    with nogil:
        if real is float:
            rbf_tiles[lanes_f32](
                <lanes_f32 *> memory, &x[0, 0], x.shape[0], w.shape[1], &w[0, 0], w.shape[0],
                &y[0, 0],
            )
        else:
            rbf_tiles[lanes_f64](
                <lanes_f64 *> memory, &x[0, 0], x.shape[0], w.shape[1], &w[0, 0], w.shape[0],
                &y[0, 0],
            )
        scratch_free(memory)


cdef void rbf_back_rows(
    const real *dy, const real *x, const real *w, Py_ssize_t n, Py_ssize_t n_out, Py_ssize_t n_in,
    real *dx, real *dw,
) noexcept nogil:
    """Set dx, and dw unless it is NULL, from dy_i/dx_j = 2 (x_j - w_ij) = -dy_i/dw_ij."""
    cdef Py_ssize_t k, i, j
    cdef real slope
    if dw != NULL:
        memset(dw, 0, n_out * n_in * sizeof(real))
    memset(dx, 0, n * n_in * sizeof(real))
    for k in range(n):
        for i in range(n_out):
            if dw == NULL:
                for j in range(n_in):
                    dx[j] += 2 * (x[j] - w[i * n_in + j]) * dy[i]
            else:
                for j in range(n_in):
                    slope = 2 * (x[j] - w[i * n_in + j]) * dy[i]
                    dx[j] += slope
                    dw[i * n_in + j] -= slope
        dy += n_out
        x += n_in
        dx += n_in


cdef void rbf_hessian_rows(
    const real *hy, const real *dy, const real *x, const real *w, Py_ssize_t n, Py_ssize_t n_out,
    Py_ssize_t n_in, real *hx, real *hw,
) noexcept nogil:
    """Set hx, and hw unless it is NULL: the Gauss-Newton part hy slope^2, plus dy times the RBF's
    own curvature 2."""
    cdef Py_ssize_t k, i, j
    cdef real difference, curvature
    if hw != NULL:
        memset(hw, 0, n_out * n_in * sizeof(real))
    memset(hx, 0, n * n_in * sizeof(real))
    for k in range(n):
        for i in range(n_out):
            for j in range(n_in):
                difference = x[j] - w[i * n_in + j]
                curvature = 4 * hy[i] * difference * difference + 2 * dy[i]
                hx[j] += curvature
                if hw != NULL:
                    hw[i * n_in + j] += curvature
        hy += n_out
        dy += n_out
        x += n_in
        hx += n_in


def rbf_backward(
    const real[:, ::1] dy, const real[:, ::1] x, const real[:, ::1] w, real[:, ::1] dx,
    real[:, ::1] dw,
):
    """Set dx and dw."""
    cdef bint some = x.shape[0] > 0 and w.shape[0] > 0
    with nogil:
        rbf_back_rows[real](
            &dy[0, 0] if some else NULL, &x[0, 0] if some else NULL, &w[0, 0] if some else NULL,
            x.shape[0], w.shape[0], w.shape[1], &dx[0, 0] if x.shape[0] else NULL,
            &dw[0, 0] if w.shape[0] else NULL,
        )


def rbf_hessian(
    const real[:, ::1] hy, const real[:, ::1] dy, const real[:, ::1] x, const real[:, ::1] w,
    real[:, ::1] hx, real[:, ::1] hw,
):
    """Set hx and hw."""
    cdef bint some = x.shape[0] > 0 and w.shape[0] > 0
    with nogil:
        rbf_hessian_rows[real](
            &hy[0, 0] if some else NULL, &dy[0, 0] if some else NULL, &x[0, 0] if some else NULL,
            &w[0, 0] if some else NULL, x.shape[0], w.shape[0], w.shape[1],
            &hx[0, 0] if x.shape[0] else NULL, &hw[0, 0] if w.shape[0] else NULL,
        )
