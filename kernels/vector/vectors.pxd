# The vector type: one image per lane; scratch memory; and what else vectors.h has.

from libc.string cimport memcpy, memset

ctypedef fused real:
    float
    double

cdef extern from "vectors.h":
    # To Cython they are numbers: +, - and * on them compile to vector instructions.
    ctypedef float lanes_f32
    ctypedef double lanes_f64
    enum:
        LANES_F32
        LANES_F64
        PAIRS_F32
        PAIRS_F64
        CONV_MAPS
        CONV_COLUMNS
        WIDE_MAPS
        WIDE_COLUMNS
        BACK_MAPS
        BACK_COLUMNS
        GRADIENT_MAPS
        GRADIENT_MAPS_3
        GRADIENT_ROWS
        GEMM_ROWS
        DENSE_OUTPUTS
        PAIR_OUTPUTS
        OUTER_OUTPUTS
        OUTER_VECTORS
        MAP_POSITIONS
        MAP_VECTORS
        MAP_TAPS
        INPUT_ROWS
        INPUT_VECTORS
        COLUMN_MAPS
        COLUMN_VECTORS
        COLUMN_TAPS
        COLUMN_TAPS_MAPS
        ROW_OUTPUTS
        CURVE_VECTORS
    lanes_f32 splat_f32(float x) nogil
    lanes_f64 splat_f64(double x) nogil
    const char *opaque(const char *address) nogil
    void prefetch(const void *address) nogil
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
    lanes_f32 leader_f32(lanes_f32 first, lanes_f32 second) nogil
    lanes_f64 leader_f64(lanes_f64 first, lanes_f64 second) nogil
    lanes_f32 routed_f32(lanes_f32 x, lanes_f32 best, lanes_f32 *left) nogil
    lanes_f64 routed_f64(lanes_f64 x, lanes_f64 best, lanes_f64 *left) nogil
    lanes_f32 routed_equal_f32(lanes_f32 x, lanes_f32 best, lanes_f32 all) nogil
    lanes_f64 routed_equal_f64(lanes_f64 x, lanes_f64 best, lanes_f64 all) nogil
    lanes_f32 kept_f32(
        const unsigned int *low, const unsigned int *high, unsigned int unit, unsigned int least
    ) nogil
    lanes_f64 kept_f64(
        const unsigned int *low, const unsigned int *high, unsigned int unit, unsigned int least
    ) nogil
    lanes_f32 masked_f32(lanes_f32 x, lanes_f32 mask) nogil
    lanes_f64 masked_f64(lanes_f64 x, lanes_f64 mask) nogil
    lanes_f32 evens_f32(lanes_f32 a, lanes_f32 b) nogil
    lanes_f64 evens_f64(lanes_f64 a, lanes_f64 b) nogil
    lanes_f32 odds_f32(lanes_f32 a, lanes_f32 b) nogil
    lanes_f64 odds_f64(lanes_f64 a, lanes_f64 b) nogil
    lanes_f32 zipped_low_f32(lanes_f32 a, lanes_f32 b) nogil
    lanes_f64 zipped_low_f64(lanes_f64 a, lanes_f64 b) nogil
    lanes_f32 zipped_high_f32(lanes_f32 a, lanes_f32 b) nogil
    lanes_f64 zipped_high_f64(lanes_f64 a, lanes_f64 b) nogil
    void route_pairs_f32(
        const float *dy, const float *x, float *dx, Py_ssize_t columns, bint every
    ) nogil
    void route_pairs_f64(
        const double *dy, const double *x, double *dx, Py_ssize_t columns, bint every
    ) nogil
    ctypedef struct bytes_16:
        pass
    void transpose_bytes(bytes_16 *square) nogil
    lanes_f32 from_bytes_f32(const bytes_16 *x) nogil
    lanes_f64 from_bytes_f64(const bytes_16 *x) nogil
    unsigned flush_small() nogil
    void restore_small(unsigned before) nogil
    long long take_ticket(long long *next) nogil
    void ticket_done(long long *done) nogil
    long long read_shared(const long long *x) nogil
    void write_shared(long long *x, long long value) nogil
    void wait_a_little(long long turns) nogil
    double seconds_now() nogil
    void transpose_f32(lanes_f32 *row) nogil
    void transpose_f64(lanes_f64 *row) nogil
    # Memory for one call, aligned to a cache line; NULL when there is none left.
    void *scratch_new(size_t bytes) nogil
    # Aborts in a debug build if the call wrote past either end.
    void scratch_free(void *memory) nogil

ctypedef fused lanes:
    lanes_f32
    lanes_f64


cdef inline Py_ssize_t lane_count(const lanes *_) noexcept nogil:
    """Images a vector holds."""
    if lanes is lanes_f32:
        return LANES_F32
    else:
        return LANES_F64


cdef inline lanes broadcast(const lanes *_, const void *x, Py_ssize_t i) noexcept nogil:
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


cdef inline lanes splat(lanes *_, double x) noexcept nogil:
    """A number in every lane."""
    if lanes is lanes_f32:
        return splat_f32(<float> x)
    else:
        return splat_f64(x)


cdef inline lanes rectified(lanes x) noexcept nogil:
    """x, or 0 where it is less; NaN stays."""
    if lanes is lanes_f32:
        return at_least_f32(x, splat_f32(0))
    else:
        return at_least_f64(x, splat_f64(0))


cdef inline lanes squared_if(bint squared, lanes x) noexcept nogil:
    """x, or its square: what the Hessian's pass takes in the place of x."""
    return x * x if squared else x


cdef inline lanes absolute(lanes x) noexcept nogil:
    if lanes is lanes_f32:
        return absolute_f32(x)
    else:
        return absolute_f64(x)


cdef inline lanes with_sign(lanes size, lanes sign) noexcept nogil:
    """The size of one with the sign of the other."""
    if lanes is lanes_f32:
        return with_sign_f32(size, sign)
    else:
        return with_sign_f64(size, sign)


cdef inline lanes at_least(lanes x, double least) noexcept nogil:
    """x, or what it is to be at least; NaN stays."""
    if lanes is lanes_f32:
        return at_least_f32(x, splat_f32(<float> least))
    else:
        return at_least_f64(x, splat_f64(least))


cdef inline lanes where_negative(lanes x, lanes a, lanes b) noexcept nogil:
    """a where x is below zero, else b."""
    if lanes is lanes_f32:
        return where_negative_f32(x, a, b)
    else:
        return where_negative_f64(x, a, b)


cdef inline lanes leader(lanes first, lanes second) noexcept nogil:
    """The larger of two pixels, in scan order: the first of equals stays, NaN beats numbers."""
    if lanes is lanes_f32:
        return leader_f32(first, second)
    else:
        return leader_f64(first, second)


cdef inline lanes routed(lanes x, lanes best, lanes *left) noexcept nogil:
    """What is left, where x is the best of its window or NaN; it is then no more left."""
    if lanes is lanes_f32:
        return routed_f32(x, best, left)
    else:
        return routed_f64(x, best, left)


cdef inline lanes routed_equal(lanes x, lanes best, lanes all) noexcept nogil:
    """`all`, where x equals the best of its window."""
    if lanes is lanes_f32:
        return routed_equal_f32(x, best, all)
    else:
        return routed_equal_f64(x, best, all)


cdef inline lanes kept(
    lanes *_, const unsigned int *low, const unsigned int *high, unsigned int unit,
    unsigned int least,
) noexcept nogil:
    """All bits set where an image's draw for a unit is `least` or more, else none."""
    if lanes is lanes_f32:
        return kept_f32(low, high, unit, least)
    else:
        return kept_f64(low, high, unit, least)


cdef inline lanes masked(lanes x, lanes mask) noexcept nogil:
    """x where the mask has all bits set, 0 where it has none."""
    if lanes is lanes_f32:
        return masked_f32(x, mask)
    else:
        return masked_f64(x, mask)


cdef inline lanes evens(lanes a, lanes b) noexcept nogil:
    """Every second number of two vectors, the first among them."""
    if lanes is lanes_f32:
        return evens_f32(a, b)
    else:
        return evens_f64(a, b)


cdef inline lanes odds(lanes a, lanes b) noexcept nogil:
    """The others."""
    if lanes is lanes_f32:
        return odds_f32(a, b)
    else:
        return odds_f64(a, b)


cdef inline lanes zipped_low(lanes a, lanes b) noexcept nogil:
    """The first halves of two vectors, number by number in turn."""
    if lanes is lanes_f32:
        return zipped_low_f32(a, b)
    else:
        return zipped_low_f64(a, b)


cdef inline lanes zipped_high(lanes a, lanes b) noexcept nogil:
    """The second halves."""
    if lanes is lanes_f32:
        return zipped_high_f32(a, b)
    else:
        return zipped_high_f64(a, b)


cdef inline lanes from_bytes(lanes *_, const bytes_16 *x) noexcept nogil:
    """The first bytes as numbers, one per lane."""
    if lanes is lanes_f32:
        return from_bytes_f32(x)
    else:
        return from_bytes_f64(x)


cdef inline Py_ssize_t element_size(const lanes *_) noexcept nogil:
    """Bytes of a number in a vector."""
    if lanes is lanes_f32:
        return sizeof(float)
    else:
        return sizeof(double)


cdef inline void transpose(lanes *square) noexcept nogil:
    """Exchange the rows and columns of as many vectors as a vector holds numbers."""
    if lanes is lanes_f32:
        transpose_f32(square)
    else:
        transpose_f64(square)


cdef inline void pack(
    const void *x, Py_ssize_t step, Py_ssize_t images, Py_ssize_t count, lanes *t
) noexcept nogil:
    """Set t[p] to pixel p of each image, `count` pixels; lanes without an image get zeros.

    `x` points to the first image's first pixel, `step` elements lead to the next image. Squares of
    pixels and images are transposed; the last one may overlap the one before it.
    """
    cdef Py_ssize_t full = lane_count(t), size = element_size(t), p = 0, i, k
    cdef lanes square[16]
    while count >= full:
        if images < full:
            memset(square, 0, full * sizeof(lanes))
        for i in range(images):
            square[i] = (<const lanes *> ((<const char *> x) + (i * step + p) * size))[0]
        transpose(square)
        for i in range(full):
            t[p + i] = square[i]
        if p + full == count:
            return
        p = min(p + full, count - full)
    memset(t, 0, count * sizeof(lanes))
    for k in range(count):
        for i in range(images):
            memcpy((<char *> (t + k)) + i * size, (<const char *> x) + (i * step + k) * size, size)


cdef inline void unpack(
    lanes *t, Py_ssize_t count, Py_ssize_t images, void *y, Py_ssize_t step
) noexcept nogil:
    """The way back: write the pixels of the first `images` lanes."""
    cdef Py_ssize_t full = lane_count(t), size = element_size(t), p = 0, i, k
    cdef lanes square[16]
    while count >= full:
        for i in range(full):
            square[i] = t[p + i]
        transpose(square)
        for i in range(images):
            (<lanes *> ((<char *> y) + (i * step + p) * size))[0] = square[i]
        if p + full == count:
            return
        p = min(p + full, count - full)
    for k in range(count):
        for i in range(images):
            memcpy((<char *> y) + (i * step + k) * size, (<char *> (t + k)) + i * size, size)


cdef inline lanes folded(lanes *square) noexcept nogil:
    """The sums of the lanes of as many vectors as a vector holds numbers, the first lane first;
    the vectors change."""
    cdef Py_ssize_t i
    cdef lanes row
    transpose(square)
    row = square[0]
    for i in range(1, lane_count(square)):
        row = row + square[i]
    return row


cdef inline void fold_lanes(const lanes *sums, Py_ssize_t count, void *total) noexcept nogil:
    """Set total[k] to the sum of the lanes of vector k, the first lane first."""
    cdef Py_ssize_t full = lane_count(sums), k = 0, i, size = element_size(sums)
    cdef lanes square[16]
    cdef lanes row
    while count - k >= full:
        for i in range(full):
            square[i] = sums[k + i]
        (<lanes *> ((<char *> total) + k * size))[0] = folded(square)
        k += full
    if k < count:
        memcpy(square, sums + k, (count - k) * sizeof(lanes))
        row = folded(square)
        memcpy((<char *> total) + k * size, &row, (count - k) * size)


cdef inline void fold(const void *sums, Py_ssize_t count, real *total) noexcept nogil:
    if real is float:
        fold_lanes[lanes_f32](<const lanes_f32 *> sums, count, total)
    else:
        fold_lanes[lanes_f64](<const lanes_f64 *> sums, count, total)


cdef inline Py_ssize_t vector_bytes(real *_) noexcept nogil:
    """Bytes of a vector of such numbers."""
    if real is float:
        return sizeof(lanes_f32)
    else:
        return sizeof(lanes_f64)


cdef inline double lap(double *total, double since) noexcept nogil:
    """Add the time since then to a total; return the time."""
    cdef double now = seconds_now()
    total[0] += now - since
    return now
