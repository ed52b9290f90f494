# needs: nothing
#
# Dropout. Whether a unit is dropped is a function of the numbers of the training step, the layer,
# the image and the unit: lenet_fast/backends/numpy_backend/dropout.py is the definition. A key per
# image has two words; the loops over lanes read a word of each lane's key.

from vectors cimport (
    kept, lane_count, lanes, masked, real, scratch_free, scratch_new, splat,
)


cdef struct Draws:
    # The words of the keys of a tile's images.
    unsigned int low[16]
    unsigned int high[16]


cdef inline unsigned long long splitmix64(unsigned long long state) noexcept nogil:
    """The next number of a stream (Steele, Lea and Flood 2014)."""
    cdef unsigned long long z = state + 0x9E3779B97F4A7C15ULL
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
    return z ^ (z >> 31)


cdef inline unsigned long long layer_key(
    Py_ssize_t seed, Py_ssize_t number, Py_ssize_t layer
) noexcept nogil:
    """What all images of a step have in common; `number` is the step's."""
    cdef unsigned long long state = splitmix64(<unsigned long long> seed)
    state = splitmix64(state ^ <unsigned long long> number)
    return splitmix64(state ^ <unsigned long long> layer)


cdef inline unsigned long long image_key(unsigned long long key, Py_ssize_t image) noexcept nogil:
    """The key of an image, which is counted from the first one of its batch."""
    return splitmix64(key ^ <unsigned long long> image)


cdef inline unsigned int threshold_of(double p) noexcept nogil:
    """The least draw that keeps a unit."""
    return <unsigned int> (p * 4294967296.0)


# --- a tile ---


cdef void drop_tile(
    const lanes *x, Py_ssize_t units, Py_ssize_t size, unsigned long long key, Py_ssize_t first,
    double p, lanes *y,
) noexcept nogil:
    """Set y to x / (1 - p), or 0 in the units that are dropped; each has `size` vectors."""
    cdef Draws draws
    cdef unsigned long long image
    cdef unsigned int threshold = threshold_of(p)
    cdef lanes scale = splat(y, 1 / (1 - p)), mask
    cdef Py_ssize_t i, u, k
    for i in range(lane_count(y)):
        image = image_key(key, first + i)
        draws.low[i], draws.high[i] = <unsigned int> image, <unsigned int> (image >> 32)
    for u in range(units):
        mask = kept(y, draws.low, draws.high, <unsigned int> u, threshold)
        for k in range(u * size, (u + 1) * size):
            y[k] = masked(x[k] * scale, mask)


# --- an image ---


cdef void draw_factors(
    unsigned long long key, Py_ssize_t units, double p, real *factors
) noexcept nogil:
    """Set the factors of an image's units: 1 / (1 - p), or 0."""
    cdef unsigned int low = <unsigned int> key, high = <unsigned int> (key >> 32), h
    cdef unsigned int threshold = threshold_of(p)
    cdef real scale = <real> (1 / (1 - p))
    cdef Py_ssize_t u
    for u in range(units):
        h = low + <unsigned int> u
        h = (h ^ (h >> 16)) * 0x21F0AAADU
        h = h ^ high
        h = (h ^ (h >> 15)) * 0x735A2D97U
        factors[u] = scale if h >= threshold else 0


cdef inline void times_factors(
    const real *x, const real *factors, Py_ssize_t count, real *y
) noexcept nogil:
    """Set y to x times the factors; what is dropped is 0 even if it is infinite or NaN."""
    cdef Py_ssize_t k
    for k in range(count):
        y[k] = x[k] * factors[k] if factors[k] > 0 else 0


def dropout(
    const real[:, :, ::1] x, const unsigned long long[::1] keys, double p, real[:, :, ::1] y
):
    """Set y to x / (1 - p), or 0 in the units that are dropped.

    x and y are (n, units, size), the keys (n,): one draw per image and unit.
    """
    cdef Py_ssize_t i, u, k, n = x.shape[0], units = x.shape[1], size = x.shape[2]
    cdef real *factors
    if n * units * size == 0:
        return
    factors = <real *> scratch_new(units * sizeof(real))
    if factors == NULL:
        raise MemoryError
    with nogil:
        for i in range(n):
            draw_factors(keys[i], units, p, factors)
            if size == 1:
                times_factors(&x[i, 0, 0], factors, units, &y[i, 0, 0])
                continue
            for u in range(units):
                for k in range(size):
                    y[i, u, k] = x[i, u, k] * factors[u] if factors[u] > 0 else 0
        scratch_free(factors)
