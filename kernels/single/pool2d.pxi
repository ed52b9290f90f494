# needs: layers/activations (sloped)
#
# Pooling and sub-sampling of one image at a time.
#
# Pixel by pixel (h, w, c), vectors run along the maps. From planar maps, whose windows are 2 x 2
# side by side, they run along the columns, and a square of maps and columns is transposed on the
# way to the other order. With more output maps than planar ones, `multiplier` in a row see
# the same; it is at most the lanes of a vector. As in conv2d_maps.pxi, what is written beyond a
# pixel's maps is written over.

from libc.string cimport memcpy, memset

from vectors cimport (
    broadcast, element_size, evens, lane_count, lanes, leader, odds, routed, splat, transpose,
    zipped_high, zipped_low,
)
from program cimport Activation
from shapes cimport Maps, Window


cdef enum Pooling:
    SUMS
    MAXIMA


cdef inline lanes ones(lanes *_, Py_ssize_t count) noexcept nogil:
    """1 in the first lanes, 0 in the others."""
    cdef lanes all = splat(_, 1), some = splat(_, 0)
    cdef Py_ssize_t full = lane_count(_)
    memcpy(&some, &all, (count if count < full else full) * element_size(_))
    return some


cdef inline lanes pooled(
    Pooling pooling, const char *corner, Py_ssize_t right, Py_ssize_t down, Py_ssize_t kh,
    Py_ssize_t kw, lanes *_,
) noexcept nogil:
    """The sum or the maximum of a window; steps are in bytes."""
    cdef lanes found = (<const lanes *> corner)[0], tap
    cdef Py_ssize_t u, v
    for u in range(kh):
        for v in range(kw):
            if u or v:
                tap = (<const lanes *> (corner + u * down + v * right))[0]
                found = leader(found, tap) if pooling == MAXIMA else found + tap
    return found


# --- pixel by pixel ---


cdef inline void pixels_forward(
    Pooling pooling, const void *x, Maps source, Window window, double scale, const void *w,
    const void *b, void *y, Maps result, lanes *_,
) noexcept nogil:
    """Set y to the maxima; or to the scaled sums, times w, plus b, where there are weights."""
    cdef Py_ssize_t size = element_size(_), full = lane_count(_), r, k
    cdef Py_ssize_t right = source.count * size, down = source.columns * right
    cdef Py_ssize_t v = (source.count + full - 1) // full
    cdef lanes factor, offset = splat(_, 0), found
    cdef const char *corner
    cdef char *place
    while v > 0:  # the last maps first
        v -= 1
        factor = splat(_, scale)
        if w != NULL:
            factor = factor * (<const lanes *> w)[v]
            offset = (<const lanes *> b)[v]
        place = (<char *> y) + v * sizeof(lanes)
        for r in range(result.rows):
            for k in range(result.columns):
                corner = (
                    (<const char *> x) + v * sizeof(lanes) + r * window.stride_v * down
                    + k * window.stride_h * right
                )
                found = pooled(pooling, corner, right, down, window.kh, window.kw, _)
                if pooling == SUMS:
                    found = found * factor + offset
                (<lanes *> place)[0] = found
                place += right


cdef inline void pixels_back(
    Pooling pooling, const void *dy, Maps result, Window window, double scale, const void *w,
    const void *x, void *dx, Maps source, lanes *_,
) noexcept nogil:
    """Set dx. A window passes its dy to its first maximum; or to all its inputs, scaled."""
    cdef Py_ssize_t size = element_size(_), full = lane_count(_), r, k, u, t
    cdef Py_ssize_t right = source.count * size, down = source.columns * right, v, at
    cdef lanes factor, best, left, share
    cdef lanes *place
    cdef const char *shares
    memset(dx, 0, source.rows * down)
    for v in range((source.count + full - 1) // full):
        # What lies beyond a pixel's maps gets zeros.
        factor = ones(_, source.count - v * full)
        if pooling == SUMS:
            factor = factor * splat(_, scale)
        if w != NULL:
            factor = factor * (<const lanes *> w)[v]
        shares = (<const char *> dy) + v * sizeof(lanes)
        for r in range(result.rows):
            for k in range(result.columns):
                at = v * sizeof(lanes) + r * window.stride_v * down + k * window.stride_h * right
                left = (<const lanes *> shares)[0] * factor
                if pooling == MAXIMA:
                    best = pooled(
                        MAXIMA, (<const char *> x) + at, right, down, window.kh, window.kw, _
                    )
                for u in range(window.kh):
                    for t in range(window.kw):
                        place = <lanes *> ((<char *> dx) + at + u * down + t * right)
                        share = left
                        if pooling == MAXIMA:
                            share = routed(
                                (<const lanes *> (
                                    (<const char *> x) + at + u * down + t * right
                                ))[0], best, &left,
                            )
                        place[0] = place[0] + share
                shares += right


cdef void pixels_gradient(
    const void *dy, Maps result, Window window, double scale, const void *x, Maps source, void *dw,
    void *db, lanes *_,
) noexcept nogil:
    """Set dw and db; vectors may reach beyond their ends."""
    cdef Py_ssize_t size = element_size(_), full = lane_count(_), r, k
    cdef Py_ssize_t right = source.count * size, down = source.columns * right
    cdef Py_ssize_t v = (source.count + full - 1) // full
    cdef lanes by_sum, total, kept, share
    cdef const char *shares
    cdef const char *corner
    while v > 0:
        v -= 1
        by_sum = total = splat(_, 0)
        shares = (<const char *> dy) + v * sizeof(lanes)
        for r in range(result.rows):
            for k in range(result.columns):
                corner = (
                    (<const char *> x) + v * sizeof(lanes) + r * window.stride_v * down
                    + k * window.stride_h * right
                )
                share = (<const lanes *> shares)[0]
                total = total + share
                by_sum = by_sum + share * pooled(
                    SUMS, corner, right, down, window.kh, window.kw, _
                )
                shares += right
        kept = ones(_, source.count - v * full)
        (<lanes *> dw)[v] = by_sum * kept * splat(_, scale)
        (<lanes *> db)[v] = total * kept


# --- from planar maps, windows of 2 x 2 side by side ---


cdef inline void window_pixels(
    const lanes *top, Py_ssize_t down, bint second, lanes *taps
) noexcept nogil:
    """Set taps to the pixels of as many windows as a vector holds, in scan order: of the vector at
    `top`, the one behind it, if there is a second, and those in the row below."""
    cdef lanes zero = splat(taps, 0)
    cdef Py_ssize_t row
    for row in range(2):
        taps[2 * row] = evens(top[row * down], top[row * down + 1] if second else zero)
        taps[2 * row + 1] = odds(top[row * down], top[row * down + 1] if second else zero)


cdef inline void planar_forward(
    Pooling pooling, const lanes *x, Maps source, double scale, const void *w, const void *b,
    char *y, Maps result,
) noexcept nogil:
    """Set y, pixel by pixel, from planar x: see pixels_forward."""
    cdef Py_ssize_t size = element_size(x), full = lane_count(x), r, k, c, m, count
    cdef Py_ssize_t multiplier = result.count // source.count
    cdef Py_ssize_t vectors = (source.columns + full - 1) // full, plane = source.rows * vectors
    cdef Py_ssize_t planes[16]
    cdef lanes square[16]
    cdef lanes taps[4]
    cdef lanes *tag = <lanes *> y
    cdef const lanes *row
    cdef char *place
    m = (result.count + full - 1) // full * full
    while m > 0:  # the last maps first
        m -= full
        count = min(full, result.count - m)
        for c in range(count):
            planes[c] = (m + c) // multiplier * plane
        for r in range(result.rows):
            k = 0
            while k < result.columns:
                row = x + 2 * r * vectors + 2 * (k // full)
                for c in range(count):
                    window_pixels(row + planes[c], vectors, 2 * (k // full) + 1 < vectors, taps)
                    if pooling == MAXIMA:
                        square[c] = leader(leader(leader(taps[0], taps[1]), taps[2]), taps[3])
                    else:
                        square[c] = taps[0] + taps[1] + taps[2] + taps[3]
                        square[c] = square[c] * splat(tag, scale)
                        if w != NULL:
                            square[c] = (
                                square[c] * broadcast(tag, w, m + c) + broadcast(tag, b, m + c)
                            )
                for c in range(count, full):
                    square[c] = splat(tag, 0)
                transpose(square)
                place = y + ((r * result.columns + k) * result.count + m) * size
                for c in range(min(full, result.columns - k)):
                    (<lanes *> place)[0] = square[c]
                    place += result.count * size
                k += full


cdef inline void planar_back(
    Pooling pooling, Activation function, const char *dy, Maps result, double scale,
    const void *w, const lanes *x, lanes *dx, Maps source, lanes *sums,
) noexcept nogil:
    """Set planar dx, which x may be; see pixels_back. Where there are weights, set `sums` to the
    gradients of w, and then of b, lane by lane.

    If x is the output of an activation, dx is the gradient at its input. The first two are
    literals where this is called.
    """
    cdef Py_ssize_t size = element_size(x), full = lane_count(x), r, k, c, m, count, at, i, o
    cdef Py_ssize_t multiplier = result.count // source.count, most = full // multiplier
    cdef Py_ssize_t vectors = (source.columns + full - 1) // full, plane = source.rows * vectors
    cdef Py_ssize_t covered = (result.columns + full - 1) // full * 2
    cdef bint second
    cdef lanes square[16]
    cdef lanes taps[4]
    cdef lanes y[4]
    cdef lanes best, left, seen, zero = splat(dx, 0)
    cdef const char *place
    if w != NULL:
        memset(sums, 0, 2 * result.count * sizeof(lanes))
    m = 0
    while m < source.count:  # a square has all output maps of a planar one: x may be dx
        count = min(most, source.count - m)
        for r in range(result.rows):
            k = 0
            while k < result.columns:
                place = dy + ((r * result.columns + k) * result.count + m * multiplier) * size
                for c in range(full):  # chosen are addresses: a choice of vectors costs stores
                    square[c] = (<const lanes *> (
                        place + c * result.count * size if c < result.columns - k else
                        <const char *> &zero
                    ))[0]
                transpose(square)
                second = 2 * (k // full) + 1 < vectors
                for c in range(count):
                    at = (m + c) * plane + 2 * r * vectors + 2 * (k // full)
                    left = square[c * multiplier]
                    for i in range(2):
                        y[2 * i] = x[at + i * vectors]
                        y[2 * i + 1] = x[at + i * vectors + 1] if second else splat(dx, 0)
                    if pooling == MAXIMA or w != NULL:
                        window_pixels(x + at, vectors, second, taps)
                    if pooling == MAXIMA:
                        best = leader(leader(leader(taps[0], taps[1]), taps[2]), taps[3])
                        for i in range(4):
                            taps[i] = routed(taps[i], best, &left)
                    else:
                        if w != NULL:
                            seen = splat(dx, scale) * (taps[0] + taps[1] + taps[2] + taps[3])
                            left = splat(dx, 0)
                            for i in range(c * multiplier, (c + 1) * multiplier):
                                o = m * multiplier + i
                                sums[o] = sums[o] + square[i] * seen
                                sums[result.count + o] = sums[result.count + o] + square[i]
                                left = left + square[i] * broadcast(dx, w, o)
                        for i in range(4):
                            taps[i] = left * splat(dx, scale)
                    for i in range(2):
                        dx[at + i * vectors] = sloped(
                            function, zipped_low(taps[2 * i], taps[2 * i + 1]), y[2 * i]
                        )
                        if second:
                            dx[at + i * vectors + 1] = sloped(
                                function, zipped_high(taps[2 * i], taps[2 * i + 1]), y[2 * i + 1]
                            )
                k += full
        m += most
    # What no window sees: columns behind the last one, rows below it.
    for m in range(source.count):
        for r in range(source.rows):
            k = vectors if r >= 2 * result.rows else vectors - covered
            if k > 0:
                memset(dx + m * plane + (r + 1) * vectors - k, 0, k * sizeof(lanes))
