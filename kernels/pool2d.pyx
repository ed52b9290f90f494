# Pooling without parameters: the maximum or the mean of each window.

from libc.string cimport memset

from common cimport real, scratch_free, scratch_new


cdef inline bint larger(real candidate, real best) noexcept nogil:
    """Whether a later pixel takes the lead: NaN beats numbers, the first of equals stays."""
    return candidate > best or (candidate != candidate and best == best)


cdef inline real leader(real first, real second) noexcept nogil:
    """The same for the values, in a form that the compiler turns into vectors."""
    cdef real most = second if second > first else first
    return second if second != second else most


cdef inline void max_row(
    const real *x, Py_ssize_t pitch, real *y, Py_ssize_t w_out, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_h,
) noexcept nogil:
    """One output row; `pitch` elements lead from an input row to the next."""
    cdef Py_ssize_t s, u, v
    cdef real best
    cdef const real *below = x + pitch
    if kh == 2 and kw == 2 and stride_h == 2:  # the window of every LeNet
        for s in range(w_out):
            y[s] = leader(
                leader(x[2 * s], x[2 * s + 1]), leader(below[2 * s], below[2 * s + 1])
            )
        return
    for s in range(w_out):
        best = x[s * stride_h]
        for u in range(kh):
            for v in range(kw):
                best = leader(best, x[u * pitch + s * stride_h + v])
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
                    max_row(
                        &x[i, c, r * stride_v, 0], pitch, &y[i, c, r, 0], w_out, kh, kw, stride_h
                    )


cdef inline bint hand_pair_rows(
    const real *dy, const real *x, Py_ssize_t pitch, real *best, real *dx, Py_ssize_t w_out,
) noexcept nogil:
    """Hand one row of dy to the first maxima of windows of 2 x 2 that do not overlap.

    `best`, scratch for a row, gets their maxima: comparisons with it are cheaper than to follow,
    pixel by pixel, who leads. But NaN equals nothing: then nothing is done, and False returned.
    """
    cdef Py_ssize_t s
    cdef int first, second, third, strange = 0
    cdef const real *x_below = x + pitch
    cdef real *dx_below = dx + pitch
    max_row(x, pitch, best, w_out, 2, 2, 2)
    for s in range(w_out):
        strange |= best[s] != best[s]
    if strange:
        return False
    for s in range(w_out):
        first = x[2 * s] == best[s]
        second = x[2 * s + 1] == best[s]
        third = x_below[2 * s] == best[s]
        dx[2 * s] = dy[s] if first else 0
        dx[2 * s + 1] = dy[s] if second > first else 0
        dx_below[2 * s] = dy[s] if third > (first | second) else 0
        dx_below[2 * s + 1] = 0 if first | second | third else dy[s]
    return True


cdef inline void hand_row(
    const real *dy, const real *x, Py_ssize_t pitch, real *dx, Py_ssize_t w_out, Py_ssize_t kh,
    Py_ssize_t kw, Py_ssize_t stride_h,
) noexcept nogil:
    """Add one row of dy to the first maxima of its windows."""
    cdef Py_ssize_t s, u, v, tap, winner
    for s in range(w_out):
        winner = s * stride_h
        for u in range(kh):
            for v in range(kw):
                tap = u * pitch + s * stride_h + v
                if larger(x[tap], x[winner]):
                    winner = tap
        dx[winner] += dy[s]


def max_pool2d_backward(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, real[:, :, :, ::1] dx, Py_ssize_t kh,
    Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h,
):
    """Set dx: each window hands its dy to its first maximum in scan order."""
    cdef Py_ssize_t i, c, r, h_out = dy.shape[2], w_out = dy.shape[3], pitch = x.shape[3]
    cdef bint pairs = kh == 2 and kw == 2 and stride_v == 2 and stride_h == 2
    cdef real *best
    assert x.shape[0] == dy.shape[0] and x.shape[1] == dy.shape[1]
    assert x.shape[2] >= (h_out - 1) * stride_v + kh and pitch >= (w_out - 1) * stride_h + kw
    best = <real *> scratch_new(w_out * sizeof(real))
    if best == NULL:
        raise MemoryError
    with nogil:
        for i in range(x.shape[0]):
            for c in range(x.shape[1]):
                memset(&dx[i, c, 0, 0], 0, x.shape[2] * pitch * sizeof(real))
                for r in range(h_out):
                    if not (pairs and hand_pair_rows(
                        &dy[i, c, r, 0], &x[i, c, 2 * r, 0], pitch, best, &dx[i, c, 2 * r, 0], w_out
                    )):
                        hand_row(
                            &dy[i, c, r, 0], &x[i, c, r * stride_v, 0], pitch,
                            &dx[i, c, r * stride_v, 0], w_out, kh, kw, stride_h,
                        )
        scratch_free(best)


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
