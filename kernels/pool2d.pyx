# Pooling without parameters: the maximum or the mean of each window.

from common cimport real


cdef inline bint larger(real candidate, real best) noexcept nogil:
    """Whether a later pixel takes the lead: NaN beats numbers, the first of equals stays."""
    return candidate > best or (candidate != candidate and best == best)


cdef inline void max_row(
    const real *x, Py_ssize_t pitch, real *y, Py_ssize_t w_out, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_h,
) noexcept nogil:
    """One output row; `pitch` elements lead from an input row to the next."""
    cdef Py_ssize_t s, u, v
    cdef real best, value
    for s in range(w_out):
        best = x[s * stride_h]
        for u in range(kh):
            for v in range(kw):
                value = x[u * pitch + s * stride_h + v]
                best = value if larger(value, best) else best
        y[s] = best


def max_pool2d(
    const real[:, :, :, ::1] x, real[:, :, :, ::1] y, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h,
):
    """Set y to the maximum of each window."""
    cdef Py_ssize_t i, c, r, h_out = y.shape[2], w_out = y.shape[3], pitch = x.shape[3]
    assert x.shape[0] == y.shape[0] and x.shape[1] == y.shape[1]
    assert x.shape[2] >= (h_out - 1) * stride_v + kh and pitch >= (w_out - 1) * stride_h + kw
    with nogil:
        for i in range(y.shape[0]):
            for c in range(y.shape[1]):
                for r in range(h_out):
                    # Literal sizes let the compiler unroll the window that LeNets use.
                    if kh == 2 and kw == 2 and stride_h == 2:
                        max_row(&x[i, c, r * stride_v, 0], pitch, &y[i, c, r, 0], w_out, 2, 2, 2)
                    else:
                        max_row(
                            &x[i, c, r * stride_v, 0], pitch, &y[i, c, r, 0], w_out, kh, kw,
                            stride_h,
                        )


def max_pool2d_backward(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, real[:, :, :, ::1] dx, Py_ssize_t kh,
    Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h,
):
    """Set dx: each window hands its dy to its first maximum in scan order."""
    cdef Py_ssize_t i, c, r, s, u, v, top, left, row, column
    assert x.shape[0] == dy.shape[0] and x.shape[1] == dy.shape[1]
    assert x.shape[2] >= (dy.shape[2] - 1) * stride_v + kh
    assert x.shape[3] >= (dy.shape[3] - 1) * stride_h + kw
    with nogil:
        for i in range(x.shape[0]):
            for c in range(x.shape[1]):
                for r in range(x.shape[2]):
                    for s in range(x.shape[3]):
                        dx[i, c, r, s] = 0
                for r in range(dy.shape[2]):
                    for s in range(dy.shape[3]):
                        top, left = r * stride_v, s * stride_h
                        row, column = top, left
                        for u in range(kh):
                            for v in range(kw):
                                if larger(x[i, c, top + u, left + v], x[i, c, row, column]):
                                    row, column = top + u, left + v
                        dx[i, c, row, column] += dy[i, c, r, s]


def avg_pool2d(
    const real[:, :, :, ::1] x, real[:, :, :, ::1] y, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h,
):
    """Set y to the mean of each window."""
    cdef Py_ssize_t i, c, r, s
    cdef real scale = <real> (1.0 / (kh * kw))
    with nogil:
        for i in range(y.shape[0]):
            for c in range(y.shape[1]):
                for r in range(y.shape[2]):
                    window_sums(
                        &x[i, c, r * stride_v, 0], x.shape[3], &y[i, c, r, 0], y.shape[3], kh, kw,
                        stride_h,
                    )
                    for s in range(y.shape[3]):
                        y[i, c, r, s] *= scale


def avg_pool2d_backward(
    const real[:, :, :, ::1] dy, real[:, :, :, ::1] dx, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set dx to scale times the sum of dy over the windows that each input is in."""
    cdef Py_ssize_t i, c
    with nogil:
        for i in range(dx.shape[0]):
            for c in range(dx.shape[1]):
                spread_map(
                    &dy[i, c, 0, 0], dy.shape[2], dy.shape[3], &dx[i, c, 0, 0], dx.shape[2],
                    dx.shape[3], kh, kw, stride_v, stride_h, <real> scale,
                )
