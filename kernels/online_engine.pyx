# The online engine: forward, loss, back and update, an image at a time.
#
# A plan (lenet_fast/engines/online_plan.py) is a table of steps, one row a layer, whose numbers
# say where in memory its input, output and gradients lie, and how its parameters are laid out.

from libc.math cimport isfinite

from common cimport LossOptions, Maps, Window, real, scratch_free, scratch_new
from lanes cimport lane_count, lanes, lanes_f32, lanes_f64, seconds_now, splat


cdef enum OnlineKind:
    ALONG_COLUMNS
    ALONG_MAPS
    POOLING  # sub-sampling, and average pooling, which has no w
    POOLED_MAXIMUM
    SQUASHED
    ROWS
    ROW_DISTANCES


cdef struct OnlineStep:
    # One row of the plan's table: the names and their order are those of online_plan.py. Places
    # are counted in numbers; -1: there is none.
    Py_ssize_t kind
    Py_ssize_t function  # which squashing; of planar pooling, what it goes back through, or -1
    Py_ssize_t x  # where input and output lie
    Py_ssize_t y
    Py_ssize_t dx  # and their gradients
    Py_ssize_t dy
    Py_ssize_t w  # where the parameters begin
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
    Py_ssize_t room  # the input padded, map by map, or with its maps repeated
    Py_ssize_t d_room  # its gradient
    Py_ssize_t mask  # where the mask of the weights' gradient begins
    Py_ssize_t planar  # whether the input is planar
    Py_ssize_t pitch  # numbers a row: of planar maps, or of the weights
    Py_ssize_t numbers  # of the output, padding of rows included


cdef struct Weights:
    # Where the parameters of a step are.
    const void *w
    const void *b
    Py_ssize_t pitch  # numbers a row of a dense or RBF layer's


cdef struct OnlineRun:
    const OnlineStep *steps
    const double *reals  # a number a step: a scale, or what the padding is
    Py_ssize_t count
    const void *masks
    Weights *weights
    char *memory
    Py_ssize_t input_at
    Py_ssize_t channels
    Py_ssize_t rows
    Py_ssize_t columns
    bint planar  # whether the input is
    Py_ssize_t work  # where scratch lies
    double background
    double ink
    double *seconds  # by step: forward, to the input, to the weights; NULL: not wanted


cdef inline Maps online_source(const OnlineStep *step) noexcept nogil:
    return maps_of(step.c_in, step.h_in, step.w_in)


cdef inline Maps online_result(const OnlineStep *step) noexcept nogil:
    return maps_of(step.c_out, step.h_out, step.w_out)


cdef inline Window online_window(const OnlineStep *step) noexcept nogil:
    return window_of(
        step.kh, step.kw, step.stride_v, step.stride_h, step.dilation_v, step.dilation_h
    )


# --- the input ---


cdef inline void by_pixel(
    const real *x, Py_ssize_t maps, Py_ssize_t pixels, real *y
) noexcept nogil:
    """From (maps, pixels) to (pixels, maps); with the sizes exchanged, back."""
    cdef Py_ssize_t c, k
    for c in range(maps):
        for k in range(pixels):
            y[k * maps + c] = x[c * pixels + k]


cdef void online_fill(
    OnlineRun *run, const unsigned char *bytes, Py_ssize_t rows, Py_ssize_t columns,
    const real *floats,
) noexcept nogil:
    """Set the input to bytes, in the middle of the paper, or else to prepared floats."""
    cdef real *x = (<real *> run.memory) + run.input_at
    cdef real scale = <real> ((run.ink - run.background) / 255), paper = <real> run.background
    cdef Py_ssize_t r, k, pixels = run.rows * run.columns
    if bytes != NULL:
        for k in range(pixels):
            x[k] = paper
        x += (run.rows - rows) // 2 * run.columns + (run.columns - columns) // 2
        for r in range(rows):
            for k in range(columns):
                x[r * run.columns + k] = bytes[r * columns + k] * scale + paper
    elif run.planar or run.channels == 1:
        memcpy(x, floats, run.channels * pixels * sizeof(real))
    else:
        by_pixel(floats, run.channels, pixels, x)


cdef void online_borders(OnlineRun *run, Py_ssize_t size, real *memory) noexcept nogil:
    """Write what stays: zeros, and what the padding is."""
    cdef Py_ssize_t k, i
    cdef const OnlineStep *step
    memset(memory, 0, size * sizeof(real))
    for k in range(run.count):
        step = run.steps + k
        if step.kind == ALONG_MAPS and step.room >= 0:
            for i in range(step.c_in * step.h_in * step.w_in):
                memory[step.room + i] = <real> run.reals[k]


# --- pooling, of either order ---


cdef inline Maps repeated_source(const OnlineStep *step) noexcept nogil:
    """The input with its maps repeated, as many as output maps."""
    return maps_of(step.c_out, step.h_in, step.w_in)


cdef inline void repeat_maps(
    const real *x, Py_ssize_t maps, Py_ssize_t times, real *y
) noexcept nogil:
    cdef Py_ssize_t k, j
    for k in range(maps):
        for j in range(times):
            y[k * times + j] = x[k]


cdef inline void add_repeated(
    const real *dy, Py_ssize_t maps, Py_ssize_t times, real *dx
) noexcept nogil:
    cdef Py_ssize_t k, j
    for k in range(maps):
        dx[k] = dy[k * times]
        for j in range(1, times):
            dx[k] += dy[k * times + j]


cdef inline void online_pool(
    Pooling pooling, const OnlineStep *step, double scale, const void *x, const Weights *weights,
    void *y, lanes *tag,
) noexcept nogil:
    if step.planar:
        planar_forward(
            pooling, <const lanes *> x, online_source(step), scale, weights.w, weights.b,
            <char *> y, online_result(step),
        )
    else:
        pixels_forward(
            pooling, x, repeated_source(step), online_window(step), scale, weights.w, weights.b,
            y, online_result(step), tag,
        )


cdef inline void online_pool_back(
    Pooling pooling, const OnlineStep *step, double scale, const void *w, const void *dy,
    const void *x, void *dx, lanes *sums,
) noexcept nogil:
    if step.planar and step.function == SCALED_TANH:
        planar_back(
            pooling, SCALED_TANH, <const char *> dy, online_result(step), scale, w,
            <const lanes *> x, <lanes *> dx, online_source(step), sums,
        )
    elif step.planar and step.function == TANH:
        planar_back(
            pooling, TANH, <const char *> dy, online_result(step), scale, w, <const lanes *> x,
            <lanes *> dx, online_source(step), sums,
        )
    elif step.planar and step.function == SIGMOID:
        planar_back(
            pooling, SIGMOID, <const char *> dy, online_result(step), scale, w,
            <const lanes *> x, <lanes *> dx, online_source(step), sums,
        )
    elif step.planar:
        planar_back(
            pooling, NOT_SQUASHED, <const char *> dy, online_result(step), scale, w,
            <const lanes *> x, <lanes *> dx, online_source(step), sums,
        )
    else:
        pixels_back(
            pooling, dy, online_result(step), online_window(step), scale, w, x, dx,
            repeated_source(step), sums,
        )


# --- forward ---


cdef inline Py_ssize_t row_inputs(const OnlineStep *step) noexcept nogil:
    """How many inputs a dense or RBF layer has."""
    return step.c_in * step.h_bare * step.w_bare


cdef const real *online_input(const OnlineStep *step, real *memory) noexcept nogil:
    """Return a step's input: padded, map by map, or with its maps repeated, where it must be."""
    cdef Py_ssize_t r, row = step.w_bare * step.c_in, inputs = row_inputs(step)
    if step.room >= 0 and step.kind == ALONG_MAPS:
        for r in range(step.h_bare):
            memcpy(
                memory + step.room + ((step.top + r) * step.w_in + step.left) * step.c_in,
                memory + step.x + r * row, row * sizeof(real),
            )
        return memory + step.room
    if step.room >= 0 and step.kind in (ROWS, ROW_DISTANCES):
        by_pixel(memory + step.x, step.h_bare * step.w_bare, step.c_in, memory + step.room)
        return memory + step.room
    if step.room >= 0 and step.kind == POOLING:
        repeat_maps(memory + step.x, inputs, step.c_out // step.c_in, memory + step.room)
        return memory + step.room
    if step.kind == ROWS:  # vectors of a pooling layer may have reached there
        memset(memory + step.x + inputs, 0, (step.pitch - inputs) * sizeof(real))
    return memory + step.x


cdef void online_step(OnlineRun *run, Py_ssize_t k, real *memory, lanes *zeros) noexcept nogil:
    cdef const OnlineStep *step = run.steps + k
    cdef const Weights *weights = run.weights + k
    cdef const real *x = online_input(step, memory)
    cdef real *y = memory + step.y
    if step.kind == ALONG_COLUMNS:
        columns_forward(
            x, online_source(step), online_window(step), weights.w, weights.b, <lanes *> y,
            online_result(step),
        )
    elif step.kind == ALONG_MAPS:
        maps_forward(
            x, online_source(step), online_window(step), weights.w, weights.b, step.unit,
            <lanes *> y, online_result(step), zeros,
        )
    elif step.kind == POOLING:
        online_pool(SUMS, step, run.reals[k], x, weights, y, zeros)
    elif step.kind == POOLED_MAXIMUM:
        online_pool(MAXIMA, step, 1, x, weights, y, zeros)
    elif step.kind == SQUASHED:
        squash(step.function, x, step.numbers, y)
    elif step.kind == ROWS:
        rows_forward(
            False, <const lanes *> x, row_inputs(step), weights.w, weights.pitch, weights.b,
            <lanes *> y, step.c_out,
        )
    else:
        rows_forward(
            True, <const lanes *> x, row_inputs(step), weights.w, weights.pitch, NULL,
            <lanes *> y, step.c_out,
        )


cdef void online_forward(OnlineRun *run, real *_) noexcept nogil:
    cdef Py_ssize_t k
    cdef lanes_f32 zeros_f32[MAP_VECTORS]
    cdef lanes_f64 zeros_f64[MAP_VECTORS]
    cdef double since = seconds_now() if run.seconds != NULL else 0
    memset(zeros_f32, 0, sizeof(zeros_f32))
    memset(zeros_f64, 0, sizeof(zeros_f64))
    for k in range(run.count):
        if real is float:
            online_step[float, lanes_f32](run, k, <float *> run.memory, zeros_f32)
        else:
            online_step[double, lanes_f64](run, k, <double *> run.memory, zeros_f64)
        if run.seconds != NULL:
            since = lap(run.seconds + 3 * k, since)


# --- back ---


cdef struct Learner:
    # What training needs beside the run: arrays laid out like the parameters.
    Update update
    void *w
    void *velocity  # NULL where the rule has none
    void *second  # AdamW's second moments
    const void *factors  # NULL: all weights have the same rate
    void *gradients
    Py_ssize_t trained


cdef inline real *numbers_of(real *_, const void *numbers, Py_ssize_t first) noexcept nogil:
    """The address of a number; NULL where there is none."""
    return (<real *> numbers) + first if numbers != NULL and first >= 0 else NULL


cdef void change_numbers(
    Learner *learner, Py_ssize_t first, Py_ssize_t count, real *tag
) noexcept nogil:
    """Change some parameters by their gradients, if the rule does so at once."""
    if fused(&learner.update):
        descend(
            &learner.update, numbers_of(tag, learner.gradients, first), count,
            numbers_of(tag, learner.w, first), numbers_of(tag, learner.velocity, first),
            numbers_of(tag, learner.factors, first),
        )


cdef void online_weights(
    OnlineRun *run, Py_ssize_t k, Learner *learner, real *memory, lanes *_
) noexcept nogil:
    """Find the gradients of a step's parameters, and change these; but for a dense layer's."""
    cdef const OnlineStep *step = run.steps + k
    cdef const real *dy = memory + step.dy
    cdef const real *x = memory + (step.room if step.room >= 0 else step.x)
    cdef real *dw = numbers_of(memory, learner.gradients, step.w)
    cdef real *db = numbers_of(memory, learner.gradients, step.b)
    cdef lanes *work = <lanes *> (memory + run.work)
    cdef const lanes *mask = <const lanes *> numbers_of(memory, run.masks, step.mask)
    cdef Maps source = online_source(step), result = online_result(step)
    cdef Py_ssize_t taps = step.kh * step.kw * step.c_in, biases = step.c_out
    if step.kind == ALONG_COLUMNS:
        columns_gradient(
            x, source, online_window(step), <const lanes *> dy, result, work, dw
        )
        if db != NULL:
            columns_bias_gradient(<const lanes *> dy, result, work, db)
        taps *= step.c_out
    elif step.kind == ALONG_MAPS:
        maps_gradient(x, source, online_window(step), dy, result, mask, <lanes *> dw)
        taps *= step.pitch
        if db != NULL and step.unit:
            biases = step.numbers
            memcpy(db, dy, biases * sizeof(real))
        elif db != NULL:
            maps_bias_gradient(
                dy, result, mask + step.c_in * (step.pitch // lane_count(mask)), <lanes *> db
            )
    elif step.kind == POOLING:
        taps = step.c_out
        if step.planar:  # online_back has them in scratch
            fold_lanes(work, taps, dw)
            fold_lanes(work + taps, taps, db)
        else:
            pixels_gradient(
                dy, result, online_window(step), run.reals[k], x, repeated_source(step), dw, db,
                work,
            )
    else:
        taps = 0
        memcpy(db, dy, biases * sizeof(real))
    if taps:
        change_numbers(learner, step.w, taps, memory)
    if db != NULL:
        change_numbers(learner, step.b, biases, memory)


cdef void online_back(
    OnlineRun *run, Py_ssize_t k, Learner *learner, real *memory, lanes *_
) noexcept nogil:
    """Set the gradient at a step's input; with a dense layer, change its weights, too."""
    cdef const OnlineStep *step = run.steps + k
    cdef const real *dy = memory + step.dy
    cdef const real *x = memory + (step.room if step.room >= 0 else step.x)
    cdef real *dx = memory + (step.d_room if step.d_room >= 0 else step.dx)
    cdef const real *w = <const real *> run.weights[k].w
    cdef lanes *work = <lanes *> (memory + run.work)
    cdef Py_ssize_t r, i, j, row = step.w_bare * step.c_in
    if step.kind == ALONG_MAPS:
        maps_back(
            dy, online_result(step), online_window(step), <const lanes *> w, dx,
            online_source(step), work,
        )
        for r in range(step.h_bare if step.d_room >= 0 else 0):
            memcpy(
                memory + step.dx + r * row,
                dx + ((step.top + r) * step.w_in + step.left) * step.c_in, row * sizeof(real),
            )
    elif step.kind == POOLING:
        online_pool_back(SUMS, step, run.reals[k], w, dy, x, dx, work)
        if step.d_room >= 0:
            add_repeated(dx, row_inputs(step), step.c_out // step.c_in, memory + step.dx)
    elif step.kind == POOLED_MAXIMUM:
        online_pool_back(MAXIMA, step, 1, NULL, dy, x, dx, work)
    elif step.kind == SQUASHED:
        squash_back(step.function, False, dy, memory + step.y, step.numbers, dx)
    else:
        if step.kind == ROWS:
            if not step.passes:
                dx = memory + run.work
            rows_descend(
                &learner.update, dy, step.c_out, <const lanes *> x,
                <lanes *> numbers_of(memory, learner.w, step.w),
                <lanes *> numbers_of(memory, learner.velocity, step.w),
                <const lanes *> numbers_of(memory, learner.factors, step.w),
                <lanes *> numbers_of(memory, learner.gradients, step.w), step.pitch, <lanes *> dx,
            )
        else:
            memset(dx, 0, row_inputs(step) * sizeof(real))
            for i in range(step.c_out):
                for j in range(row_inputs(step)):
                    dx[j] += 2 * (x[j] - w[i * step.pitch + j]) * dy[i]
        if step.passes and step.d_room >= 0:
            by_pixel(dx, step.c_in, step.h_bare * step.w_bare, memory + step.dx)


cdef void online_learn(OnlineRun *run, Learner *learner, real *memory, lanes *tag) noexcept nogil:
    """From the gradient at the outputs to new weights."""
    cdef Py_ssize_t k
    cdef bint both
    cdef const OnlineStep *step
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.count - 1, -1, -1):
        step = run.steps + k
        # What these learn from comes on the way back, also where nothing below learns.
        both = step.kind == ROWS or (step.kind == POOLING and step.planar)
        if step.passes or (step.learns and both):
            online_back[real, lanes](run, k, learner, memory, tag)
            if run.seconds != NULL:
                since = lap(run.seconds + 3 * k + 1, since)
        if step.learns and (step.kind != ROWS or step.b >= 0):
            online_weights[real, lanes](run, k, learner, memory, tag)
            if run.seconds != NULL:
                since = lap(run.seconds + 3 * k + 2, since)


cdef void online_finish(Learner *learner, real *tag) noexcept nogil:
    """Change the weights by a rule that was given all gradients."""
    cdef Update *update = &learner.update
    cdef real *w = <real *> learner.w
    cdef real *state = <real *> learner.velocity
    cdef const real *factors = <const real *> learner.factors
    cdef real *gradients = <real *> learner.gradients
    if update.rule == ADAMW:
        update.done += 1
        descend_adaptively(
            update, update.done, gradients, learner.trained, w, state, <real *> learner.second,
            factors,
        )
    elif not fused(update):
        descend(update, gradients, learner.trained, w, state, factors)


cdef bint online_pattern(
    OnlineRun *run, Learner *learner, LossOptions *loss, bint smallest_wins, Py_ssize_t label,
    double *totals, real *memory,
) noexcept nogil:
    """Forward, loss, back, update; false where the loss is not finite, and nothing is changed."""
    cdef const OnlineStep *last = run.steps + run.count - 1
    cdef real *y = memory + last.y
    cdef real *dy = memory + last.dy
    cdef lanes_f32 *tag_f32 = NULL
    cdef lanes_f64 *tag_f64 = NULL
    online_forward(run, memory)
    totals[0] = loss_value(loss, y, last.c_out, label, NULL, dy)
    totals[1] = misclassified(y, last.c_out, label, smallest_wins)
    if not isfinite(totals[0]):
        return False
    loss_gradient(loss, y, last.c_out, label, NULL, dy)
    if real is float:
        online_learn[float, lanes_f32](run, learner, memory, tag_f32)
    else:
        online_learn[double, lanes_f64](run, learner, memory, tag_f64)
    online_finish(learner, memory)
    return True


# --- what Python calls ---


cdef void online_run(
    OnlineRun *run, const Py_ssize_t[:, ::1] steps, const double[::1] reals,
    const Py_ssize_t[::1] places, const double[::1] scale,
) noexcept nogil:
    run.steps = <const OnlineStep *> &steps[0, 0]
    run.reals = &reals[0]
    run.count = steps.shape[0]
    run.input_at, run.channels = places[0], places[1]
    run.rows, run.columns = places[2], places[3]
    run.planar, run.work = places[4], places[5]
    run.background, run.ink = scale[0], scale[1]
    run.seconds = NULL


def run_online(
    const Py_ssize_t[:, ::1] steps, const double[::1] reals, const real[::1] masks,
    const Py_ssize_t[::1] places, real[::1] parameters,
    const unsigned char[:, :, ::1] bytes_images, const real[:, :, :, ::1] float_images,
    const double[::1] scale, const Py_ssize_t[::1] order, const Py_ssize_t[::1] labels,
    const double[::1] loss, bint smallest_wins, const double[::1] update, long long updates_done,
    real[::1] state, const real[::1] factors, real[::1] gradients, double[:, ::1] totals,
    double[:, ::1] seconds, real[::1] memory,
):
    """Learn from images, one after the other, until there are none or a loss is not finite.

    See lenet_fast/engines/online.py, which makes all arguments. Empty arrays are not wanted.
    """
    cdef OnlineRun run
    cdef Learner learner
    cdef LossOptions options = read_loss(loss)
    cdef Py_ssize_t i, k, image, pixels
    cdef const unsigned char *bytes = NULL
    cdef const real *floats = NULL
    cdef real *w = &parameters[0]
    assert steps.shape[1] * sizeof(Py_ssize_t) == sizeof(OnlineStep)
    if order.shape[0] == 0:
        return
    online_run(&run, steps, reals, places, scale)
    run.masks = &masks[0] if masks.shape[0] else NULL
    run.memory = <char *> &memory[0]
    if seconds.shape[0]:
        run.seconds = &seconds[0, 0]
    if bytes_images.shape[0]:
        bytes = &bytes_images[0, 0, 0]
    else:
        floats = &float_images[0, 0, 0, 0]
    learner.trained = gradients.shape[0]
    learner.w = w
    learner.velocity = &state[0] if state.shape[0] else NULL
    learner.second = (
        &state[learner.trained] if state.shape[0] > learner.trained else NULL
    )
    learner.factors = &factors[0] if factors.shape[0] else NULL
    learner.gradients = &gradients[0] if learner.trained else NULL
    read_update(&learner.update, update, updates_done)
    run.weights = <Weights *> scratch_new(run.count * sizeof(Weights))
    if run.weights == NULL:
        raise MemoryError
    with nogil:
        for k in range(run.count):
            run.weights[k].w = numbers_of(w, w, run.steps[k].w)
            run.weights[k].b = numbers_of(w, w, run.steps[k].b)
            run.weights[k].pitch = run.steps[k].pitch
        online_borders(&run, memory.shape[0], &memory[0])
        pixels = bytes_images.shape[1] * bytes_images.shape[2]
        if floats != NULL:
            pixels = run.channels * run.rows * run.columns
        for i in range(order.shape[0]):
            image = order[i]
            online_fill(
                &run, bytes + image * pixels if bytes != NULL else NULL, bytes_images.shape[1],
                bytes_images.shape[2], floats + image * pixels if floats != NULL else NULL,
            )
            if not online_pattern(
                &run, &learner, &options, smallest_wins, labels[i], &totals[i, 0], &memory[0]
            ):
                break
        scratch_free(run.weights)
