# needs: nothing
#
# Query for the loader, in the baseline build.

cdef extern from "vectors.h":
    bint cpu_supports_avx2() nogil
    bint cpu_supports_avx512() nogil


def supported():
    """Return the instruction sets that this CPU can run, slowest first."""
    names = ["baseline"]
    if cpu_supports_avx2():
        names.append("avx2")
    if cpu_supports_avx512():
        names.append("avx512")
    return names
