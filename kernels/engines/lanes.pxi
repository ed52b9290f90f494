# needs: layers/conv2d (Link, list_by_input, list_by_target, Table, table_of),
#     layers/optimisers (optimise),
#     engines/steps (check_items, check_loss, check_steps, check_updates),
#     engines/lanes_run (Lists, numbers_at, Run),
#     engines/lanes_images (clear_sums, fill, finish_tile, set_borders),
#     engines/lanes_steps (back, fold_sums, forward_alone, forward_together, hand_on),
#     engines/lanes_examples (add_clipped, write_examples)
#
# The lane engine: a whole network a tile of images at a time, one image per vector lane.
#
# A call processes a list of items: blocks of images to go forward, or forward and back, and pieces
# of the parameters to update. Each item waits for those before its phase. Which thread takes which
# item changes no bit: each block has its own gradient, and these are added in the order of the
# blocks.

from libc.math cimport isfinite
from libc.string cimport memset

from helpers cimport helper, helper_call, helper_free, helper_new, helper_wait, process_number
from vectors cimport (
    LANES_F32, LANES_F64, flush_small, lane_count, lanes, lanes_f32, lanes_f64, read_shared, real,
    restore_small, scratch_free, scratch_new, take_ticket, ticket_done, unpack, wait_a_little,
    write_shared,
)
from program cimport (
    ACTIVATION, CLIPPED, CONVOLUTION, CURVATURE, DISTANCES, DROPOUT, EXAMPLES, FORWARD, FULL,
    MAXIMUM, NO_RULE, SUBSAMPLING, UPDATE, Input, Item, Loss, Step, Update,
)


cdef void images_item(Run *run, const Item *item, double *totals, lanes *memory) noexcept nogil:
    """A block of images: forward, and back with its own gradient or Hessian; only back where the
    tiles' memory is kept of the way forward."""
    cdef Py_ssize_t full = lane_count(memory), first = item.first, images
    cdef Py_ssize_t pixels = run.input.maps * run.input.rows * run.input.columns
    cdef bint learning = item.kind != FORWARD, hessian = item.kind == CURVATURE, fresh
    cdef bint alone = item.kind == EXAMPLES or item.kind == CLIPPED
    cdef Py_ssize_t most = 1 if alone or run.d_inputs != NULL else run.input.tiles, tiles, t, i
    cdef Py_ssize_t size = run.input.size
    cdef void *gradient = <void *> numbers_at(memory, run.gradients, item.block * run.trained)
    cdef lanes *values = memory
    # Where no gradient comes back to them, all tiles go to the large layers through the memory of
    # the first, which stays in the cache.
    cdef Py_ssize_t apart = 0 if run.input.split and not learning and run.kept == NULL else size
    totals[0] = totals[1] = 0
    run.drawing = run.updates + item.step if run.updates[item.step].seed >= 0 else NULL
    while first < item.last:
        images, fresh = min(item.last - first, most * full), first == item.first
        tiles = (images + full - 1) // full
        if run.kept != NULL:
            values = <lanes *> run.kept + first // full * size
        if run.kept == NULL or not learning:
            for t in range(tiles - 1, -1, -1):
                i = t * full
                if run.kept != NULL:
                    set_borders(run, values + t * size)
                fill(run, first + i, min(images - i, full), values + t * apart + run.input.at)
                run.place = first - item.start + i
                forward_alone(run, values + t * apart)
                if apart == 0 and t > 0:
                    hand_on(run, values, values + t * size)
            forward_together(run, tiles, first - item.start, values)
        for t in range(tiles):
            i = t * full
            finish_tile(
                run, values + t * size, first + i, min(images - i, full), learning, hessian,
                totals,
            )
        if learning:
            back(
                run, tiles, first - item.start, values, memory, hessian, fresh or alone, alone,
                gradient,
            )
            if run.d_inputs != NULL:
                unpack(
                    values + run.steps.dx, pixels, images,
                    <void *> numbers_at(memory, run.d_inputs, first * pixels), pixels,
                )
            if item.kind == EXAMPLES:
                write_examples(run, memory, first, images)
            elif item.kind == CLIPPED:
                add_clipped(run, memory, fresh, gradient)
        first += images
    if learning and not alone:
        fold_sums(run, memory, gradient)


cdef enum:
    STRIDE = 512  # numbers whose gradients are added up at a time, close by


cdef void update_item(
    Run *run, const Item *item, real *w, real *state, const real *factors
) noexcept nogil:
    """Add the gradients of all blocks, in their order, and update the parameters with the mean."""
    cdef Py_ssize_t first = item.first, i, block, count
    cdef const Update *update = run.updates + item.step
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
        optimise(
            update, update.done + 1, gradient, count, w + first,
            state + first if state != NULL else NULL, run.trained,
            factors + first if factors != NULL else NULL,
        )
        first += STRIDE


cdef bint finite_loss(Run *run, const Item *item) noexcept nogil:
    """Whether the batch that an update waits for has a finite loss."""
    cdef double total = 0
    cdef Py_ssize_t k
    for k in range(item.opened - item.block, item.opened):
        total += run.totals[2 * k]
    return isfinite(total)


cdef void work_off(
    Run *run, real *w, real *state, const real *factors, long long *shared, void *memory,
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
            if run.updates[item.step].rule == NO_RULE or finite_loss(run, item):
                update_item(run, item, w, state, factors)
            else:
                write_shared(shared + 16, 1)
        elif real is float:
            images_item[lanes_f32](run, item, run.totals + 2 * k, <lanes_f32 *> memory)
        else:
            images_item[lanes_f64](run, item, run.totals + 2 * k, <lanes_f64 *> memory)
        ticket_done(shared + 8)


cdef Py_ssize_t link_bytes(const Step *steps, Py_ssize_t count) noexcept nogil:
    """Bytes that the lists of all convolutions take."""
    cdef Py_ssize_t k, bytes = 0
    for k in range(count):
        if steps[k].kind == CONVOLUTION:
            bytes += 2 * (steps[k].c_in * steps[k].c_out + 1) * sizeof(Link)
            bytes += (
                steps[k].c_in + 1 + 2 * steps[k].c_out * steps[k].width
            ) * sizeof(Py_ssize_t)
    return bytes


cdef void list_links(Run *run, const unsigned char *tables) noexcept nogil:
    """Fill the lists; they point to the memory behind them."""
    cdef Py_ssize_t k, taps
    cdef const Step *step
    cdef Table table
    cdef Lists *lists = run.lists
    cdef char *place = <char *> (lists + run.count)
    for k in range(run.count):
        step = run.steps + k
        if step.kind != CONVOLUTION:
            continue
        table = table_of(tables + step.table, step.c_out, step.width, step.c_in)
        taps = step.kh * step.kw
        lists[k].forward = <Link *> place
        lists[k].forward_count = list_by_target(&table, taps, False, lists[k].forward)
        lists[k].backward = lists[k].forward + step.c_in * step.c_out + 1
        lists[k].backward_count = list_by_target(&table, taps, True, lists[k].backward)
        place = <char *> (lists[k].backward + step.c_in * step.c_out + 1)
        lists[k].by_input = list_by_input(&table, taps, <Py_ssize_t *> place)
        place += (step.c_in + 1 + 2 * step.c_out * step.width) * sizeof(Py_ssize_t)


def lane_counts():
    """Return how many lanes a vector has: of float32, of float64."""
    return LANES_F32, LANES_F64


cdef tuple LANES_KINDS = (
    CONVOLUTION, SUBSAMPLING, MAXIMUM, ACTIVATION, FULL, DISTANCES, DROPOUT,
)


cdef class LanesProgram:
    """A network and its loss, checked once; what they point to must stay.

    lenet_fast/engines/lanes.py builds the arguments.
    """

    cdef const Step[::1] steps
    cdef const Input[::1] input
    cdef const Loss[::1] loss
    cdef const Update[::1] no_updates  # in calls without any
    cdef object listed  # the items of the last call, which is read-only,
    cdef const Item[::1] items  # and as the loops read them
    cdef Run run

    def __init__(
        self, steps, const unsigned char[::1] tables, input, loss, Py_ssize_t trained, no_updates
    ):
        cdef Run *run = &self.run
        self.steps, self.input, self.loss, self.no_updates = steps, input, loss, no_updates
        check_steps(self.steps, LANES_KINDS)
        check_loss(&self.loss[0])
        run.steps, run.count = &self.steps[0], self.steps.shape[0]
        run.input, run.loss, run.trained = &self.input[0], &self.loss[0], trained
        run.updates = &self.no_updates[0]
        run.lists = <Lists *> scratch_new(
            run.count * sizeof(Lists) + link_bytes(run.steps, run.count)
        )
        if run.lists == NULL:
            raise MemoryError
        list_links(run, &tables[0] if tables.shape[0] else NULL)

    cdef const Item[::1] checked(self, listed):
        """Return the items as the loops read them. They are read-only, so that a list which comes
        again is not checked again."""
        cdef const Item[::1] items
        if listed is not self.listed:
            items = listed
            check_items(items)
            self.items, self.listed = items, listed
        return self.items

    def __dealloc__(self):
        scratch_free(self.run.lists)


cdef struct Call:
    # A call of run_lanes: what its threads share.
    Run run
    void *w
    void *state
    const void *factors
    long long[24] shared  # see work_off


cdef void take_part(const Call *call, real *memory) noexcept nogil:
    """What each thread of a call does, with memory of its own."""
    cdef Run run = call.run
    cdef unsigned before = flush_small()
    cdef Py_ssize_t t
    for t in range(run.input.tiles):
        if real is float:
            set_borders[lanes_f32](&run, <lanes_f32 *> memory + t * run.input.size)
        else:
            set_borders[lanes_f64](&run, <lanes_f64 *> memory + t * run.input.size)
    if run.items.kind != FORWARD:
        if real is float:
            clear_sums[lanes_f32](&run, <lanes_f32 *> memory)
        else:
            clear_sums[lanes_f64](&run, <lanes_f64 *> memory)
    work_off(
        &run, <real *> call.w, <real *> call.state, <const real *> call.factors,
        <long long *> call.shared, memory,
    )
    restore_small(before)


cdef void take_part_f32(void *call, void *memory) noexcept nogil:
    take_part[float](<const Call *> call, <float *> memory)


cdef void take_part_f64(void *call, void *memory) noexcept nogil:
    take_part[double](<const Call *> call, <double *> memory)


cdef enum:
    MOST_HELPERS = 1023  # lenet_fast.threads.MAX_THREADS, without the caller


cdef class LanesHelpers:
    """The threads of an engine besides its caller's. They start when they are first needed, and
    again after a fork, in which threads do not survive."""

    cdef helper *threads[MOST_HELPERS]
    cdef Py_ssize_t count
    cdef long process

    cdef Py_ssize_t start(self, Py_ssize_t wanted) noexcept:
        """Return how many there are, at most as many as wanted."""
        cdef helper *one
        if self.process != process_number():
            self.process, self.count = process_number(), 0
        while self.count < min(wanted, <Py_ssize_t> MOST_HELPERS):
            one = helper_new()
            if one == NULL:
                break
            self.threads[self.count] = one
            self.count += 1
        return min(wanted, self.count)

    cdef void end(self) noexcept:
        if self.process == process_number():
            while self.count:
                self.count -= 1
                helper_free(self.threads[self.count])

    def close(self):
        self.end()

    def __dealloc__(self):
        self.end()


def run_lanes(
    LanesProgram program, items, real[::1] parameters,
    const real[::1] weights_squared, const unsigned char[:, :, ::1] bytes_images,
    const real[:, :, :, ::1] float_images, const Py_ssize_t[::1] order,
    const Py_ssize_t[::1] labels, const Update[::1] updates, real[::1] state,
    const real[::1] factors, real[::1] gradients, real[:, ::1] outputs,
    const real[:, ::1] d_outputs, real[:, ::1] d_inputs, real[::1] kept, real[::1] examples,
    double clip,
    double[:, ::1] totals, double[:, ::1] seconds, list memories, LanesHelpers helpers,
):
    """Process a list of items on a network. Each of the memories is for one thread; if the system
    cannot start so many, fewer do the work.

    lenet_fast/engines/lanes.py builds the arguments; None means: not used in this call.
    """
    cdef Call call
    cdef Run *run = &call.run
    cdef Py_ssize_t k, others = helpers.start(len(memories) - 1)
    cdef const Item[::1] listed = program.checked(items)
    cdef real[::1] memory
    cdef void *places[MOST_HELPERS + 1]
    if listed.shape[0] == 0:
        return
    for k in range(others + 1):
        memory = memories[k]
        places[k] = &memory[0]
    memset(call.shared, 0, sizeof(call.shared))
    call.run = program.run
    call.w = &parameters[0]
    call.state = &state[0] if state is not None and state.shape[0] else NULL
    call.factors = &factors[0] if factors is not None and factors.shape[0] else NULL
    run.items = &listed[0]
    run.item_count = listed.shape[0]
    run.parameters = &parameters[0]
    run.weights_squared = &weights_squared[0] if weights_squared is not None else NULL
    run.bytes = &bytes_images[0, 0, 0] if bytes_images is not None else NULL
    run.floats = &float_images[0, 0, 0, 0] if float_images is not None else NULL
    if bytes_images is not None:
        run.image_rows, run.image_columns = bytes_images.shape[1], bytes_images.shape[2]
    run.order = &order[0] if order is not None else NULL
    run.scored = labels is not None or d_outputs is not None
    run.labels = &labels[0] if labels is not None else NULL
    run.outputs = &outputs[0, 0] if outputs is not None else NULL
    run.d_outputs = &d_outputs[0, 0] if d_outputs is not None else NULL
    run.d_inputs = &d_inputs[0, 0] if d_inputs is not None else NULL
    run.kept = &kept[0] if kept is not None else NULL
    run.examples = &examples[0] if examples is not None else NULL
    run.room = examples.shape[0] // run.trained if examples is not None else 0
    run.clip = clip
    if updates is not None:
        check_updates(updates)
        run.updates = &updates[0]
    run.gradients = &gradients[0] if gradients.shape[0] else NULL
    run.totals = &totals[0, 0]
    run.seconds = &seconds[0, 0] if seconds is not None else NULL
    with nogil:
        for k in range(others):
            if real is float:
                helper_call(helpers.threads[k], take_part_f32, &call, places[k + 1])
            else:
                helper_call(helpers.threads[k], take_part_f64, &call, places[k + 1])
        take_part[real](&call, <real *> places[0])
        for k in range(others):
            helper_wait(helpers.threads[k])
