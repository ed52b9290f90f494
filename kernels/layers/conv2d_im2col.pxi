# needs: vector/gemm (gemm, gemm_scratch)
#
# Convolution as a matrix product: the columns of an image packed, then one GEMM per group.
# A kernel with one position per image (C5) has one column: there the batch takes the place of the
# positions, and the product is one for all images. If it covers the whole input, the images
# themselves are the columns.

from libc.string cimport memset

from vectors cimport real, scratch_free, scratch_new


cdef void image_columns(
    const real *x, Py_ssize_t maps, Py_ssize_t h_in, Py_ssize_t w_in, Py_ssize_t kh,
    Py_ssize_t kw, Py_ssize_t h_out, Py_ssize_t w_out, Py_ssize_t stride_v, Py_ssize_t stride_h,
    Py_ssize_t dilation_v, Py_ssize_t dilation_h, real *columns, bint back,
) noexcept nogil:
    """Copy what each tap sees into its row: columns[c, u, v][r, s]; or add it `back` to x."""
    cdef Py_ssize_t c, u, v, r, s
    cdef real *row
    cdef real *tap = columns
    for c in range(maps):
        for u in range(kh):
            for v in range(kw):
                for r in range(h_out):
                    row = (
                        <real *> x + (c * h_in + r * stride_v + u * dilation_v) * w_in
                        + v * dilation_h
                    )
                    if back:
                        for s in range(w_out):
                            row[s * stride_h] += tap[s]
                    elif stride_h == 1:
                        for s in range(w_out):
                            tap[s] = row[s]
                    else:
                        for s in range(w_out):
                            tap[s] = row[s * stride_h]
                    tap += w_out


cdef const real *linked_weights(
    const real[:, :, :, ::1] w, const unsigned char[:, ::1] connections, real *masked
) noexcept nogil:
    """Return the weights, zero where a link is absent: they themselves, or a copy in `masked`."""
    cdef Py_ssize_t o, c, k, absent = 0, taps = w.shape[2] * w.shape[3]
    cdef real *kernel = masked
    for o in range(w.shape[0]):
        for c in range(w.shape[1]):
            absent += not connections[o, c]
    if not absent:
        return &w[0, 0, 0, 0]
    for o in range(w.shape[0]):
        for c in range(w.shape[1]):
            for k in range(taps):
                kernel[k] = (&w[o, c, 0, 0])[k] if connections[o, c] else 0
            kernel += taps
    return masked


cdef inline bint whole_images(
    const real[:, :, :, ::1] x, const real[:, :, :, ::1] w, Py_ssize_t positions
) noexcept nogil:
    """Whether the columns of a batch are its images, number for number."""
    return (
        positions == 1 and x.shape[1] == w.shape[1]
        and x.shape[2] == w.shape[2] and x.shape[3] == w.shape[3]
    )


def conv2d_im2col(
    const real[:, :, :, ::1] x, const real[:, :, :, ::1] w, const real[:, :, ::1] b,
    const unsigned char[:, ::1] connections, real[:, :, :, ::1] y, Py_ssize_t stride_v,
    Py_ssize_t stride_h, Py_ssize_t dilation_v, Py_ssize_t dilation_h,
):
    """Set y to x convolved with w, plus b."""
    cdef Py_ssize_t n = x.shape[0], width = w.shape[1], groups = x.shape[1] // width
    cdef Py_ssize_t height = w.shape[0] // groups, positions = y.shape[2] * y.shape[3]
    cdef Py_ssize_t rows = width * w.shape[2] * w.shape[3]
    cdef Py_ssize_t i, g, o, k, images = n if positions == 1 else 1
    cdef bint unit = b.shape[1] * b.shape[2] > 1
    cdef real *masked = NULL
    cdef const real *weights
    cdef real *columns
    cdef real *scratch
    assert x.shape[2] > (y.shape[2] - 1) * stride_v + (w.shape[2] - 1) * dilation_v
    assert x.shape[3] > (y.shape[3] - 1) * stride_h + (w.shape[3] - 1) * dilation_h
    if n == 0:
        return
    masked = <real *> scratch_new(
        (w.shape[0] * rows + images * rows * positions + gemm_scratch(masked)) * sizeof(real)
    )
    if masked == NULL:
        raise MemoryError
    columns = masked + w.shape[0] * rows
    scratch = columns + images * rows * positions
    with nogil:
        weights = linked_weights(w, connections, masked)
        if whole_images(x, w, positions):
            columns = <real *> &x[0, 0, 0, 0]
        for i in range(n):
            for o in range(y.shape[1]):
                for k in range(positions):
                    (&y[i, o, 0, 0])[k] = (&b[o, 0, 0])[k if unit else 0]
        for g in range(groups):
            for i in range(n if columns != &x[0, 0, 0, 0] else 0):
                image_columns(
                    &x[i, g * width, 0, 0], width, x.shape[2], x.shape[3], w.shape[2],
                    w.shape[3], y.shape[2], y.shape[3], stride_v, stride_h, dilation_v,
                    dilation_h, columns + (i * rows if images > 1 else 0), False,
                )
                if positions > 1:
                    gemm(
                        height, positions, rows, weights + g * height * rows, rows, 1, columns,
                        positions, 1, &y[i, g * height, 0, 0], positions, scratch,
                    )
            if positions == 1:
                gemm(
                    n, height, rows, columns, rows, 1, weights + g * height * rows, 1, rows,
                    &y[0, g * height, 0, 0], y.shape[1], scratch,
                )
        scratch_free(masked)


def conv2d_input_gradient_im2col(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] w,
    const unsigned char[:, ::1] connections, real[:, :, :, ::1] dx, Py_ssize_t stride_v,
    Py_ssize_t stride_h, Py_ssize_t dilation_v, Py_ssize_t dilation_h,
):
    """Set dx to the gradient at the input."""
    cdef Py_ssize_t n = dx.shape[0], width = w.shape[1], groups = dx.shape[1] // width
    cdef Py_ssize_t height = w.shape[0] // groups, positions = dy.shape[2] * dy.shape[3]
    cdef Py_ssize_t rows = width * w.shape[2] * w.shape[3]
    cdef Py_ssize_t i, g, images = n if positions == 1 else 1
    cdef real *masked = NULL
    cdef const real *weights
    cdef real *columns
    cdef real *scratch
    if n == 0:
        return
    masked = <real *> scratch_new(
        (w.shape[0] * rows + images * rows * positions + gemm_scratch(masked)) * sizeof(real)
    )
    if masked == NULL:
        raise MemoryError
    columns = masked + w.shape[0] * rows
    scratch = columns + images * rows * positions
    with nogil:
        weights = linked_weights(w, connections, masked)
        if whole_images(dx, w, positions):
            columns = &dx[0, 0, 0, 0]
        memset(&dx[0, 0, 0, 0], 0, n * dx.shape[1] * dx.shape[2] * dx.shape[3] * sizeof(real))
        for g in range(groups):
            if positions == 1:
                memset(columns, 0, n * rows * sizeof(real))
                gemm(
                    n, rows, height, &dy[0, g * height, 0, 0], dy.shape[1], 1,
                    weights + g * height * rows, rows, 1, columns, rows, scratch,
                )
            for i in range(n if columns != &dx[0, 0, 0, 0] else 0):
                if positions > 1:
                    memset(columns, 0, rows * positions * sizeof(real))
                    gemm(
                        rows, positions, height, weights + g * height * rows, 1, rows,
                        &dy[i, g * height, 0, 0], positions, 1, columns, positions, scratch,
                    )
                image_columns(
                    &dx[i, g * width, 0, 0], width, dx.shape[2], dx.shape[3], w.shape[2],
                    w.shape[3], dy.shape[2], dy.shape[3], stride_v, stride_h, dilation_v,
                    dilation_h, columns + (i * rows if images > 1 else 0), True,
                )
        scratch_free(masked)


def conv2d_weight_gradient_im2col(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x,
    const unsigned char[:, ::1] connections, real[:, :, :, ::1] dw, real[:, :, ::1] db,
    Py_ssize_t stride_v, Py_ssize_t stride_h, Py_ssize_t dilation_v, Py_ssize_t dilation_h,
):
    """Set dw and db to the gradients summed over the batch."""
    cdef Py_ssize_t n = x.shape[0], width = dw.shape[1], groups = x.shape[1] // width
    cdef Py_ssize_t height = dw.shape[0] // groups, positions = dy.shape[2] * dy.shape[3]
    cdef Py_ssize_t taps = dw.shape[2] * dw.shape[3], rows = width * taps
    cdef Py_ssize_t i, g, o, c, k, images = n if positions == 1 else 1
    cdef bint unit = db.shape[1] * db.shape[2] > 1
    cdef real *memory = NULL
    cdef real *columns
    cdef real *scratch
    memory = <real *> scratch_new(
        (images * rows * positions + gemm_scratch(memory)) * sizeof(real)
    )
    if memory == NULL:
        raise MemoryError
    columns = memory
    scratch = memory + images * rows * positions
    with nogil:
        if n and whole_images(x, dw, positions):
            columns = <real *> &x[0, 0, 0, 0]
        memset(&dw[0, 0, 0, 0], 0, dw.shape[0] * rows * sizeof(real))
        memset(&db[0, 0, 0], 0, db.shape[0] * db.shape[1] * db.shape[2] * sizeof(real))
        for g in range(groups):
            for i in range(n if columns == memory else 0):
                image_columns(
                    &x[i, g * width, 0, 0], width, x.shape[2], x.shape[3], dw.shape[2],
                    dw.shape[3], dy.shape[2], dy.shape[3], stride_v, stride_h, dilation_v,
                    dilation_h, columns + (i * rows if images > 1 else 0), False,
                )
                if positions > 1:
                    gemm(
                        height, rows, positions, &dy[i, g * height, 0, 0], positions, 1, columns,
                        1, positions, &dw[g * height, 0, 0, 0], rows, scratch,
                    )
            if positions == 1 and n:
                gemm(
                    height, rows, n, &dy[0, g * height, 0, 0], 1, dy.shape[1], columns, rows, 1,
                    &dw[g * height, 0, 0, 0], rows, scratch,
                )
        for o in range(dw.shape[0]):
            for c in range(width):
                if not connections[o, c]:
                    memset(&dw[o, c, 0, 0], 0, taps * sizeof(real))
        for i in range(n):
            for o in range(dy.shape[1]):
                for k in range(positions):
                    (&db[o, 0, 0])[k if unit else 0] += (&dy[i, o, 0, 0])[k]
        scratch_free(memory)
