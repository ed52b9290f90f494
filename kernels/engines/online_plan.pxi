# needs: layers/optimisers (Update)
#
# The online engine's tables, as the loops read them.
#
# A plan (lenet_fast/engines/online_plan.py) is a table of steps, one row per layer, whose numbers
# say where in memory its input, output and gradients lie, and how its parameters are laid out.

from lanes cimport real
from shapes cimport Maps, Window, maps_of, window_of


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


cdef struct Learner:
    # What training needs beside the run: arrays laid out like the parameters.
    Update update
    void *w
    void *velocity  # NULL where the rule has none
    void *second  # AdamW's second moments
    const void *factors  # NULL: all weights have the same rate
    void *gradients
    Py_ssize_t trained


cdef inline Maps online_source(const OnlineStep *step) noexcept nogil:
    return maps_of(step.c_in, step.h_in, step.w_in)


cdef inline Maps online_result(const OnlineStep *step) noexcept nogil:
    return maps_of(step.c_out, step.h_out, step.w_out)


cdef inline Window online_window(const OnlineStep *step) noexcept nogil:
    return window_of(
        step.kh, step.kw, step.stride_v, step.stride_h, step.dilation_v, step.dilation_h
    )


cdef inline Maps repeated_source(const OnlineStep *step) noexcept nogil:
    """The input with its maps repeated, as many as output maps."""
    return maps_of(step.c_out, step.h_in, step.w_in)


cdef inline Py_ssize_t row_inputs(const OnlineStep *step) noexcept nogil:
    """How many inputs a dense or RBF layer has."""
    return step.c_in * step.h_bare * step.w_bare


cdef inline real *numbers_of(real *_, const void *numbers, Py_ssize_t first) noexcept nogil:
    """The address of a number; NULL where there is none."""
    return (<real *> numbers) + first if numbers != NULL and first >= 0 else NULL


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
