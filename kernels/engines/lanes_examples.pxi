# needs: layers/dense (dense_gradient_tiles, tiles_of, transposed),
#     engines/steps (inputs_of),
#     engines/lanes_run (biases_of, numbers_at, Run, weights_of)
#
# The lane engine's gradients image by image, after the way back of a tile: written out, or scaled
# to a largest norm and added up.
#
# The lane-by-lane sums of a tile are the gradients of its images. Those of dense layers are still
# factors: dw = dy x^T for one image, so |dw|^2 = |dy|^2 |x|^2, and the sum of the scaled gradients
# is the product of the scaled dy with x; no image's dw is needed for it.

from libc.math cimport sqrt
from libc.string cimport memcpy

from vectors cimport (
    broadcast, element_size, fold_lanes, lane_count, lanes, lanes_f32, splat, unpack,
)
from program cimport FULL, Step


cdef inline void outer_products(
    const lanes *dy, Py_ssize_t n_out, const lanes *x, Py_ssize_t n_in, Py_ssize_t images,
    lanes *rows, char *dw,
) noexcept nogil:
    """Write dy_i x_j of each image, one image after the other."""
    cdef Py_ssize_t full = lane_count(rows), size = element_size(rows), i, k, m
    cdef Py_ssize_t pitch = (n_in + full - 1) // full, whole = n_in // full
    cdef lanes factor
    cdef lanes last
    cdef lanes *row
    transposed(x, n_in, rows, pitch)
    for i in range(images):
        for m in range(n_out):
            factor = broadcast(rows, dy, m * full + i)
            row = <lanes *> dw
            for k in range(whole):
                row[k] = factor * rows[i * pitch + k]
            if whole < pitch:
                last = factor * rows[i * pitch + whole]
                memcpy(row + whole, &last, (n_in - whole * full) * size)
            dw += n_in * size


cdef void write_examples(
    Run *run, lanes *memory, Py_ssize_t first, Py_ssize_t images
) noexcept nogil:
    """Write the gradients of a tile's images: all those of one parameter lie together."""
    cdef Py_ssize_t k, weights, biases
    cdef const Step *step
    cdef lanes *sums_b
    cdef void *w
    cdef void *b
    for k in range(run.count):
        step = run.steps + k
        if not step.learns:
            continue
        weights, biases, sums_b = weights_of(step), biases_of(step), memory + step.sums_b
        if step.kind == FULL:
            weights, sums_b = step.c_out * inputs_of(step), memory + step.dy
        w = <void *> numbers_at(memory, run.examples, step.w * run.room + first * weights)
        b = <void *> numbers_at(memory, run.examples, step.b * run.room + first * biases)
        if step.kind == FULL:
            outer_products(
                memory + step.dy, step.c_out, memory + step.x, inputs_of(step), images,
                memory + step.work + inputs_of(step), <char *> w,
            )
        else:
            unpack(memory + step.sums_w, weights, images, w, weights)
        if step.b >= 0:
            unpack(sums_b, biases, images, b, biases)


cdef inline lanes sum_of_squares(const lanes *x, Py_ssize_t count) noexcept nogil:
    cdef lanes total = x[0] * x[0]
    cdef Py_ssize_t k
    for k in range(1, count):
        total = total + x[k] * x[k]
    return total


cdef lanes clip_shares(Run *run, lanes *memory) noexcept nogil:
    """What each lane's gradient is multiplied with, so that its norm is at most `clip`."""
    cdef Py_ssize_t full = lane_count(memory), k, i
    cdef const Step *step
    cdef lanes squares
    cdef lanes norms = splat(memory, 0)
    cdef double norm, share
    for k in range(run.count):
        step = run.steps + k
        if not step.learns:
            continue
        if step.kind == FULL:
            squares = sum_of_squares(memory + step.x, inputs_of(step))
            if step.b >= 0:
                squares = squares + splat(memory, 1)
            squares = squares * sum_of_squares(memory + step.dy, step.c_out)
        else:
            squares = sum_of_squares(memory + step.sums_w, weights_of(step))
            if step.b >= 0:
                squares = squares + sum_of_squares(memory + step.sums_b, biases_of(step))
        norms = norms + squares
    for i in range(full):
        if lanes is lanes_f32:
            norm = sqrt((<const float *> &norms)[i])
        else:
            norm = sqrt((<const double *> &norms)[i])
        share = run.clip / norm if norm > run.clip else 1
        if lanes is lanes_f32:
            (<float *> &norms)[i] = <float> share
        else:
            (<double *> &norms)[i] = share
    return norms


cdef void fold_shares(
    const lanes *sums, Py_ssize_t count, lanes share, bint fresh, void *total
) noexcept nogil:
    """Add the shares of all lanes to numbers, or set them to it where they are `fresh`."""
    cdef Py_ssize_t full = lane_count(sums), size = element_size(sums), k = 0, i, some
    cdef lanes scaled[16]
    cdef lanes folded
    cdef lanes before
    while k < count:
        some, before = min(count - k, full), splat(&before, 0)
        for i in range(some):
            scaled[i] = sums[k + i] * share
        fold_lanes(scaled, some, &folded)
        if not fresh:
            memcpy(&before, (<char *> total) + k * size, some * size)
        folded = before + folded
        memcpy((<char *> total) + k * size, &folded, some * size)
        k += full


cdef void add_clipped(Run *run, lanes *memory, bint fresh, void *gradient) noexcept nogil:
    """Add the gradients of a tile's images to the block's, each scaled to a norm of at most `clip`;
    set it, if they are the first."""
    cdef lanes share = clip_shares(run, memory)
    cdef Py_ssize_t k, i
    cdef const Step *step
    cdef lanes *dy
    cdef void *w
    cdef void *b
    for k in range(run.count):
        step = run.steps + k
        if not step.learns:
            continue
        w = <void *> numbers_at(memory, gradient, step.w)
        b = <void *> numbers_at(memory, gradient, step.b)
        if step.kind == FULL:
            dy = memory + step.dy
            for i in range(step.c_out):
                dy[i] = dy[i] * share
            dense_gradient_tiles(
                tiles_of(1, 0), dy, step.c_out, memory + step.x, inputs_of(step),
                memory + step.work + inputs_of(step), w, b, fresh,
            )
        else:
            fold_shares(memory + step.sums_w, weights_of(step), share, fresh, w)
            if step.b >= 0:
                fold_shares(memory + step.sums_b, biases_of(step), share, fresh, b)
