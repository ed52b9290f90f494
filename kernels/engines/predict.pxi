# needs: engines/online_plan (online_run, OnlineRun, OnlineStep, Weights),
#     engines/online_images (online_borders, online_fill),
#     engines/online_steps (online_forward)
#
# Single predictions: the online engine's forward pass, with as little around it as can be.

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer,
)
from libc.string cimport memcpy, memset

from lanes cimport real, scratch_free, scratch_new


cdef struct Binding:
    # Where a step finds a parameter: the names and their order are those of online.py.
    Py_ssize_t step
    Py_ssize_t bias
    Py_ssize_t pitch  # numbers a row
    Py_ssize_t place  # where it is put in the order of the loops, in numbers; -1: read as it is
    Py_ssize_t first  # which of the index says where its numbers come from
    Py_ssize_t count  # how many


cdef void predict_one(
    OnlineRun *run, const Binding *bindings, Py_ssize_t count, const void **sources,
    const int *index, const Py_buffer *image, real *outputs,
) noexcept nogil:
    cdef real *memory = <real *> run.memory
    cdef const OnlineStep *last = run.steps + run.count - 1
    cdef const real *source
    cdef const int *chosen
    cdef real *made
    cdef Py_ssize_t i, k
    cdef bint bytes = image.itemsize == 1
    for i in range(count):
        if bindings[i].place < 0:
            continue
        source = <const real *> sources[i]
        made = memory + bindings[i].place
        chosen = index + bindings[i].first
        for k in range(bindings[i].count):
            made[k] = source[chosen[k]] if chosen[k] >= 0 else 0
    if bytes:
        online_fill(
            run, <const unsigned char *> image.buf, image.shape[0], image.shape[1], <real *> NULL
        )
    else:
        online_fill(run, NULL, 0, 0, <const real *> image.buf)
    online_forward(run, memory)
    memcpy(outputs, memory + last.y, last.c_out * sizeof(real))


cdef class OnlinePlace:
    """Memory for one image at a time."""

    cdef OnlineRun run
    cdef const void **sources

    def __dealloc__(self):
        scratch_free(self.run.memory)
        scratch_free(self.run.weights)
        scratch_free(self.sources)


cdef class OnlinePredictor:
    """The outputs of a network for one image, from the arrays that this was made with.

    See lenet_fast/engines/online.py, which makes all arguments. Calls may come from many threads
    at once: each takes a place, and leaves it for later ones.
    """

    cdef const Py_ssize_t[:, ::1] steps, bindings
    cdef const double[::1] reals, scale
    cdef const Py_ssize_t[::1] places
    cdef const int[::1] index
    cdef list arrays, free
    cdef Py_ssize_t size, item

    def __init__(
        self, steps, reals, places, scale, Py_ssize_t size, bindings, index, list arrays,
        Py_ssize_t item,
    ):
        self.steps, self.reals, self.places, self.scale = steps, reals, places, scale
        self.bindings, self.index, self.arrays = bindings, index, arrays
        self.size, self.item = size, item
        self.free = []
        assert self.steps.shape[1] * sizeof(Py_ssize_t) == sizeof(OnlineStep)
        assert self.bindings.shape[1] * sizeof(Py_ssize_t) == sizeof(Binding)

    def __call__(self, image, outputs):
        """Set the outputs (k,) for an image: bytes (rows, columns), or prepared (c, h, w)."""
        cdef OnlinePlace place = self.free.pop() if self.free else self.new_place()
        cdef OnlineRun *run = &place.run
        cdef Py_ssize_t count = self.bindings.shape[0], k = run.steps[run.count - 1].c_out
        cdef const Binding *bindings = <const Binding *> &self.bindings[0, 0] if count else NULL
        cdef const int *index = &self.index[0] if self.index.shape[0] else NULL
        cdef Py_buffer seen, made
        PyObject_GetBuffer(image, &seen, PyBUF_C_CONTIGUOUS)
        try:
            if seen.itemsize == 1:
                if (
                    run.channels != 1 or seen.ndim != 2 or seen.shape[0] > run.rows
                    or seen.shape[1] > run.columns
                ):
                    raise ValueError("image: expected bytes (rows, columns) that fit")
            elif seen.len != run.channels * run.rows * run.columns * self.item:
                raise ValueError(f"image: expected the network's input, got {seen.len} bytes")
            PyObject_GetBuffer(outputs, &made, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            try:
                if made.len != k * self.item:
                    raise ValueError(f"outputs: expected {k} numbers, got {made.len} bytes")
                with nogil:
                    if self.item == sizeof(float):
                        predict_one(
                            run, bindings, count, place.sources, index, &seen, <float *> made.buf
                        )
                    else:
                        predict_one(
                            run, bindings, count, place.sources, index, &seen, <double *> made.buf
                        )
            finally:
                PyBuffer_Release(&made)
        finally:
            PyBuffer_Release(&seen)
        self.free.append(place)

    cdef OnlinePlace new_place(self):
        cdef OnlinePlace place = OnlinePlace()
        cdef OnlineRun *run = &place.run
        cdef Py_ssize_t i, count = self.bindings.shape[0]
        cdef Binding *binding
        cdef Py_buffer array
        cdef const char *at
        online_run(run, self.steps, self.reals, self.places, self.scale)
        run.memory = <char *> scratch_new(self.size * self.item)
        run.weights = <Weights *> scratch_new(run.count * sizeof(Weights))
        place.sources = <const void **> scratch_new(count * sizeof(void *))
        if run.memory == NULL or run.weights == NULL or place.sources == NULL:
            raise MemoryError
        memset(run.weights, 0, run.count * sizeof(Weights))
        if self.item == sizeof(float):
            online_borders(run, self.size, <float *> run.memory)
        else:
            online_borders(run, self.size, <double *> run.memory)
        for i in range(count):
            # The array stays, held by the list: its address does, too.
            PyObject_GetBuffer(self.arrays[i], &array, PyBUF_C_CONTIGUOUS)
            place.sources[i] = array.buf
            PyBuffer_Release(&array)
            binding = <Binding *> &self.bindings[i, 0]
            at = <const char *> place.sources[i]
            if binding.place >= 0:
                at = run.memory + binding.place * self.item
            if binding.bias:
                run.weights[binding.step].b = at
            else:
                run.weights[binding.step].w, run.weights[binding.step].pitch = at, binding.pitch
        return place
