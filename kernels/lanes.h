/* The vector type of the lane kernels: one image a lane (float32 or float64), and the few
   operations on it that the C vector extensions of GCC and Clang do not spell. */
#ifndef LENET_FAST_LANES_H
#define LENET_FAST_LANES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__)
#error "the kernels need the vector extensions of GCC or Clang"
#endif

/* The register block of each kernel: as many accumulators as the registers hold. */
#if defined(__AVX512F__)
#define LANES_BYTES 64
enum { CONV_MAPS = 2, CONV_COLUMNS = 14, GRADIENT_MAPS = 4, GEMM_ROWS = 8 };
#elif defined(__AVX__)
#define LANES_BYTES 32
enum { CONV_MAPS = 1, CONV_COLUMNS = 10, GRADIENT_MAPS = 2, GEMM_ROWS = 6 };
#else
#define LANES_BYTES 16
enum { CONV_MAPS = 1, CONV_COLUMNS = 10, GRADIENT_MAPS = 2, GEMM_ROWS = 6 };
#endif
enum { LANES_F32 = LANES_BYTES / 4, LANES_F64 = LANES_BYTES / 8 };

/* Aligned like a scalar, so that a caller's array can be read through it. */
typedef float lanes_f32 __attribute__((vector_size(LANES_BYTES), aligned(4), may_alias));
typedef double lanes_f64 __attribute__((vector_size(LANES_BYTES), aligned(8), may_alias));
typedef int32_t lanes_i32 __attribute__((vector_size(LANES_BYTES), aligned(4), may_alias));
typedef int64_t lanes_i64 __attribute__((vector_size(LANES_BYTES), aligned(8), may_alias));

/* x - 0 is x for every x, -0 and NaN included. */
static inline lanes_f32 splat_f32(float x) { return x - (lanes_f32){0}; }
static inline lanes_f64 splat_f64(double x) { return x - (lanes_f64){0}; }

/* x, read into a register once: GCC would rather read it again in each multiply-add, and a core
   does no more loads than multiply-adds in a cycle. */
#if defined(__x86_64__) && defined(__AVX__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif
static inline lanes_f32 in_register_f32(lanes_f32 x) { IN_REGISTER(x); return x; }
static inline lanes_f64 in_register_f64(lanes_f64 x) { IN_REGISTER(x); return x; }

/* 2^n from k = 1.5 * 2^23 + n (2^52 in double): n stands in the low bits of k. */
static inline lanes_f32 power_of_two_f32(lanes_f32 k) {
    return (lanes_f32)(((lanes_i32)k << 23) + 0x3f800000);
}
static inline lanes_f64 power_of_two_f64(lanes_f64 k) {
    return (lanes_f64)(((lanes_i64)k << 52) + 0x3ff0000000000000);
}

static inline lanes_f32 absolute_f32(lanes_f32 x) {
    return (lanes_f32)((lanes_i32)x & 0x7fffffff);
}
static inline lanes_f64 absolute_f64(lanes_f64 x) {
    return (lanes_f64)((lanes_i64)x & 0x7fffffffffffffff);
}

static inline lanes_f32 with_sign_f32(lanes_f32 size, lanes_f32 sign) {
    return (lanes_f32)(((lanes_i32)size & 0x7fffffff) | ((lanes_i32)sign & INT32_MIN));
}
static inline lanes_f64 with_sign_f64(lanes_f64 size, lanes_f64 sign) {
    return (lanes_f64)(((lanes_i64)size & 0x7fffffffffffffff) | ((lanes_i64)sign & INT64_MIN));
}

/* a where x is below zero, else b. */
static inline lanes_f32 where_negative_f32(lanes_f32 x, lanes_f32 a, lanes_f32 b) {
    lanes_i32 below = x < splat_f32(0);
    return (lanes_f32)(((lanes_i32)a & below) | ((lanes_i32)b & ~below));
}
static inline lanes_f64 where_negative_f64(lanes_f64 x, lanes_f64 a, lanes_f64 b) {
    lanes_i64 below = x < splat_f64(0);
    return (lanes_f64)(((lanes_i64)a & below) | ((lanes_i64)b & ~below));
}

/* The larger of the two; NaN in x stays. */
static inline lanes_f32 at_least_f32(lanes_f32 x, lanes_f32 least) {
    return where_negative_f32(x - least, least, x);
}
static inline lanes_f64 at_least_f64(lanes_f64 x, lanes_f64 least) {
    return where_negative_f64(x - least, least, x);
}

/* Interleave the lower or the upper halves of two vectors: a perfect shuffle. */
#if LANES_BYTES == 64
#define LOW_F32 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_F32 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LOW_F64 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_F64 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES_BYTES == 32
#define LOW_F32 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_F32 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_F64 0, 4, 1, 5
#define HIGH_F64 2, 6, 3, 7
#else
#define LOW_F32 0, 4, 1, 5
#define HIGH_F32 2, 6, 3, 7
#define LOW_F64 0, 2
#define HIGH_F64 1, 3
#endif

#if defined(__clang__)
#define INTERLEAVE(a, b, INT, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, INT, ...) __builtin_shuffle(a, b, (INT){__VA_ARGS__})
#endif

/* Transpose a square of vectors in place: log2(N) rounds of perfect shuffles. */
#define TRANSPOSE(NAME, REAL, INT, N, LOW, HIGH)                       \
    static inline __attribute__((always_inline)) void NAME(REAL *row) {                  \
        for (int round = 1; round < N; round *= 2) {                   \
            REAL next[N];                                              \
            for (int i = 0; i < N / 2; i++) {                          \
                next[2 * i] = INTERLEAVE(row[i], row[i + N / 2], INT, LOW);      \
                next[2 * i + 1] = INTERLEAVE(row[i], row[i + N / 2], INT, HIGH); \
            }                                                          \
            for (int i = 0; i < N; i++) row[i] = next[i];              \
        }                                                              \
    }
TRANSPOSE(transpose_f32, lanes_f32, lanes_i32, LANES_F32, LOW_F32, HIGH_F32)
TRANSPOSE(transpose_f64, lanes_f64, lanes_i64, LANES_F64, LOW_F64, HIGH_F64)

/* Scratch memory. A debug build puts a known pattern before and behind it, and looks again. */
enum { SCRATCH_GUARD = 64, SCRATCH_PATTERN = 0x5a };

static inline void *scratch_new(size_t bytes) {
    size_t room = (bytes + 63) / 64 * 64;
    void *memory = NULL;
    if (room < bytes) return NULL;
#if defined(LENET_FAST_DEBUG)
    if (posix_memalign(&memory, 64, room + 3 * SCRATCH_GUARD)) return NULL;
    char *start = (char *)memory;
    memset(start, SCRATCH_PATTERN, room + 3 * SCRATCH_GUARD);
    memcpy(start, &bytes, sizeof bytes);
    return start + 2 * SCRATCH_GUARD;
#else
    return posix_memalign(&memory, 64, room ? room : 64) ? NULL : memory;
#endif
}

static inline void scratch_free(void *memory) {
#if defined(LENET_FAST_DEBUG)
    if (!memory) return;
    char *start = (char *)memory - 2 * SCRATCH_GUARD;
    size_t bytes;
    memcpy(&bytes, start, sizeof bytes);
    for (int i = 0; i < SCRATCH_GUARD; i++) {
        if (start[SCRATCH_GUARD + i] != SCRATCH_PATTERN) abort();
        if (start[2 * SCRATCH_GUARD + bytes + i] != SCRATCH_PATTERN) abort();
    }
    free(start);
#else
    free(memory);
#endif
}

/* What the CPU that runs this can do: the names that the loader knows. */
static inline int cpu_supports_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}
static inline int cpu_supports_avx512(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           cpu_supports_avx2();
#else
    return 0;
#endif
}

#endif
