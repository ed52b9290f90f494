# The vector type: one image a lane. See lanes.h.

from libc.string cimport memset

cdef extern from "lanes.h":
    # To Cython they are numbers: +, - and * on them compile to vector instructions.
    ctypedef float lanes_f32
    ctypedef double lanes_f64
    enum:
        LANES_F32
        LANES_F64
        CONV_MAPS
        CONV_COLUMNS
        GRADIENT_MAPS
        GEMM_ROWS
    lanes_f32 splat_f32(float x) nogil
    lanes_f64 splat_f64(double x) nogil
    lanes_f32 in_register_f32(lanes_f32 x) nogil
    lanes_f64 in_register_f64(lanes_f64 x) nogil
    lanes_f32 power_of_two_f32(lanes_f32 k) nogil
    lanes_f64 power_of_two_f64(lanes_f64 k) nogil
    lanes_f32 absolute_f32(lanes_f32 x) nogil
    lanes_f64 absolute_f64(lanes_f64 x) nogil
    lanes_f32 with_sign_f32(lanes_f32 size, lanes_f32 sign) nogil
    lanes_f64 with_sign_f64(lanes_f64 size, lanes_f64 sign) nogil
    lanes_f32 at_least_f32(lanes_f32 x, lanes_f32 least) nogil
    lanes_f64 at_least_f64(lanes_f64 x, lanes_f64 least) nogil
    lanes_f32 where_negative_f32(lanes_f32 x, lanes_f32 a, lanes_f32 b) nogil
    lanes_f64 where_negative_f64(lanes_f64 x, lanes_f64 a, lanes_f64 b) nogil
    void transpose_f32(lanes_f32 *row) nogil
    void transpose_f64(lanes_f64 *row) nogil

ctypedef fused lanes:
    lanes_f32
    lanes_f64


cdef inline Py_ssize_t lane_count(lanes *_) noexcept nogil:
    """Images a vector holds."""
    if lanes is lanes_f32:
        return LANES_F32
    else:
        return LANES_F64


cdef inline lanes broadcast(lanes *_, const void *x, Py_ssize_t i) noexcept nogil:
    """Element i of an array of scalars, in every lane."""
    if lanes is lanes_f32:
        return splat_f32((<const float *> x)[i])
    else:
        return splat_f64((<const double *> x)[i])


cdef inline lanes in_register(lanes x) noexcept nogil:
    """The same vector, read once for the several products that follow."""
    if lanes is lanes_f32:
        return in_register_f32(x)
    else:
        return in_register_f64(x)


cdef inline void pack(
    const void *x, Py_ssize_t step, Py_ssize_t images, Py_ssize_t count, lanes *t
) noexcept nogil:
    """Set t[p] to pixel p of each image, `count` pixels; lanes without an image get zeros.

    `x` points to the first image's first pixel, `step` elements lead to the next image.
    """
    cdef Py_ssize_t full = lane_count(t), p = 0, i, k
    cdef lanes square[16]
    if images == full:
        while p + full <= count:
            for i in range(full):
                if lanes is lanes_f32:
                    square[i] = (<const lanes *> ((<const float *> x) + i * step + p))[0]
                else:
                    square[i] = (<const lanes *> ((<const double *> x) + i * step + p))[0]
            if lanes is lanes_f32:
                transpose_f32(square)
            else:
                transpose_f64(square)
            for i in range(full):
                t[p + i] = square[i]
            p += full
    else:
        memset(t, 0, count * sizeof(lanes))
    for k in range(p, count):
        for i in range(images):
            if lanes is lanes_f32:
                (<float *> (t + k))[i] = (<const float *> x)[i * step + k]
            else:
                (<double *> (t + k))[i] = (<const double *> x)[i * step + k]


cdef inline void unpack(
    lanes *t, Py_ssize_t count, Py_ssize_t images, void *y, Py_ssize_t step
) noexcept nogil:
    """The way back: write the pixels of the first `images` lanes."""
    cdef Py_ssize_t full = lane_count(t), p = 0, i, k
    cdef lanes square[16]
    if images == full:
        while p + full <= count:
            for i in range(full):
                square[i] = t[p + i]
            if lanes is lanes_f32:
                transpose_f32(square)
            else:
                transpose_f64(square)
            for i in range(full):
                if lanes is lanes_f32:
                    (<lanes *> ((<float *> y) + i * step + p))[0] = square[i]
                else:
                    (<lanes *> ((<double *> y) + i * step + p))[0] = square[i]
            p += full
    for k in range(p, count):
        for i in range(images):
            if lanes is lanes_f32:
                (<float *> y)[i * step + k] = (<float *> (t + k))[i]
            else:
                (<double *> y)[i * step + k] = (<double *> (t + k))[i]
