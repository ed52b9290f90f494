# needs: nothing
#
# The online engine's tables, as the loops read them.
#
# A program (lenet_fast/engines/single.py) is a table of steps, one row per layer, whose numbers
# say where in memory its input, output and gradients lie, and how its parameters are laid out.

from vectors cimport real
from program cimport Input, Step, Update
from shapes cimport Maps, maps_of


cdef struct Weights:
    # Where the parameters of a step are.
    const void *w
    const void *b
    Py_ssize_t pitch  # numbers per row of a dense or RBF layer's


cdef struct OnlineRun:
    const Step *steps
    Py_ssize_t count
    const void *masks
    Weights *weights
    char *memory
    const Input *input
    const Update *update  # of this training step; NULL: a prediction
    double *seconds  # by step: forward, to the input, to the weights; NULL: not used in this call


cdef struct Learner:
    # What training needs beside the run: arrays laid out like the parameters.
    const Update *update  # of this step
    void *w
    void *state  # the arrays that the rule keeps, one behind the other; NULL: it keeps none
    const void *factors  # NULL: all weights have the same rate
    void *gradients
    Py_ssize_t trained


cdef inline Maps repeated_source(const Step *step) noexcept nogil:
    """The input with its maps repeated, as many as output maps."""
    return maps_of(step.c_out, step.h_in, step.w_in)


cdef inline real *numbers_of(real *_, const void *numbers, Py_ssize_t first) noexcept nogil:
    """The address of a number; NULL where there is none."""
    return (<real *> numbers) + first if numbers != NULL and first >= 0 else NULL


cdef void online_run(
    OnlineRun *run, const Step[::1] steps, const Input[::1] input
) noexcept nogil:
    run.steps = &steps[0]
    run.count = steps.shape[0]
    run.input = &input[0]
    run.update = NULL
    run.seconds = NULL
