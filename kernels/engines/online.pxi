# needs: layers/losses (loss_with_gradient, misclassified),
#     layers/optimisers (fused, optimise),
#     single/dense (group_rows),
#     engines/steps (check_loss, check_steps, check_updates),
#     engines/online_run (Learner, numbers_of, online_run, OnlineRun, Weights),
#     engines/online_images (online_borders, online_fill),
#     engines/online_steps (online_forward, online_learn)
#
# The online engine: forward, loss, back and update, an image at a time.

from libc.math cimport isfinite

from vectors cimport (
    ROW_OUTPUTS, flush_small, lanes_f32, lanes_f64, real, restore_small, scratch_free, scratch_new,
)
from program cimport (
    ACTIVATION, CONVOLUTION_ALONG_COLUMNS, CONVOLUTION_ALONG_MAPS, DISTANCES, DROPOUT, FULL,
    MAXIMUM, SUBSAMPLING, Input, Loss, Step, Update,
)


cdef void online_finish(Learner *learner, real *tag) noexcept nogil:
    """Apply an update rule that needs all gradients at once."""
    if not fused(learner.update):
        optimise(
            learner.update, learner.update.done + 1, <const real *> learner.gradients,
            learner.trained, <real *> learner.w, <real *> learner.state, learner.trained,
            <const real *> learner.factors,
        )


cdef bint online_pattern(
    OnlineRun *run, Learner *learner, const Loss *loss, Py_ssize_t label, double *totals,
    real *memory,
) noexcept nogil:
    """Forward, loss, back, update; false where the loss is not finite, and nothing is changed."""
    cdef const Step *last = run.steps + run.count - 1
    cdef real *y = memory + last.y
    cdef real *dy = memory + last.dy
    cdef lanes_f32 *tag_f32 = NULL
    cdef lanes_f64 *tag_f64 = NULL
    online_forward(run, memory)
    totals[0] = loss_with_gradient(loss, y, last.c_out, label, dy)
    totals[1] = misclassified(y, last.c_out, label, loss.smallest_wins)
    if not isfinite(totals[0]):
        return False
    if real is float:
        online_learn[float, lanes_f32](run, learner, memory, tag_f32)
    else:
        online_learn[double, lanes_f64](run, learner, memory, tag_f64)
    online_finish(learner, memory)
    return True


cdef void online_groups(
    const OnlineRun *run, const Learner *learner, Py_ssize_t slots, bint apart, char *group, real *_
) noexcept nogil:
    """Arrange the weights of dense layers as the loops read them, or back, and with them the
    arrays that are laid out alike."""
    cdef Py_ssize_t k, slot
    cdef const Step *step
    for k in range(run.count):
        step = run.steps + k
        if step.kind == FULL:
            group_rows(numbers_of(_, learner.w, step.w), step.c_out, step.pitch, apart, group)
        if step.kind == FULL and step.learns:
            for slot in range(slots):
                group_rows(
                    numbers_of(_, learner.state, slot * learner.trained + step.w), step.c_out,
                    step.pitch, apart, group,
                )
            if learner.factors != NULL and not apart:
                group_rows(
                    numbers_of(_, learner.factors, step.w), step.c_out, step.pitch, False, group
                )


cdef tuple ONLINE_KINDS = (
    CONVOLUTION_ALONG_COLUMNS, CONVOLUTION_ALONG_MAPS, SUBSAMPLING, MAXIMUM, ACTIVATION, FULL,
    DISTANCES, DROPOUT,
)


def run_online(
    const Step[::1] steps, const real[::1] masks, const Input[::1] input, real[::1] parameters,
    const unsigned char[:, :, ::1] bytes_images, const real[:, :, :, ::1] float_images,
    const Py_ssize_t[::1] order, const Py_ssize_t[::1] labels, const Loss[::1] loss,
    const Update[::1] updates, real[::1] state, real[::1] factors, real[::1] gradients,
    double[:, ::1] totals, double[:, ::1] seconds, real[::1] memory,
):
    """Train on images, one after the other, until there are none or a loss is not finite.

    lenet_fast/engines/online.py builds the arguments; None means: not used in this call.
    `factors` are those of this call alone.
    """
    cdef OnlineRun run
    cdef Learner learner
    cdef Py_ssize_t i, k, image, slots, pitch = 0, rows = 0, columns = 0, pixels
    cdef char *group
    cdef unsigned before
    cdef const unsigned char *bytes = NULL
    cdef const real *floats = NULL
    cdef real *w = &parameters[0]
    check_steps(steps, ONLINE_KINDS)
    check_loss(&loss[0])
    check_updates(updates)
    if order.shape[0] == 0:
        return
    online_run(&run, steps, input)
    run.masks = &masks[0] if masks.shape[0] else NULL
    run.memory = <char *> &memory[0]
    if seconds is not None:
        run.seconds = &seconds[0, 0]
    if bytes_images is not None:
        bytes = &bytes_images[0, 0, 0]
        rows, columns = bytes_images.shape[1], bytes_images.shape[2]
        pixels = rows * columns
    else:
        floats = &float_images[0, 0, 0, 0]
        pixels = run.input.maps * run.input.rows * run.input.columns
    learner.trained = gradients.shape[0]
    learner.w = w
    learner.state = &state[0] if state.shape[0] else NULL
    learner.factors = &factors[0] if factors.shape[0] else NULL
    learner.gradients = &gradients[0] if learner.trained else NULL
    slots = state.shape[0] // learner.trained if learner.trained else 0
    for k in range(run.count):
        pitch = max(pitch, run.steps[k].pitch)
    run.weights = <Weights *> scratch_new(run.count * sizeof(Weights))
    group = <char *> scratch_new(ROW_OUTPUTS * pitch * sizeof(real))
    if run.weights == NULL or group == NULL:
        scratch_free(run.weights)
        scratch_free(group)
        raise MemoryError
    with nogil:
        before = flush_small()
        online_groups(&run, &learner, slots, False, group, w)
        for k in range(run.count):
            run.weights[k].w = numbers_of(w, w, run.steps[k].w)
            run.weights[k].b = numbers_of(w, w, run.steps[k].b)
            run.weights[k].pitch = run.steps[k].pitch
        online_borders(&run, memory.shape[0], &memory[0])
        for i in range(order.shape[0]):
            learner.update = run.update = &updates[i]
            image = order[i]
            online_fill(
                &run, bytes + image * pixels if bytes != NULL else NULL, rows, columns,
                floats + image * pixels if floats != NULL else NULL,
            )
            if not online_pattern(
                &run, &learner, &loss[0], labels[i], &totals[i, 0], &memory[0]
            ):
                break
        online_groups(&run, &learner, slots, True, group, w)
        restore_small(before)
        scratch_free(run.weights)
        scratch_free(group)
