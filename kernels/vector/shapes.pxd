# Sizes and windows of layers.


cdef struct Maps:
    # The size of one image at one place of a network.
    Py_ssize_t count
    Py_ssize_t rows
    Py_ssize_t columns


cdef struct Window:
    Py_ssize_t kh
    Py_ssize_t kw
    Py_ssize_t stride_v
    Py_ssize_t stride_h
    Py_ssize_t dilation_v
    Py_ssize_t dilation_h


cdef inline Maps maps_of(Py_ssize_t count, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Maps maps
    maps.count, maps.rows, maps.columns = count, rows, columns
    return maps


cdef inline Window window_of(
    Py_ssize_t kh, Py_ssize_t kw, Py_ssize_t stride_v, Py_ssize_t stride_h,
    Py_ssize_t dilation_v, Py_ssize_t dilation_h,
) noexcept nogil:
    cdef Window window
    window.kh, window.kw, window.stride_v, window.stride_h = kh, kw, stride_v, stride_h
    window.dilation_v, window.dilation_h = dilation_v, dilation_h
    return window
