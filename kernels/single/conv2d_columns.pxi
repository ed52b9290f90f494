# needs: layers/conv2d (bias_gradient_tile)
#
# Convolutions of one image at a time, from planar maps to planar ones: along the columns.
#
# The rows of the outputs are padded to whole vectors. What is read beyond a row only reaches this
# padding; behind the last row there is room.

from libc.string cimport memset

from vectors cimport (
    COLUMN_MAPS, COLUMN_TAPS, COLUMN_TAPS_MAPS, COLUMN_VECTORS, broadcast, element_size, fold_lanes,
    in_register, lane_count, lanes, splat,
)
from shapes cimport Maps, Window, maps_of


cdef inline void columns_block(
    Py_ssize_t maps, Py_ssize_t vectors, const lanes *x, Maps source, Window window,
    const char *w, Py_ssize_t w_step, const char *b, lanes *y, Py_ssize_t y_step,
) noexcept nogil:
    """Some vectors of a row of some output maps; the first two are literals where this is called.
    Steps are in bytes."""
    cdef lanes sums[COLUMN_MAPS][COLUMN_VECTORS]
    cdef lanes seen[COLUMN_VECTORS]
    cdef lanes weight
    cdef Py_ssize_t m, v, c, i, j, size = element_size(y)
    cdef const char *row
    for m in range(maps):
        for v in range(vectors):
            sums[m][v] = splat(y, 0) if b == NULL else broadcast(y, b, m)
    for c in range(source.count):
        for i in range(window.kh):
            row = (<const char *> x) + (
                (c * source.rows + i * window.dilation_v) * source.columns * size
            )
            for j in range(window.kw):
                for v in range(vectors):
                    seen[v] = in_register((<const lanes *> row)[v])
                for m in range(maps):
                    weight = broadcast(y, w, m)
                    for v in range(vectors):
                        sums[m][v] = sums[m][v] + weight * seen[v]
                row += window.dilation_h * size
                w += w_step
    for m in range(maps):
        for v in range(vectors):
            (<lanes *> ((<char *> y) + m * y_step))[v] = sums[m][v]


cdef inline void columns_map(
    Py_ssize_t maps, const void *x, Maps source, Window window, const char *w, Py_ssize_t w_step,
    const char *b, lanes *y, Maps result, Py_ssize_t vectors,
) noexcept nogil:
    """Some output maps; `maps` is a literal where this is called."""
    cdef Py_ssize_t r, v, size = element_size(y), y_step = result.rows * vectors * sizeof(lanes)
    cdef const lanes *row
    for r in range(result.rows):
        row = <const lanes *> (
            (<const char *> x) + r * window.stride_v * source.columns * size
        )
        v = 0
        while v < vectors:
            if vectors - v >= COLUMN_VECTORS:
                columns_block(
                    maps, COLUMN_VECTORS, row + v, source, window, w, w_step, b, y + v, y_step
                )
                v += COLUMN_VECTORS
            else:
                columns_block(maps, 1, row + v, source, window, w, w_step, b, y + v, y_step)
                v += 1
        y += vectors


cdef void columns_forward(
    const void *x, Maps source, Window window, const void *w, const void *b, lanes *y, Maps result
) noexcept nogil:
    """Set y to the convolution of x with w (c_in, kh, kw, maps), plus b where there is one."""
    cdef Py_ssize_t size = element_size(y), full = lane_count(y), m = 0, step = result.count * size
    cdef Py_ssize_t vectors = (result.columns + full - 1) // full, plane = result.rows * vectors
    cdef const char *weights = <const char *> w
    cdef const char *bias = <const char *> b
    while m < result.count:
        if result.count - m >= COLUMN_MAPS:
            columns_map(
                COLUMN_MAPS, x, source, window, weights + m * size, step,
                bias + m * size if b != NULL else NULL, y + m * plane, result, vectors,
            )
            m += COLUMN_MAPS
        elif result.count - m >= 4:
            columns_map(
                4, x, source, window, weights + m * size, step,
                bias + m * size if b != NULL else NULL, y + m * plane, result, vectors,
            )
            m += 4
        else:
            columns_map(
                1, x, source, window, weights + m * size, step,
                bias + m * size if b != NULL else NULL, y + m * plane, result, vectors,
            )
            m += 1


cdef inline void column_taps_block(
    Py_ssize_t taps, Py_ssize_t maps, const lanes *x, Py_ssize_t tap_step, Py_ssize_t x_down,
    const lanes *dy, Py_ssize_t plane, Py_ssize_t rows, Py_ssize_t vectors, lanes *dw,
    Py_ssize_t dw_step,
) noexcept nogil:
    """Some taps of a kernel row, some maps, lane by lane; the first two are literals where this is
    called. tap_step and x_down are in bytes."""
    cdef lanes sums[COLUMN_TAPS][COLUMN_TAPS_MAPS]
    cdef lanes shares[COLUMN_TAPS_MAPS]
    cdef lanes seen
    cdef Py_ssize_t t, m, r, v
    cdef const char *row = <const char *> x
    for t in range(taps):
        for m in range(maps):
            sums[t][m] = splat(dw, 0)
    for r in range(rows):
        for v in range(vectors):
            for m in range(maps):
                shares[m] = in_register(dy[m * plane + v])
            for t in range(taps):
                seen = in_register((<const lanes *> (row + t * tap_step))[v])
                for m in range(maps):
                    sums[t][m] = sums[t][m] + seen * shares[m]
        row += x_down
        dy += vectors
    for t in range(taps):
        for m in range(maps):
            dw[t * dw_step + m] = sums[t][m]


cdef inline void column_taps(
    Py_ssize_t maps, const char *x, Window window, Py_ssize_t x_down, const lanes *dy,
    Maps result, Py_ssize_t rows, Py_ssize_t vectors, lanes *dw, Py_ssize_t size,
) noexcept nogil:
    """A row of the kernels of some maps, from `rows` rows of dy; `maps` is a literal where this is
    called."""
    cdef Py_ssize_t j = 0, tap_step = window.dilation_h * size
    while j < window.kw:
        if window.kw - j >= COLUMN_TAPS:
            column_taps_block(
                COLUMN_TAPS, maps, <const lanes *> (x + j * tap_step), tap_step, x_down, dy,
                rows * vectors, rows, vectors, dw + j * result.count, result.count,
            )
            j += COLUMN_TAPS
        else:
            column_taps_block(
                1, maps, <const lanes *> (x + j * tap_step), tap_step, x_down, dy,
                rows * vectors, rows, vectors, dw + j * result.count, result.count,
            )
            j += 1


cdef void columns_gradient(
    const void *x, Maps source, Window window, const lanes *dy, Maps result, lanes *sums,
    void *dw,
) noexcept nogil:
    """Set dw (c_in, kh, kw, maps); dy is zero in the padding of its rows. `sums` is scratch."""
    cdef Py_ssize_t size = element_size(dy), full = lane_count(dy), i, m
    cdef Py_ssize_t vectors = (result.columns + full - 1) // full, plane = result.rows * vectors
    cdef Py_ssize_t down = window.stride_v * source.columns * size
    cdef Py_ssize_t kernel_rows = source.count * window.kh, step = window.kw * result.count
    cdef Py_ssize_t rows = result.rows
    cdef const char *row
    # Rows without gaps are one: to begin a loop of few turns anew takes as long as one of them.
    if down == vectors * <Py_ssize_t> sizeof(lanes):
        rows, vectors = 1, plane
    # All rows of the kernels of some maps, whose dy stays in the cache.
    m = 0
    while m < result.count:
        for i in range(kernel_rows):
            row = (<const char *> x) + (
                (i // window.kh * source.rows + i % window.kh * window.dilation_v)
                * source.columns * size
            )
            if result.count - m >= COLUMN_TAPS_MAPS:
                column_taps(
                    COLUMN_TAPS_MAPS, row, window, down, dy + m * plane, result, rows, vectors,
                    sums + i * step + m, size,
                )
            else:
                column_taps(
                    1, row, window, down, dy + m * plane, result, rows, vectors,
                    sums + i * step + m, size,
                )
        m += COLUMN_TAPS_MAPS if result.count - m >= COLUMN_TAPS_MAPS else 1
    fold_lanes(sums, kernel_rows * step, dw)


cdef void columns_bias_gradient(const lanes *dy, Maps result, lanes *sums, void *db) noexcept nogil:
    """Set db to the sums of dy, one per map. `sums` is scratch."""
    cdef Py_ssize_t full = lane_count(dy)
    memset(sums, 0, result.count * sizeof(lanes))
    bias_gradient_tile(
        dy, maps_of(result.count, result.rows, (result.columns + full - 1) // full), False, sums
    )
    fold_lanes(sums, result.count, db)
