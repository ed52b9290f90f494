# needs: layers/activations (ACTIVATIONS, SLOPED), layers/optimisers (RULES)
#
# Checks of both engines: the steps and codes of a call must be known to the loops.

from program cimport (
    ACTIVATION, ADADELTA, CLIPPED, CROSS_ENTROPY, CURVATURE, EXAMPLES, FORWARD, GRADIENT, MAP,
    NO_RULE, PENALTY, SQUARED_ERROR, UPDATE, Item, Loss, Step, Update,
)
from shapes cimport Maps, Window, maps_of, window_of


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


cdef int unknown(str name, Py_ssize_t number, tuple known) except -1:
    """Raise ValueError: no loop may take a number that none knows for another."""
    numbers = ", ".join(map(str, known))
    raise ValueError(f"{name}: expected one of {numbers}, got {number}")


cdef int check_steps(const Step[::1] steps, tuple kinds) except -1:
    """Raise ValueError if a step is of no kind, or an activation no function, that loops know."""
    cdef Py_ssize_t k
    for k in range(steps.shape[0]):
        if steps[k].kind not in kinds:
            unknown(f"kind of step {k}", steps[k].kind, kinds)
        if steps[k].kind == ACTIVATION and steps[k].activation not in ACTIVATIONS:
            unknown(f"activation of step {k}", steps[k].activation, ACTIVATIONS)
        if steps[k].kind != ACTIVATION and steps[k].planar and steps[k].activation not in SLOPED:
            unknown(f"activation of step {k}", steps[k].activation, SLOPED)
    return 0


cdef int check_loss(const Loss *loss) except -1:
    """Raise ValueError if no loop knows the loss."""
    cdef tuple losses = (CROSS_ENTROPY, SQUARED_ERROR, MAP, PENALTY)
    if loss.kind not in losses:
        unknown("kind of the loss", loss.kind, losses)
    return 0


cdef int check_updates(const Update[::1] updates) except -1:
    """Raise ValueError if no loop knows the rule of an update."""
    cdef Py_ssize_t k
    for k in range(updates.shape[0]):
        if not NO_RULE <= updates[k].rule <= ADADELTA:  # there may be thousands
            unknown("rule of the update", updates[k].rule, RULES)
    return 0


cdef int check_items(const Item[::1] items) except -1:
    """Raise ValueError if no loop knows the kind of an item."""
    cdef tuple known = (FORWARD, GRADIENT, CURVATURE, EXAMPLES, CLIPPED, UPDATE)
    cdef Py_ssize_t k
    for k in range(items.shape[0]):
        if not FORWARD <= items[k].kind <= UPDATE:  # there may be thousands
            unknown(f"kind of item {k}", items[k].kind, known)
    return 0
