# needs: vector/gemm (gemm_block, pack_panel), layers/dropout (splitmix64)
#
# Warping of images: affine maps, elastic displacements, and the noise that these are made from.
# All arithmetic is on integers, so that every backend computes the same bytes.

from vectors cimport GEMM_ROWS, LANES_F32, lanes_f32, scratch_free, scratch_new

cdef enum:
    # Matrices and fields count in pixels / 2^18, positions between four pixels in 2^-11.
    FRACTION_SHIFT = 18 - 11
    FRACTION_BITS = 11
    FRACTION_ONE = 1 << 11
    FIRST_NOISE = 8  # of an image's stream; those before it are not for noise


cdef inline int between(int x, int least, int most) noexcept nogil:
    x = least if x < least else x
    return most if x > most else x


cdef void lay_out_squares(
    const unsigned char *image, Py_ssize_t rows, Py_ssize_t columns, unsigned char *padded,
    unsigned int *squares,
) noexcept nogil:
    """Set squares to the four pixels at each place from (-1, -1) to (rows, columns), one byte
    per pixel."""
    cdef Py_ssize_t i, j, pitch = columns + 3
    cdef const unsigned char *above
    cdef const unsigned char *below
    for i in range(rows):
        for j in range(columns):
            padded[(i + 1) * pitch + j + 1] = image[i * columns + j]
    for i in range(rows + 2):
        above = padded + i * pitch
        below = above + pitch
        for j in range(columns + 2):
            squares[i * (columns + 2) + j] = (
                above[j] | <unsigned int> above[j + 1] << 8
                | <unsigned int> below[j] << 16 | <unsigned int> below[j + 1] << 24
            )


cdef void find_places(
    const int *matrix, const int *field, Py_ssize_t plane, int row, Py_ssize_t width,
    int rows, int columns, int *place, int *down, int *right,
) noexcept nogil:
    """Find out where the pixels of a row are from: which square, and where in it."""
    cdef int c, x, y
    cdef int half = 1 << (FRACTION_SHIFT - 1)
    cdef int first_y = matrix[0] * row + matrix[2] + half
    cdef int first_x = matrix[3] * row + matrix[5] + half
    for c in range(<int> width):
        y = first_y + matrix[1] * c
        x = first_x + matrix[4] * c
        if field != NULL:
            y += field[c]
            x += field[plane + c]
        # All pixels more than one outside are background.
        y = between(y >> FRACTION_SHIFT, -FRACTION_ONE, rows * FRACTION_ONE)
        x = between(x >> FRACTION_SHIFT, -FRACTION_ONE, columns * FRACTION_ONE)
        place[c] = ((y >> FRACTION_BITS) + 1) * (columns + 2) + (x >> FRACTION_BITS) + 1
        down[c] = y & (FRACTION_ONE - 1)
        right[c] = x & (FRACTION_ONE - 1)


cdef void interpolate(
    Py_ssize_t count, const unsigned int *squares, int *square, const int *down,
    const int *right, unsigned char *warped,
) noexcept nogil:
    """Set pixels to what is between the four of a square, which comes as its place."""
    cdef Py_ssize_t k
    cdef unsigned int four
    cdef int above, below
    for k in range(count):  # alone: the rest is for vectors
        square[k] = <int> squares[square[k]]
    for k in range(count):
        four = <unsigned int> square[k]
        above = (
            <int> (four & 255) * (FRACTION_ONE - right[k]) + <int> (four >> 8 & 255) * right[k]
        )
        below = (
            <int> (four >> 16 & 255) * (FRACTION_ONE - right[k]) + <int> (four >> 24) * right[k]
        )
        warped[k] = <unsigned char> (
            (above * (FRACTION_ONE - down[k]) + below * down[k] + FRACTION_ONE * FRACTION_ONE // 2)
            >> 2 * FRACTION_BITS
        )


def warp(
    const unsigned char[:, :, ::1] images, const int[:, :, ::1] matrices,
    const int[:, :, :, ::1] fields, unsigned char[:, :, ::1] warped,
):
    """Set each pixel to what an image has at matrix (row, column, 1) + field, 0 outside of it.

    The images are (n, rows, columns) and (n, h, w), the matrices (n, 2, 3), the fields (n, 2, h, w)
    or, for none, (0, 2, h, w).
    """
    cdef Py_ssize_t n, r, rows = images.shape[1], columns = images.shape[2]
    cdef Py_ssize_t height = warped.shape[1], width = warped.shape[2]
    cdef Py_ssize_t whole = (rows + 2) * (columns + 2), padding = (rows + 3) * (columns + 3)
    cdef Py_ssize_t size = height * width
    cdef unsigned int *squares
    cdef int *place
    cdef unsigned char *padded
    cdef const int *field = NULL
    assert matrices.shape[0] == warped.shape[0] == images.shape[0]
    assert matrices.shape[1] == 2 and matrices.shape[2] == 3
    assert fields.shape[0] == 0 or fields.shape[0] == images.shape[0]
    if warped.shape[0] == 0:
        return
    squares = <unsigned int *> scratch_new((whole + 3 * size) * sizeof(int) + padding)
    if squares == NULL:
        raise MemoryError
    with nogil:
        place = <int *> (squares + whole)
        padded = <unsigned char *> (place + 3 * size)
        for n in range(padding):
            padded[n] = 0
        for n in range(images.shape[0]):
            lay_out_squares(&images[n, 0, 0], rows, columns, padded, squares)
            for r in range(height):
                if fields.shape[0]:
                    field = &fields[n, 0, r, 0]
                find_places(
                    &matrices[n, 0, 0], field, size, <int> r, width, <int> rows, <int> columns,
                    place + r * width, place + size + r * width, place + 2 * size + r * width,
                )
            interpolate(size, squares, place, place + size, place + 2 * size, &warped[n, 0, 0])
        scratch_free(squares)


cdef void draw_noise(
    unsigned long long key, Py_ssize_t words, unsigned char *octets
) noexcept nogil:
    """Set octets to the bytes of a stream."""
    cdef Py_ssize_t k, i
    cdef unsigned long long number
    for k in range(words):
        number = splitmix64(key + <unsigned long long> (FIRST_NOISE + k) * 0x9E3779B97F4A7C15ULL)
        for i in range(8):
            octets[8 * k + i] = <unsigned char> (number >> 8 * i)


cdef void lay_out_noise(
    const unsigned char *octets, Py_ssize_t rows, Py_ssize_t columns, float *panels
) noexcept nogil:
    """Set panels of GEMM_ROWS rows to noise, which comes column by column."""
    cdef Py_ssize_t i, k, m
    for i in range(rows // GEMM_ROWS):
        for k in range(columns):
            for m in range(GEMM_ROWS):
                panels[(i * columns + k) * GEMM_ROWS + m] = (
                    2 * <int> octets[k * rows + i * GEMM_ROWS + m] - 255
                )
    i = rows // GEMM_ROWS
    for k in range(columns):
        for m in range(rows - i * GEMM_ROWS):
            panels[(i * columns + k) * GEMM_ROWS + m] = (
                2 * <int> octets[k * rows + i * GEMM_ROWS + m] - 255
            )


cdef void smooth_plane(
    Py_ssize_t rows, Py_ssize_t columns, const float *noise, const float *down,
    const float *across, double factor, float *half, float *block, int *field,
) noexcept nogil:
    """Set field = down round(noise across^T / 2^11) factor, all but the result in panels."""
    cdef Py_ssize_t i, j, k, m, p, q, high, wide = 2 * LANES_F32
    cdef Py_ssize_t left_panels = (rows + GEMM_ROWS - 1) // GEMM_ROWS
    cdef Py_ssize_t right_panels = (columns + wide - 1) // wide
    cdef float nearest = 3 << 22  # what is added to this has no digits left behind the point
    for p in range(left_panels):
        i = p * GEMM_ROWS
        high = min(rows - i, <Py_ssize_t> GEMM_ROWS)
        for q in range(right_panels):
            j = q * wide
            gemm_block[lanes_f32](
                columns, noise + i * columns, <const lanes_f32 *> (across + j * columns),
                <lanes_f32 *> block,
            )
            for k in range(high * wide):
                half[j * rows + i * wide + k] = (
                    block[k] * <float> (1.0 / 2048) + nearest
                ) - nearest
    for p in range(left_panels):
        i = p * GEMM_ROWS
        high = min(rows - i, <Py_ssize_t> GEMM_ROWS)
        for q in range(right_panels):
            j = q * wide
            gemm_block[lanes_f32](
                rows, down + i * rows, <const lanes_f32 *> (half + j * rows), <lanes_f32 *> block
            )
            for m in range(high):
                for k in range(min(columns - j, wide)):
                    field[(i + m) * columns + j + k] = <int> (block[m * wide + k] * factor)


def smooth_noise(
    const unsigned long long[::1] keys, const float[:, ::1] down, const float[:, ::1] across,
    double factor, int[:, :, :, ::1] fields,
):
    """Set fields = down round(noise across^T / 2^11) factor, truncated to integers.

    The noise of a pixel is a byte of its image's stream, down one column after the other, as an odd
    number from -255 to 255. The matrices hold whole numbers with sums of 2^13 or so: no product or
    sum needs more than the 24 bits of a float, so none is rounded, in whatever order they come.
    """
    cdef Py_ssize_t n, k, plane, rows = fields.shape[2], columns = fields.shape[3]
    cdef Py_ssize_t size = rows * columns, words = (2 * size + 7) // 8, wide = 2 * LANES_F32
    cdef Py_ssize_t high = (rows + GEMM_ROWS - 1) // GEMM_ROWS * GEMM_ROWS
    cdef Py_ssize_t padded = (columns + wide - 1) // wide * wide
    cdef float *block
    cdef float *half
    cdef float *right
    cdef float *left
    cdef float *noise
    cdef unsigned char *octets
    assert fields.shape[0] == keys.shape[0] and fields.shape[1] == 2
    assert down.shape[0] == down.shape[1] == rows and across.shape[0] == across.shape[1] == columns
    if keys.shape[0] == 0:
        return
    block = <float *> scratch_new(
        (GEMM_ROWS * wide + (rows + columns) * (padded + high)) * sizeof(float) + 8 * words
    )
    if block == NULL:
        raise MemoryError
    with nogil:
        half = block + GEMM_ROWS * wide
        right = half + rows * padded
        left = right + columns * padded
        noise = left + rows * high
        octets = <unsigned char *> (noise + columns * high)
        for n in range(padded // wide):
            k = n * wide
            pack_panel(
                &across[k, 0], columns, 1, min(columns - k, wide), columns, wide,
                right + k * columns,
            )
        for n in range(high // GEMM_ROWS):
            k = n * GEMM_ROWS
            pack_panel(
                &down[k, 0], rows, 1, min(rows - k, <Py_ssize_t> GEMM_ROWS), rows, GEMM_ROWS,
                left + k * rows,
            )
        for k in range(columns * high):
            noise[k] = 0
        for n in range(keys.shape[0]):
            draw_noise(keys[n], words, octets)
            for plane in range(2):
                lay_out_noise(octets + plane * size, rows, columns, noise)
                smooth_plane(
                    rows, columns, noise, left, right, factor, half, block,
                    &fields[n, plane, 0, 0],
                )
        scratch_free(block)
