cdef extern from "helpers.h":
    ctypedef struct helper:
        pass

    helper *helper_new() nogil
    void helper_call(
        helper *one, void (*part)(void *, void *) noexcept nogil, void *call, void *memory
    ) nogil
    void helper_wait(helper *one) nogil
    void helper_free(helper *one) nogil
    long process_number() nogil
