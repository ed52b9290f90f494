# needs: engines/online_run (OnlineRun)
#
# One image at a time: the input, and the orders in which the maps of its pixels lie.

from libc.string cimport memcpy, memset

from vectors cimport (
    bytes_16, element_size, from_bytes, lane_count, lanes, lanes_f32, lanes_f64, real, splat_f32,
    splat_f64, transpose, vector_bytes,
)
from program cimport CONVOLUTION_ALONG_MAPS, Step


cdef inline void squares_by_pixel(
    const lanes *x, Py_ssize_t maps, Py_ssize_t pixels, lanes *y
) noexcept nogil:
    """by_pixel where there are squares of pixels and maps; the last ones may overlap others."""
    cdef Py_ssize_t full = lane_count(x), size = element_size(x), c = 0, k, i
    cdef lanes square[16]
    cdef const char *corner
    while c < maps:
        c = min(c, maps - full)
        k = 0
        while k < pixels:
            k = min(k, pixels - full)
            corner = (<const char *> x) + (c * pixels + k) * size
            for i in range(full):
                square[i] = (<const lanes *> (corner + i * pixels * size))[0]
            transpose(square)
            for i in range(full):
                (<lanes *> ((<char *> y) + ((k + i) * maps + c) * size))[0] = square[i]
            k += full
        c += full


cdef inline void by_pixel(
    const real *x, Py_ssize_t maps, Py_ssize_t pixels, real *y
) noexcept nogil:
    """From (maps, pixels) to (pixels, maps); with the sizes exchanged, back."""
    cdef Py_ssize_t c, k
    if min(maps, pixels) * <Py_ssize_t> sizeof(real) >= vector_bytes(y):
        if real is float:
            squares_by_pixel(<const lanes_f32 *> x, maps, pixels, <lanes_f32 *> y)
        else:
            squares_by_pixel(<const lanes_f64 *> x, maps, pixels, <lanes_f64 *> y)
        return
    for c in range(maps):
        for k in range(pixels):
            y[k * maps + c] = x[c * pixels + k]


cdef inline void fill_row(
    const unsigned char *bytes, Py_ssize_t columns, lanes scale, lanes background, lanes *x
) noexcept nogil:
    """Set a row, at least a vector wide; the last vector may overlap the one before."""
    cdef Py_ssize_t full = lane_count(x), size = element_size(x), k = 0
    while k < columns:
        k = min(k, columns - full)
        (<lanes *> ((<char *> x) + k * size))[0] = (
            from_bytes(x, <const bytes_16 *> (bytes + k)) * scale + background
        )
        k += full


cdef void online_fill(
    OnlineRun *run, const unsigned char *bytes, Py_ssize_t rows, Py_ssize_t columns,
    const real *floats,
) noexcept nogil:
    """Set the input to bytes, in the middle of the background, or else to prepared floats."""
    cdef real *x = (<real *> run.memory) + run.input.at
    cdef real scale = <real> ((run.input.foreground - run.input.background) / 255)
    cdef real background = <real> run.input.background
    cdef Py_ssize_t r, k, pixels = run.input.rows * run.input.columns
    if bytes != NULL:
        for k in range(pixels):
            x[k] = background
        x += (run.input.rows - rows) // 2 * run.input.columns + (run.input.columns - columns) // 2
        for r in range(rows):
            if columns < vector_bytes(x) // <Py_ssize_t> sizeof(real):
                for k in range(columns):
                    x[k] = bytes[k] * scale + background
            elif real is float:
                fill_row(bytes, columns, splat_f32(scale), splat_f32(background), <lanes_f32 *> x)
            else:
                fill_row(bytes, columns, splat_f64(scale), splat_f64(background), <lanes_f64 *> x)
            bytes += columns
            x += run.input.columns
    elif run.input.planar or run.input.maps == 1:
        memcpy(x, floats, run.input.maps * pixels * sizeof(real))
    else:
        by_pixel(floats, run.input.maps, pixels, x)


cdef inline void repeat_maps(
    const real *x, Py_ssize_t maps, Py_ssize_t times, real *y
) noexcept nogil:
    cdef Py_ssize_t k, j
    for k in range(maps):
        for j in range(times):
            y[k * times + j] = x[k]


cdef inline void add_repeated(
    const real *dy, Py_ssize_t maps, Py_ssize_t times, real *dx
) noexcept nogil:
    cdef Py_ssize_t k, j
    for k in range(maps):
        dx[k] = dy[k * times]
        for j in range(1, times):
            dx[k] += dy[k * times + j]


cdef void online_borders(OnlineRun *run, Py_ssize_t size, real *memory) noexcept nogil:
    """Write what stays: zeros, and what the padding is."""
    cdef Py_ssize_t k, i
    cdef const Step *step
    memset(memory, 0, size * sizeof(real))
    for k in range(run.count):
        step = run.steps + k
        if step.kind == CONVOLUTION_ALONG_MAPS and step.padded >= 0:
            for i in range(step.c_in * step.h_in * step.w_in):
                memory[step.padded + i] = <real> step.pad_value
