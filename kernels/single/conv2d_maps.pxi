# needs: nothing
#
# Convolutions of one image at a time: vectors run along the output maps.
#
# Images lie pixel by pixel (h, w, c), and weights (kh, kw, c_in, maps) with the maps padded to
# whole vectors. What a row of a kernel sees is one stretch of numbers then, or one per column
# if it is dilated. Vectors may reach beyond a pixel's maps: what they write there is written over
# by the next pixel, and behind the last one there is room.

from libc.string cimport memset

from vectors cimport (
    INPUT_ROWS, INPUT_VECTORS, MAP_POSITIONS, MAP_TAPS, MAP_VECTORS, broadcast, element_size,
    in_register, lane_count, lanes, splat, transpose,
)
from shapes cimport Maps, Window


cdef struct Stretches:
    # What a kernel reads of the pixels' numbers, row by row.
    Py_ssize_t count  # stretches per row of the kernel
    Py_ssize_t length  # numbers in one
    Py_ssize_t step  # numbers from one to the next
    Py_ssize_t row_step  # from one row of the kernel to the next
    Py_ssize_t right  # from one output to the next in its row
    Py_ssize_t down  # in its column
    Py_ssize_t maps  # numbers of a pixel
    bint fives  # whether rows of the kernel are five pixels, and outputs see the next ones


cdef inline Stretches stretches_of(Maps source, Window window) noexcept nogil:
    cdef Stretches reads
    cdef bint side_by_side = window.dilation_h == 1
    reads.count = 1 if side_by_side else window.kw
    reads.length = window.kw * source.count if side_by_side else source.count
    reads.step = window.dilation_h * source.count
    reads.row_step = window.dilation_v * source.columns * source.count
    reads.right = window.stride_h * source.count
    reads.down = window.stride_v * source.columns * source.count
    reads.maps = source.count
    reads.fives = side_by_side and window.kw == 5 and window.stride_h == 1
    return reads


# --- forward ---


cdef inline void fives_block(
    Py_ssize_t positions, const char *x, const Stretches *reads, Py_ssize_t rows, const char *w,
    Py_ssize_t pitch, lanes *sums,
) noexcept nogil:
    """Add to some outputs of a row what kernels of five columns see; `positions` is a literal
    where this is called. A pixel is read once for all outputs that see it."""
    cdef lanes seen[MAP_POSITIONS + 4]
    cdef lanes weight
    cdef Py_ssize_t u, m, p, t, right = reads.maps * element_size(sums)
    for u in range(rows):
        for m in range(reads.maps):
            for p in range(positions + 4):
                seen[p] = broadcast(sums, x + p * right, m)
            for t in range(5):
                weight = in_register((<const lanes *> (w + t * reads.maps * pitch))[0])
                for p in range(positions):
                    sums[p] = sums[p] + seen[p + t] * weight
            w += pitch
        w += 4 * reads.maps * pitch
        x += reads.row_step * element_size(sums)


cdef inline void maps_block(
    Py_ssize_t positions, Py_ssize_t vectors, const char *x, const Stretches *reads,
    Py_ssize_t rows, const char *w, Py_ssize_t pitch, const lanes *bias, Py_ssize_t bias_step,
    lanes *y, Py_ssize_t y_step,
) noexcept nogil:
    """Some outputs of a row, some vectors of maps; the first two are literals where this is
    called. Steps are in bytes."""
    cdef lanes sums[MAP_POSITIONS][MAP_VECTORS]
    cdef lanes seen
    cdef lanes weights[MAP_VECTORS]
    cdef Py_ssize_t p, v, u, s, t, size = element_size(y)
    cdef Py_ssize_t right = reads.right * size
    cdef const char *stretch
    for p in range(positions):
        for v in range(vectors):
            sums[p][v] = (<const lanes *> ((<const char *> bias) + p * bias_step))[v]
    if MAP_VECTORS == 1 and reads.fives:
        fives_block(positions, x, reads, rows, w, pitch, &sums[0][0])
        rows = 0  # done
    for u in range(rows):
        for s in range(reads.count):
            stretch = x + (u * reads.row_step + s * reads.step) * size
            for t in range(reads.length):
                for v in range(vectors):
                    weights[v] = in_register((<const lanes *> w)[v])
                for p in range(positions):
                    seen = broadcast(y, stretch + p * right, 0)
                    for v in range(vectors):
                        sums[p][v] = sums[p][v] + seen * weights[v]
                stretch += size
                w += pitch
    for p in range(positions):
        for v in range(vectors):
            (<lanes *> ((<char *> y) + p * y_step))[v] = sums[p][v]


cdef inline void maps_row(
    Py_ssize_t vectors, const char *x, const Stretches *reads, Py_ssize_t rows, const char *w,
    Py_ssize_t pitch, const lanes *bias, Py_ssize_t bias_step, lanes *y, Maps result,
) noexcept nogil:
    """A row of outputs, some vectors of maps; `vectors` is a literal where this is called."""
    cdef Py_ssize_t k = 0, size = element_size(y), step = result.count * size
    cdef Py_ssize_t right = reads.right * size
    cdef char *place = <char *> y
    cdef const char *base = <const char *> bias
    while k < result.columns:
        if result.columns - k >= MAP_POSITIONS:
            maps_block(
                MAP_POSITIONS, vectors, x + k * right, reads, rows, w, pitch,
                <const lanes *> (base + k * bias_step), bias_step, <lanes *> (place + k * step),
                step,
            )
            k += MAP_POSITIONS
        elif result.columns - k >= 4:
            maps_block(
                4, vectors, x + k * right, reads, rows, w, pitch,
                <const lanes *> (base + k * bias_step), bias_step, <lanes *> (place + k * step),
                step,
            )
            k += 4
        else:
            maps_block(
                1, vectors, x + k * right, reads, rows, w, pitch,
                <const lanes *> (base + k * bias_step), bias_step, <lanes *> (place + k * step),
                step,
            )
            k += 1


cdef void maps_forward(
    const void *x, Maps source, Window window, const void *w, const void *b, bint unit, lanes *y,
    Maps result, lanes *zeros,
) noexcept nogil:
    """Set y to the convolution of x with w, plus a bias per map, per unit, or none (NULL)."""
    cdef Stretches reads = stretches_of(source, window)
    cdef Py_ssize_t size = element_size(y), full = lane_count(y), r, v, step
    cdef Py_ssize_t vectors = (result.count + full - 1) // full, pitch = vectors * sizeof(lanes)
    cdef Py_ssize_t bias_step = result.count * size if unit else 0
    cdef const char *corner
    cdef const lanes *bias = zeros
    cdef lanes *place
    # The last maps come first: what their vector writes beyond a pixel is written over.
    v = vectors
    while v > 0:
        step = MAP_VECTORS if v >= MAP_VECTORS else 1
        v -= step
        for r in range(result.rows):
            corner = (<const char *> x) + r * reads.down * size
            place = (<lanes *> ((<char *> y) + r * result.columns * result.count * size)) + v
            if b != NULL:
                bias = (<const lanes *> ((<const char *> b) + r * result.columns * bias_step)) + v
            if step == MAP_VECTORS:
                maps_row(
                    MAP_VECTORS, corner, &reads, window.kh, (<const char *> w) + v * sizeof(lanes),
                    pitch, bias, bias_step, place, result,
                )
            else:
                maps_row(
                    1, corner, &reads, window.kh, (<const char *> w) + v * sizeof(lanes), pitch,
                    bias, bias_step, place, result,
                )


# --- the gradient of the weights ---


cdef inline void taps_block(
    Py_ssize_t taps, Py_ssize_t vectors, const char *x, const Stretches *reads, const char *dy,
    Maps result, lanes *dw, Py_ssize_t pitch,
) noexcept nogil:
    """Some adjacent taps, some vectors of maps; the first two are literals where this is called."""
    cdef lanes sums[MAP_TAPS][MAP_VECTORS]
    cdef lanes shares[MAP_VECTORS]
    cdef lanes seen
    cdef Py_ssize_t t, v, r, k, size = element_size(dw)
    cdef const char *corner
    for t in range(taps):
        for v in range(vectors):
            sums[t][v] = splat(dw, 0)
    for r in range(result.rows):
        corner = x + r * reads.down * size
        for k in range(result.columns):
            for v in range(vectors):
                shares[v] = in_register((<const lanes *> dy)[v])
            for t in range(taps):
                seen = broadcast(dw, corner, t)
                for v in range(vectors):
                    sums[t][v] = sums[t][v] + seen * shares[v]
            corner += reads.right * size
            dy += result.count * size
    for t in range(taps):
        for v in range(vectors):
            (<lanes *> ((<char *> dw) + t * pitch))[v] = sums[t][v]


cdef inline void taps_of_maps(
    Py_ssize_t vectors, const char *x, const Stretches *reads, const char *dy, Maps result,
    lanes *dw, Py_ssize_t pitch,
) noexcept nogil:
    """A stretch of taps, some vectors of maps; `vectors` is a literal where this is called."""
    cdef Py_ssize_t t = 0, size = element_size(dw)
    cdef char *place = <char *> dw
    while t < reads.length:
        if reads.length - t >= MAP_TAPS:
            taps_block(
                MAP_TAPS, vectors, x + t * size, reads, dy, result, <lanes *> (place + t * pitch),
                pitch,
            )
            t += MAP_TAPS
        elif reads.length - t >= 5:
            taps_block(
                5, vectors, x + t * size, reads, dy, result, <lanes *> (place + t * pitch), pitch
            )
            t += 5
        else:
            taps_block(
                1, vectors, x + t * size, reads, dy, result, <lanes *> (place + t * pitch), pitch
            )
            t += 1


cdef inline void fives_gradient(
    Py_ssize_t maps, const char *x, const Stretches *reads, const char *dy, Maps result,
    const lanes *mask, lanes *dw, Py_ssize_t pitch,
) noexcept nogil:
    """A row of kernels of five columns, some maps of the input, a vector of the output's; `maps`
    is a literal where this is called. A pixel is read once for all taps that see it."""
    cdef lanes sums[2][5]
    cdef lanes seen[2][5]
    cdef lanes share
    cdef Py_ssize_t m, t, r, k, size = element_size(dw)
    cdef const char *corner
    for m in range(maps):
        for t in range(5):
            sums[m][t] = splat(dw, 0)
    for r in range(result.rows):
        corner = x + r * reads.down * size
        for m in range(maps):
            for t in range(4):
                seen[m][t + 1] = broadcast(dw, corner + t * reads.maps * size, m)
        corner += 4 * reads.maps * size
        for k in range(result.columns):
            share = in_register((<const lanes *> dy)[0])
            for m in range(maps):
                for t in range(4):
                    seen[m][t] = seen[m][t + 1]
                seen[m][4] = broadcast(dw, corner, m)
                for t in range(5):
                    sums[m][t] = sums[m][t] + seen[m][t] * share
            corner += reads.maps * size
            dy += result.count * size
    for m in range(maps):
        for t in range(5):
            (<lanes *> ((<char *> dw) + (t * reads.maps + m) * pitch))[0] = (
                sums[m][t] * (<const lanes *> ((<const char *> mask) + m * pitch))[0]
            )


cdef inline void fives_of_maps(
    const char *x, const Stretches *reads, const char *dy, Maps result, const lanes *mask,
    lanes *dw, Py_ssize_t pitch,
) noexcept nogil:
    """A row of kernels of five columns, a vector of the output's maps."""
    cdef Py_ssize_t m = 0, size = element_size(dw)
    while m < reads.maps:
        if reads.maps - m >= 2:
            fives_gradient(2, x + m * size, reads, dy, result, mask, dw, pitch)
        else:
            fives_gradient(1, x + m * size, reads, dy, result, mask, dw, pitch)
        mask = <const lanes *> ((<const char *> mask) + 2 * pitch)
        dw = <lanes *> ((<char *> dw) + 2 * pitch)
        m += 2


cdef void maps_gradient(
    const void *x, Maps source, Window window, const void *dy, Maps result, const lanes *mask,
    lanes *dw,
) noexcept nogil:
    """Set dw (kh, kw, c_in, maps) to the gradient, zero where the mask (c_in, maps) is."""
    cdef Stretches reads = stretches_of(source, window)
    cdef Py_ssize_t size = element_size(dw), full = lane_count(dw), u, s, v, t
    cdef Py_ssize_t vectors = (result.count + full - 1) // full, pitch = vectors * sizeof(lanes)
    cdef const char *stretch
    cdef lanes *row = dw
    for u in range(window.kh):
        for s in range(reads.count):
            stretch = (<const char *> x) + (u * reads.row_step + s * reads.step) * size
            v = 0
            while v < vectors:
                if MAP_VECTORS == 1 and reads.fives:
                    fives_of_maps(
                        stretch, &reads, (<const char *> dy) + v * sizeof(lanes), result, mask + v,
                        row + v, pitch,
                    )
                    v += 1
                elif vectors - v >= MAP_VECTORS:
                    taps_of_maps(
                        MAP_VECTORS, stretch, &reads,
                        (<const char *> dy) + v * sizeof(lanes), result, row + v, pitch,
                    )
                    v += MAP_VECTORS
                else:
                    taps_of_maps(
                        1, stretch, &reads, (<const char *> dy) + v * sizeof(lanes), result,
                        row + v, pitch,
                    )
                    v += 1
            if MAP_VECTORS == 1 and reads.fives:
                row += window.kw * source.count * vectors
                continue
            for t in range(reads.length // source.count):
                for v in range(source.count * vectors):
                    row[v] = row[v] * mask[v]
                row += source.count * vectors


cdef void maps_bias_gradient(
    const void *dy, Maps result, const lanes *mask, lanes *db
) noexcept nogil:
    """Set db to the sums of dy, one per map."""
    cdef Py_ssize_t size = element_size(db), full = lane_count(db), i, k, v
    cdef Py_ssize_t vectors = (result.count + full - 1) // full
    cdef Py_ssize_t pixels = result.rows * result.columns, step = result.count * size
    cdef lanes totals[4]  # by turns: each addition to a sum waits for the one before
    cdef const char *place
    for v in range(vectors):
        place = (<const char *> dy) + v * sizeof(lanes)
        for i in range(4):
            totals[i] = splat(db, 0)
        k = 0
        while k + 4 <= pixels:
            for i in range(4):
                totals[i] = totals[i] + (<const lanes *> (place + (k + i) * step))[0]
            k += 4
        while k < pixels:
            totals[0] = totals[0] + (<const lanes *> (place + k * step))[0]
            k += 1
        db[v] = (totals[0] + totals[1] + totals[2] + totals[3]) * mask[v]


# --- the gradient of the inputs ---


cdef void transpose_weights(
    const lanes *w, Py_ssize_t stretches, Py_ssize_t length, Py_ssize_t maps, lanes *turned
) noexcept nogil:
    """Set `turned` (maps, stretches, length) to w (stretches, length, maps), each stretch padded
    with zeros to whole vectors."""
    cdef Py_ssize_t full = lane_count(w), s, t, v, i
    cdef Py_ssize_t vectors = (maps + full - 1) // full, pitch = (length + full - 1) // full
    cdef Py_ssize_t down = stretches * pitch
    cdef lanes square[16]
    cdef lanes zero = splat(turned, 0)
    cdef lanes *place
    for s in range(stretches):
        t = 0
        while t < length:
            for v in range(vectors):
                for i in range(full):  # chosen are addresses: a choice of vectors costs stores
                    square[i] = ((w + (t + i) * vectors + v) if t + i < length else &zero)[0]
                transpose(square)
                place = turned + (v * full * stretches + s) * pitch + t // full
                if maps - v * full >= full:
                    for i in range(full):
                        place[i * down] = square[i]
                else:
                    for i in range(maps - v * full):
                        place[i * down] = square[i]
            t += full
        w += length * vectors


cdef inline void input_block(
    Py_ssize_t rows, Py_ssize_t vectors, const char *dy, Py_ssize_t maps, Py_ssize_t dy_down,
    const lanes *turned, Py_ssize_t pitch, char *dx, Py_ssize_t down,
) noexcept nogil:
    """What some outputs of a column hand to some vectors of inputs; the first two are literals
    where this is called. `down` and `dy_down` are in bytes."""
    cdef lanes sums[INPUT_ROWS][INPUT_VECTORS]
    cdef lanes weights[INPUT_VECTORS]
    cdef lanes share
    cdef lanes *place
    cdef Py_ssize_t r, v, m
    for r in range(rows):
        for v in range(vectors):
            sums[r][v] = splat(<lanes *> dx, 0)
    for m in range(maps):
        for v in range(vectors):
            weights[v] = in_register(turned[v])
        for r in range(rows):
            share = broadcast(turned, dy + r * dy_down, m)
            for v in range(vectors):
                sums[r][v] = sums[r][v] + share * weights[v]
        turned += pitch
    for r in range(rows):
        place = <lanes *> (dx + r * down)
        for v in range(vectors):
            place[v] = place[v] + sums[r][v]


cdef inline void input_column(
    Py_ssize_t vectors, const char *dy, Maps result, const lanes *turned, Py_ssize_t pitch,
    char *dx, Py_ssize_t down,
) noexcept nogil:
    """A column of outputs; `vectors` is a literal where this is called."""
    cdef Py_ssize_t r = 0, dy_down = result.columns * result.count * element_size(turned)
    while r < result.rows:
        if result.rows - r >= INPUT_ROWS:
            input_block(
                INPUT_ROWS, vectors, dy + r * dy_down, result.count, dy_down, turned, pitch,
                dx + r * down, down,
            )
            r += INPUT_ROWS
        elif result.rows - r >= 4:
            input_block(
                4, vectors, dy + r * dy_down, result.count, dy_down, turned, pitch, dx + r * down,
                down,
            )
            r += 4
        else:
            input_block(
                1, vectors, dy + r * dy_down, result.count, dy_down, turned, pitch, dx + r * down,
                down,
            )
            r += 1


cdef inline void five_rows_block(
    Py_ssize_t rows, const char *dy, Py_ssize_t maps, Py_ssize_t dy_down, const lanes *turned,
    Py_ssize_t stretch, Py_ssize_t pitch, char *dx, Py_ssize_t down,
) noexcept nogil:
    """What some outputs of a column hand, through kernels of five rows, to a vector of inputs of
    each row; `rows` is a literal where this is called. The kernels' rows meet in registers."""
    cdef lanes sums[INPUT_ROWS + 4]
    cdef lanes shares[INPUT_ROWS]
    cdef lanes weight
    cdef lanes *place
    cdef Py_ssize_t r, u, m
    for r in range(rows + 4):
        sums[r] = splat(<lanes *> dx, 0)
    for m in range(maps):
        for r in range(rows):
            shares[r] = broadcast(turned, dy + r * dy_down, m)
        for u in range(5):
            weight = in_register(turned[u * stretch])
            for r in range(rows):
                sums[u + r] = sums[u + r] + shares[r] * weight
        turned += pitch
    for r in range(rows + 4):
        place = <lanes *> (dx + r * down)
        place[0] = place[0] + sums[r]


cdef inline void five_rows_column(
    const char *dy, Maps result, const lanes *turned, Py_ssize_t stretch, Py_ssize_t pitch,
    char *dx, Py_ssize_t down,
) noexcept nogil:
    """A column of outputs, one vector of its inputs' stretches."""
    cdef Py_ssize_t r = 0, dy_down = result.columns * result.count * element_size(turned)
    while r < result.rows:
        if result.rows - r >= INPUT_ROWS:
            five_rows_block(
                INPUT_ROWS, dy + r * dy_down, result.count, dy_down, turned, stretch, pitch,
                dx + r * down, down,
            )
            r += INPUT_ROWS
        elif result.rows - r >= 4:
            five_rows_block(
                4, dy + r * dy_down, result.count, dy_down, turned, stretch, pitch, dx + r * down,
                down,
            )
            r += 4
        else:
            five_rows_block(
                1, dy + r * dy_down, result.count, dy_down, turned, stretch, pitch, dx + r * down,
                down,
            )
            r += 1


cdef void maps_back(
    const void *dy, Maps result, Window window, const lanes *w, void *dx, Maps source,
    lanes *turned,
) noexcept nogil:
    """Set dx. Outputs of a column come together: what they hand back does not overlap, but for
    zeros behind a stretch, and nothing is read soon after a store that overlaps it.

    `turned` is scratch, for the weights.
    """
    cdef Stretches reads = stretches_of(source, window)
    cdef Py_ssize_t size = element_size(w), full = lane_count(w), k, s, v
    cdef Py_ssize_t stretches = window.kh * reads.count
    cdef Py_ssize_t vectors = (reads.length + full - 1) // full
    cdef Py_ssize_t pitch = stretches * vectors, down = reads.down * size
    cdef const char *shares
    cdef char *place
    transpose_weights(w, stretches, reads.length, result.count, turned)
    memset(dx, 0, source.count * source.rows * source.columns * size)
    for k in range(result.columns):
        shares = (<const char *> dy) + k * result.count * size
        if stretches == 5 and window.kh == 5 and window.stride_v == 1 and window.dilation_v == 1:
            for v in range(vectors):
                five_rows_column(
                    shares, result, turned + v, vectors, pitch,
                    (<char *> dx) + k * reads.right * size + v * sizeof(lanes), down,
                )
            continue
        for s in range(stretches):
            place = (<char *> dx) + (
                k * reads.right + s // reads.count * reads.row_step + s % reads.count * reads.step
            ) * size
            v = 0
            while v < vectors:
                if vectors - v >= INPUT_VECTORS:
                    input_column(
                        INPUT_VECTORS, shares, result, turned + s * vectors + v, pitch,
                        place + v * sizeof(lanes), down,
                    )
                    v += INPUT_VECTORS
                else:
                    input_column(
                        1, shares, result, turned + s * vectors + v, pitch,
                        place + v * sizeof(lanes), down,
                    )
                    v += 1
