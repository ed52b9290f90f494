# What all kernels share: the element type, and scratch memory.

ctypedef fused real:
    float
    double

cdef extern from "lanes.h":
    # Memory for one call, aligned to a cache line; NULL when there is none left.
    void *scratch_new(size_t bytes) nogil
    # Aborts in a debug build if the call wrote past either end.
    void scratch_free(void *memory) nogil
