# needs: nothing
#
# Matrix product on packed panels, for im2col convolution and dense layers.
# The register block is GEMM_ROWS x two vectors; depth, rows and columns are cut so that a packed
# panel of the right matrix stays in the second-level cache and one of the left in the first.

from vectors cimport GEMM_ROWS, LANES_F32, LANES_F64, broadcast, lanes, lanes_f32, lanes_f64, real

cdef enum:
    DEPTH = 256
    WIDTH = 512  # a multiple of any two vectors

cdef double ZERO = 0  # all its bytes are: it reads as zero in single precision, too


cdef inline Py_ssize_t panel_width(real *_) noexcept nogil:
    if real is float:
        return 2 * LANES_F32
    else:
        return 2 * LANES_F64


cdef inline Py_ssize_t gemm_scratch(real *tag) noexcept nogil:
    """Elements of scratch that a product needs: a right panel, a left one, a block of results."""
    return DEPTH * WIDTH + DEPTH * GEMM_ROWS + GEMM_ROWS * panel_width(tag)


cdef inline void gemm_block(
    Py_ssize_t depth, const void *left, const lanes *right, lanes *block
) noexcept nogil:
    """Set block to the product of a panel of GEMM_ROWS rows and one of two vectors of columns."""
    cdef lanes sums[GEMM_ROWS][2]
    cdef lanes first, second, factor
    cdef Py_ssize_t k, m
    for m in range(GEMM_ROWS):
        sums[m][0] = sums[m][1] = broadcast(block, &ZERO, 0)
    for k in range(depth):
        first = right[2 * k]
        second = right[2 * k + 1]
        for m in range(GEMM_ROWS):
            factor = broadcast(block, left, k * GEMM_ROWS + m)
            sums[m][0] = sums[m][0] + factor * first
            sums[m][1] = sums[m][1] + factor * second
    for m in range(GEMM_ROWS):
        block[2 * m] = sums[m][0]
        block[2 * m + 1] = sums[m][1]


cdef inline void pack_panel(
    const real *x, Py_ssize_t step, Py_ssize_t along, Py_ssize_t count, Py_ssize_t depth,
    Py_ssize_t width, real *panel
) noexcept nogil:
    """Set panel[k][i] = x[i * step + k * along] for i < count, zero up to width."""
    cdef Py_ssize_t i, k
    for k in range(depth):
        if step == 1:
            for i in range(count):
                panel[k * width + i] = x[k * along + i]
        else:
            for i in range(count):
                panel[k * width + i] = x[k * along + i * step]
        for i in range(count, width):
            panel[k * width + i] = 0


cdef void gemm(
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t depth,
    const real *a, Py_ssize_t a_row, Py_ssize_t a_column,
    const real *b, Py_ssize_t b_row, Py_ssize_t b_column,
    real *c, Py_ssize_t c_row, real *scratch,
) noexcept nogil:
    """Add the product of a (rows x depth) and b (depth x columns) to c.

    a and b are given with the elements between their rows and their columns, so that a transpose
    costs nothing; the columns of c are adjacent.
    """
    cdef Py_ssize_t width = panel_width(scratch)
    cdef real *right = scratch
    cdef real *left = right + DEPTH * WIDTH
    cdef real *block = left + DEPTH * GEMM_ROWS
    cdef Py_ssize_t k, j = 0, jj, i, m, n, deep, wide, high, narrow
    while j < columns:
        wide = min(columns - j, <Py_ssize_t> WIDTH)
        k = 0
        while k < depth:
            deep = min(depth - k, <Py_ssize_t> DEPTH)
            jj = 0
            while jj < wide:
                pack_panel(
                    b + k * b_row + (j + jj) * b_column, b_column, b_row, min(wide - jj, width),
                    deep, width, right + jj * deep,
                )
                jj += width
            i = 0
            while i < rows:
                high = min(rows - i, <Py_ssize_t> GEMM_ROWS)
                pack_panel(
                    a + i * a_row + k * a_column, a_row, a_column, high, deep, GEMM_ROWS, left
                )
                jj = 0
                while jj < wide:
                    if real is float:
                        gemm_block[lanes_f32](
                            deep, left, <const lanes_f32 *> (right + jj * deep),
                            <lanes_f32 *> block,
                        )
                    else:
                        gemm_block[lanes_f64](
                            deep, left, <const lanes_f64 *> (right + jj * deep),
                            <lanes_f64 *> block,
                        )
                    narrow = min(wide - jj, width)
                    for m in range(high):
                        for n in range(narrow):
                            c[(i + m) * c_row + j + jj + n] += block[m * width + n]
                    jj += width
                i += GEMM_ROWS
            k += DEPTH
        j += WIDTH
