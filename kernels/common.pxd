# What kernels share: the element type, sizes and options, and scratch memory.

ctypedef fused real:
    float
    double

cdef extern from "lanes.h":
    # Memory for one call, aligned to a cache line; NULL when there is none left.
    void *scratch_new(size_t bytes) nogil
    # Aborts in a debug build if the call wrote past either end.
    void scratch_free(void *memory) nogil


cdef struct Maps:
    # The size of one image at one place of a network.
    Py_ssize_t count
    Py_ssize_t rows
    Py_ssize_t columns


cdef struct Window:
    Py_ssize_t kh
    Py_ssize_t kw
    Py_ssize_t stride_v
    Py_ssize_t stride_h
    Py_ssize_t dilation_v
    Py_ssize_t dilation_h


cdef struct LossOptions:
    Py_ssize_t kind
    double floor  # of the exponents: minus j of the MAP criterion, minus infinity otherwise
    double scale  # of the squared error
    double on  # and its targets: for the right class,
    double off  # and for the others
    double smoothing  # of the cross-entropy
    bint exact  # whether the MAP criterion's Hessian is taken at the inputs of the RBF layer
