# needs: nothing
#
# Trainable sub-sampling of 1998: inputs added, times a coefficient per map, plus a bias per map.
# Average pooling is the same without them. One image a vector lane, a map at a time. With more
# output maps than input maps, `multiplier` in a row see the same one.

from libc.string cimport memset

from vectors cimport (
    broadcast, element_size, fold, lane_count, lanes, lanes_f32, lanes_f64, pack, real,
    scratch_free, scratch_new, splat, squared_if, unpack, vector_bytes,
)
from shapes cimport Maps, Window, maps_of, window_of


cdef inline void window_sums(
    const lanes *x, Maps source, Py_ssize_t kh, Py_ssize_t kw, Window window, lanes *s,
    Maps result,
) noexcept nogil:
    """Set one map of s to the sums of the windows; kh and kw may be literals."""
    cdef Py_ssize_t r, k, u, v
    cdef const lanes *corner
    cdef lanes total
    for r in range(result.rows):
        for k in range(result.columns):
            corner = x + r * window.stride_v * source.columns + k * window.stride_h
            total = corner[0]
            for v in range(1, kw):
                total = total + corner[v]
            for u in range(1, kh):
                for v in range(kw):
                    total = total + corner[u * source.columns + v]
            s[r * result.columns + k] = total


cdef void sum_map(
    const lanes *x, Maps source, Window window, lanes *s, Maps result
) noexcept nogil:
    """Set one map of s to the sums of the windows."""
    if window.kh == 2 and window.kw == 2:  # the window of every LeNet
        window_sums(x, source, 2, 2, window, s, result)
    else:
        window_sums(x, source, window.kh, window.kw, window, s, result)


cdef inline void spread_windows(
    const lanes *dy, Maps result, Py_ssize_t kh, Py_ssize_t kw, Window window, lanes factor,
    bint apart, lanes *dx, Maps source,
) noexcept nogil:
    """Store factor times dy in each input of its window, or add it where windows overlap."""
    cdef Py_ssize_t r, k, u, v
    cdef lanes *corner
    cdef lanes share
    for r in range(result.rows):
        for k in range(result.columns):
            corner = dx + r * window.stride_v * source.columns + k * window.stride_h
            share = factor * dy[r * result.columns + k]
            for u in range(kh):
                for v in range(kw):
                    if apart:
                        corner[u * source.columns + v] = share
                    else:
                        corner[u * source.columns + v] = corner[u * source.columns + v] + share


cdef inline bint covered(Maps source, Window window, Maps result) noexcept nogil:
    """Whether each input is in one window."""
    return (
        window.stride_v == window.kh and window.stride_h == window.kw
        and result.rows * window.kh == source.rows and result.columns * window.kw == source.columns
    )


cdef void spread_map(
    const lanes *dy, Maps result, Window window, lanes factor, lanes *dx, Maps source
) noexcept nogil:
    """Set one map of dx to factor times the sum of dy over the windows each input is in."""
    if covered(source, window, result):
        if window.kh == 2 and window.kw == 2:
            spread_windows(dy, result, 2, 2, window, factor, True, dx, source)
        else:
            spread_windows(dy, result, window.kh, window.kw, window, factor, True, dx, source)
    else:
        memset(dx, 0, source.rows * source.columns * sizeof(lanes))
        spread_windows(dy, result, window.kh, window.kw, window, factor, False, dx, source)


cdef inline lanes coefficient(
    lanes *tag, const void *w, Py_ssize_t c, double scale, bint squared
) noexcept nogil:
    """What a window's sum is multiplied with: w scale, or its square; scale alone without w."""
    cdef lanes factor = splat(tag, scale)
    if w != NULL:
        factor = broadcast(tag, w, c) * factor
    return squared_if(squared, factor)


cdef inline Py_ssize_t multiplier_of(Maps source, Maps result) noexcept nogil:
    return result.count // source.count


cdef void spread_maps(
    const lanes *dy, Maps result, Window window, const void *w, Py_ssize_t c, double scale,
    bint squared, lanes *mixed, lanes *dx, Maps source,
) noexcept nogil:
    """Set map c of dx from the maps of dy that see it, which begin at `dy`; `mixed` is scratch."""
    cdef Py_ssize_t multiplier = multiplier_of(source, result), j, k
    cdef Py_ssize_t made = result.rows * result.columns
    cdef lanes factor = coefficient(dx, w, c * multiplier, scale, squared)
    if multiplier == 1:
        spread_map(dy, result, window, factor, dx, source)
        return
    for k in range(made):
        mixed[k] = factor * dy[k]
    for j in range(1, multiplier):
        factor = coefficient(dx, w, c * multiplier + j, scale, squared)
        for k in range(made):
            mixed[k] = mixed[k] + factor * dy[j * made + k]
    spread_map(mixed, result, window, splat(dx, 1), dx, source)


cdef void subsample_map(
    const lanes *x, Maps source, Window window, const void *w, const void *b, Py_ssize_t c,
    double scale, lanes *y, Maps result,
) noexcept nogil:
    """Set map c of y to w s + b."""
    cdef Py_ssize_t k
    cdef lanes factor = coefficient(y, w, c, scale, False), bias
    sum_map(x, source, window, y, result)
    if b == NULL:
        for k in range(result.rows * result.columns):
            y[k] = factor * y[k]
        return
    bias = broadcast(y, b, c)
    for k in range(result.rows * result.columns):
        y[k] = factor * y[k] + bias


cdef void subsample_gradient_map(
    const lanes *dy, Maps result, const lanes *x, Maps source, Window window, double scale,
    bint squared, lanes *sums, lanes *dw, lanes *db,
) noexcept nogil:
    """Add a map's share to the gradients of its coefficient and its bias, lane by lane."""
    cdef Py_ssize_t k
    cdef lanes to_weight = splat(dw, 0), to_bias = to_weight
    sum_map(x, source, window, sums, result)
    for k in range(result.rows * result.columns):
        to_weight = to_weight + dy[k] * squared_if(squared, sums[k])
        to_bias = to_bias + dy[k]
    dw[0] = dw[0] + squared_if(squared, splat(dw, scale)) * to_weight
    db[0] = db[0] + to_bias


cdef void subsample_tiles(
    lanes *memory, const void *x, Py_ssize_t n, Maps source, Window window, const void *w,
    const void *b, double scale, void *y, Maps result,
) noexcept nogil:
    """Sub-sample all images, a map of a tile at a time."""
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory), i = 0, c, o, images
    cdef Py_ssize_t multiplier = multiplier_of(source, result)
    cdef Py_ssize_t seen = source.rows * source.columns, made = result.rows * result.columns
    cdef lanes *y_map = memory + seen
    while i < n:
        images = min(n - i, full)
        for c in range(source.count):
            pack(
                (<const char *> x) + (i * source.count + c) * seen * size, source.count * seen,
                images, seen, memory,
            )
            for o in range(c * multiplier, (c + 1) * multiplier):
                subsample_map(memory, source, window, w, b, o, scale, y_map, result)
                unpack(
                    y_map, made, images, (<char *> y) + (i * result.count + o) * made * size,
                    result.count * made,
                )
        i += full


cdef void subsample_back_tiles(
    lanes *memory, const void *dy, Py_ssize_t n, Maps result, const void *x, Maps source,
    Window window, const void *w, double scale, bint squared, void *dx,
) noexcept nogil:
    """Pass all gradients back. With x, the first 2 c_out vectors of memory are set to the
    gradients of the coefficients and of the biases, lane by lane."""
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory), i = 0, c, j, images
    cdef Py_ssize_t multiplier = multiplier_of(source, result), o
    cdef Py_ssize_t seen = source.rows * source.columns, made = result.rows * result.columns
    cdef lanes *dw = memory
    cdef lanes *x_map = memory + 2 * result.count
    cdef lanes *dy_maps = x_map + seen
    cdef lanes *sums = dy_maps + multiplier * made
    memset(memory, 0, 2 * result.count * sizeof(lanes))
    while i < n:
        images = min(n - i, full)
        for c in range(source.count):
            o = c * multiplier
            pack(
                (<const char *> dy) + (i * result.count + o) * made * size, result.count * made,
                images, multiplier * made, dy_maps,
            )
            if x != NULL:
                pack(
                    (<const char *> x) + (i * source.count + c) * seen * size,
                    source.count * seen, images, seen, x_map,
                )
                for j in range(multiplier):
                    subsample_gradient_map(
                        dy_maps + j * made, result, x_map, source, window, scale, squared, sums,
                        dw + o + j, dw + result.count + o + j,
                    )
            spread_maps(
                dy_maps, result, window, w, c, scale, squared, sums, x_map, source
            )
            unpack(
                x_map, seen, images, (<char *> dx) + (i * source.count + c) * seen * size,
                source.count * seen,
            )
        i += full


cdef int subsample_forward(
    const real[:, :, :, ::1] x, const real *w, const real *b, real[:, :, :, ::1] y,
    Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
) except -1:
    cdef Maps source = maps_of(x.shape[1], x.shape[2], x.shape[3])
    cdef Maps result = maps_of(y.shape[1], y.shape[2], y.shape[3])
    cdef Window window = window_of(kh, kw, stride_v, stride_h, 1, 1)
    cdef real *tag = NULL
    cdef void *memory
    assert x.shape[0] == y.shape[0] and (not x.shape[1] or y.shape[1] % x.shape[1] == 0)
    assert source.rows >= (result.rows - 1) * stride_v + kh
    assert source.columns >= (result.columns - 1) * stride_h + kw
    if x.shape[0] == 0 or x.shape[1] == 0:
        return 0
    memory = scratch_new(
        vector_bytes(tag) * (source.rows * source.columns + result.rows * result.columns)
    )
    if memory == NULL:
        raise MemoryError
    with nogil:
        if real is float:
            subsample_tiles[lanes_f32](
                <lanes_f32 *> memory, &x[0, 0, 0, 0], x.shape[0], source, window, w, b, scale,
                &y[0, 0, 0, 0], result,
            )
        else:
            subsample_tiles[lanes_f64](
                <lanes_f64 *> memory, &x[0, 0, 0, 0], x.shape[0], source, window, w, b, scale,
                &y[0, 0, 0, 0], result,
            )
        scratch_free(memory)
    return 0


cdef int subsample_back(
    const real[:, :, :, ::1] dy, const real *x, const real *w, real[:, :, :, ::1] dx, real *dw,
    real *db, Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h,
    double scale, bint squared,
) except -1:
    """Both passes; `squared` is the Hessian's, where w and s stand squared."""
    cdef Maps source = maps_of(dx.shape[1], dx.shape[2], dx.shape[3])
    cdef Maps result = maps_of(dy.shape[1], dy.shape[2], dy.shape[3])
    cdef Window window = window_of(kh, kw, stride_v, stride_h, 1, 1)
    cdef real *tag = NULL
    cdef char *memory
    cdef bint some = dx.shape[0] > 0 and dx.shape[1] > 0
    assert dx.shape[0] == dy.shape[0] and (not dx.shape[1] or dy.shape[1] % dx.shape[1] == 0)
    assert source.rows >= (result.rows - 1) * stride_v + kh
    assert source.columns >= (result.columns - 1) * stride_h + kw
    if source.count == 0:
        return 0
    memory = <char *> scratch_new(vector_bytes(tag) * (
        2 * result.count + source.rows * source.columns
        + (multiplier_of(source, result) + 1) * result.rows * result.columns
    ))
    if memory == NULL:
        raise MemoryError
    with nogil:
        # An empty batch has no first element to point to, and none is read.
        if real is float:
            subsample_back_tiles[lanes_f32](
                <lanes_f32 *> memory, &dy[0, 0, 0, 0] if some else NULL, dy.shape[0], result, x,
                source, window, w, scale, squared, &dx[0, 0, 0, 0] if some else NULL,
            )
        else:
            subsample_back_tiles[lanes_f64](
                <lanes_f64 *> memory, &dy[0, 0, 0, 0] if some else NULL, dy.shape[0], result, x,
                source, window, w, scale, squared, &dx[0, 0, 0, 0] if some else NULL,
            )
        if dw != NULL:
            fold(memory, result.count, dw)
            fold(memory + result.count * vector_bytes(tag), result.count, db)
        scratch_free(memory)
    return 0


def subsample2d(
    const real[:, :, :, ::1] x, const real[::1] w, const real[::1] b, real[:, :, :, ::1] y,
    Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set y = w s + b, s = scale times the sum of the window."""
    if x.shape[0] and x.shape[1]:
        subsample_forward(x, &w[0], &b[0], y, kh, kw, stride_v, stride_h, scale)


def subsample2d_backward(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, const real[::1] w,
    real[:, :, :, ::1] dx, real[::1] dw, real[::1] db, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set dx = w scale dy, dw = sum of dy s, db = sum of dy."""
    if w.shape[0]:
        subsample_back(
            dy, &x[0, 0, 0, 0] if x.shape[0] else NULL, &w[0], dx, &dw[0], &db[0], kh, kw,
            stride_v, stride_h, scale, False,
        )


def subsample2d_hessian(
    const real[:, :, :, ::1] hy, const real[:, :, :, ::1] x, const real[::1] w,
    real[:, :, :, ::1] hx, real[::1] hw, real[::1] hb, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set hx = (w scale)^2 hy, hw = sum of hy s^2, hb = sum of hy."""
    if w.shape[0]:
        subsample_back(
            hy, &x[0, 0, 0, 0] if x.shape[0] else NULL, &w[0], hx, &hw[0], &hb[0], kh, kw,
            stride_v, stride_h, scale, True,
        )


def avg_pool2d(
    const real[:, :, :, ::1] x, real[:, :, :, ::1] y, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h,
):
    """Set y to the mean of each window."""
    subsample_forward(x, NULL, NULL, y, kh, kw, stride_v, stride_h, 1.0 / (kh * kw))


def avg_pool2d_backward(
    const real[:, :, :, ::1] dy, real[:, :, :, ::1] dx, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h, double scale,
):
    """Set dx to scale times the sum of dy over the windows that each input is in."""
    subsample_back(
        dy, NULL, NULL, dx, NULL, NULL, kh, kw, stride_v, stride_h, scale, False
    )
