# needs: layers/conv2d (Link, Links), engines/steps (outputs_of)
#
# The lane engine's tables, as the loops read them: a network as steps, a call as items.
#
# A program (lenet_fast/engines/tile.py) is a table of steps, one row per layer, whose numbers say
# where in a thread's memory its input, output and gradients lie, counted in vectors.

from vectors cimport element_size, lanes
from program cimport CONVOLUTION, Input, Item, Loss, Step, Update


cdef struct Lists:
    Link *forward
    Py_ssize_t forward_count
    Link *backward
    Py_ssize_t backward_count
    Links by_input


cdef struct Run:
    # What all threads of a call share; and of a thread's item, how dropout layers draw.
    const Step *steps
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
    const Py_ssize_t *order  # which of the bytes is the first, the second, ...; NULL: as they lie
    const Py_ssize_t *labels  # what the first, the second, ... image shows
    void *outputs
    const void *d_outputs  # the gradients at the outputs; NULL: those of the loss
    void *d_inputs  # where the gradients at the images go; NULL: nowhere
    void *kept  # memory of each tile, one after the other, for the way back; NULL: the thread's
    void *examples  # where the gradients of each image go, parameter by parameter,
    Py_ssize_t room  # for so many images
    double clip  # the largest norm of an image's gradient in a clipped sum
    const Loss *loss
    const Update *updates  # by the step's number in this call
    const Update *drawing  # by which dropout layers draw in this item; NULL: they do not
    Py_ssize_t place  # of the tile's first image in its batch
    bint scored  # whether there are labels, or gradients at the outputs
    void *gradients
    double *totals
    const Input *input
    double *seconds  # by step: forward, to the input, to the weights; NULL: not used in this call


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
