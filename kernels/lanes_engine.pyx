# The lane engine: a whole network a tile of images at a time, one image a vector lane.
#
# A plan (lenet_fast/engines/plan.py) is a table of steps, one row a layer, whose numbers say where
# in a thread's memory its input, output and gradients lie, counted in vectors. A call works off a
# list of items: blocks of images to go forward, or forward and back, and pieces of the parameters
# to update. Each item waits for those before its phase. Which thread takes which item changes no
# bit: a block has a gradient of its own, and they are added in the order of the blocks.

from libc.math cimport isfinite, pow, sqrt, sqrtf

from common cimport LossOptions, Maps, Window, real, scratch_free, scratch_new
from lanes cimport (
    bytes_16, from_bytes, lane_count, lanes, lanes_f32, lanes_f64, pack, read_shared, seconds_now,
    splat, take_ticket, ticket_done, transpose_bytes, unpack, wait_a_little, write_shared,
)


cdef enum StepKind:
    CONVOLUTION
    SUBSAMPLING  # and average pooling, which has no w
    MAXIMUM
    SQUASHING
    FULL
    DISTANCES


cdef struct Step:
    # One row of the plan's table: the names and their order are those of plan.py.
    Py_ssize_t kind
    Py_ssize_t function  # which squashing
    Py_ssize_t x  # where input and output lie, in vectors
    Py_ssize_t y
    Py_ssize_t dx  # and their gradients
    Py_ssize_t dy
    Py_ssize_t w  # where the parameters begin, in numbers; -1: none
    Py_ssize_t b
    Py_ssize_t unit  # whether there is a bias a unit
    Py_ssize_t learns
    Py_ssize_t passes  # whether a gradient is wanted at the input
    Py_ssize_t c_in  # the input, padding included
    Py_ssize_t h_in
    Py_ssize_t w_in
    Py_ssize_t c_out
    Py_ssize_t h_out
    Py_ssize_t w_out
    Py_ssize_t kh
    Py_ssize_t kw
    Py_ssize_t stride_v
    Py_ssize_t stride_h
    Py_ssize_t dilation_v
    Py_ssize_t dilation_h
    Py_ssize_t top  # the padding before the first row and column
    Py_ssize_t left
    Py_ssize_t h_bare  # the input without padding
    Py_ssize_t w_bare
    Py_ssize_t padded  # where the padded input lies; -1: there is no padding
    Py_ssize_t sums_w  # where the gradients are added lane by lane; -1: not so
    Py_ssize_t sums_b
    Py_ssize_t table  # where the connections begin
    Py_ssize_t width  # input maps a group


cdef enum ItemKind:
    FORWARD
    GRADIENT
    CURVATURE
    UPDATE


cdef struct Item:
    Py_ssize_t kind
    Py_ssize_t first  # images, or parameters, from first to last
    Py_ssize_t last
    Py_ssize_t opened  # how many items must be done before
    Py_ssize_t block  # which of the gradients; of an update, how many there are
    Py_ssize_t images  # of an update: in the batch
    Py_ssize_t step  # of an update: its number in this call


cdef enum Rule:
    NO_RULE  # the mean gradient is all that is wanted
    SGD
    ADAMW


cdef struct Lists:
    Link *forward
    Py_ssize_t forward_count
    Link *backward
    Py_ssize_t backward_count
    Links by_input


cdef struct Run:
    # What all threads of a call share.
    const Step *steps
    const double *reals  # a number a step: a scale, or what the padding is
    Py_ssize_t count
    Lists *lists
    const Item *items
    Py_ssize_t item_count
    const void *parameters
    const void *weights_squared
    Py_ssize_t trained  # how many of the parameters learn: they come first
    const unsigned char *bytes  # the images, either
    const void *floats  # or
    Py_ssize_t image_rows
    Py_ssize_t image_columns
    double background
    double ink
    const Py_ssize_t *order  # which image is the first, the second, ...
    const Py_ssize_t *labels  # and what it shows
    void *outputs
    LossOptions loss
    bint scored  # whether there are labels
    bint smallest_wins
    void *gradients
    double *totals
    Py_ssize_t input_at  # where the network's input lies
    Py_ssize_t input_channels
    Py_ssize_t input_rows
    Py_ssize_t input_columns
    Py_ssize_t work  # where scratch for one step lies
    Py_ssize_t rows  # where outputs and their gradients lie image by image
    double *seconds  # by step: forward, to the input, to the weights; NULL: not wanted


cdef inline Maps source_of(const Step *step) noexcept nogil:
    return maps_of(step.c_in, step.h_in, step.w_in)


cdef inline Maps result_of(const Step *step) noexcept nogil:
    return maps_of(step.c_out, step.h_out, step.w_out)


cdef inline Window step_window(const Step *step) noexcept nogil:
    return window_of(
        step.kh, step.kw, step.stride_v, step.stride_h, step.dilation_v, step.dilation_h
    )


cdef inline Py_ssize_t inputs_of(const Step *step) noexcept nogil:
    return step.c_in * step.h_bare * step.w_bare


cdef inline Py_ssize_t outputs_of(const Step *step) noexcept nogil:
    return step.c_out * step.h_out * step.w_out


cdef inline const void *numbers_at(
    const lanes *_, const void *numbers, Py_ssize_t first
) noexcept nogil:
    """The address of a number; NULL where there is none."""
    if first < 0 or numbers == NULL:
        return NULL
    return (<const char *> numbers) + first * element_size(_)


cdef inline double lap(double *total, double since) noexcept nogil:
    cdef double now = seconds_now()
    total[0] += now - since
    return now


# --- filling a tile ---


cdef inline void fill_from_bytes(
    Run *run, lanes *tile, const Py_ssize_t *chosen, Py_ssize_t images
) noexcept nogil:
    """The pixels of bytes images, on the network's scale, in the middle of its input."""
    cdef Py_ssize_t full = lane_count(tile), pixels = run.image_rows * run.image_columns
    cdef Py_ssize_t first = 0, count, p, i, row, column
    cdef lanes scale = splat(tile, (run.ink - run.background) / 255)
    cdef lanes background = splat(tile, run.background)
    cdef bytes_16 square[16]
    cdef lanes *corner = (
        tile + (run.input_rows - run.image_rows) // 2 * run.input_columns
        + (run.input_columns - run.image_columns) // 2
    )
    while first < pixels:
        count = min(pixels - first, <Py_ssize_t> 16)
        memset(square, 0, sizeof(square))
        for i in range(full):
            memcpy(
                &square[i], run.bytes + chosen[i if i < images else 0] * pixels + first, count
            )
        transpose_bytes(square)
        row, column = first // run.image_columns, first % run.image_columns
        for p in range(count):
            corner[row * run.input_columns + column] = (
                from_bytes(tile, &square[p]) * scale + background
            )
            column += 1
            if column == run.image_columns:
                column, row = 0, row + 1
        first += count


cdef void fill(Run *run, Py_ssize_t first, Py_ssize_t images, lanes *tile) noexcept nogil:
    """Set the input of a tile to some images.

    Lanes without one get the first again: no gradient comes back to them, and zero times what
    overflows in them is NaN only if a real image overflows, too.
    """
    cdef Py_ssize_t pixels = run.input_channels * run.input_rows * run.input_columns
    cdef Py_ssize_t full = lane_count(tile), k, i, size = element_size(tile)
    cdef char *lane
    if run.bytes != NULL:
        fill_from_bytes(run, tile, run.order + first, images)
    else:
        pack(numbers_at(tile, run.floats, first * pixels), pixels, images, pixels, tile)
        for k in range(pixels if images < full else 0):
            lane = <char *> (tile + k)
            for i in range(images, full):
                memcpy(lane + i * size, lane, size)


# --- forward ---


cdef const lanes *padded_input(
    const Step *step, double value, lanes *memory
) noexcept nogil:
    """Return the input, copied between its padding where there is some."""
    cdef Py_ssize_t c, r
    cdef lanes *room = memory + step.padded
    cdef const lanes *x = memory + step.x
    if step.padded < 0:
        return x
    for c in range(step.c_in):
        for r in range(step.h_bare):
            memcpy(
                room + (c * step.h_in + step.top + r) * step.w_in + step.left,
                x + (c * step.h_bare + r) * step.w_bare, step.w_bare * sizeof(lanes),
            )
    return room


cdef void step_forward(Run *run, Py_ssize_t k, lanes *memory) noexcept nogil:
    cdef const Step *step = run.steps + k
    cdef const void *w = numbers_at(memory, run.parameters, step.w)
    cdef const void *b = numbers_at(memory, run.parameters, step.b)
    cdef const lanes *x = memory + step.x
    cdef lanes *y = memory + step.y
    cdef Maps source = source_of(step), result = result_of(step)
    cdef Window window = step_window(step)
    cdef Py_ssize_t c, multiplier, wide = step.h_in * step.w_in, narrow = step.h_out * step.w_out
    if step.kind == CONVOLUTION:
        bias_tile(b, step.unit, y, result)
        correlate(
            padded_input(step, run.reals[k], memory), source, 0, source.rows - 1, window, w,
            window.kw, 1, run.lists[k].forward, run.lists[k].forward_count, y, result,
        )
    elif step.kind == SUBSAMPLING:
        multiplier = multiplier_of(source, result)
        for c in range(step.c_out):
            subsample_map(
                x + c // multiplier * wide, source, window, w, b, c, run.reals[k], y + c * narrow,
                result,
            )
    elif step.kind == MAXIMUM:
        for c in range(step.c_in):
            max_map(x + c * wide, source, window, y + c * narrow, result)
    elif step.kind == SQUASHING:
        if lanes is lanes_f32:
            squash[float](
                step.function, <const float *> x, outputs_of(step) * lane_count(y), <float *> y
            )
        else:
            squash[double](
                step.function, <const double *> x, outputs_of(step) * lane_count(y), <double *> y
            )
    elif step.kind == FULL:
        dense_tile(x, inputs_of(step), w, inputs_of(step), 1, b, y, step.c_out)
    else:
        rbf_tile(x, inputs_of(step), w, step.c_out, y)


cdef void forward(Run *run, lanes *memory) noexcept nogil:
    cdef Py_ssize_t k
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.count):
        step_forward(run, k, memory)
        if run.seconds != NULL:
            since = lap(run.seconds + 3 * k, since)


# --- back ---


cdef inline const lanes *squares(
    const lanes *x, Py_ssize_t count, bint wanted, lanes *room
) noexcept nogil:
    """x, or the squares of it: what the Hessian's pass multiplies with."""
    cdef Py_ssize_t k
    if not wanted:
        return x
    for k in range(count):
        room[k] = x[k] * x[k]
    return room


cdef void step_weights(
    Run *run, Py_ssize_t k, lanes *memory, bint hessian, bint fresh, void *gradient
) noexcept nogil:
    """Add a tile's share to the gradients of a step's parameters; set them, if it is the first."""
    cdef const Step *step = run.steps + k
    cdef const lanes *dy = memory + step.dy
    cdef const lanes *x = memory + step.x
    cdef lanes *work = memory + run.work
    cdef Maps source = source_of(step), result = result_of(step)
    cdef Py_ssize_t c, multiplier, wide = step.h_in * step.w_in, narrow = step.h_out * step.w_out
    if step.kind == CONVOLUTION:
        if step.padded >= 0:
            x = memory + step.padded
        correlate_gradient(
            squares(x, step.c_in * wide, hessian, work), source, step_window(step), dy, result,
            run.lists[k].by_input, memory + step.sums_w, fresh,
        )
        if step.b >= 0:
            if fresh:
                memset(memory + step.sums_b, 0, biases_of(step) * sizeof(lanes))
            bias_gradient_tile(dy, result, step.unit, memory + step.sums_b)
    elif step.kind == SUBSAMPLING:
        if fresh:
            memset(memory + step.sums_w, 0, step.c_out * sizeof(lanes))
            memset(memory + step.sums_b, 0, step.c_out * sizeof(lanes))
        multiplier = multiplier_of(source, result)
        for c in range(step.c_out):
            subsample_gradient_map(
                dy + c * narrow, result, x + c // multiplier * wide, source, step_window(step),
                run.reals[k], hessian, work, memory + step.sums_w + c, memory + step.sums_b + c,
            )
    elif step.kind == FULL:
        dense_gradient_tile(
            dy, step.c_out, squares(x, inputs_of(step), hessian, work), inputs_of(step),
            work + inputs_of(step), <void *> numbers_at(memory, gradient, step.w),
            <void *> numbers_at(memory, gradient, step.b), fresh,
        )


cdef void step_back(Run *run, Py_ssize_t k, lanes *memory, bint hessian) noexcept nogil:
    """Set the gradient at a step's input."""
    cdef const Step *step = run.steps + k
    cdef const void *parameters = run.weights_squared if hessian else run.parameters
    cdef const lanes *x = memory + step.x
    cdef const lanes *dy = memory + step.dy
    cdef lanes *dx = memory + step.dx
    cdef lanes *work = memory + run.work
    cdef lanes *made = dx
    cdef Maps source = source_of(step), result = result_of(step), spread
    cdef Window window = step_window(step)
    cdef Py_ssize_t c, r, wide = step.h_in * step.w_in, narrow = step.h_out * step.w_out
    if step.kind == CONVOLUTION:
        spread = spread_of(source, window, result)
        r = spread.count * spread.rows * spread.columns
        if step.padded >= 0:
            made = work + r
        input_gradient_tile(
            dy, result, numbers_at(memory, parameters, step.w), run.lists[k].backward,
            run.lists[k].backward_count, window, made, source, work,
        )
        if step.padded >= 0:
            for c in range(step.c_in):
                for r in range(step.h_bare):
                    memcpy(
                        dx + (c * step.h_bare + r) * step.w_bare,
                        made + (c * step.h_in + step.top + r) * step.w_in + step.left,
                        step.w_bare * sizeof(lanes),
                    )
    elif step.kind == SUBSAMPLING:
        for c in range(step.c_in):
            spread_maps(
                dy + c * multiplier_of(source, result) * narrow, result, window,
                numbers_at(memory, run.parameters, step.w), c, run.reals[k], hessian, work,
                dx + c * wide, source,
            )
    elif step.kind == MAXIMUM:
        for c in range(step.c_in):
            max_back_map(dy + c * narrow, result, x + c * wide, source, window, dx + c * wide)
    elif step.kind == SQUASHING:
        x = memory + step.y
        if lanes is lanes_f32:
            squash_back[float](
                step.function, hessian, <const float *> dy, <const float *> x,
                outputs_of(step) * lane_count(dx), <float *> dx,
            )
        else:
            squash_back[double](
                step.function, hessian, <const double *> dy, <const double *> x,
                outputs_of(step) * lane_count(dx), <double *> dx,
            )
    elif step.kind == FULL:
        dense_tile(
            dy, step.c_out, numbers_at(memory, parameters, step.w), 1, inputs_of(step), NULL, dx,
            inputs_of(step),
        )


cdef void back(
    Run *run, lanes *memory, bint hessian, bint fresh, void *gradient
) noexcept nogil:
    cdef Py_ssize_t k
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.count - 1, -1, -1):
        if run.steps[k].learns:
            step_weights(run, k, memory, hessian, fresh, gradient)
            if run.seconds != NULL:
                since = lap(run.seconds + 3 * k + 2, since)
        if run.steps[k].passes and run.steps[k].kind != DISTANCES:
            step_back(run, k, memory, hessian)
            if run.seconds != NULL:
                since = lap(run.seconds + 3 * k + 1, since)


# --- the loss, image by image: ten numbers each are too few for lanes ---


cdef inline bint misclassified(
    const real *y, Py_ssize_t k, Py_ssize_t label, bint smallest_wins
) noexcept nogil:
    """The first of equals wins, and NaN beats numbers, as in NumPy's argmax and argmin."""
    cdef Py_ssize_t i, winner = 0
    for i in range(1, k):
        if y[winner] != y[winner]:
            break
        if y[i] != y[i] or (y[i] < y[winner] if smallest_wins else y[i] > y[winner]):
            winner = i
    return winner != label


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
    for i in range(images):
        label = run.labels[first + i]
        totals[0] += loss_value[real](&run.loss, y + i * k, k, label, NULL, dy + i * k)
        totals[1] += misclassified(y + i * k, k, label, run.smallest_wins)
        if back:
            loss_gradient[real](&run.loss, y + i * k, k, label, NULL, dy + i * k)
        if hessian:
            loss_hessian[real](&run.loss, y + i * k, k, hy + i * k)
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
    cdef lanes *rows = memory + run.rows
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


# --- items ---


cdef inline Py_ssize_t weights_of(const Step *step) noexcept nogil:
    """How many weights are added lane by lane."""
    return step.c_out * step.width * step.kh * step.kw if step.kind == CONVOLUTION else step.c_out


cdef inline Py_ssize_t biases_of(const Step *step) noexcept nogil:
    return outputs_of(step) if step.unit else step.c_out


cdef void fold_sums(Run *run, const lanes *memory, void *gradient) noexcept nogil:
    """What was added lane by lane becomes part of the block's gradient."""
    cdef Py_ssize_t k
    cdef const Step *step
    for k in range(run.count):
        step = run.steps + k
        if step.sums_w >= 0:
            fold_lanes(
                memory + step.sums_w, weights_of(step),
                <void *> numbers_at(memory, gradient, step.w),
            )
        if step.sums_b >= 0:
            fold_lanes(
                memory + step.sums_b, biases_of(step),
                <void *> numbers_at(memory, gradient, step.b),
            )


cdef void images_item(Run *run, const Item *item, double *totals, lanes *memory) noexcept nogil:
    """A block of images: forward, and with a gradient or Hessian of its own back."""
    cdef Py_ssize_t full = lane_count(memory), first = item.first, images
    cdef bint learning = item.kind != FORWARD, hessian = item.kind == CURVATURE
    cdef void *gradient = <void *> numbers_at(memory, run.gradients, item.block * run.trained)
    totals[0] = totals[1] = 0
    while first < item.last:
        images = min(item.last - first, full)
        fill(run, first, images, memory + run.input_at)
        forward(run, memory)
        finish_tile(run, memory, first, images, learning, hessian, totals)
        if learning:
            back(run, memory, hessian, first == item.first, gradient)
        first += full
    if learning:
        fold_sums(run, memory, gradient)


cdef struct Update:
    # Of the call: the first eight, in this order, are an array of doubles to Python.
    Py_ssize_t rule
    double rate
    double momentum
    bint nesterov
    double weight_decay
    double beta1
    double beta2
    double epsilon
    long long done  # steps before this call


cdef void read_update(Update *update, const double[::1] numbers, long long done) noexcept nogil:
    update.rule, update.rate, update.momentum = <Py_ssize_t> numbers[0], numbers[1], numbers[2]
    update.nesterov, update.weight_decay = numbers[3] != 0, numbers[4]
    update.beta1, update.beta2, update.epsilon = numbers[5], numbers[6], numbers[7]
    update.done = done


cdef enum:
    STRIDE = 512  # numbers whose gradients are added up at a time, close by


cdef void update_item(
    Run *run, const Item *item, Update *update, real *w, real *state, const real *factors
) noexcept nogil:
    """Add the gradients of all blocks, in their order, and change the parameters by the mean."""
    cdef Py_ssize_t first = item.first, i, block, count
    cdef real *gradient
    cdef const real *other
    while first < item.last:
        count = min(item.last - first, <Py_ssize_t> STRIDE)
        gradient = (<real *> run.gradients) + first
        for block in range(1, item.block):
            other = gradient + block * run.trained
            for i in range(count):
                gradient[i] += other[i]
        for i in range(count):
            gradient[i] *= <real> (1.0 / item.images)
        if update.rule == SGD:
            descend(
                update, gradient, count, w + first, state + first if state != NULL else NULL,
                factors + first if factors != NULL else NULL,
            )
        elif update.rule == ADAMW:
            descend_adaptively(
                update, update.done + item.step + 1, gradient, count, w + first, state + first,
                state + run.trained + first, factors + first if factors != NULL else NULL,
            )
        first += STRIDE


cdef inline void descend_row(
    bint heavy, bint nesterov, bint own_rates, Update *update, const real *gradient,
    Py_ssize_t count, real *w, real *velocity, const real *factors,
) noexcept nogil:
    """The first three are literals where this is called."""
    cdef real rate = <real> update.rate, momentum = <real> update.momentum
    cdef real decay = <real> update.weight_decay, change
    cdef Py_ssize_t i
    for i in range(count):
        change = gradient[i] + decay * w[i]
        if heavy:
            velocity[i] = momentum * velocity[i] + change
            change = change + momentum * velocity[i] if nesterov else velocity[i]
        w[i] -= rate * (factors[i] * change if own_rates else change)


cdef void descend(
    Update *update, const real *gradient, Py_ssize_t count, real *w, real *velocity,
    const real *factors,
) noexcept nogil:
    """Stochastic gradient descent: see lenet_fast.training.optimisers.SGD."""
    if velocity == NULL and factors == NULL:
        descend_row(False, False, False, update, gradient, count, w, velocity, factors)
    elif velocity == NULL:
        descend_row(False, False, True, update, gradient, count, w, velocity, factors)
    elif factors == NULL and not update.nesterov:
        descend_row(True, False, False, update, gradient, count, w, velocity, factors)
    elif factors == NULL:
        descend_row(True, True, False, update, gradient, count, w, velocity, factors)
    else:
        descend_row(True, update.nesterov, True, update, gradient, count, w, velocity, factors)


cdef void descend_adaptively(
    Update *update, long long number, const real *gradient, Py_ssize_t count, real *w,
    real *first, real *second, const real *factors,
) noexcept nogil:
    """Step `number` of AdamW, counted from 1: see lenet_fast.training.optimisers.AdamW."""
    cdef real rate = <real> update.rate, decay = <real> update.weight_decay, change, g
    cdef real beta1 = <real> update.beta1, beta2 = <real> update.beta2
    cdef real rest1 = <real> (1 - update.beta1), rest2 = <real> (1 - update.beta2)
    cdef real epsilon = <real> update.epsilon
    cdef real first_scale = <real> (1 / (1 - pow(update.beta1, <double> number)))
    cdef real second_scale = <real> (1 / (1 - pow(update.beta2, <double> number)))
    cdef Py_ssize_t i
    for i in range(count):
        g = gradient[i]
        first[i] = beta1 * first[i] + rest1 * g
        second[i] = beta2 * second[i] + rest2 * g * g
        change = first_scale * first[i] / (root(second_scale * second[i]) + epsilon)
        change += decay * w[i]
        if factors != NULL:
            change *= factors[i]
        w[i] -= rate * change


cdef inline real root(real x) noexcept nogil:
    if real is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef bint finite_loss(Run *run, const Item *item) noexcept nogil:
    """Whether the batch that an update waits for has a finite loss."""
    cdef double total = 0
    cdef Py_ssize_t k
    for k in range(item.opened - item.block, item.opened):
        total += run.totals[2 * k]
    return isfinite(total)


cdef void work_off(
    Run *run, Update *update, real *w, real *state, const real *factors, long long *shared,
    void *memory,
) noexcept nogil:
    """Take items until there are none. Where a loss is not finite, nothing is updated, and all
    threads stop.

    `shared` is the next item, how many are done, and whether to stop, a cache line each.
    """
    cdef Py_ssize_t k
    cdef long long turns
    cdef const Item *item
    while True:
        k = take_ticket(shared)
        if k >= run.item_count:
            return
        item = run.items + k
        turns = 0
        while read_shared(shared + 8) < item.opened:
            if read_shared(shared + 16):
                return
            wait_a_little(turns)
            turns += 1
        if read_shared(shared + 16):
            return
        if item.kind == UPDATE:
            if update.rule == NO_RULE or finite_loss(run, item):
                update_item(run, item, update, w, state, factors)
            else:
                write_shared(shared + 16, 1)
        elif real is float:
            images_item[lanes_f32](run, item, run.totals + 2 * k, <lanes_f32 *> memory)
        else:
            images_item[lanes_f64](run, item, run.totals + 2 * k, <lanes_f64 *> memory)
        ticket_done(shared + 8)


# --- what Python calls ---


cdef void set_borders(Run *run, lanes *memory) noexcept nogil:
    """Write what stays during a call: the paper around the images, the padding, and zeros for the
    gradients of weights without a link."""
    cdef Py_ssize_t k, i
    cdef const Step *step
    if run.bytes != NULL:
        for i in range(run.input_channels * run.input_rows * run.input_columns):
            memory[run.input_at + i] = splat(memory, run.background)
    for k in range(run.count):
        step = run.steps + k
        if step.padded >= 0:
            for i in range(step.c_in * step.h_in * step.w_in):
                memory[step.padded + i] = splat(memory, run.reals[k])
        if step.sums_w >= 0:
            memset(memory + step.sums_w, 0, weights_of(step) * sizeof(lanes))


cdef Py_ssize_t link_room(const Step *steps, Py_ssize_t count) noexcept nogil:
    """Bytes that the lists of all convolutions take."""
    cdef Py_ssize_t k, bytes = 0
    for k in range(count):
        if steps[k].kind == CONVOLUTION:
            bytes += 2 * (steps[k].c_in * steps[k].c_out + 1) * sizeof(Link)
            bytes += (
                steps[k].c_in + 1 + 2 * steps[k].c_out * steps[k].width
            ) * sizeof(Py_ssize_t)
    return bytes


cdef void list_links(Run *run, const unsigned char *tables, Lists *lists) noexcept nogil:
    """Fill the lists; their room lies behind them."""
    cdef Py_ssize_t k, taps
    cdef const Step *step
    cdef Table table
    cdef char *room = <char *> (lists + run.count)
    run.lists = lists
    for k in range(run.count):
        step = run.steps + k
        if step.kind != CONVOLUTION:
            continue
        table = table_of(tables + step.table, step.c_out, step.width, step.c_in)
        taps = step.kh * step.kw
        lists[k].forward = <Link *> room
        lists[k].forward_count = list_by_target(&table, taps, False, lists[k].forward)
        lists[k].backward = lists[k].forward + step.c_in * step.c_out + 1
        lists[k].backward_count = list_by_target(&table, taps, True, lists[k].backward)
        room = <char *> (lists[k].backward + step.c_in * step.c_out + 1)
        lists[k].by_input = list_by_input(&table, taps, <Py_ssize_t *> room)
        room += (step.c_in + 1 + 2 * step.c_out * step.width) * sizeof(Py_ssize_t)


def lane_counts():
    """Return how many lanes a vector has: of float32, of float64."""
    return LANES_F32, LANES_F64


def run_lanes(
    const Py_ssize_t[:, ::1] steps, const double[::1] reals, const unsigned char[::1] tables,
    const Py_ssize_t[::1] places, const Py_ssize_t[:, ::1] items, real[::1] parameters,
    const real[::1] weights_squared, Py_ssize_t trained,
    const unsigned char[:, :, ::1] bytes_images, const real[:, :, :, ::1] float_images,
    const double[::1] scale, const Py_ssize_t[::1] order, const Py_ssize_t[::1] labels,
    const double[::1] loss, bint smallest_wins, const double[::1] update, long long updates_done,
    real[::1] state, const real[::1] factors, real[::1] gradients, real[:, ::1] outputs,
    double[:, ::1] totals, double[:, ::1] seconds, long long[::1] shared, real[::1] memory,
):
    """Work off a list of items on a network; several threads may do so together.

    See lenet_fast/engines/lanes.py, which makes all arguments. Empty arrays are not wanted.
    """
    cdef Run run
    cdef Update rule
    cdef Lists *lists
    cdef real *w = &parameters[0]
    cdef real *state_at = &state[0] if state.shape[0] else NULL
    cdef const real *factors_at = &factors[0] if factors.shape[0] else NULL
    assert steps.shape[1] * sizeof(Py_ssize_t) == sizeof(Step)
    assert items.shape[1] * sizeof(Py_ssize_t) == sizeof(Item)
    if items.shape[0] == 0:
        return
    run.steps = <const Step *> &steps[0, 0]
    run.reals = &reals[0]
    run.count = steps.shape[0]
    run.items = <const Item *> &items[0, 0]
    run.item_count = items.shape[0]
    run.parameters = &parameters[0]
    run.weights_squared = &weights_squared[0] if weights_squared.shape[0] else NULL
    run.trained = trained
    run.bytes = &bytes_images[0, 0, 0] if bytes_images.shape[0] else NULL
    run.floats = &float_images[0, 0, 0, 0] if float_images.shape[0] else NULL
    run.image_rows, run.image_columns = bytes_images.shape[1], bytes_images.shape[2]
    run.background, run.ink = scale[0], scale[1]
    run.order = &order[0] if order.shape[0] else NULL
    run.scored = labels.shape[0] > 0
    run.labels = &labels[0] if run.scored else NULL
    run.outputs = &outputs[0, 0] if outputs.shape[0] else NULL
    run.loss = read_loss(loss)
    run.smallest_wins = smallest_wins
    run.gradients = &gradients[0] if gradients.shape[0] else NULL
    run.totals = &totals[0, 0]
    run.input_at, run.input_channels = places[0], places[1]
    run.input_rows, run.input_columns = places[2], places[3]
    run.work, run.rows = places[4], places[5]
    run.seconds = &seconds[0, 0] if seconds.shape[0] else NULL
    read_update(&rule, update, updates_done)
    lists = <Lists *> scratch_new(
        run.count * sizeof(Lists) + link_room(run.steps, run.count)
    )
    if lists == NULL:
        raise MemoryError
    with nogil:
        list_links(&run, &tables[0] if tables.shape[0] else NULL, lists)
        if real is float:
            set_borders[lanes_f32](&run, <lanes_f32 *> &memory[0])
        else:
            set_borders[lanes_f64](&run, <lanes_f64 *> &memory[0])
        work_off(&run, &rule, w, state_at, factors_at, &shared[0], &memory[0])
        scratch_free(lists)
