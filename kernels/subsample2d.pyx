# Trainable sub-sampling of 1998: inputs added, times a coefficient a map, plus a bias a map.
# Its two loops, the sum of a window and the way back, also serve average pooling.

from common cimport real, scratch_free, scratch_new


cdef inline void window_sums(
    const real *x, Py_ssize_t pitch, real *s, Py_ssize_t w_out, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_h,
) noexcept nogil:
    """Set s to the sums of one row of windows; `pitch` elements lead to the next input row."""
    cdef Py_ssize_t column, u, v
    cdef real total
    if kh == 2 and kw == 2 and stride_h == 2:  # the window of every LeNet: four loads in a line
        for column in range(w_out):
            s[column] = (
                (x[2 * column] + x[2 * column + 1]) + x[pitch + 2 * column]
            ) + x[pitch + 2 * column + 1]
        return
    for column in range(w_out):
        total = 0
        for u in range(kh):
            for v in range(kw):
                total += x[u * pitch + column * stride_h + v]
        s[column] = total


cdef inline void spread_map(
    const real *dy, Py_ssize_t h_out, Py_ssize_t w_out, real *dx, Py_ssize_t h_in,
    Py_ssize_t w_in, Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h,
    real factor,
) noexcept nogil:
    """Set one map of dx to factor times the sum of dy over the windows each input is in."""
    cdef Py_ssize_t r, s, u, v
    cdef real share
    for r in range(h_in * w_in):
        dx[r] = 0
    for r in range(h_out):
        if kw == 2 and stride_h == 2:
            for u in range(kh):
                for s in range(w_out):
                    share = factor * dy[r * w_out + s]
                    dx[(r * stride_v + u) * w_in + 2 * s] += share
                    dx[(r * stride_v + u) * w_in + 2 * s + 1] += share
        else:
            for s in range(w_out):
                share = factor * dy[r * w_out + s]
                for u in range(kh):
                    for v in range(kw):
                        dx[(r * stride_v + u) * w_in + s * stride_h + v] += share


def subsample2d(
    const real[:, :, :, ::1] x, const real[::1] w, const real[::1] b, real[:, :, :, ::1] y,
    Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set y = w s + b, s = scale times the sum of the window."""
    cdef Py_ssize_t i, c, r, s
    cdef real factor
    assert x.shape[0] == y.shape[0] and x.shape[1] == y.shape[1]
    assert x.shape[2] >= (y.shape[2] - 1) * stride_v + kh
    assert x.shape[3] >= (y.shape[3] - 1) * stride_h + kw
    with nogil:
        for i in range(y.shape[0]):
            for c in range(y.shape[1]):
                factor = w[c] * <real> scale
                for r in range(y.shape[2]):
                    window_sums(
                        &x[i, c, r * stride_v, 0], x.shape[3], &y[i, c, r, 0], y.shape[3], kh, kw,
                        stride_h,
                    )
                    for s in range(y.shape[3]):
                        y[i, c, r, s] = factor * y[i, c, r, s] + b[c]


cdef void subsample_gradients(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, const real[::1] w,
    real[:, :, :, ::1] dx, real[::1] dw, real[::1] db, real *sums, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, real scale, bint squared,
) noexcept nogil:
    """Both passes; `squared` is the Hessian's, where w and s stand squared."""
    cdef Py_ssize_t i, c, r, k
    cdef real factor, to_weight, to_bias, s
    for c in range(x.shape[1]):
        dw[c] = 0
        db[c] = 0
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            factor = w[c] * scale
            spread_map(
                &dy[i, c, 0, 0], dy.shape[2], dy.shape[3], &dx[i, c, 0, 0], x.shape[2],
                x.shape[3], kh, kw, stride_v, stride_h, factor * factor if squared else factor,
            )
            to_weight = 0
            to_bias = 0
            for r in range(dy.shape[2]):
                window_sums(
                    &x[i, c, r * stride_v, 0], x.shape[3], sums, dy.shape[3], kh, kw, stride_h
                )
                for k in range(dy.shape[3]):
                    s = sums[k] * scale
                    to_weight += dy[i, c, r, k] * (s * s if squared else s)
                    to_bias += dy[i, c, r, k]
            dw[c] += to_weight
            db[c] += to_bias


def subsample2d_backward(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, const real[::1] w,
    real[:, :, :, ::1] dx, real[::1] dw, real[::1] db, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set dx = w scale dy, dw = sum of dy s, db = sum of dy."""
    cdef real *sums = <real *> scratch_new(dy.shape[3] * sizeof(real))
    if sums == NULL:
        raise MemoryError
    with nogil:
        subsample_gradients(
            dy, x, w, dx, dw, db, sums, kh, kw, stride_v, stride_h, <real> scale, False
        )
        scratch_free(sums)


def subsample2d_hessian(
    const real[:, :, :, ::1] hy, const real[:, :, :, ::1] x, const real[::1] w,
    real[:, :, :, ::1] hx, real[::1] hw, real[::1] hb, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set hx = (w scale)^2 hy, hw = sum of hy s^2, hb = sum of hy."""
    cdef real *sums = <real *> scratch_new(hy.shape[3] * sizeof(real))
    if sums == NULL:
        raise MemoryError
    with nogil:
        subsample_gradients(
            hy, x, w, hx, hw, hb, sums, kh, kw, stride_v, stride_h, <real> scale, True
        )
        scratch_free(sums)
