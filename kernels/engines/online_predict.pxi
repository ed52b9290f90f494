# needs: engines/steps (check_steps),
#     engines/online_run (online_run, OnlineRun, Weights),
#     engines/online_images (online_borders, online_fill),
#     engines/online_steps (online_forward),
#     engines/online (ONLINE_KINDS)
#
# Single predictions: the online engine's forward pass, with as little overhead as possible.

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer,
)
from libc.string cimport memcpy, memset

from vectors cimport real, scratch_free, scratch_new
from program cimport Binding, Input, Step


cdef void predict_one(
    OnlineRun *run, const Binding *bindings, Py_ssize_t count, const void **sources,
    const int *index, const Py_buffer *image, real *outputs,
) noexcept nogil:
    cdef real *memory = <real *> run.memory
    cdef const Step *last = run.steps + run.count - 1
    cdef const real *source
    cdef const int *chosen
    cdef real *written
    cdef Py_ssize_t i, k
    cdef bint bytes = image.itemsize == 1
    for i in range(count):
        if bindings[i].place < 0:
            continue
        source = <const real *> sources[i]
        written = memory + bindings[i].place
        chosen = index + bindings[i].first
        for k in range(bindings[i].count):
            written[k] = source[chosen[k]] if chosen[k] >= 0 else 0
    if bytes:
        online_fill(
            run, <const unsigned char *> image.buf, image.shape[0], image.shape[1], <real *> NULL
        )
    else:
        online_fill(run, NULL, 0, 0, <const real *> image.buf)
    online_forward(run, memory)
    memcpy(outputs, memory + last.y, last.c_out * sizeof(real))


cdef class OnlineWorkspace:
    """Memory for one image at a time."""

    cdef OnlineRun run
    cdef const void **sources

    def __dealloc__(self):
        scratch_free(self.run.memory)
        scratch_free(self.run.weights)
        scratch_free(self.sources)


cdef class OnlinePredictor:
    """The outputs of a network for one image, from the arrays that this was made with.

    lenet_fast/engines/online.py builds the arguments. Calls may come from many threads at once:
    each takes a workspace, and leaves it for later ones.
    """

    cdef const Step[::1] steps
    cdef const Input[::1] input
    cdef const Binding[::1] bindings
    cdef const int[::1] index
    cdef list arrays, free
    cdef Py_ssize_t size, item

    def __init__(
        self, steps, input, Py_ssize_t size, bindings, index, list arrays, Py_ssize_t item
    ):
        self.steps, self.input = steps, input
        self.bindings, self.index, self.arrays = bindings, index, arrays
        self.size, self.item = size, item
        self.free = []
        check_steps(self.steps, ONLINE_KINDS)

    def __call__(self, image, outputs):
        """Set the outputs (k,) for an image: bytes (rows, columns), or prepared (c, h, w)."""
        cdef OnlineWorkspace workspace = self.free.pop() if self.free else self.new_workspace()
        cdef OnlineRun *run = &workspace.run
        cdef Py_ssize_t count = self.bindings.shape[0], k = run.steps[run.count - 1].c_out
        cdef const Binding *bindings = &self.bindings[0] if count else NULL
        cdef const int *index = &self.index[0] if self.index.shape[0] else NULL
        cdef Py_buffer pixels, written
        PyObject_GetBuffer(image, &pixels, PyBUF_C_CONTIGUOUS)
        try:
            if pixels.itemsize == 1:
                if (
                    run.input.maps != 1 or pixels.ndim != 2 or pixels.shape[0] > run.input.rows
                    or pixels.shape[1] > run.input.columns
                ):
                    raise ValueError("image: expected bytes (rows, columns) that fit")
            elif pixels.len != run.input.maps * run.input.rows * run.input.columns * self.item:
                raise ValueError(f"image: expected the network's input, got {pixels.len} bytes")
            PyObject_GetBuffer(outputs, &written, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            try:
                if written.len != k * self.item:
                    raise ValueError(f"outputs: expected {k} numbers, got {written.len} bytes")
                with nogil:
                    if self.item == sizeof(float):
                        predict_one(
                            run, bindings, count, workspace.sources, index, &pixels,
                            <float *> written.buf,
                        )
                    else:
                        predict_one(
                            run, bindings, count, workspace.sources, index, &pixels,
                            <double *> written.buf,
                        )
            finally:
                PyBuffer_Release(&written)
        finally:
            PyBuffer_Release(&pixels)
        self.free.append(workspace)

    cdef OnlineWorkspace new_workspace(self):
        cdef OnlineWorkspace workspace = OnlineWorkspace()
        cdef OnlineRun *run = &workspace.run
        cdef Py_ssize_t i, count = self.bindings.shape[0]
        cdef const Binding *binding
        cdef Py_buffer array
        cdef const char *at
        online_run(run, self.steps, self.input)
        run.memory = <char *> scratch_new(self.size * self.item)
        run.weights = <Weights *> scratch_new(run.count * sizeof(Weights))
        workspace.sources = <const void **> scratch_new(count * sizeof(void *))
        if run.memory == NULL or run.weights == NULL or workspace.sources == NULL:
            raise MemoryError
        memset(run.weights, 0, run.count * sizeof(Weights))
        if self.item == sizeof(float):
            online_borders(run, self.size, <float *> run.memory)
        else:
            online_borders(run, self.size, <double *> run.memory)
        for i in range(count):
            # The array stays, held by the list: its address does, too.
            PyObject_GetBuffer(self.arrays[i], &array, PyBUF_C_CONTIGUOUS)
            workspace.sources[i] = array.buf
            PyBuffer_Release(&array)
            binding = &self.bindings[i]
            at = <const char *> workspace.sources[i]
            if binding.place >= 0:
                at = run.memory + binding.place * self.item
            if binding.bias:
                run.weights[binding.step].b = at
            else:
                run.weights[binding.step].w, run.weights[binding.step].pitch = at, binding.pitch
        return workspace
