# Which builds of module.pyx this processor runs. Compiled without their flags, so that it runs
# anywhere.

cdef extern from *:
    """
    #if defined(__x86_64__)
    #define CPU_HAS(part) __builtin_cpu_supports(part)
    #else
    #define CPU_HAS(part) 0
    #endif
    static int cpu_supports_avx2(void) { return CPU_HAS("avx2") && CPU_HAS("fma"); }
    static int cpu_supports_avx512(void) {
        return CPU_HAS("avx512f") && CPU_HAS("avx512dq") && CPU_HAS("avx512bw") &&
               CPU_HAS("avx512vl") && cpu_supports_avx2();
    }
    """
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
