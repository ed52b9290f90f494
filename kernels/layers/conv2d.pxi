# needs: nothing
#
# Convolution by direct loops, one image per vector lane: a tile of as many images as a vector holds
# is packed [map][row][column][lane], and each loop is the one that a single image would get.
#
# Absent links cost nothing: the loops run over a list of links. The input gradient adds each column
# of dy, times the taps, to what the taps saw; with a stride or dilation it is the forward pass over
# dy, spread out by the stride and padded by the kernel, with flipped kernels.

from libc.string cimport memset

from vectors cimport (
    BACK_COLUMNS, BACK_MAPS, CONV_COLUMNS, CONV_MAPS, GRADIENT_MAPS, GRADIENT_MAPS_3,
    GRADIENT_ROWS, WIDE_COLUMNS, WIDE_MAPS, broadcast, element_size, fold, in_register, lane_count,
    lanes, lanes_f32, lanes_f64, pack, real, rectified, scratch_free, scratch_new, splat, unpack,
    vector_bytes,
)
from shapes cimport Maps, Window, maps_of, window_of


cdef struct Link:
    # A source map that one target map sees, or some adjacent ones, and how many maps there are from
    # it on that these see through kernels behind one another; where in the weights the first kernel
    # of each target begins.
    Py_ssize_t source
    Py_ssize_t sources
    Py_ssize_t targets
    Py_ssize_t[WIDE_MAPS] target
    Py_ssize_t[WIDE_MAPS] kernel


cdef struct Links:
    # The links of input map c are number first[c] to first[c + 1]: which output map each leads
    # to, and where in the weights its kernel begins.
    Py_ssize_t *first
    Py_ssize_t *target
    Py_ssize_t *kernel


cdef struct Table:
    # Which of `outputs` maps sees which of the `width` input maps of its group.
    const unsigned char *links
    Py_ssize_t outputs
    Py_ssize_t width
    Py_ssize_t inputs


cdef inline Table table_of(
    const unsigned char *links, Py_ssize_t outputs, Py_ssize_t width, Py_ssize_t inputs
) noexcept nogil:
    cdef Table table
    table.links, table.outputs, table.width, table.inputs = links, outputs, width, inputs
    return table


cdef inline Py_ssize_t kernel_of(Table *table, Py_ssize_t o, Py_ssize_t c) noexcept nogil:
    """Number of the kernel through which output map o sees input map c; -1 if it does not."""
    cdef Py_ssize_t width = table.width, height = table.outputs // (table.inputs // width)
    if o // height == c // width and table.links[o * width + c % width]:
        return o * width + c % width
    return -1


cdef inline bint goes_on(const Link *links, Py_ssize_t count, Py_ssize_t taps) noexcept nogil:
    """Whether the last of the links can be part of the one before it."""
    cdef const Link *link = links + count
    cdef const Link *before = link - 1
    cdef Py_ssize_t m
    if count == 0 or before.targets != link.targets or (
        before.source + before.sources != link.source
    ):
        return False
    for m in range(link.targets):
        if before.target[m] != link.target[m] or (
            before.kernel[m] + before.sources * taps != link.kernel[m]
        ):
            return False
    return True


cdef Py_ssize_t list_by_target(
    Table *table, Py_ssize_t taps, bint backward, Link *links
) noexcept nogil:
    """List the links with as many targets at a time as a register block has maps.

    Forward the targets are output maps; backward input maps, and kernels are read from their end.
    Returns how many there are, at most one for each source and target.
    """
    cdef Py_ssize_t count = 0, first = 0, source, target, kernel
    cdef Py_ssize_t targets = table.inputs if backward else table.outputs
    cdef Py_ssize_t most = BACK_MAPS if backward else CONV_MAPS
    cdef Py_ssize_t sources = table.outputs if backward else table.inputs
    if not backward and targets % WIDE_MAPS == 0 and table.width == table.inputs:
        most = WIDE_MAPS
        for kernel in range(targets * sources):
            if not table.links[kernel]:
                most = CONV_MAPS
    while first < targets:
        for source in range(sources):
            links[count].source, links[count].sources, links[count].targets = source, 1, 0
            for target in range(first, min(first + most, targets)):
                if backward:
                    kernel = kernel_of(table, source, target)
                else:
                    kernel = kernel_of(table, target, source)
                if kernel >= 0:
                    links[count].target[links[count].targets] = target
                    links[count].kernel[links[count].targets] = (
                        kernel * taps + (taps - 1 if backward else 0)
                    )
                    links[count].targets += 1
            if not backward and goes_on(links, count, taps):
                links[count - 1].sources += 1
            elif links[count].targets:
                count += 1
        first += most
    return count


cdef Links list_by_input(Table *table, Py_ssize_t taps, Py_ssize_t *memory) noexcept nogil:
    """List for each input map the output maps it feeds."""
    cdef Py_ssize_t c, o, kernel, k = 0
    cdef Links links
    links.first = memory
    links.target = memory + table.inputs + 1
    links.kernel = links.target + table.outputs * table.width
    for c in range(table.inputs):
        links.first[c] = k
        for o in range(table.outputs):
            kernel = kernel_of(table, o, c)
            if kernel >= 0:
                links.target[k] = o
                links.kernel[k] = kernel * taps
                k += 1
    links.first[table.inputs] = k
    return links


cdef inline Py_ssize_t same_targets(const Link *links, Py_ssize_t count) noexcept nogil:
    """How many of the next links have the targets of the first."""
    cdef Py_ssize_t k = 1
    while (
        k < count and links[k].targets == links.targets
        and links[k].target[0] == links.target[0]
    ):
        k += 1
    return k


cdef Py_ssize_t[7] WIDTHS = [14, 12, 10, 8, 6, 5, 4]  # of blocks, which are literals below


cdef inline Py_ssize_t block_width(Py_ssize_t left, Py_ssize_t most) noexcept nogil:
    """How many of the columns that are left to take together: a narrow block, whose sums are too
    few to keep a core busy, only where nothing else is left."""
    cdef Py_ssize_t i
    for i in range(7):
        if WIDTHS[i] <= most and (left == WIDTHS[i] or left >= WIDTHS[i] + 4):
            return WIDTHS[i]
    return 6 if left == 7 and most >= 6 else 1


cdef struct Taps:
    # How the taps of a kernel lie: in the input, and among the weights, one behind the other.
    Py_ssize_t kh
    Py_ssize_t kw
    Py_ssize_t column  # from a tap to the next one,
    Py_ssize_t row  # and what is to be added from the end of a row to the next one,
    Py_ssize_t map  # and from the end of a map
    const void *w  # the first one of all kernels
    Py_ssize_t w_step  # 1; -1: kernels are read from their ends


cdef struct Ends:
    # What a sum starts from: what y holds, where it is `preset`; else a bias, or zero. And whether
    # it passes through a ReLU in the end.
    bint preset
    bint unit
    const void *b
    bint relu


cdef inline void correlate_block(
    Py_ssize_t maps, Py_ssize_t columns, Py_ssize_t stride_h, const lanes *x, Py_ssize_t x_map,
    Taps taps, const Link *links, Py_ssize_t count, Ends ends, Py_ssize_t place, lanes *y,
    Py_ssize_t y_map,
) noexcept nogil:
    """Sum up what adjacent columns of one row of `maps` output maps see, over all links between
    these maps and any of x's; `place` is where the columns begin in a map.

    `maps` and `columns` are literals where this is called, so that the sums stay in registers.
    """
    cdef lanes sums[WIDE_MAPS][CONV_COLUMNS]
    cdef lanes pixels
    cdef lanes factors[WIDE_MAPS]
    cdef const lanes *seen
    cdef const lanes *corner
    cdef const void *kernel[WIDE_MAPS]
    cdef lanes *target[WIDE_MAPS]
    cdef Py_ssize_t m, k, u, v, i, t
    for m in range(maps):
        target[m] = y + links.target[m] * y_map + place
    if ends.preset:
        for m in range(maps):
            for k in range(columns):
                sums[m][k] = target[m][k]
    elif ends.b != NULL and ends.unit:
        for m in range(maps):
            for k in range(columns):
                sums[m][k] = broadcast(y, ends.b, links.target[m] * y_map + place + k)
    else:
        for m in range(maps):
            pixels = splat(y, 0) if ends.b == NULL else broadcast(y, ends.b, links.target[m])
            for k in range(columns):
                sums[m][k] = pixels
    for i in range(count):
        seen = x + links[i].source * x_map
        for m in range(maps):
            kernel[m] = (<const char *> taps.w) + links[i].kernel[m] * element_size(y)
        u = v = 0
        # One loop: to begin one of few turns anew takes as long as some of its turns.
        for t in range(links[i].sources * taps.kh * taps.kw):
            corner = seen
            seen += taps.column
            v += 1
            if v == taps.kw:
                v, u, seen = 0, u + 1, seen + taps.row
                if u == taps.kh:
                    u, seen = 0, seen + taps.map
            for m in range(maps):
                factors[m] = broadcast(y, kernel[m], t * taps.w_step)
            for k in range(columns):
                pixels = corner[k * stride_h]
                if maps > 1:
                    pixels = in_register(pixels)
                for m in range(maps):
                    sums[m][k] = sums[m][k] + pixels * factors[m]
    for m in range(maps):
        for k in range(columns):
            if ends.relu:
                sums[m][k] = rectified(sums[m][k])
            target[m][k] = sums[m][k]


cdef inline void correlate_columns(
    Py_ssize_t columns, Py_ssize_t stride_h, const lanes *x, Py_ssize_t x_map, Taps taps,
    const Link *links, Py_ssize_t count, Ends ends, Py_ssize_t place, lanes *y,
    Py_ssize_t y_map,
) noexcept nogil:
    """Adjacent columns of one row of all maps: what they see of x stays in the cache."""
    cdef Py_ssize_t k = 0, together
    while k < count:
        together = same_targets(links + k, count - k)
        if WIDE_MAPS > CONV_MAPS and columns <= WIDE_COLUMNS and links[k].targets == WIDE_MAPS:
            correlate_block(
                WIDE_MAPS, columns, stride_h, x, x_map, taps, links + k, together, ends, place, y,
                y_map,
            )
        elif links[k].targets == CONV_MAPS:
            correlate_block(
                CONV_MAPS, columns, stride_h, x, x_map, taps, links + k, together, ends, place, y,
                y_map,
            )
        else:
            correlate_block(
                1, columns, stride_h, x, x_map, taps, links + k, together, ends, place, y, y_map
            )
        k += together


cdef void correlate(
    const lanes *x, Maps source, Py_ssize_t first_row, Py_ssize_t last_row, Window window,
    const void *w, Py_ssize_t w_step, const Link *links, Py_ssize_t count, Ends ends, lanes *y,
    Maps result,
) noexcept nogil:
    """Add the convolution of a packed tile to what the sums start from.

    Rows of x outside `first_row` to `last_row` are known to be zero and are left out. The columns
    of a row are cut into blocks of literal widths, widest first.
    """
    cdef Py_ssize_t r, s, low, high, top, step = window.dilation_v, stride = window.stride_h
    cdef Py_ssize_t x_map = source.rows * source.columns, y_map = result.rows * result.columns
    cdef Py_ssize_t width, place, most = CONV_COLUMNS
    cdef const lanes *seen
    cdef Taps taps
    if stride > 1:
        most = 6
    elif links.targets > CONV_MAPS:
        most = WIDE_COLUMNS
    taps.kw, taps.column, taps.w_step = window.kw, window.dilation_h, w_step
    taps.row = step * source.columns - window.kw * window.dilation_h
    for r in range(result.rows):
        top, low, high = r * window.stride_v, 0, window.kh
        while low < high and top + low * step < first_row:
            low += 1
        while high > low and top + (high - 1) * step > last_row:
            high -= 1
        taps.kh, taps.map = high - low, x_map - (high - low) * step * source.columns
        taps.w = (<const char *> w) + low * window.kw * w_step * element_size(y)
        s = 0
        while s < result.columns:
            width = block_width(result.columns - s, most)
            seen = x + (top + low * step) * source.columns + s * stride
            place = r * result.columns + s
            if stride > 1 and width == 6:
                correlate_columns(6, stride, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif stride > 1 and width == 5:
                correlate_columns(5, stride, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif stride > 1 and width == 4:
                correlate_columns(4, stride, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif width == 1:
                correlate_columns(1, stride, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif CONV_COLUMNS >= 14 and width == 14:
                correlate_columns(14, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif CONV_COLUMNS >= 12 and width == 12:
                correlate_columns(12, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif CONV_COLUMNS >= 10 and width == 10:
                correlate_columns(10, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif CONV_COLUMNS >= 8 and width == 8:
                correlate_columns(8, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif width == 6:
                correlate_columns(6, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif width == 5:
                correlate_columns(5, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            elif width == 4:
                correlate_columns(4, 1, seen, x_map, taps, links, count, ends, place, y,
                                  y_map)
            s += width


cdef void bias_tile(const void *b, bint unit, lanes *y, Maps result) noexcept nogil:
    """Set a tile to the biases, or to zeros where there are none."""
    cdef Py_ssize_t o, k, positions = result.rows * result.columns
    cdef lanes bias
    for o in range(result.count):
        bias = splat(y, 0) if b == NULL or unit else broadcast(y, b, o)
        for k in range(positions):
            if unit and b != NULL:
                bias = broadcast(y, b, o * positions + k)
            y[o * positions + k] = bias


cdef void convolve_tile(
    const lanes *x, Maps source, Window window, const void *w, const void *b, bint unit,
    bint relu, const Link *links, Py_ssize_t count, lanes *y, Maps result,
) noexcept nogil:
    """Set y to the convolution of a packed tile, plus b, through a ReLU where there is one."""
    cdef Py_ssize_t k = 0, targets = 0
    cdef Ends ends
    # Whether each map gets its sums at once; not where neighbours see different maps, or one none.
    while k < count and links[k].target[0] == targets:
        targets += links[k].targets
        k += same_targets(links + k, count - k)
    ends.preset, ends.unit, ends.b = k < count or targets < result.count, unit, b
    ends.relu = relu and not ends.preset
    if ends.preset:
        bias_tile(b, unit, y, result)
    correlate(x, source, 0, source.rows - 1, window, w, 1, links, count, ends, y, result)
    if relu and ends.preset:
        for k in range(result.count * result.rows * result.columns):
            y[k] = rectified(y[k])


cdef enum:
    GRADIENT_SUMS = 32  # at most as many as a CPU's registers hold
    GRADIENT_MOST = 4  # maps that go together, with any instruction set and kernel
    BIAS_MAPS = 6  # whose gradients are added up together


cdef inline void add_positions(
    Py_ssize_t maps, const lanes *dy, Py_ssize_t positions, lanes *db
) noexcept nogil:
    """Add up adjacent maps; `maps` is a literal where this is called. One sum alone would leave
    the core waiting for each addition."""
    cdef lanes totals[BIAS_MAPS]
    cdef Py_ssize_t m, k
    for m in range(maps):
        totals[m] = db[m]
    for k in range(positions):
        for m in range(maps):
            totals[m] = totals[m] + dy[m * positions + k]
    for m in range(maps):
        db[m] = totals[m]


cdef void bias_gradient_tile(
    const lanes *dy, Maps result, bint unit, lanes *db
) noexcept nogil:
    """Add a packed tile's share to the gradients of the biases, lane by lane."""
    cdef Py_ssize_t o = 0, k, positions = result.rows * result.columns
    if unit:
        for k in range(result.count * positions):
            db[k] = db[k] + dy[k]
        return
    while result.count - o >= BIAS_MAPS:
        add_positions(BIAS_MAPS, dy + o * positions, positions, db + o)
        o += BIAS_MAPS
    while o < result.count:
        add_positions(1, dy + o * positions, positions, db + o)
        o += 1


cdef inline void gradient_position(
    Py_ssize_t maps, Py_ssize_t rows, Py_ssize_t taps, bint biased, const lanes *seen,
    Py_ssize_t x_row, const lanes *dy, const Py_ssize_t *map_at, lanes *sums, lanes *totals,
) noexcept nogil:
    """Add the products at one position of the maps, which begin at `map_at`; and what is there to
    the totals of the maps, where these are `biased`."""
    cdef lanes incoming[GRADIENT_MOST]
    cdef lanes pixels[5]
    cdef Py_ssize_t m, u, v
    if rows == 1:
        for v in range(taps):
            pixels[v] = in_register(seen[v])
        for m in range(maps):
            incoming[0] = dy[map_at[m]]
            if biased:
                totals[m] = totals[m] + incoming[0]
            for v in range(taps):
                sums[m * taps + v] = sums[m * taps + v] + incoming[0] * pixels[v]
    else:  # fewer maps than taps: their gradients stay in registers
        for m in range(maps):
            incoming[m] = in_register(dy[map_at[m]])
        for u in range(rows):
            for v in range(taps):
                pixels[0] = in_register(seen[u * x_row + v])
                for m in range(maps):
                    sums[(m * rows + u) * taps + v] = (
                        sums[(m * rows + u) * taps + v] + incoming[m] * pixels[0]
                    )


cdef inline void gradient_block(
    Py_ssize_t maps, Py_ssize_t rows, Py_ssize_t taps, bint biased, const lanes *x, Maps source,
    Window window, const lanes *dy, Maps result, const Py_ssize_t *target,
    const Py_ssize_t *kernel, lanes *dw, lanes *db, bint fresh,
) noexcept nogil:
    """Add one tile's share to `taps` adjacent weights of `rows` rows of the kernels of `maps`
    links, and to the biases of maps that are `biased`; or set them to it where they are `fresh`.
    The first four are literals where this is called."""
    cdef lanes sums[GRADIENT_SUMS]
    cdef lanes totals[GRADIENT_MOST]
    cdef Py_ssize_t map_at[GRADIENT_MOST]
    cdef Py_ssize_t m, u, v, p, left = result.columns, x_row = window.dilation_v * source.columns
    cdef const lanes *seen = x
    for m in range(maps):
        map_at[m] = target[m] * result.rows * result.columns
        if biased:
            totals[m] = splat(dw, 0) if fresh else db[target[m]]
        for u in range(rows):
            for v in range(taps):
                sums[(m * rows + u) * taps + v] = (
                    splat(dw, 0) if fresh else dw[kernel[m] + u * window.kw + v]
                )
    # One loop: around an inner one, GCC would store and read again what the registers hold.
    for p in range(result.rows * result.columns):
        gradient_position(maps, rows, taps, biased, seen, x_row, dy + p, map_at, sums, totals)
        seen += window.stride_h
        left -= 1
        if left == 0:
            left = result.columns
            seen += window.stride_v * source.columns - left * window.stride_h
    for m in range(maps):
        if biased:
            db[target[m]] = totals[m]
        for u in range(rows):
            for v in range(taps):
                dw[kernel[m] + u * window.kw + v] = sums[(m * rows + u) * taps + v]


cdef inline void gradient_maps(
    Py_ssize_t most, Py_ssize_t rows, Py_ssize_t taps, bint biased, const lanes *x, Maps source,
    Window window, const lanes *dy, Maps result, const Py_ssize_t *target,
    const Py_ssize_t *kernel, Py_ssize_t count, lanes *dw, lanes *db, bint fresh,
) noexcept nogil:
    """Some taps of the kernels of all links of an input map, so many links together: six as
    three and three, and so on."""
    cdef Py_ssize_t k = 0, left
    while k < count:
        left = count - k
        if left >= most and (left % most == 0 or left % most == most - 1):
            gradient_block(most, rows, taps, biased, x, source, window, dy, result, target + k,
                           kernel + k, dw, db, fresh)
            k += most
        elif most > 2 and left >= most - 1:
            gradient_block(most - 1, rows, taps, biased, x, source, window, dy, result, target + k,
                           kernel + k, dw, db, fresh)
            k += most - 1
        else:
            gradient_block(1, rows, taps, biased, x, source, window, dy, result, target + k,
                           kernel + k, dw, db, fresh)
            k += 1


cdef void correlate_gradient(
    const lanes *x, Maps source, Window window, const lanes *dy, Maps result, Links links,
    bint unit, lanes *dw, lanes *db, bint fresh,
) noexcept nogil:
    """Add a packed tile's share to the gradient of every linked weight and, if there are any
    (NULL), of the biases, lane by lane; or set it, where it is `fresh`. Weights without a link are
    left alone.

    Five or three taps of a kernel row at a time, the widths of most kernels.
    """
    cdef Py_ssize_t c, u, v, count, adjacent = window.kw if window.dilation_h == 1 else 0
    cdef const lanes *seen
    cdef lanes *place
    cdef const Py_ssize_t *target
    cdef const Py_ssize_t *kernel
    # The first taps of the first input map add up the gradients of all maps on their way, where
    # there are registers for it.
    cdef bint biased = (
        GRADIENT_MAPS > 2 and db != NULL and not unit and adjacent >= 5
        and links.first[1] - links.first[0] == result.count
    )
    for c in range(source.count):
        target, kernel = links.target + links.first[c], links.kernel + links.first[c]
        count = links.first[c + 1] - links.first[c]
        u = 0
        while u < window.kh:
            v = 0
            if adjacent == 3 and GRADIENT_ROWS == 3 and window.kh - u >= 3:
                seen = x + (c * source.rows + u * window.dilation_v) * source.columns
                gradient_maps(GRADIENT_MAPS_3, GRADIENT_ROWS, 3, False, seen, source, window, dy,
                              result, target, kernel, count, dw + u * window.kw, NULL, fresh)
                u += 3
                continue
            while v < window.kw:
                seen = x + (
                    (c * source.rows + u * window.dilation_v) * source.columns
                    + v * window.dilation_h
                )
                place = dw + u * window.kw + v
                if biased and c == 0 and u == 0 and v == 0:
                    gradient_maps(GRADIENT_MAPS, 1, 5, True, seen, source, window, dy, result,
                                  target, kernel, count, place, db, fresh)
                    v += 5
                elif adjacent - v >= 5:
                    gradient_maps(GRADIENT_MAPS, 1, 5, False, seen, source, window, dy, result,
                                  target, kernel, count, place, NULL, fresh)
                    v += 5
                elif adjacent - v >= 3:
                    gradient_maps(GRADIENT_MAPS_3, 1, 3, False, seen, source, window, dy, result,
                                  target, kernel, count, place, NULL, fresh)
                    v += 3
                else:
                    gradient_maps(GRADIENT_MAPS, 1, 1, False, seen, source, window, dy, result,
                                  target, kernel, count, place, NULL, fresh)
                    v += 1
            u += 1
    if db != NULL and not biased:
        count = result.count * (result.rows * result.columns if unit else 1)
        if fresh:
            memset(db, 0, count * sizeof(lanes))
        bias_gradient_tile(dy, result, unit, db)


cdef inline void scatter_tap(
    Py_ssize_t maps, Py_ssize_t columns, Py_ssize_t v, const lanes *dy, const void *w,
    const Py_ssize_t *kernel, Py_ssize_t w_first, lanes[BACK_MAPS][BACK_COLUMNS] sums,
) noexcept nogil:
    """Add the products of adjacent columns of one row of dy and tap v."""
    cdef lanes factors[BACK_MAPS]
    cdef lanes pixels
    cdef Py_ssize_t m, k
    for m in range(maps):
        factors[m] = broadcast(&sums[0][0], w, kernel[m] + w_first + v)
    for k in range(columns):
        pixels = dy[k]
        if maps > 1:
            pixels = in_register(pixels)
        for m in range(maps):
            sums[m][k + v] = sums[m][k + v] + pixels * factors[m]


cdef inline void scatter_block(
    Py_ssize_t maps, Py_ssize_t columns, Py_ssize_t taps, const lanes *dy, Maps result,
    Py_ssize_t rows, const void *w, Py_ssize_t kw, const Link *links, Py_ssize_t count, lanes *dx,
    Py_ssize_t x_map,
) noexcept nogil:
    """Add to one row of `maps` input maps the products of adjacent columns of `rows` rows of dy
    and adjacent taps, over all links between these maps and any of dy's; `maps`, `columns` and
    `taps` are literals where this is called."""
    cdef lanes sums[BACK_MAPS][BACK_COLUMNS]
    cdef Py_ssize_t m, k, u, i
    cdef const lanes *row
    for m in range(maps):
        for k in range(columns + taps - 1):
            sums[m][k] = dx[links.target[m] * x_map + k]
    for i in range(count):
        for u in range(rows):
            row = dy + (links[i].source * result.rows - u) * result.columns
            # Not a loop: GCC would not unroll it, and the sums would have to lie in memory.
            scatter_tap(maps, columns, 0, row, w, links[i].kernel, u * kw, sums)
            if taps >= 3:
                scatter_tap(maps, columns, 1, row, w, links[i].kernel, u * kw, sums)
                scatter_tap(maps, columns, 2, row, w, links[i].kernel, u * kw, sums)
            if taps == 5:
                scatter_tap(maps, columns, 3, row, w, links[i].kernel, u * kw, sums)
                scatter_tap(maps, columns, 4, row, w, links[i].kernel, u * kw, sums)
    for m in range(maps):
        for k in range(columns + taps - 1):
            dx[links.target[m] * x_map + k] = sums[m][k]


cdef inline void scatter_columns(
    Py_ssize_t columns, Py_ssize_t taps, const lanes *dy, Maps result, Py_ssize_t rows,
    const void *w, Py_ssize_t kw, const Link *links, Py_ssize_t count, lanes *dx,
    Py_ssize_t x_map,
) noexcept nogil:
    """Adjacent columns of dy and some taps of a kernel row, of all maps; `columns` and `taps` are
    literals where this is called."""
    cdef Py_ssize_t k = 0, together
    while k < count:
        together = same_targets(links + k, count - k)
        if links[k].targets == BACK_MAPS:
            scatter_block(BACK_MAPS, columns, taps, dy, result, rows, w, kw, links + k, together,
                          dx, x_map)
        else:
            scatter_block(1, columns, taps, dy, result, rows, w, kw, links + k, together, dx,
                          x_map)
        k += together


cdef inline void scatter_taps(
    Py_ssize_t taps, const lanes *dy, Maps result, Py_ssize_t rows, const void *w, Py_ssize_t kw,
    const Link *links, Py_ssize_t count, lanes *dx, Py_ssize_t x_map,
) noexcept nogil:
    """All columns of dy, and some taps of a kernel row; `taps` is a literal."""
    cdef Py_ssize_t s = 0, width
    while s < result.columns:
        width = block_width(result.columns - s, BACK_COLUMNS + 1 - taps)
        if taps == 1 and width == 12:
            scatter_columns(12, 1, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        elif taps <= 3 and width == 10:
            scatter_columns(10, taps, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        elif width == 8:
            scatter_columns(8, taps, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        elif width == 6:
            scatter_columns(6, taps, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        elif width == 5:
            scatter_columns(5, taps, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        elif width == 4:
            scatter_columns(4, taps, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        elif width == 1:
            scatter_columns(1, taps, dy + s, result, rows, w, kw, links, count, dx + s, x_map)
        s += width


cdef void scatter(
    const lanes *dy, Maps result, const void *w, const Link *links, Py_ssize_t count,
    Window window, lanes *dx, Maps source,
) noexcept nogil:
    """Set a packed tile of dx, where neither stride nor dilation leaves gaps: then no column of dy
    is multiplied needlessly. Taps of a kernel row go together as in correlate_gradient."""
    cdef Py_ssize_t r, v, low, high, x_map = source.rows * source.columns
    cdef Py_ssize_t last_tap = window.kh * window.kw - 1, kw = window.kw
    cdef const char *taps
    cdef const lanes *seen
    cdef lanes *sums
    memset(dx, 0, source.count * x_map * sizeof(lanes))
    for r in range(min(source.rows, result.rows + window.kh - 1)):
        low = max(0, r - result.rows + 1)
        high = min(window.kh, r + 1)
        seen = dy + (r - low) * result.columns
        v = 0
        while v < kw:
            # The list has kernels from their ends.
            taps = (<const char *> w) + (low * kw + v - last_tap) * element_size(dx)
            sums = dx + r * source.columns + v
            if kw - v >= 5:
                scatter_taps(5, seen, result, high - low, taps, kw, links, count, sums, x_map)
                v += 5
            elif kw - v >= 3:
                scatter_taps(3, seen, result, high - low, taps, kw, links, count, sums, x_map)
                v += 3
            else:
                scatter_taps(1, seen, result, high - low, taps, kw, links, count, sums, x_map)
                v += 1


cdef inline Maps spread_of(Maps source, Window window, Maps result) noexcept nogil:
    """The size of dy, spread out by the stride and padded by the kernel."""
    return maps_of(
        result.count, source.rows + (window.kh - 1) * window.dilation_v,
        source.columns + (window.kw - 1) * window.dilation_h,
    )


cdef void input_gradient_tile(
    const lanes *dy, Maps result, const void *w, const Link *links, Py_ssize_t count,
    Window window, lanes *dx, Maps source, lanes *spread_tile,
) noexcept nogil:
    """Set a packed tile of dx; `spread_tile` is scratch."""
    cdef Py_ssize_t top = (window.kh - 1) * window.dilation_v
    cdef Py_ssize_t left = (window.kw - 1) * window.dilation_h
    cdef Py_ssize_t o, r, s
    cdef Maps spread = spread_of(source, window, result)
    cdef Window gather = window
    cdef Ends preset
    cdef lanes *row
    if window.stride_v == window.stride_h == window.dilation_v == window.dilation_h == 1:
        scatter(dy, result, w, links, count, window, dx, source)
        return
    gather.stride_v = gather.stride_h = 1
    memset(spread_tile, 0, spread.count * spread.rows * spread.columns * sizeof(lanes))
    for o in range(result.count):
        for r in range(result.rows):
            row = spread_tile + left + (
                o * spread.rows + top + r * window.stride_v
            ) * spread.columns
            for s in range(result.columns):
                row[s * window.stride_h] = dy[(o * result.rows + r) * result.columns + s]
    memset(dx, 0, source.count * source.rows * source.columns * sizeof(lanes))
    preset.preset, preset.unit, preset.b, preset.relu = True, False, NULL, False
    correlate(
        spread_tile, spread, top, top + (result.rows - 1) * window.stride_v, gather, w, -1, links,
        count, preset, dx, source,
    )


cdef void forward_tiles(
    lanes *memory, const void *x, Py_ssize_t n, Maps source, const void *w, const void *b,
    bint unit, const Link *links, Py_ssize_t count, Window window, void *y, Maps result,
) noexcept nogil:
    """Convolve all images, a tile at a time."""
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory)
    cdef Py_ssize_t in_size = source.count * source.rows * source.columns
    cdef Py_ssize_t out_size = result.count * result.rows * result.columns, i = 0, images
    cdef lanes *x_tile = memory
    cdef lanes *y_tile = memory + in_size
    while i < n:
        images = min(n - i, full)
        pack((<const char *> x) + i * in_size * size, in_size, images, in_size, x_tile)
        convolve_tile(x_tile, source, window, w, b, unit, False, links, count, y_tile, result)
        unpack(y_tile, out_size, images, (<char *> y) + i * out_size * size, out_size)
        i += full


cdef void input_gradient_tiles(
    lanes *memory, const void *dy, Py_ssize_t n, Maps result, const void *w, const Link *links,
    Py_ssize_t count, Window window, void *dx, Maps source,
) noexcept nogil:
    """Pass all gradients back to the input, a tile at a time."""
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory)
    cdef Py_ssize_t in_size = source.count * source.rows * source.columns
    cdef Py_ssize_t out_size = result.count * result.rows * result.columns
    cdef Py_ssize_t i = 0, images
    cdef lanes *dy_tile = memory + in_size
    cdef lanes *spread_tile = dy_tile + out_size
    while i < n:
        images = min(n - i, full)
        pack((<const char *> dy) + i * out_size * size, out_size, images, out_size, dy_tile)
        input_gradient_tile(
            dy_tile, result, w, links, count, window, memory, source, spread_tile
        )
        unpack(memory, in_size, images, (<char *> dx) + i * in_size * size, in_size)
        i += full


cdef void weight_gradient_tiles(
    lanes *memory, const void *dy, const void *x, Py_ssize_t n, Maps source, Links links,
    Window window, Py_ssize_t weights, Maps result, bint unit,
) noexcept nogil:
    """Set the first `weights` vectors of memory to the gradient of each weight, lane by lane, and
    those behind them to the gradients of the biases."""
    cdef Py_ssize_t size = element_size(memory), full = lane_count(memory)
    cdef Py_ssize_t in_size = source.count * source.rows * source.columns
    cdef Py_ssize_t out_size = result.count * result.rows * result.columns
    cdef Py_ssize_t biases = out_size if unit else result.count
    cdef Py_ssize_t i = 0, images
    cdef lanes *db = memory + weights
    cdef lanes *x_tile = db + biases
    cdef lanes *dy_tile = x_tile + in_size
    memset(memory, 0, (weights + biases) * sizeof(lanes))
    while i < n:
        images = min(n - i, full)
        pack((<const char *> x) + i * in_size * size, in_size, images, in_size, x_tile)
        pack((<const char *> dy) + i * out_size * size, out_size, images, out_size, dy_tile)
        correlate_gradient(
            x_tile, source, window, dy_tile, result, links, unit, memory, db, False
        )
        i += full


def conv2d_direct(
    const real[:, :, :, ::1] x, const real[:, :, :, ::1] w, const real[:, :, ::1] b,
    const unsigned char[:, ::1] connections, real[:, :, :, ::1] y, Py_ssize_t stride_v,
    Py_ssize_t stride_h, Py_ssize_t dilation_v, Py_ssize_t dilation_h,
):
    """Set y to x convolved with w, plus b."""
    cdef Py_ssize_t n = x.shape[0], taps = w.shape[2] * w.shape[3]
    cdef Maps source = maps_of(x.shape[1], x.shape[2], x.shape[3])
    cdef Maps result = maps_of(y.shape[1], y.shape[2], y.shape[3])
    cdef Window window = window_of(
        w.shape[2], w.shape[3], stride_v, stride_h, dilation_v, dilation_h
    )
    cdef Table table = table_of(
        &connections[0, 0], connections.shape[0], connections.shape[1], source.count
    )
    cdef bint unit = b.shape[1] * b.shape[2] > 1
    cdef Py_ssize_t count
    cdef real *tag = NULL
    cdef void *memory
    cdef Link *links
    assert source.rows > (result.rows - 1) * stride_v + (w.shape[2] - 1) * dilation_v
    assert source.columns > (result.columns - 1) * stride_h + (w.shape[3] - 1) * dilation_h
    if n == 0:
        return
    memory = scratch_new(vector_bytes(tag) * (
        source.count * source.rows * source.columns + result.count * result.rows * result.columns
    ))
    links = <Link *> scratch_new((source.count * result.count + 1) * sizeof(Link))
    if memory == NULL or links == NULL:
        scratch_free(memory)
        scratch_free(links)
        raise MemoryError
    with nogil:
        count = list_by_target(&table, taps, False, links)
        if real is float:
            forward_tiles[lanes_f32](
                <lanes_f32 *> memory, &x[0, 0, 0, 0], n, source, &w[0, 0, 0, 0], &b[0, 0, 0], unit,
                links, count, window, &y[0, 0, 0, 0], result,
            )
        else:
            forward_tiles[lanes_f64](
                <lanes_f64 *> memory, &x[0, 0, 0, 0], n, source, &w[0, 0, 0, 0], &b[0, 0, 0], unit,
                links, count, window, &y[0, 0, 0, 0], result,
            )
        scratch_free(memory)
        scratch_free(links)


def conv2d_input_gradient_direct(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] w,
    const unsigned char[:, ::1] connections, real[:, :, :, ::1] dx, Py_ssize_t stride_v,
    Py_ssize_t stride_h, Py_ssize_t dilation_v, Py_ssize_t dilation_h,
):
    """Set dx to the gradient at the input."""
    cdef Py_ssize_t n = dx.shape[0], taps = w.shape[2] * w.shape[3]
    cdef Maps source = maps_of(dx.shape[1], dx.shape[2], dx.shape[3])
    cdef Maps result = maps_of(dy.shape[1], dy.shape[2], dy.shape[3])
    cdef Window window = window_of(
        w.shape[2], w.shape[3], stride_v, stride_h, dilation_v, dilation_h
    )
    cdef Table table = table_of(
        &connections[0, 0], connections.shape[0], connections.shape[1], source.count
    )
    cdef Py_ssize_t count
    cdef real *tag = NULL
    cdef void *memory
    cdef Link *links
    assert source.rows > (result.rows - 1) * stride_v + (w.shape[2] - 1) * dilation_v
    assert source.columns > (result.columns - 1) * stride_h + (w.shape[3] - 1) * dilation_h
    if n == 0:
        return
    memory = scratch_new(vector_bytes(tag) * (
        source.count * source.rows * source.columns
        + result.count * result.rows * result.columns
        + result.count * (source.rows + (w.shape[2] - 1) * dilation_v)
        * (source.columns + (w.shape[3] - 1) * dilation_h)
    ))
    links = <Link *> scratch_new((source.count * result.count + 1) * sizeof(Link))
    if memory == NULL or links == NULL:
        scratch_free(memory)
        scratch_free(links)
        raise MemoryError
    with nogil:
        count = list_by_target(&table, taps, True, links)
        if real is float:
            input_gradient_tiles[lanes_f32](
                <lanes_f32 *> memory, &dy[0, 0, 0, 0], n, result, &w[0, 0, 0, 0], links, count,
                window, &dx[0, 0, 0, 0], source,
            )
        else:
            input_gradient_tiles[lanes_f64](
                <lanes_f64 *> memory, &dy[0, 0, 0, 0], n, result, &w[0, 0, 0, 0], links, count,
                window, &dx[0, 0, 0, 0], source,
            )
        scratch_free(memory)
        scratch_free(links)


def conv2d_weight_gradient_direct(
    const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x,
    const unsigned char[:, ::1] connections, real[:, :, :, ::1] dw, real[:, :, ::1] db,
    Py_ssize_t stride_v, Py_ssize_t stride_h, Py_ssize_t dilation_v, Py_ssize_t dilation_h,
):
    """Set dw and db to the gradients summed over the batch."""
    cdef Py_ssize_t n = x.shape[0], taps = dw.shape[2] * dw.shape[3]
    cdef Py_ssize_t weights = dw.shape[0] * dw.shape[1] * taps
    cdef Py_ssize_t biases = db.shape[0] * db.shape[1] * db.shape[2]
    cdef Maps source = maps_of(x.shape[1], x.shape[2], x.shape[3])
    cdef Maps result = maps_of(dy.shape[1], dy.shape[2], dy.shape[3])
    cdef Window window = window_of(
        dw.shape[2], dw.shape[3], stride_v, stride_h, dilation_v, dilation_h
    )
    cdef bint unit = db.shape[1] * db.shape[2] > 1
    cdef Table table = table_of(
        &connections[0, 0], connections.shape[0], connections.shape[1], source.count
    )
    cdef Links links
    cdef real *tag = NULL
    cdef char *memory
    cdef Py_ssize_t *list_memory
    assert source.rows > (result.rows - 1) * stride_v + (dw.shape[2] - 1) * dilation_v
    assert source.columns > (result.columns - 1) * stride_h + (dw.shape[3] - 1) * dilation_h
    memory = <char *> scratch_new(vector_bytes(tag) * (
        weights + biases + source.count * source.rows * source.columns
        + result.count * result.rows * result.columns
    ))
    list_memory = <Py_ssize_t *> scratch_new(
        (source.count + 1 + 2 * connections.shape[0] * connections.shape[1]) * sizeof(Py_ssize_t)
    )
    if memory == NULL or list_memory == NULL:
        scratch_free(memory)
        scratch_free(list_memory)
        raise MemoryError
    with nogil:
        links = list_by_input(&table, taps, list_memory)
        # An empty batch has no first element to point to, and none is read.
        if real is float:
            weight_gradient_tiles[lanes_f32](
                <lanes_f32 *> memory, &dy[0, 0, 0, 0] if n else NULL,
                &x[0, 0, 0, 0] if n else NULL, n, source, links, window, weights, result, unit,
            )
        else:
            weight_gradient_tiles[lanes_f64](
                <lanes_f64 *> memory, &dy[0, 0, 0, 0] if n else NULL,
                &x[0, 0, 0, 0] if n else NULL, n, source, links, window, weights, result, unit,
            )
        fold(memory, weights, &dw[0, 0, 0, 0])
        fold(memory + weights * vector_bytes(tag), biases, &db[0, 0, 0])
        scratch_free(memory)
        scratch_free(list_memory)
