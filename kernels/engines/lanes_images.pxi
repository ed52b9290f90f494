# needs: layers/rbf (rbf_back_rows, rbf_hessian_rows),
#     layers/losses (loss_hessian, loss_value, loss_with_gradient, map_rbf_hessian_rows,
#         misclassified),
#     engines/steps (inputs_of),
#     engines/lanes_run (numbers_at, Run, weights_of)
#
# Between images and lanes: filling a tile, and from its outputs to the loss and back.

from libc.string cimport memcpy, memset

from vectors cimport (
    bytes_16, element_size, from_bytes, lane_count, lanes, lanes_f32, pack, real, splat,
    transpose_bytes, unpack,
)
from program cimport DISTANCES, Step


cdef inline void fill_pixels(
    const unsigned char **seen, Py_ssize_t at, Py_ssize_t count, lanes scale, lanes background,
    lanes *pixels,
) noexcept nogil:
    """Some adjacent pixels, at most 16, of the images of a tile; their rows begin at `seen`."""
    cdef bytes_16 square[16]
    cdef Py_ssize_t i, p
    if lane_count(pixels) < 16 or count < 16:
        memset(square, 0, sizeof(square))
    for i in range(lane_count(pixels)):
        memcpy(&square[i], seen[i] + at, count)
    transpose_bytes(square)
    for p in range(count):
        pixels[p] = from_bytes(pixels, &square[p]) * scale + background


cdef inline void fill_from_bytes(
    Run *run, lanes *tile, Py_ssize_t first, Py_ssize_t images
) noexcept nogil:
    """The pixels of bytes images, on the network's scale, in the middle of its input."""
    cdef Py_ssize_t columns = run.image_columns, i, image, row, column, left
    cdef lanes scale = splat(tile, (run.input.foreground - run.input.background) / 255)
    cdef lanes background = splat(tile, run.input.background)
    cdef const unsigned char *seen[16]
    cdef lanes *place
    for i in range(lane_count(tile)):
        image = first + (i if i < images else 0)
        if run.order != NULL:
            image = run.order[image]
        seen[i] = run.bytes + image * run.image_rows * columns
    for row in range(run.image_rows):
        place = tile + (
            ((run.input.rows - run.image_rows) // 2 + row) * run.input.columns
            + (run.input.columns - columns) // 2
        )
        column = 0
        while column < columns:
            left = columns - column
            if left < 16 <= columns:  # the last ones lie over some of those before
                column, left = columns - 16, 16
            if left >= 16:  # a literal: instructions instead of calls
                fill_pixels(
                    seen, row * columns + column, 16, scale, background, place + column
                )
            else:
                fill_pixels(
                    seen, row * columns + column, left, scale, background, place + column
                )
            column += 16


cdef void fill(Run *run, Py_ssize_t first, Py_ssize_t images, lanes *tile) noexcept nogil:
    """Set the input of a tile to some images.

    Lanes without one get the first again: no gradient comes back to them, and zero times what
    overflows in them is NaN only if a real image overflows, too.
    """
    cdef Py_ssize_t pixels = run.input.maps * run.input.rows * run.input.columns
    cdef Py_ssize_t full = lane_count(tile), k, i, size = element_size(tile)
    cdef char *lane
    if run.bytes != NULL:
        fill_from_bytes(run, tile, first, images)
    else:
        pack(numbers_at(tile, run.floats, first * pixels), pixels, images, pixels, tile)
        for k in range(pixels if images < full else 0):
            lane = <char *> (tile + k)
            for i in range(images, full):
                memcpy(lane + i * size, lane, size)


cdef void score(
    Run *run, real *rows, Py_ssize_t full, Py_ssize_t first, Py_ssize_t images, bint back,
    bint hessian, double *totals,
) noexcept nogil:
    """Add loss and errors of the images whose outputs are the first rows, and write their
    gradients, and Hessians, behind the outputs; rows without an image get zeros.

    With an RBF layer at the end, what is behind is the gradient, or Hessian, at its inputs.
    """
    cdef const Step *last = run.steps + run.count - 1
    cdef Py_ssize_t k = last.c_out, n_in, i, label
    cdef real *y = rows
    cdef real *dy = y + full * k
    cdef real *hy = dy + full * k
    cdef real *x = hy + full * k
    cdef const real *w
    if back:
        memset(dy, 0, 2 * full * k * sizeof(real))
    for i in range(images if run.d_outputs == NULL else 0):
        label = run.labels[first + i]
        if back:
            totals[0] += loss_with_gradient[real](run.loss, y + i * k, k, label, dy + i * k)
        else:
            totals[0] += loss_value[real](run.loss, y + i * k, k, label, dy + i * k)
        totals[1] += misclassified(y + i * k, k, label, run.loss.smallest_wins)
        if hessian:
            loss_hessian[real](run.loss, y + i * k, k, hy + i * k)
    if run.d_outputs != NULL:
        memcpy(dy, (<const real *> run.d_outputs) + first * k, images * k * sizeof(real))
    if back and last.kind == DISTANCES and last.passes:
        n_in = inputs_of(last)
        w = (<const real *> run.parameters) + last.w
        if hessian and run.loss.exact:
            map_rbf_hessian_rows[real](
                y, x, w, images, k, n_in, <real> run.loss.floor, hy, x + full * n_in
            )
            memset(x + (full + images) * n_in, 0, (full - images) * n_in * sizeof(real))
        elif hessian:
            rbf_hessian_rows[real](hy, dy, x, w, full, k, n_in, x + full * n_in, NULL)
        else:
            rbf_back_rows[real](dy, x, w, full, k, n_in, x + full * n_in, NULL)


cdef void finish_tile(
    Run *run, lanes *memory, Py_ssize_t first, Py_ssize_t images, bint back, bint hessian,
    double *totals,
) noexcept nogil:
    """From the outputs of a tile to its loss, and to the gradient that goes back from there."""
    cdef const Step *last = run.steps + run.count - 1
    cdef Py_ssize_t full = lane_count(memory), k = last.c_out, n_in = inputs_of(last)
    cdef lanes *rows = memory + last.rows
    cdef lanes *x = rows + 3 * k
    unpack(memory + last.y, k, full, rows, k)
    if run.outputs != NULL:
        memcpy(
            (<char *> run.outputs) + first * k * element_size(memory), rows,
            images * k * element_size(memory),
        )
    if not run.scored:
        return
    if back and last.kind == DISTANCES:
        unpack(memory + last.x, n_in, full, x, n_in)
    if lanes is lanes_f32:
        score[float](run, <float *> rows, full, first, images, back, hessian, totals)
    else:
        score[double](run, <double *> rows, full, first, images, back, hessian, totals)
    if not back:
        return
    if last.kind != DISTANCES:
        pack(rows + (2 if hessian else 1) * k, k, full, k, memory + last.dy)
    elif last.passes:
        pack(x + n_in, n_in, full, n_in, memory + last.dx)


cdef inline void set_all(lanes *x, Py_ssize_t count, double value) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        x[i] = splat(x, value)


cdef void set_padding(const Step *step, lanes *padded) noexcept nogil:
    cdef Py_ssize_t c, r, right = step.left + step.w_bare
    for c in range(step.c_in):
        for r in range(step.h_in):
            if step.top <= r < step.top + step.h_bare:
                set_all(padded, step.left, step.pad_value)
                set_all(padded + right, step.w_in - right, step.pad_value)
            else:
                set_all(padded, step.w_in, step.pad_value)
            padded += step.w_in


cdef void set_borders(Run *run, lanes *memory) noexcept nogil:
    """Write what stays during a call: the background around the images, and the padding."""
    cdef Py_ssize_t k
    if run.bytes != NULL:
        set_all(
            memory + run.input.at, run.input.maps * run.input.rows * run.input.columns,
            run.input.background,
        )
    for k in range(run.count):
        if run.steps[k].padded >= 0:
            set_padding(run.steps + k, memory + run.steps[k].padded)


cdef void clear_sums(Run *run, lanes *memory) noexcept nogil:
    """Zeros for the gradients of weights without a link, which stay during a call."""
    cdef Py_ssize_t k
    cdef const Step *step
    for k in range(run.count):
        step = run.steps + k
        if step.sums_w >= 0:
            memset(memory + step.sums_w, 0, weights_of(step) * sizeof(lanes))
