# needs: layers/activations (activate, activate_back),
#     layers/conv2d (convolve_tile, correlate_gradient, input_gradient_tile, spread_of),
#     layers/subsample2d (coefficient, covered, multiplier_of, spread_map, spread_maps,
#         subsample_gradient_map, subsample_map),
#     layers/pool2d (max_back_map, max_map),
#     layers/dense (dense_back_tiles, dense_gradient_tiles, dense_tiles, Tiles, tiles_of),
#     layers/rbf (rbf_tile),
#     layers/dropout (drop_tile, layer_key),
#     engines/steps (inputs_of, outputs_of, result_of, source_of, step_window),
#     engines/lanes_run (biases_of, numbers_at, Run, weights_of)
#
# One step of the lane engine on one tile, and all steps: forward, to the weights, to the input.

from libc.string cimport memcpy, memset

from vectors cimport fold_lanes, lane_count, lanes, lanes_f32, lap, seconds_now
from program cimport (
    ACTIVATION, CONVOLUTION, DISTANCES, DROPOUT, FULL, MAXIMUM, RELU, SUBSAMPLING, Step,
)
from shapes cimport Maps, Window


cdef bint pooled_activation(const Step *steps, Py_ssize_t k) noexcept nogil:
    """Whether a step pools, in windows side by side, what an activation made in its place, and
    their gradients have one place, too."""
    cdef const Step *step = steps + k
    cdef const Step *before = step - 1
    return (
        k > 0 and (step.kind == SUBSAMPLING or step.kind == MAXIMUM) and step.c_in == step.c_out
        and covered(source_of(step), step_window(step), result_of(step))
        and before.kind == ACTIVATION and before.x == before.y and before.dx == before.dy
    )


cdef enum:
    STRIP = 8192  # bytes of maps that stay in the first-level cache together with their gradients


cdef void activate_and_pool(
    Run *run, Py_ssize_t k, lanes *memory, bint back, bint hessian
) noexcept nogil:
    """An activation and the pooling behind it, or the way back through both, some rows at a time:
    what one writes, the other finds in the cache. `back` is a literal where this is called."""
    cdef const Step *step = run.steps + k
    cdef const void *w = numbers_at(memory, run.parameters, step.w)
    cdef const void *b = numbers_at(memory, run.parameters, step.b)
    cdef Maps source = source_of(step), result = result_of(step)
    cdef Window window = step_window(step)
    cdef Py_ssize_t row = step.kh * step.w_in, c, r, at, pooled, size
    cdef Py_ssize_t rows = max(<Py_ssize_t> STRIP // (row * sizeof(lanes)), <Py_ssize_t> 1)
    cdef lanes *x
    cdef lanes *dx
    for c in range(step.c_in):
        r = 0
        while r < step.h_out:
            result.rows = min(rows, step.h_out - r)
            source.rows = result.rows * step.kh
            at, pooled = (c * step.h_out + r) * row, (c * step.h_out + r) * step.w_out
            size = source.rows * source.columns * lane_count(memory)
            x, dx = memory + step.x + at, memory + step.dx + at
            r += rows
            if not back:
                if lanes is lanes_f32:
                    activate[float](step - 1, <const float *> x, size, <float *> x)
                else:
                    activate[double](step - 1, <const double *> x, size, <double *> x)
                if step.kind == MAXIMUM:
                    max_map(x, source, window, memory + step.y + pooled, result)
                else:
                    subsample_map(
                        x, source, window, w, b, c, step.scale, memory + step.y + pooled, result
                    )
                continue
            if step.kind == MAXIMUM:
                max_back_map(memory + step.dy + pooled, result, x, source, window, dx)
            else:
                spread_map(
                    memory + step.dy + pooled, result, window,
                    coefficient(memory, w, c, step.scale, hessian), dx, source,
                )
            if lanes is lanes_f32:
                activate_back[float](step - 1, hessian, <const float *> dx, NULL,
                                     <const float *> x, size, <float *> dx)
            else:
                activate_back[double](step - 1, hessian, <const double *> dx, NULL,
                                      <const double *> x, size, <double *> dx)


# --- forward ---


cdef const lanes *padded_input(
    const Step *step, lanes *memory
) noexcept nogil:
    """Return the input, copied between its padding where there is some."""
    cdef Py_ssize_t c, r
    cdef lanes *padded = memory + step.padded
    cdef const lanes *x = memory + step.x
    if step.padded < 0:
        return x
    for c in range(step.c_in):
        for r in range(step.h_bare):
            memcpy(
                padded + (c * step.h_in + step.top + r) * step.w_in + step.left,
                x + (c * step.h_bare + r) * step.w_bare, step.w_bare * sizeof(lanes),
            )
    return padded


cdef void step_drop(Run *run, Py_ssize_t k, const lanes *x, lanes *y) noexcept nogil:
    """Pass values through dropout; on the way back, their gradients."""
    cdef const Step *step = run.steps + k
    cdef Py_ssize_t count = outputs_of(step), units = count if step.unit else step.c_out
    if run.drawing != NULL:
        drop_tile(
            x, units, count // units, layer_key(run.drawing.seed, run.drawing.done, k), run.place,
            step.option, y,
        )
    elif x != y:
        memcpy(y, x, count * sizeof(lanes))


cdef inline bint rectifies(const Run *run, Py_ssize_t k) noexcept nogil:
    """Whether a step is a convolution that also does the next one, a ReLU of its output."""
    cdef const Step *step = run.steps + k
    cdef const Step *then = step + 1
    return (
        step.kind == CONVOLUTION and k + 1 < run.count and then.kind == ACTIVATION
        and then.activation == RELU and then.y == step.y
    )


cdef void step_forward(
    Run *run, Py_ssize_t k, Tiles tiles, lanes *memory
) noexcept nogil:
    """Set a step's output: of all tiles for a dense layer, of one for the others."""
    cdef const Step *step = run.steps + k
    cdef const void *w = numbers_at(memory, run.parameters, step.w)
    cdef const void *b = numbers_at(memory, run.parameters, step.b)
    cdef const lanes *x = memory + step.x
    cdef lanes *y = memory + step.y
    cdef Maps source = source_of(step), result = result_of(step)
    cdef Window window = step_window(step)
    cdef Py_ssize_t c, multiplier
    cdef Py_ssize_t in_size = step.h_in * step.w_in, out_size = step.h_out * step.w_out
    if step.kind == CONVOLUTION:
        convolve_tile(
            padded_input(step, memory), source, window, w, b, step.unit, rectifies(run, k),
            run.lists[k].forward, run.lists[k].forward_count, y, result,
        )
    elif pooled_activation(run.steps, k) and not (k > 1 and rectifies(run, k - 2)):
        activate_and_pool(run, k, memory, False, False)
    elif step.kind == SUBSAMPLING:
        multiplier = multiplier_of(source, result)
        for c in range(step.c_out):
            subsample_map(
                x + c // multiplier * in_size, source, window, w, b, c, step.scale,
                y + c * out_size, result,
            )
    elif step.kind == MAXIMUM:
        for c in range(step.c_in):
            max_map(x + c * in_size, source, window, y + c * out_size, result)
    elif step.kind == ACTIVATION:
        if k > 0 and rectifies(run, k - 1):
            return
        if k + 1 < run.count and pooled_activation(run.steps, k + 1):
            return
        if lanes is lanes_f32:
            activate[float](
                step, <const float *> x, outputs_of(step) * lane_count(y), <float *> y
            )
        else:
            activate[double](
                step, <const double *> x, outputs_of(step) * lane_count(y), <double *> y
            )
    elif step.kind == FULL:
        dense_tiles(tiles, x, inputs_of(step), w, b, y, step.c_out)
    elif step.kind == DISTANCES:
        rbf_tile(x, inputs_of(step), w, step.c_out, y)
    elif step.kind == DROPOUT:
        step_drop(run, k, x, y)


cdef void forward_alone(Run *run, lanes *memory) noexcept nogil:
    """The steps before the first large dense layer."""
    cdef Py_ssize_t k
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.input.split):
        step_forward(run, k, tiles_of(1, 0), memory)
        if run.seconds != NULL:
            since = lap(run.seconds + 3 * k, since)


cdef void hand_on(Run *run, const lanes *memory, lanes *tile) noexcept nogil:
    """Copy the input of the first large dense layer to the memory of its tile."""
    cdef const Step *step = run.steps + run.input.split
    memcpy(tile + step.x, memory + step.x, inputs_of(step) * sizeof(lanes))


cdef void forward_together(
    Run *run, Py_ssize_t tiles, Py_ssize_t place, lanes *memory
) noexcept nogil:
    """The steps from there on, layer by layer. `place` is the position of the first image in its
    batch."""
    cdef Py_ssize_t k, t, size = run.input.size
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.input.split, run.count):
        if run.steps[k].kind == FULL:
            step_forward(run, k, tiles_of(tiles, size), memory)
        else:
            for t in range(tiles):
                run.place = place + t * lane_count(memory)
                step_forward(run, k, tiles_of(1, size), memory + t * size)
        if run.seconds != NULL:
            since = lap(run.seconds + 3 * k, since)


# --- back ---


cdef inline const lanes *squares(
    const lanes *x, Py_ssize_t count, bint wanted, lanes *scratch
) noexcept nogil:
    """x, or the squares of it: what the Hessian's pass multiplies with."""
    cdef Py_ssize_t k
    if not wanted:
        return x
    for k in range(count):
        scratch[k] = x[k] * x[k]
    return scratch


cdef void step_weights(
    Run *run, Py_ssize_t k, Tiles tiles, lanes *memory, lanes *sums, bint hessian, bint fresh,
    void *gradient,
) noexcept nogil:
    """Add to the gradients of a step's parameters, or set them where they are `fresh`: the share
    of all tiles for a dense layer, of one for the others, which add lane by lane in `sums`."""
    cdef const Step *step = run.steps + k
    cdef const lanes *dy = memory + step.dy
    cdef const lanes *x = memory + step.x
    cdef lanes *work = memory + step.work
    cdef Maps source = source_of(step), result = result_of(step)
    cdef Py_ssize_t c, multiplier
    cdef Py_ssize_t in_size = step.h_in * step.w_in, out_size = step.h_out * step.w_out
    if step.kind == CONVOLUTION:
        if step.padded >= 0:
            x = memory + step.padded
        correlate_gradient(
            squares(x, step.c_in * in_size, hessian, work), source, step_window(step), dy, result,
            run.lists[k].by_input, step.unit, sums + step.sums_w,
            sums + step.sums_b if step.b >= 0 else NULL, fresh,
        )
    elif step.kind == SUBSAMPLING:
        if fresh:
            memset(sums + step.sums_w, 0, step.c_out * sizeof(lanes))
            memset(sums + step.sums_b, 0, step.c_out * sizeof(lanes))
        multiplier = multiplier_of(source, result)
        for c in range(step.c_out):
            subsample_gradient_map(
                dy + c * out_size, result, x + c // multiplier * in_size, source, step_window(step),
                step.scale, hessian, work, sums + step.sums_w + c, sums + step.sums_b + c,
            )
    elif step.kind == FULL:
        if hessian:
            for c in range(tiles.count):
                squares(x + c * tiles.apart, inputs_of(step), True, work + c * tiles.apart)
            x = work
        dense_gradient_tiles(
            tiles, dy, step.c_out, x, inputs_of(step),
            work + inputs_of(step), <void *> numbers_at(memory, gradient, step.w),
            <void *> numbers_at(memory, gradient, step.b), fresh,
        )


cdef void step_back(
    Run *run, Py_ssize_t k, Tiles tiles, lanes *memory, bint hessian
) noexcept nogil:
    """Set the gradient at a step's input: of all tiles for a dense layer, of one for the others."""
    cdef const Step *step = run.steps + k
    cdef const void *parameters = run.weights_squared if hessian else run.parameters
    cdef const lanes *x = memory + step.x
    cdef const lanes *y
    cdef const lanes *dy = memory + step.dy
    cdef lanes *dx = memory + step.dx
    cdef lanes *work = memory + step.work
    cdef lanes *made = dx
    cdef Maps source = source_of(step), result = result_of(step), spread
    cdef Window window = step_window(step)
    cdef Py_ssize_t c, r, in_size = step.h_in * step.w_in, out_size = step.h_out * step.w_out
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
    elif pooled_activation(run.steps, k):
        activate_and_pool(run, k, memory, True, hessian)
    elif step.kind == SUBSAMPLING:
        for c in range(step.c_in):
            spread_maps(
                dy + c * multiplier_of(source, result) * out_size, result, window,
                numbers_at(memory, run.parameters, step.w), c, step.scale, hessian, work,
                dx + c * in_size, source,
            )
    elif step.kind == MAXIMUM:
        for c in range(step.c_in):
            max_back_map(
                dy + c * out_size, result, x + c * in_size, source, window, dx + c * in_size
            )
    elif step.kind == ACTIVATION:
        if k + 1 < run.count and pooled_activation(run.steps, k + 1):
            return  # done with the pooling
        y = memory + step.y
        if lanes is lanes_f32:
            activate_back[float](
                step, hessian, <const float *> dy, <const float *> x, <const float *> y,
                outputs_of(step) * lane_count(dx), <float *> dx,
            )
        else:
            activate_back[double](
                step, hessian, <const double *> dy, <const double *> x, <const double *> y,
                outputs_of(step) * lane_count(dx), <double *> dx,
            )
    elif step.kind == FULL:
        dense_back_tiles(
            tiles, dy, step.c_out, numbers_at(memory, parameters, step.w), dx, inputs_of(step)
        )
    elif step.kind == DROPOUT:
        step_drop(run, k, dy, dx)


cdef inline double one_back(
    Run *run, Py_ssize_t k, Tiles tiles, lanes *memory, lanes *sums, bint hessian, bint fresh,
    bint alone, void *gradient, double since,
) noexcept nogil:
    """One step: to the weights and to the input. Return the time."""
    cdef const Step *step = run.steps + k
    if step.learns and not (alone and step.kind == FULL):
        step_weights(run, k, tiles, memory, sums, hessian, fresh, gradient)
        if run.seconds != NULL:
            since = lap(run.seconds + 3 * k + 2, since)
    if step.passes and step.kind != DISTANCES:
        step_back(run, k, tiles, memory, hessian)
        if run.seconds != NULL:
            since = lap(run.seconds + 3 * k + 1, since)
    return since


cdef void back(
    Run *run, Py_ssize_t tiles, Py_ssize_t place, lanes *memory, lanes *sums, bint hessian,
    bint fresh, bint alone, void *gradient,
) noexcept nogil:
    """All steps; the lane-by-lane sums lie in `sums`. `alone`: the images' gradients stay apart,
    those of dense layers as factors."""
    cdef Py_ssize_t k, t, size = run.input.size
    cdef Tiles one = tiles_of(1, size)
    cdef double since = seconds_now() if run.seconds != NULL else 0
    for k in range(run.count - 1, run.input.split - 1, -1):
        if run.steps[k].kind == FULL:
            since = one_back(run, k, tiles_of(tiles, size), memory, sums, hessian, fresh, alone,
                             gradient, since)
        else:
            for t in range(tiles):
                run.place = place + t * lane_count(memory)
                since = one_back(run, k, one, memory + t * size, sums, hessian,
                                 fresh and t == 0, alone, gradient, since)
    for t in range(tiles):
        run.place = place + t * lane_count(memory)
        for k in range(run.input.split - 1, -1, -1):
            since = one_back(run, k, one, memory + t * size, sums, hessian, fresh and t == 0,
                             alone, gradient, since)


cdef void fold_sums(Run *run, const lanes *memory, void *gradient) noexcept nogil:
    """Add the lane-by-lane sums to the block's gradient."""
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
