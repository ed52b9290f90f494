# needs: vector/gemm (gemm, gemm_scratch)
#
# Fully connected layer. In lanes, x and y hold one vector per input and output, one image per lane;
# the operations on whole batches are three matrix products.

from libc.string cimport memcpy, memset

from vectors cimport (
    DENSE_OUTPUTS, OUTER_OUTPUTS, OUTER_VECTORS, PAIR_OUTPUTS, broadcast, element_size,
    in_register, lane_count, lanes, lanes_f32, opaque, prefetch, real, scratch_free, scratch_new,
    splat, transpose,
)


cdef struct Tiles:
    # Tiles of images side by side: how many, and how many vectors each is behind the one before.
    Py_ssize_t count
    Py_ssize_t apart


cdef inline Tiles tiles_of(Py_ssize_t count, Py_ssize_t apart) noexcept nogil:
    cdef Tiles tiles
    tiles.count, tiles.apart = count, apart
    return tiles


cdef inline void dense_block(
    Py_ssize_t outputs, Py_ssize_t tiles, Py_ssize_t apart, const lanes *x, Py_ssize_t n_in,
    const void *w, Py_ssize_t w_out, Py_ssize_t w_in, const void *b, bint begun, lanes *y
) noexcept nogil:
    """Some adjacent outputs of some tiles: begin with the biases, or go on where they are `begun`;
    `outputs` and `tiles` are literals where this is called."""
    cdef lanes sums[2][DENSE_OUTPUTS]
    cdef lanes seen[2]
    cdef lanes factor
    cdef const char *rows[DENSE_OUTPUTS]  # every third one
    cdef Py_ssize_t i, j, t, down = w_out * element_size(y), right = w_in * element_size(y)
    for i in range(0, outputs, 3):
        rows[i // 3] = (<const char *> w) + i * down
    for t in range(tiles):
        for i in range(outputs):
            if begun:
                sums[t][i] = y[t * apart + i]
            else:
                sums[t][i] = splat(y, 0) if b == NULL else broadcast(y, b, i)
    for j in range(n_in):
        # Weights in rows of their own are so far apart that the core does not foresee the next.
        if w_in > 1:
            prefetch(rows[0] + 128)
        for t in range(tiles):
            seen[t] = in_register(x[t * apart + j])
        for i in range(outputs):
            if tiles == 1:
                sums[0][i] = sums[0][i] + seen[0] * broadcast(y, rows[i // 3] + i % 3 * down, 0)
            else:
                factor = broadcast(y, rows[i // 3] + i % 3 * down, 0)
                for t in range(tiles):
                    sums[t][i] = sums[t][i] + seen[t] * factor
        for i in range(0, outputs, 3):
            rows[i // 3] = opaque(rows[i // 3] + right)
    for t in range(tiles):
        for i in range(outputs):
            y[t * apart + i] = sums[t][i]


cdef inline void dense_outputs(
    Py_ssize_t outputs, Tiles tiles, const lanes *x, Py_ssize_t n_in, const void *w,
    Py_ssize_t w_out, Py_ssize_t w_in, const void *b, bint begun, lanes *y
) noexcept nogil:
    """Some adjacent outputs of all tiles, two tiles at a time."""
    cdef Py_ssize_t t = 0
    while tiles.count - t >= 2:
        if outputs > PAIR_OUTPUTS:  # the sums of both would not fit into the registers
            dense_block(outputs - PAIR_OUTPUTS, 2, tiles.apart, x + t * tiles.apart, n_in, w,
                        w_out, w_in, b, begun, y + t * tiles.apart)
            dense_block(
                PAIR_OUTPUTS, 2, tiles.apart, x + t * tiles.apart, n_in,
                (<const char *> w) + (outputs - PAIR_OUTPUTS) * w_out * element_size(y), w_out,
                w_in, numbers_behind(y, b, outputs - PAIR_OUTPUTS), begun,
                y + t * tiles.apart + outputs - PAIR_OUTPUTS,
            )
        else:
            dense_block(outputs, 2, tiles.apart, x + t * tiles.apart, n_in, w, w_out, w_in, b,
                        begun, y + t * tiles.apart)
        t += 2
    if t < tiles.count:
        dense_block(outputs, 1, 0, x + t * tiles.apart, n_in, w, w_out, w_in, b, begun,
                    y + t * tiles.apart)


cdef inline const void *numbers_behind(
    const lanes *_, const void *numbers, Py_ssize_t count
) noexcept nogil:
    return NULL if numbers == NULL else (<const char *> numbers) + count * element_size(_)


cdef enum:
    # So many inputs are read in one go, and then stay in a cache:
    INPUTS = 1024  # if the weights of an output are adjacent,
    ROWS = 64  # or if each is in a row, and so in a memory page, of its own,
    WHOLE = 512  # except up to so many
    VECTORS = 64  # chunk of inputs, in vectors, when gradients are computed


cdef inline void dense_chunk(
    Tiles tiles, const lanes *x, Py_ssize_t n_in, const void *w, Py_ssize_t w_out,
    Py_ssize_t w_in, const void *b, bint begun, lanes *y, Py_ssize_t n_out
) noexcept nogil:
    """All outputs, with some inputs."""
    cdef Py_ssize_t i = 0
    while n_out - i >= DENSE_OUTPUTS:
        dense_outputs(DENSE_OUTPUTS, tiles, x, n_in, numbers_behind(y, w, i * w_out), w_out, w_in,
                      numbers_behind(y, b, i), begun, y + i)
        i += DENSE_OUTPUTS
    if n_out - i >= 10:
        dense_outputs(10, tiles, x, n_in, numbers_behind(y, w, i * w_out), w_out, w_in,
                      numbers_behind(y, b, i), begun, y + i)
        i += 10
    while n_out - i >= 4:
        dense_outputs(4, tiles, x, n_in, numbers_behind(y, w, i * w_out), w_out, w_in,
                      numbers_behind(y, b, i), begun, y + i)
        i += 4
    while i < n_out:
        dense_outputs(1, tiles, x, n_in, numbers_behind(y, w, i * w_out), w_out, w_in,
                      numbers_behind(y, b, i), begun, y + i)
        i += 1


cdef void dense_tiles(
    Tiles tiles, const lanes *x, Py_ssize_t n_in, const void *w, const void *b, lanes *y,
    Py_ssize_t n_out,
) noexcept nogil:
    """Set y_i = sum over j of w_ij x_j, plus b_i. The weights are read once for all tiles."""
    cdef Py_ssize_t j = 0, count
    while j < n_in:
        count = min(n_in - j, <Py_ssize_t> INPUTS)
        dense_chunk(
            tiles, x + j, count, numbers_behind(y, w, j), n_in, 1, b, j > 0, y, n_out
        )
        j += count


cdef void dense_back_tiles(
    Tiles tiles, const lanes *dy, Py_ssize_t n_out, const void *w, lanes *dx, Py_ssize_t n_in
) noexcept nogil:
    """Set dx_j = sum over i of w_ij dy_i. The weights are read once for all tiles."""
    cdef Py_ssize_t i = 0, count
    while i < n_out:
        count = n_out if n_out <= WHOLE else min(n_out - i, <Py_ssize_t> ROWS)
        dense_chunk(
            tiles, dy + i, count, numbers_behind(dx, w, i * n_in), 1, n_in, NULL, i > 0, dx, n_in
        )
        i += count


cdef inline void transposed(
    const lanes *x, Py_ssize_t count, lanes *rows, Py_ssize_t pitch
) noexcept nogil:
    """Set row i of `rows`, `pitch` vectors long, to what lane i of x holds, and zeros behind."""
    cdef Py_ssize_t full = lane_count(x), k = 0, i
    cdef lanes square[16]
    while k < count:
        for i in range(full):
            square[i] = x[k + i] if k + i < count else splat(rows, 0)
        transpose(square)
        for i in range(full):
            rows[i * pitch + k // full] = square[i]
        k += full


cdef inline void outer_block(
    Py_ssize_t outputs, Py_ssize_t vectors, Tiles tiles, const lanes *dy, const lanes *rows,
    Py_ssize_t pitch, void *dw, Py_ssize_t n_in, Py_ssize_t rest, bint fresh,
) noexcept nogil:
    """Add to `vectors` adjacent vectors of weights of some outputs, or set them where they are
    `fresh`; the last one has `rest` weights, where that is not zero."""
    cdef lanes sums[OUTER_OUTPUTS][OUTER_VECTORS]
    cdef lanes factor
    cdef lanes seen[OUTER_VECTORS]
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), i, k, m, t
    cdef lanes *row
    for m in range(outputs):
        row = <lanes *> ((<char *> dw) + m * n_in * size)
        for k in range(vectors):
            if fresh:
                sums[m][k] = splat(row, 0)
            elif rest and k == vectors - 1:
                sums[m][k] = splat(row, 0)
                memcpy(&sums[m][k], row + k, rest * size)
            else:
                sums[m][k] = row[k]
    for t in range(tiles.count):
        for i in range(full):
            for k in range(vectors):
                seen[k] = in_register(rows[t * tiles.apart + i * pitch + k])
            for m in range(outputs):
                factor = broadcast(rows, dy + t * tiles.apart, m * full + i)
                for k in range(vectors):
                    sums[m][k] = sums[m][k] + factor * seen[k]
    for m in range(outputs):
        row = <lanes *> ((<char *> dw) + m * n_in * size)
        for k in range(vectors):
            if rest and k == vectors - 1:
                memcpy(row + k, &sums[m][k], rest * size)
            else:
                row[k] = sums[m][k]


cdef inline void outer_rows(
    Py_ssize_t outputs, Tiles tiles, const lanes *dy, const lanes *rows, Py_ssize_t pitch,
    char *dw, Py_ssize_t n_in, Py_ssize_t count, bint fresh,
) noexcept nogil:
    """Adjacent weights, `count` of each, of some outputs; `outputs` is a literal where this is
    called."""
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), k = 0
    while (k + OUTER_VECTORS) * full <= count:
        outer_block(
            outputs, OUTER_VECTORS, tiles, dy, rows + k, pitch, dw + k * full * size, n_in, 0,
            fresh,
        )
        k += OUTER_VECTORS
    while (k + 1) * full <= count:
        outer_block(outputs, 1, tiles, dy, rows + k, pitch, dw + k * full * size, n_in, 0, fresh)
        k += 1
    if k * full < count:
        outer_block(
            outputs, 1, tiles, dy, rows + k, pitch, dw + k * full * size, n_in,
            count - k * full, fresh,
        )


cdef inline void add_lanes(const lanes *x, void *total) noexcept nogil:
    """Add the lanes of one vector to a number."""
    cdef Py_ssize_t i, full = lane_count(x)
    for i in range(full):
        if lanes is lanes_f32:
            (<float *> total)[0] += (<const float *> x)[i]
        else:
            (<double *> total)[0] += (<const double *> x)[i]


cdef void dense_gradient_tiles(
    Tiles tiles, const lanes *dy, Py_ssize_t n_out, const lanes *x, Py_ssize_t n_in, lanes *rows,
    void *dw, void *db, bint fresh,
) noexcept nogil:
    """Add the tiles' share to the gradients: dw_ij += sum over the lanes of dy_i x_j, db_i += dy_i;
    or set them to it, where they are `fresh`.

    Vectors run along the inputs: x is transposed first, into `rows`.
    """
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), first = 0, i, t, count
    cdef Py_ssize_t pitch = (n_in + full - 1) // full
    cdef char *weights
    for t in range(tiles.count):
        transposed(x + t * tiles.apart, n_in, rows + t * tiles.apart, pitch)
    while first < pitch:  # as many vectors of all images as stay in the second-level cache
        count = min(n_in - first * full, VECTORS * full)
        weights = (<char *> dw) + first * full * size
        i = 0
        while n_out - i >= OUTER_OUTPUTS:
            outer_rows(
                OUTER_OUTPUTS, tiles, dy + i, rows + first, pitch, weights + i * n_in * size,
                n_in, count, fresh,
            )
            i += OUTER_OUTPUTS
        while i < n_out:
            outer_rows(
                1, tiles, dy + i, rows + first, pitch, weights + i * n_in * size, n_in, count,
                fresh,
            )
            i += 1
        first += VECTORS
    if db != NULL:
        if fresh:
            memset(db, 0, n_out * size)
        for t in range(tiles.count):
            for i in range(n_out):
                add_lanes(dy + t * tiles.apart + i, (<char *> db) + i * size)


def dense(const real[:, ::1] x, const real[:, ::1] w, const real[::1] b, real[:, ::1] y):
    """Set y = x w^T + b."""
    cdef Py_ssize_t n, i
    cdef real *scratch = NULL
    assert y.shape[0] == x.shape[0] and y.shape[1] == w.shape[0] and x.shape[1] == w.shape[1]
    if x.shape[0] == 0:
        return
    scratch = <real *> scratch_new(gemm_scratch(scratch) * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for n in range(y.shape[0]):
            for i in range(y.shape[1]):
                y[n, i] = b[i]
        gemm(
            x.shape[0], w.shape[0], x.shape[1], &x[0, 0], x.shape[1], 1, &w[0, 0], 1, w.shape[1],
            &y[0, 0], y.shape[1], scratch,
        )
        scratch_free(scratch)


def dense_input_gradient(const real[:, ::1] dy, const real[:, ::1] w, real[:, ::1] dx):
    """Set dx = dy w."""
    cdef Py_ssize_t n, j
    cdef real *scratch = NULL
    assert dx.shape[0] == dy.shape[0] and dy.shape[1] == w.shape[0] and dx.shape[1] == w.shape[1]
    if dy.shape[0] == 0:
        return
    scratch = <real *> scratch_new(gemm_scratch(scratch) * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for n in range(dx.shape[0]):
            for j in range(dx.shape[1]):
                dx[n, j] = 0
        gemm(
            dy.shape[0], w.shape[1], w.shape[0], &dy[0, 0], dy.shape[1], 1, &w[0, 0], w.shape[1],
            1, &dx[0, 0], dx.shape[1], scratch,
        )
        scratch_free(scratch)


def dense_weight_gradient(
    const real[:, ::1] dy, const real[:, ::1] x, real[:, ::1] dw, real[::1] db
):
    """Set dw = dy^T x and db = sum of dy over the batch."""
    cdef Py_ssize_t n, i, j
    cdef real *scratch = NULL
    assert dw.shape[0] == dy.shape[1] and dw.shape[1] == x.shape[1] and db.shape[0] == dy.shape[1]
    scratch = <real *> scratch_new(gemm_scratch(scratch) * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for i in range(dw.shape[0]):
            db[i] = 0
            for j in range(dw.shape[1]):
                dw[i, j] = 0
        for n in range(dy.shape[0]):
            for i in range(dy.shape[1]):
                db[i] += dy[n, i]
        if dy.shape[0]:
            gemm(
                dy.shape[1], x.shape[1], dy.shape[0], &dy[0, 0], 1, dy.shape[1], &x[0, 0],
                x.shape[1], 1, &dw[0, 0], dw.shape[1], scratch,
            )
        scratch_free(scratch)
