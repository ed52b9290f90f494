# needs: layers/activations (activate, activate_back),
#     layers/dropout (draw_factors, image_key, layer_key, times_factors),
#     layers/optimisers (fused, optimise),
#     single/conv2d_columns (columns_bias_gradient, columns_forward, columns_gradient),
#     single/conv2d_maps (maps_back, maps_bias_gradient, maps_forward, maps_gradient),
#     single/pool2d (MAXIMA, pixels_back, pixels_forward, pixels_gradient, planar_back,
#         planar_forward, Pooling, SUMS),
#     single/dense (rows_descend, rows_forward),
#     engines/steps (inputs_of, result_of, source_of, step_window),
#     engines/online_run (Learner, numbers_of, OnlineRun, repeated_source, Weights),
#     engines/online_images (add_repeated, by_pixel, repeat_maps)
#
# One step of the online engine, and all steps: forward, to the weights, to the input.

from libc.string cimport memcpy, memset

from vectors cimport (
    MAP_VECTORS, fold_lanes, lane_count, lanes, lanes_f32, lanes_f64, lap, real, seconds_now,
)
from program cimport (
    ACTIVATION, CONVOLUTION_ALONG_COLUMNS, CONVOLUTION_ALONG_MAPS, DISTANCES, DROPOUT, FULL,
    MAXIMUM, NO_ACTIVATION, SCALED_TANH, SIGMOID, SUBSAMPLING, TANH, Step,
)
from shapes cimport Maps


cdef inline void online_pool(
    Pooling pooling, const Step *step, double scale, const void *x, const Weights *weights,
    void *y, lanes *tag,
) noexcept nogil:
    if step.planar:
        planar_forward(
            pooling, <const lanes *> x, source_of(step), scale, weights.w, weights.b,
            <char *> y, result_of(step),
        )
    else:
        pixels_forward(
            pooling, x, repeated_source(step), step_window(step), scale, weights.w, weights.b,
            y, result_of(step), tag,
        )


cdef inline void online_pool_back(
    Pooling pooling, const Step *step, double scale, const void *w, const void *dy,
    const void *x, void *dx, lanes *sums,
) noexcept nogil:
    if step.planar and step.activation == SCALED_TANH:
        planar_back(
            pooling, SCALED_TANH, <const char *> dy, result_of(step), scale, w,
            <const lanes *> x, <lanes *> dx, source_of(step), sums,
        )
    elif step.planar and step.activation == TANH:
        planar_back(
            pooling, TANH, <const char *> dy, result_of(step), scale, w, <const lanes *> x,
            <lanes *> dx, source_of(step), sums,
        )
    elif step.planar and step.activation == SIGMOID:
        planar_back(
            pooling, SIGMOID, <const char *> dy, result_of(step), scale, w,
            <const lanes *> x, <lanes *> dx, source_of(step), sums,
        )
    elif step.planar and step.activation == NO_ACTIVATION:
        planar_back(
            pooling, NO_ACTIVATION, <const char *> dy, result_of(step), scale, w,
            <const lanes *> x, <lanes *> dx, source_of(step), sums,
        )
    elif not step.planar:
        pixels_back(
            pooling, dy, result_of(step), step_window(step), scale, w, x, dx,
            repeated_source(step), sums,
        )


cdef const real *online_input(const Step *step, real *memory) noexcept nogil:
    """Return a step's input: padded, map by map, or with its maps repeated, where it must be."""
    cdef Py_ssize_t r, row = step.w_bare * step.c_in, inputs = inputs_of(step)
    if step.padded >= 0 and step.kind == CONVOLUTION_ALONG_MAPS:
        for r in range(step.h_bare):
            memcpy(
                memory + step.padded + ((step.top + r) * step.w_in + step.left) * step.c_in,
                memory + step.x + r * row, row * sizeof(real),
            )
        return memory + step.padded
    if step.padded >= 0 and step.kind in (FULL, DISTANCES):
        by_pixel(memory + step.x, step.h_bare * step.w_bare, step.c_in, memory + step.padded)
        return memory + step.padded
    if step.padded >= 0 and step.kind == SUBSAMPLING:
        repeat_maps(memory + step.x, inputs, step.c_out // step.c_in, memory + step.padded)
        return memory + step.padded
    if step.kind == FULL:  # vectors of a pooling layer may have reached there
        memset(memory + step.x + inputs, 0, (step.pitch - inputs) * sizeof(real))
    return memory + step.x


cdef bint online_draws(const OnlineRun *run) noexcept nogil:
    return run.update != NULL and run.update.seed >= 0


cdef void draw_kept(OnlineRun *run, Py_ssize_t k, real *memory) noexcept nogil:
    """Draw the factors of a dropout layer, in the order of its units in memory."""
    cdef const Step *step = run.steps + k
    cdef real *factors = memory + step.work
    cdef Py_ssize_t pixels = step.h_out * step.w_out, p
    cdef Py_ssize_t units = step.numbers if step.unit else step.c_out
    draw_factors(
        image_key(layer_key(run.update.seed, run.update.done, k), 0), units, step.option, factors
    )
    if step.unit:
        by_pixel(factors, step.c_out, pixels, memory + step.kept)
    else:
        for p in range(pixels):
            memcpy(memory + step.kept + p * step.c_out, factors, step.c_out * sizeof(real))


cdef void online_drop(
    OnlineRun *run, const Step *step, const real *x, real *y
) noexcept nogil:
    """Pass values through dropout, whose factors are drawn; on the way back, their gradients."""
    if online_draws(run):
        times_factors(x, (<const real *> run.memory) + step.kept, step.numbers, y)
    elif x != y:
        memcpy(y, x, step.numbers * sizeof(real))


cdef void online_step(OnlineRun *run, Py_ssize_t k, real *memory, lanes *zeros) noexcept nogil:
    cdef const Step *step = run.steps + k
    cdef const Weights *weights = run.weights + k
    cdef const real *x = online_input(step, memory)
    cdef real *y = memory + step.y
    if step.kind == CONVOLUTION_ALONG_COLUMNS:
        columns_forward(
            x, source_of(step), step_window(step), weights.w, weights.b, <lanes *> y,
            result_of(step),
        )
    elif step.kind == CONVOLUTION_ALONG_MAPS:
        maps_forward(
            x, source_of(step), step_window(step), weights.w, weights.b, step.unit,
            <lanes *> y, result_of(step), zeros,
        )
    elif step.kind == SUBSAMPLING:
        online_pool(SUMS, step, step.scale, x, weights, y, zeros)
    elif step.kind == MAXIMUM:
        online_pool(MAXIMA, step, 1, x, weights, y, zeros)
    elif step.kind == ACTIVATION:
        activate(step, x, step.numbers, y)
    elif step.kind == FULL and run.update != NULL:
        rows_forward(
            False, True, <const lanes *> x, inputs_of(step), weights.w, weights.pitch, weights.b,
            <lanes *> y, step.c_out,
        )
    elif step.kind == FULL:
        rows_forward(
            False, False, <const lanes *> x, inputs_of(step), weights.w, weights.pitch, weights.b,
            <lanes *> y, step.c_out,
        )
    elif step.kind == DISTANCES:
        rows_forward(
            True, False, <const lanes *> x, inputs_of(step), weights.w, weights.pitch, NULL,
            <lanes *> y, step.c_out,
        )
    elif step.kind == DROPOUT:
        if online_draws(run):
            draw_kept(run, k, memory)
        online_drop(run, step, x, y)


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


cdef void change_numbers(
    Learner *learner, Py_ssize_t first, Py_ssize_t count, real *tag
) noexcept nogil:
    """Change some parameters by their gradients, if the rule does so at once."""
    if fused(learner.update):
        optimise(
            learner.update, 0, numbers_of(tag, learner.gradients, first), count,
            numbers_of(tag, learner.w, first), numbers_of(tag, learner.state, first),
            learner.trained, numbers_of(tag, learner.factors, first),
        )


cdef void online_weights(
    OnlineRun *run, Py_ssize_t k, Learner *learner, real *memory, lanes *_
) noexcept nogil:
    """Find the gradients of a step's parameters, and change these; but for a dense layer's."""
    cdef const Step *step = run.steps + k
    cdef const real *dy = memory + step.dy
    cdef const real *x = memory + (step.padded if step.padded >= 0 else step.x)
    cdef real *dw = numbers_of(memory, learner.gradients, step.w)
    cdef real *db = numbers_of(memory, learner.gradients, step.b)
    cdef lanes *work = <lanes *> (memory + step.work)
    cdef const lanes *mask = <const lanes *> numbers_of(memory, run.masks, step.mask)
    cdef Maps source = source_of(step), result = result_of(step)
    cdef Py_ssize_t taps = step.kh * step.kw * step.c_in, biases = step.c_out
    if step.kind == CONVOLUTION_ALONG_COLUMNS:
        columns_gradient(
            x, source, step_window(step), <const lanes *> dy, result, work, dw
        )
        if db != NULL:
            columns_bias_gradient(<const lanes *> dy, result, work, db)
        taps *= step.c_out
    elif step.kind == CONVOLUTION_ALONG_MAPS:
        maps_gradient(x, source, step_window(step), dy, result, mask, <lanes *> dw)
        taps *= step.pitch
        if db != NULL and step.unit:
            biases = step.numbers
            memcpy(db, dy, biases * sizeof(real))
        elif db != NULL:
            maps_bias_gradient(
                dy, result, mask + step.c_in * (step.pitch // lane_count(mask)), <lanes *> db
            )
    elif step.kind == SUBSAMPLING:
        taps = step.c_out
        if step.planar:  # online_back has them in scratch
            fold_lanes(work, taps, dw)
            fold_lanes(work + taps, taps, db)
        else:
            pixels_gradient(
                dy, result, step_window(step), step.scale, x, repeated_source(step), dw, db,
                work,
            )
    elif step.kind == FULL:
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
    cdef const Step *step = run.steps + k
    cdef const real *dy = memory + step.dy
    cdef const real *x = memory + (step.padded if step.padded >= 0 else step.x)
    cdef real *dx = memory + (step.d_padded if step.d_padded >= 0 else step.dx)
    cdef const real *w = <const real *> run.weights[k].w
    cdef lanes *work = <lanes *> (memory + step.work)
    cdef Py_ssize_t r, i, j, row = step.w_bare * step.c_in
    if step.kind == CONVOLUTION_ALONG_MAPS:
        maps_back(
            dy, result_of(step), step_window(step), <const lanes *> w, dx,
            source_of(step), work,
        )
        for r in range(step.h_bare if step.d_padded >= 0 else 0):
            memcpy(
                memory + step.dx + r * row,
                dx + ((step.top + r) * step.w_in + step.left) * step.c_in, row * sizeof(real),
            )
    elif step.kind == SUBSAMPLING:
        online_pool_back(SUMS, step, step.scale, w, dy, x, dx, work)
        if step.d_padded >= 0:
            add_repeated(dx, inputs_of(step), step.c_out // step.c_in, memory + step.dx)
    elif step.kind == MAXIMUM:
        online_pool_back(MAXIMA, step, 1, NULL, dy, x, dx, work)
    elif step.kind == ACTIVATION:
        activate_back(step, False, dy, x, memory + step.y, step.numbers, dx)
    elif step.kind == FULL:
        if not step.passes:
            dx = memory + step.work
        rows_descend(
            learner.update, dy, step.c_out, <const lanes *> x,
            <lanes *> numbers_of(memory, learner.w, step.w),
            <lanes *> numbers_of(memory, learner.state, step.w),
            <const lanes *> numbers_of(memory, learner.factors, step.w),
            <lanes *> numbers_of(memory, learner.gradients, step.w), step.pitch, <lanes *> dx,
        )
    elif step.kind == DROPOUT:
        online_drop(run, step, dy, dx)
    elif step.kind == DISTANCES:
        memset(dx, 0, inputs_of(step) * sizeof(real))
        for i in range(step.c_out):
            for j in range(inputs_of(step)):
                dx[j] += 2 * (x[j] - w[i * step.pitch + j]) * dy[i]
    if step.kind in (FULL, DISTANCES) and step.passes and step.d_padded >= 0:
        by_pixel(dx, step.c_in, step.h_bare * step.w_bare, memory + step.dx)


cdef void online_learn(OnlineRun *run, Learner *learner, real *memory, lanes *tag) noexcept nogil:
    """From the gradient at the outputs to new weights."""
    cdef Py_ssize_t k
    cdef bint both
    cdef const Step *step
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.count - 1, -1, -1):
        step = run.steps + k
        # What these learn from comes on the way back, also where nothing below learns.
        both = step.kind == FULL or (step.kind == SUBSAMPLING and step.planar)
        if step.passes or (step.learns and both):
            online_back[real, lanes](run, k, learner, memory, tag)
            if run.seconds != NULL:
                since = lap(run.seconds + 3 * k + 1, since)
        if step.learns and (step.kind != FULL or step.b >= 0):
            online_weights[real, lanes](run, k, learner, memory, tag)
            if run.seconds != NULL:
                since = lap(run.seconds + 3 * k + 2, since)
