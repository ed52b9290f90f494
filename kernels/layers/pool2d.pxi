# needs: layers/subsample2d (covered)
#
# Max pooling, one image per vector lane, a map at a time. (Average pooling: see subsample2d.pxi.)

from libc.string cimport memcpy, memset

from vectors cimport (
    PAIRS_F32, PAIRS_F64, element_size, lane_count, lanes, lanes_f32, lanes_f64, leader, pack, real,
    route_pairs_f32, route_pairs_f64, routed, routed_equal, scratch_free, scratch_new, unpack,
    vector_bytes,
)
from shapes cimport Maps, Window, maps_of, window_of


cdef inline lanes best_of(
    const lanes *corner, Py_ssize_t pitch, Py_ssize_t kh, Py_ssize_t kw
) noexcept nogil:
    """The maximum of a window; `pitch` vectors lead to the next row."""
    cdef lanes best = corner[0]
    cdef Py_ssize_t u, v
    for u in range(kh):
        for v in range(kw):
            best = leader(best, corner[u * pitch + v])
    return best


cdef inline void window_maxima(
    const lanes *x, Maps source, Py_ssize_t kh, Py_ssize_t kw, Window window, lanes *y,
    Maps result,
) noexcept nogil:
    """kh and kw may be literals."""
    cdef Py_ssize_t r, k
    for r in range(result.rows):
        for k in range(result.columns):
            y[r * result.columns + k] = best_of(
                x + r * window.stride_v * source.columns + k * window.stride_h, source.columns,
                kh, kw,
            )


cdef void max_map(
    const lanes *x, Maps source, Window window, lanes *y, Maps result
) noexcept nogil:
    """Set one map of y to the maximum of each window."""
    if window.kh == 2 and window.kw == 2:  # the window of every LeNet
        window_maxima(x, source, 2, 2, window, y, result)
    else:
        window_maxima(x, source, window.kh, window.kw, window, y, result)


cdef inline void route_windows(
    const lanes *dy, Maps result, const lanes *x, Maps source, Py_ssize_t kh, Py_ssize_t kw,
    Window window, bint apart, bint every, lanes *dx,
) noexcept nogil:
    """Store in each input its window's gradient, or add it where windows overlap."""
    cdef Py_ssize_t r, k, u, v, corner, last, tap
    cdef lanes best, left, share
    for r in range(result.rows):
        for k in range(result.columns):
            corner = r * window.stride_v * source.columns + k * window.stride_h
            best = best_of(x + corner, source.columns, kh, kw)
            left = dy[r * result.columns + k]
            last = corner + (kh - 1) * source.columns + kw - 1
            for u in range(kh):
                for v in range(kw):
                    tap = corner + u * source.columns + v
                    if every:
                        share = routed_equal(x[tap], best, left)
                    else:
                        share = routed(x[tap], best, &left) if tap != last else left
                    if apart:
                        dx[tap] = share
                    else:
                        dx[tap] = dx[tap] + share


cdef inline void back_through_map(
    const lanes *dy, Maps result, const lanes *x, Maps source, Window window, bint every,
    lanes *dx,
) noexcept nogil:
    """Set one map of dx. `every` is a literal, as it is in all that this calls."""
    if covered(source, window, result):
        if window.kh == 2 and window.kw == 2:
            route_windows(dy, result, x, source, 2, 2, window, True, every, dx)
        else:
            route_windows(
                dy, result, x, source, window.kh, window.kw, window, True, every, dx
            )
    else:
        memset(dx, 0, source.rows * source.columns * sizeof(lanes))
        route_windows(dy, result, x, source, window.kh, window.kw, window, False, every, dx)


cdef void max_back_map(
    const lanes *dy, Maps result, const lanes *x, Maps source, Window window, lanes *dx
) noexcept nogil:
    """Set one map of dx: each window passes its dy to its first maximum in scan order."""
    back_through_map(dy, result, x, source, window, False, dx)


cdef void max_back_map_to_all(
    const lanes *dy, Maps result, const lanes *x, Maps source, Window window, lanes *dx
) noexcept nogil:
    """Set one map of dx: each window passes its dy to all of its maxima."""
    back_through_map(dy, result, x, source, window, True, dx)


cdef inline void route_row_pairs(
    const real *dy, const real *x, real *dx, Py_ssize_t columns, bint every
) noexcept nogil:
    """Two pairs of rows of windows of 2 x 2, side by side. The last vector of a row lies over the
    one before it; or over the columns behind, where a row is shorter than a vector."""
    cdef Py_ssize_t full, s = 0
    if real is float:
        full = PAIRS_F32
    else:
        full = PAIRS_F64
    while True:
        if real is float:
            route_pairs_f32(dy + s // 2, x + s, dx + s, columns, every)
        else:
            route_pairs_f64(dy + s // 2, x + s, dx + s, columns, every)
        if s + full >= columns:
            return
        s = min(s + full, columns - full)


cdef inline void route_pairs_through(
    const real *dy, const real *x, real *dx, Py_ssize_t pairs, Py_ssize_t columns, bint every,
    real *scratch,
) noexcept nogil:
    """All pairs of rows of all maps, which lie one after the other. What a vector reads or writes
    beyond a pair belongs to the next; the last pairs, with too few behind them, go by `scratch`,
    and an odd one with whatever lies there."""
    cdef Py_ssize_t full, k, taken, half = columns // 2
    cdef real *x_copy = scratch
    cdef real *dx_copy
    cdef real *dy_copy
    if real is float:
        full = PAIRS_F32
    else:
        full = PAIRS_F64
    dx_copy = x_copy + 4 * columns + full
    dy_copy = dx_copy + 4 * columns + full
    for k in range(0, pairs, 2):
        if (pairs - k - 2) * half >= full:
            route_row_pairs(dy, x, dx, columns, every)
        else:
            taken = min(pairs - k, 2)
            memcpy(x_copy, x, taken * 2 * columns * sizeof(real))
            memcpy(dy_copy, dy, taken * half * sizeof(real))
            route_row_pairs(dy_copy, x_copy, dx_copy, columns, every)
            memcpy(dx, dx_copy, taken * 2 * columns * sizeof(real))
        dy += 2 * half
        x += 4 * columns
        dx += 4 * columns


cdef void route_pairs_to_first(
    const real *dy, const real *x, real *dx, Py_ssize_t pairs, Py_ssize_t columns, real *scratch
) noexcept nogil:
    route_pairs_through(dy, x, dx, pairs, columns, False, scratch)


cdef void route_pairs_to_all(
    const real *dy, const real *x, real *dx, Py_ssize_t pairs, Py_ssize_t columns, real *scratch
) noexcept nogil:
    route_pairs_through(dy, x, dx, pairs, columns, True, scratch)


cdef void max_tiles(
    lanes *memory, const void *dy, const void *x, Py_ssize_t n, Maps source, Window window,
    bint every, void *made, Maps result,
) noexcept nogil:
    """Pool all images, a map of a tile at a time; with dy, pass it back."""
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory), i = 0, c, images
    cdef Py_ssize_t in_size = source.rows * source.columns, out_size = result.rows * result.columns
    cdef lanes *small = memory + in_size
    cdef lanes *dx_map = small + out_size
    while i < n:
        images = min(n - i, full)
        for c in range(source.count):
            pack(
                (<const char *> x) + (i * source.count + c) * in_size * size,
                source.count * in_size, images, in_size, memory,
            )
            if dy == NULL:
                max_map(memory, source, window, small, result)
                unpack(
                    small, out_size, images,
                    (<char *> made) + (i * source.count + c) * out_size * size,
                    source.count * out_size,
                )
            else:
                pack(
                    (<const char *> dy) + (i * source.count + c) * out_size * size,
                    source.count * out_size, images, out_size, small,
                )
                if every:
                    max_back_map_to_all(small, result, memory, source, window, dx_map)
                else:
                    max_back_map(small, result, memory, source, window, dx_map)
                unpack(
                    dx_map, in_size, images,
                    (<char *> made) + (i * source.count + c) * in_size * size,
                    source.count * in_size,
                )
        i += full


cdef int max_pool(
    const real *dy, const real[:, :, :, ::1] x, real[:, :, :, ::1] made, Maps result,
    Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h, bint every,
) except -1:
    cdef Maps source = maps_of(x.shape[1], x.shape[2], x.shape[3])
    cdef Window window = window_of(kh, kw, stride_v, stride_h, 1, 1)
    cdef real *tag = NULL
    cdef void *memory
    cdef bint pairs = dy != NULL and kh == 2 and kw == 2 and covered(source, window, result)
    assert x.shape[0] == made.shape[0] and source.count == result.count
    assert source.rows >= (result.rows - 1) * stride_v + kh
    assert source.columns >= (result.columns - 1) * stride_h + kw
    if x.shape[0] == 0 or x.shape[1] == 0:
        return 0
    memory = scratch_new(
        vector_bytes(tag) * (
            2 * source.rows * source.columns + result.rows * result.columns + 4
        )
    )
    if memory == NULL:
        raise MemoryError
    with nogil:
        if pairs and every:
            route_pairs_to_all(
                dy, &x[0, 0, 0, 0], &made[0, 0, 0, 0],
                x.shape[0] * source.count * result.rows, source.columns, <real *> memory,
            )
        elif pairs:
            route_pairs_to_first(
                dy, &x[0, 0, 0, 0], &made[0, 0, 0, 0],
                x.shape[0] * source.count * result.rows, source.columns, <real *> memory,
            )
        elif real is float:
            max_tiles[lanes_f32](
                <lanes_f32 *> memory, dy, &x[0, 0, 0, 0], x.shape[0], source, window,
                every, &made[0, 0, 0, 0], result,
            )
        else:
            max_tiles[lanes_f64](
                <lanes_f64 *> memory, dy, &x[0, 0, 0, 0], x.shape[0], source, window,
                every, &made[0, 0, 0, 0], result,
            )
        scratch_free(memory)
    return 0


def max_pool2d(
    const real[:, :, :, ::1] x, real[:, :, :, ::1] y, Py_ssize_t kh, Py_ssize_t kw,
    Py_ssize_t stride_v, Py_ssize_t stride_h,
):
    """Set y to the maximum of each window."""
    cdef Maps result = maps_of(y.shape[1], y.shape[2], y.shape[3])
    max_pool[real](NULL, x, y, result, kh, kw, stride_v, stride_h, False)


def max_pool2d_backward(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, real[:, :, :, ::1] dx, Py_ssize_t kh,
    Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h, bint every,
):
    """Set dx: each window passes its dy to its first maximum in scan order, or to all maxima."""
    cdef Maps result = maps_of(dy.shape[1], dy.shape[2], dy.shape[3])
    assert x.shape[0] == dy.shape[0]
    if dy.shape[0] and dy.shape[1]:
        max_pool(&dy[0, 0, 0, 0], x, dx, result, kh, kw, stride_v, stride_h, every)
