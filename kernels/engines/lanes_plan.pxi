# needs: layers/conv2d (Link, Links), layers/losses (LossOptions)
#
# The lane engine's tables, as the loops read them: a network as steps, a call as items.
#
# A plan (lenet_fast/engines/plan.py) is a table of steps, one row per layer, whose numbers say
# where in a thread's memory its input, output and gradients lie, counted in vectors.

from lanes cimport element_size, lanes
from shapes cimport Maps, Window, maps_of, window_of


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


cdef inline Py_ssize_t weights_of(const Step *step) noexcept nogil:
    """How many weights are added lane by lane."""
    return step.c_out * step.width * step.kh * step.kw if step.kind == CONVOLUTION else step.c_out


cdef inline Py_ssize_t biases_of(const Step *step) noexcept nogil:
    return outputs_of(step) if step.unit else step.c_out
