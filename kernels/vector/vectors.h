/* The vector type of the lane kernels: one image per lane (float32 or float64), and the few
   operations on it that the C vector extensions of GCC and Clang do not spell. */
#ifndef LENET_FAST_VECTORS_H
#define LENET_FAST_VECTORS_H

#if defined(_WIN32)
#include <malloc.h>
#endif
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#if !defined(__GNUC__)
#error "the kernels need the vector extensions of GCC or Clang"
#endif

/* The register block of each kernel: as many accumulators as the registers hold. */
#if defined(__AVX512F__)
#define LANES_BYTES 64
enum { CONV_MAPS = 2, CONV_COLUMNS = 14, WIDE_MAPS = 4, WIDE_COLUMNS = 6, GEMM_ROWS = 8 };
enum { BACK_MAPS = 2, BACK_COLUMNS = 12 };
enum { GRADIENT_MAPS = 4, GRADIENT_MAPS_3 = 3, GRADIENT_ROWS = 3 };
enum { DENSE_OUTPUTS = 12, PAIR_OUTPUTS = 12, OUTER_OUTPUTS = 6, OUTER_VECTORS = 4 };
enum { MAP_POSITIONS = 10, MAP_VECTORS = 1, MAP_TAPS = 15, INPUT_ROWS = 10, INPUT_VECTORS = 2 };
enum { COLUMN_MAPS = 6, COLUMN_VECTORS = 2, COLUMN_TAPS = 5, COLUMN_TAPS_MAPS = 3 };
enum { CURVE_VECTORS = 8 };
#else
#if defined(__AVX__)
#define LANES_BYTES 32
#else
#define LANES_BYTES 16
#endif
enum { CONV_MAPS = 2, CONV_COLUMNS = 6, WIDE_MAPS = 2, WIDE_COLUMNS = 6, GEMM_ROWS = 6 };
enum { BACK_MAPS = 1, BACK_COLUMNS = 12 };
enum { GRADIENT_MAPS = 2, GRADIENT_MAPS_3 = 4, GRADIENT_ROWS = 1 };
enum { DENSE_OUTPUTS = 12, PAIR_OUTPUTS = 6, OUTER_OUTPUTS = 6, OUTER_VECTORS = 2 };
enum { MAP_POSITIONS = 5, MAP_VECTORS = 2, MAP_TAPS = 6, INPUT_ROWS = 5, INPUT_VECTORS = 2 };
enum { COLUMN_MAPS = 6, COLUMN_VECTORS = 2, COLUMN_TAPS = 5, COLUMN_TAPS_MAPS = 2 };
enum { CURVE_VECTORS = 4 };
#endif
enum { ROW_OUTPUTS = 8 };
enum { LANES_F32 = LANES_BYTES / 4, LANES_F64 = LANES_BYTES / 8 };

/* Aligned like a scalar, so that a caller's array can be read through it. */
typedef float lanes_f32 __attribute__((vector_size(LANES_BYTES), aligned(4), may_alias));
typedef double lanes_f64 __attribute__((vector_size(LANES_BYTES), aligned(8), may_alias));
typedef int32_t lanes_i32 __attribute__((vector_size(LANES_BYTES), aligned(4), may_alias));
typedef int64_t lanes_i64 __attribute__((vector_size(LANES_BYTES), aligned(8), may_alias));

/* In a register: read once. GCC would rather read a number again in each multiply-add, and a core
   does no more loads than multiply-adds in a cycle. */
#if defined(__x86_64__) && defined(__AVX__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif

/* An address of which the compiler knows nothing. From a few such addresses and the distance of
   rows, instructions reach many rows. Left to itself GCC keeps an address of each, with AVX-512 in
   vector registers when others run out, and moves them back in every turn of a loop. */
static inline const char *opaque(const char *address) {
#if defined(__AVX512F__)
    __asm__("" : "+r"(address));
#endif
    return address;
}

static inline void prefetch(const void *address) { __builtin_prefetch(address); }

/* Where the second of two pixels leads, in scan order: the first of equals stays, and NaN beats
   numbers. */
#define TAKES(first, second) (~((second) <= (first)) & ((first) == (first)))
#define CHOSEN(REAL, INT, mask, a, b) ((REAL)(((INT)(a) & (mask)) | ((INT)(b) & ~(mask))))

/* The functions of both types.

   splat: x - 0 is x for every x, -0 and NaN included.
   power_of_two: 2^n from k = 1.5 * 2^MANTISSA + n, in whose low bits n stands.
   where_negative: a where x is below zero, else b.
   routed: what is left, in the lanes where x is the leader of its window; it is then no more left.
   The leader is the first pixel that has its bits: so NaN is found, and the other zero is not.
   routed_equal: `all`, in the lanes where x equals the leader of its window; NaN equals nothing. */
#define FUNCTIONS(NUMBER, REAL, INT, MANTISSA, ONE, SIGN, T)                                     \
    static inline REAL splat_##T(NUMBER x) { return x - (REAL){0}; }                             \
    static inline REAL in_register_##T(REAL x) { IN_REGISTER(x); return x; }                     \
    static inline REAL power_of_two_##T(REAL k) { return (REAL)(((INT)k << MANTISSA) + ONE); }   \
    static inline REAL absolute_##T(REAL x) { return (REAL)((INT)x & ~SIGN); }                   \
    static inline REAL with_sign_##T(REAL size, REAL sign) {                                     \
        return (REAL)(((INT)size & ~SIGN) | ((INT)sign & SIGN));                                 \
    }                                                                                            \
    static inline REAL where_negative_##T(REAL x, REAL a, REAL b) {                              \
        INT below = x < splat_##T(0);                                                            \
        return CHOSEN(REAL, INT, below, a, b);                                                   \
    }                                                                                            \
    static inline REAL leader_##T(REAL first, REAL second) {                                     \
        INT takes = TAKES(first, second);                                                        \
        return CHOSEN(REAL, INT, takes, second, first);                                          \
    }                                                                                            \
    static inline REAL routed_##T(REAL x, REAL leader, REAL *left) {                             \
        INT wins = (INT)x == (INT)leader, all = (INT)*left;                                      \
        *left = (REAL)(all & ~wins);                                                             \
        return (REAL)(all & wins);                                                               \
    }                                                                                            \
    static inline REAL routed_equal_##T(REAL x, REAL leader, REAL all) {                         \
        return (REAL)((INT)all & (x == leader));                                                 \
    }
FUNCTIONS(float, lanes_f32, lanes_i32, 23, 0x3f800000, INT32_MIN, f32)
FUNCTIONS(double, lanes_f64, lanes_i64, 52, 0x3ff0000000000000, INT64_MIN, f64)

/* The larger of the two; NaN in x stays: the instruction's result is its second argument where one
   is NaN. */
static inline lanes_f32 at_least_f32(lanes_f32 x, lanes_f32 least) {
#if defined(__AVX512F__)
    return (lanes_f32)_mm512_max_ps((__m512)least, (__m512)x);
#elif defined(__AVX__)
    return (lanes_f32)_mm256_max_ps((__m256)least, (__m256)x);
#else
    return where_negative_f32(x - least, least, x);
#endif
}
static inline lanes_f64 at_least_f64(lanes_f64 x, lanes_f64 least) {
#if defined(__AVX512F__)
    return (lanes_f64)_mm512_max_pd((__m512d)least, (__m512d)x);
#elif defined(__AVX__)
    return (lanes_f64)_mm256_max_pd((__m256d)least, (__m256d)x);
#else
    return where_negative_f64(x - least, least, x);
#endif
}

/* Draws of dropout: see kernels/layers/dropout.pxi. kept: all bits set in the lanes, one per image,
   whose draw for a unit is `least` or more. The words of the images' keys are in memory. */
typedef uint32_t words_f32 __attribute__((vector_size(4 * LANES_F32), aligned(4), may_alias));
typedef uint32_t words_f64 __attribute__((vector_size(4 * LANES_F64), aligned(4), may_alias));
#define DRAWS(REAL, INT, WORDS, T)                                                               \
    static inline REAL kept_##T(                                                                 \
        const uint32_t *low, const uint32_t *high, uint32_t unit, uint32_t least) {              \
        WORDS h = *(const WORDS *)low + unit;                                                    \
        h = (h ^ (h >> 16)) * 0x21f0aaadu;                                                       \
        h ^= *(const WORDS *)high;                                                               \
        h = (h ^ (h >> 15)) * 0x735a2d97u;                                                       \
        return (REAL)__builtin_convertvector(h >= least, INT);                                   \
    }                                                                                            \
    static inline REAL masked_##T(REAL x, REAL mask) { return (REAL)((INT)x & (INT)mask); }
DRAWS(lanes_f32, lanes_i32, words_f32, f32)
DRAWS(lanes_f64, lanes_i64, words_f64, f64)

#if defined(__clang__)
#define SHUFFLE(a, b, INT, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, INT, ...) __builtin_shuffle(a, b, (INT){__VA_ARGS__})
#endif

/* Transpose a square of vectors in place. First within groups of rows as high as 16 bytes are
   wide, then the groups' 16-byte blocks: each pattern is one of the CPU's fast shuffles, which
   stay within such a block, or move whole ones. */
#if LANES_BYTES == 64
enum { BLOCKS = 4 };
#define LOW_PAIRS 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH_PAIRS 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW_QUADS 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH_QUADS 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW_F64 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH_F64 1, 9, 3, 11, 5, 13, 7, 15
#define EVEN_F32 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD_F32 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define EVEN_F64 0, 1, 4, 5, 8, 9, 12, 13
#define ODD_F64 2, 3, 6, 7, 10, 11, 14, 15
#elif LANES_BYTES == 32
enum { BLOCKS = 2 };
#define LOW_PAIRS 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH_PAIRS 2, 10, 3, 11, 6, 14, 7, 15
#define LOW_QUADS 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH_QUADS 2, 3, 10, 11, 6, 7, 14, 15
#define LOW_F64 0, 4, 2, 6
#define HIGH_F64 1, 5, 3, 7
#define EVEN_F32 0, 1, 2, 3, 8, 9, 10, 11
#define ODD_F32 4, 5, 6, 7, 12, 13, 14, 15
#define EVEN_F64 0, 1, 4, 5
#define ODD_F64 2, 3, 6, 7
#else
enum { BLOCKS = 1 };
#define LOW_PAIRS 0, 4, 1, 5
#define HIGH_PAIRS 2, 6, 3, 7
#define LOW_QUADS 0, 1, 4, 5
#define HIGH_QUADS 2, 3, 6, 7
#define LOW_F64 0, 2
#define HIGH_F64 1, 3
#define EVEN_F32 LOW_QUADS
#define ODD_F32 HIGH_QUADS
#define EVEN_F64 LOW_F64
#define ODD_F64 HIGH_F64
#endif

#define TRANSPOSE_BLOCKS(NAME, REAL, INT, WIDE, EVEN, ODD)                                       \
    static inline __attribute__((always_inline)) void NAME(const REAL *group, REAL *row) {       \
        for (int c = 0; c < WIDE; c++) {                                                         \
            REAL half[2 * BLOCKS];                                                               \
            if (BLOCKS == 1) row[c] = group[c];                                                  \
            for (int g = 0; g + 1 < BLOCKS; g += 2) {                                            \
                half[g] = SHUFFLE(group[g * WIDE + c], group[(g + 1) * WIDE + c], INT, EVEN);    \
                half[g + 1] = SHUFFLE(group[g * WIDE + c], group[(g + 1) * WIDE + c], INT, ODD); \
            }                                                                                    \
            for (int k = 0; k < 2 && BLOCKS == 2; k++) row[k * WIDE + c] = half[k];              \
            for (int k = 0; k < 2 && BLOCKS == 4; k++) {                                         \
                row[k * WIDE + c] = SHUFFLE(half[k], half[k + 2], INT, EVEN);                    \
                row[(k + 2) * WIDE + c] = SHUFFLE(half[k], half[k + 2], INT, ODD);               \
            }                                                                                    \
        }                                                                                        \
    }
TRANSPOSE_BLOCKS(transpose_blocks_f32, lanes_f32, lanes_i32, 4, EVEN_F32, ODD_F32)
TRANSPOSE_BLOCKS(transpose_blocks_f64, lanes_f64, lanes_i64, 2, EVEN_F64, ODD_F64)

static inline __attribute__((always_inline)) void transpose_f32(lanes_f32 *row) {
    lanes_f32 pairs[LANES_F32], group[LANES_F32];
    for (int i = 0; i < LANES_F32; i += 2) {
        pairs[i] = SHUFFLE(row[i], row[i + 1], lanes_i32, LOW_PAIRS);
        pairs[i + 1] = SHUFFLE(row[i], row[i + 1], lanes_i32, HIGH_PAIRS);
    }
    for (int i = 0; i < LANES_F32; i += 4)
        for (int k = 0; k < 2; k++) {
            group[i + 2 * k] = SHUFFLE(pairs[i + k], pairs[i + k + 2], lanes_i32, LOW_QUADS);
            group[i + 2 * k + 1] = SHUFFLE(pairs[i + k], pairs[i + k + 2], lanes_i32, HIGH_QUADS);
        }
    transpose_blocks_f32(group, row);
}
static inline __attribute__((always_inline)) void transpose_f64(lanes_f64 *row) {
    lanes_f64 group[LANES_F64];
    for (int i = 0; i < LANES_F64; i += 2) {
        group[i] = SHUFFLE(row[i], row[i + 1], lanes_i64, LOW_F64);
        group[i + 1] = SHUFFLE(row[i], row[i + 1], lanes_i64, HIGH_F64);
    }
    transpose_blocks_f64(group, row);
}

/* Columns of maps, two vectors of them to every second one and back. */
#if LANES_BYTES == 64
#define BOTH_EVENS_F32 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define BOTH_ODDS_F32 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define ZIP_LOW_F32 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH_F32 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define BOTH_EVENS_F64 0, 2, 4, 6, 8, 10, 12, 14
#define BOTH_ODDS_F64 1, 3, 5, 7, 9, 11, 13, 15
#define ZIP_LOW_F64 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH_F64 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES_BYTES == 32
#define BOTH_EVENS_F32 0, 2, 4, 6, 8, 10, 12, 14
#define BOTH_ODDS_F32 1, 3, 5, 7, 9, 11, 13, 15
#define ZIP_LOW_F32 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH_F32 4, 12, 5, 13, 6, 14, 7, 15
#define BOTH_EVENS_F64 0, 2, 4, 6
#define BOTH_ODDS_F64 1, 3, 5, 7
#define ZIP_LOW_F64 0, 4, 1, 5
#define ZIP_HIGH_F64 2, 6, 3, 7
#else
#define BOTH_EVENS_F32 0, 2, 4, 6
#define BOTH_ODDS_F32 1, 3, 5, 7
#define ZIP_LOW_F32 0, 4, 1, 5
#define ZIP_HIGH_F32 2, 6, 3, 7
#define BOTH_EVENS_F64 0, 2
#define BOTH_ODDS_F64 1, 3
#define ZIP_LOW_F64 0, 2
#define ZIP_HIGH_F64 1, 3
#endif
#define PAIR_SHUFFLE(NAME, REAL, INT, PATTERN)                                                   \
    static inline REAL NAME(REAL a, REAL b) { return SHUFFLE(a, b, INT, PATTERN); }
PAIR_SHUFFLE(evens_f32, lanes_f32, lanes_i32, BOTH_EVENS_F32)
PAIR_SHUFFLE(evens_f64, lanes_f64, lanes_i64, BOTH_EVENS_F64)
PAIR_SHUFFLE(odds_f32, lanes_f32, lanes_i32, BOTH_ODDS_F32)
PAIR_SHUFFLE(odds_f64, lanes_f64, lanes_i64, BOTH_ODDS_F64)
PAIR_SHUFFLE(zipped_low_f32, lanes_f32, lanes_i32, ZIP_LOW_F32)
PAIR_SHUFFLE(zipped_low_f64, lanes_f64, lanes_i64, ZIP_LOW_F64)
PAIR_SHUFFLE(zipped_high_f32, lanes_f32, lanes_i32, ZIP_HIGH_F32)
PAIR_SHUFFLE(zipped_high_f64, lanes_f64, lanes_i64, ZIP_HIGH_F64)

/* Max pooling's way back through windows of 2 x 2 side by side: every value of dy goes to the
   leader of its window, or to all pixels equal to it, and the others get zero. It takes a vector of
   each row of two pairs of rows, which lie one behind the other, and sorts their pixels by their
   places in a window. A lane is then a window, of the upper and the lower pair by turns. The
   vectors have no more than 32 bytes: 64 fit short rows badly, and cross a cache line wherever a
   row does not begin with one. */
#if LANES_BYTES == 16
#define PAIRS_BYTES 16
#define LEFT_F32 0, 2, 4, 6
#define RIGHT_F32 1, 3, 5, 7
#define UPPER_F32 0, 4, 1, 5
#define LOWER_F32 2, 6, 3, 7
#define LEFT_F64 0, 2
#define RIGHT_F64 1, 3
#define BY_TURNS 0, 2
#else
#define PAIRS_BYTES 32
#define LEFT_F32 0, 2, 8, 10, 4, 6, 12, 14
#define RIGHT_F32 1, 3, 9, 11, 5, 7, 13, 15
#define UPPER_F32 0, 8, 1, 9, 4, 12, 5, 13
#define LOWER_F32 2, 10, 3, 11, 6, 14, 7, 15
#define LEFT_F64 0, 4, 2, 6
#define RIGHT_F64 1, 5, 3, 7
#define BY_TURNS 0, 4, 1, 5
#endif
#define UPPER_F64 LEFT_F64  /* a square of two, transposed, is transposed back alike */
#define LOWER_F64 RIGHT_F64
enum { PAIRS_F32 = PAIRS_BYTES / 4, PAIRS_F64 = PAIRS_BYTES / 8 };
typedef float pairs_f32 __attribute__((vector_size(PAIRS_BYTES), aligned(4), may_alias));
typedef double pairs_f64 __attribute__((vector_size(PAIRS_BYTES), aligned(8), may_alias));
typedef int32_t pairs_i32 __attribute__((vector_size(PAIRS_BYTES), aligned(4), may_alias));
typedef int64_t pairs_i64 __attribute__((vector_size(PAIRS_BYTES), aligned(8), may_alias));
#define ROUTE_PAIRS(NAME, NUMBER, REAL, INT, LEFT, RIGHT, UPPER, LOWER)                           \
    static inline void NAME(                                                                     \
        const NUMBER *dy, const NUMBER *x, NUMBER *dx, ptrdiff_t columns, int every) {           \
        REAL row[4], share[2];                                                                   \
        for (int r = 0; r < 4; r++) row[r] = *(const REAL *)(x + r * columns);                   \
        for (int k = 0; k < 2; k++) share[k] = *(const REAL *)(dy + k * (columns / 2));          \
        REAL top_left = SHUFFLE(row[0], row[2], INT, LEFT);                                      \
        REAL top_right = SHUFFLE(row[0], row[2], INT, RIGHT);                                    \
        REAL bottom_left = SHUFFLE(row[1], row[3], INT, LEFT);                                   \
        REAL bottom_right = SHUFFLE(row[1], row[3], INT, RIGHT);                                 \
        INT right = TAKES(top_left, top_right), right_below = TAKES(bottom_left, bottom_right);  \
        INT top = ((INT)top_right & right) | ((INT)top_left & ~right);                           \
        INT bottom = ((INT)bottom_right & right_below) | ((INT)bottom_left & ~right_below);      \
        INT low = TAKES((REAL)top, (REAL)bottom);                                                \
        INT all = (INT)SHUFFLE((pairs_i64)share[0], (pairs_i64)share[1], pairs_i64, BY_TURNS);   \
        INT above = all & ~low, below = all & low;                                               \
        INT given[4] = {                                                                         \
            above & ~right, above & right, below & ~right_below, below & right_below};           \
        if (every) {                                                                             \
            REAL best = (REAL)((bottom & low) | (top & ~low));                                   \
            given[0] = all & (top_left == best);                                                 \
            given[1] = all & (top_right == best);                                                \
            given[2] = all & (bottom_left == best);                                              \
            given[3] = all & (bottom_right == best);                                             \
        }                                                                                        \
        /* Row after row: what a vector writes beyond a short row, the next ones write over. */  \
        *(INT *)dx = SHUFFLE(given[0], given[1], INT, UPPER);                                    \
        *(INT *)(dx + columns) = SHUFFLE(given[2], given[3], INT, UPPER);                        \
        *(INT *)(dx + 2 * columns) = SHUFFLE(given[0], given[1], INT, LOWER);                    \
        *(INT *)(dx + 3 * columns) = SHUFFLE(given[2], given[3], INT, LOWER);                    \
    }
ROUTE_PAIRS(
    route_pairs_f32, float, pairs_f32, pairs_i32, LEFT_F32, RIGHT_F32, UPPER_F32, LOWER_F32)
ROUTE_PAIRS(
    route_pairs_f64, double, pairs_f64, pairs_i64, LEFT_F64, RIGHT_F64, UPPER_F64, LOWER_F64)

/* Scratch memory. A debug build puts a known pattern before and behind it, and looks again. */
enum { SCRATCH_GUARD = 64, SCRATCH_PATTERN = 0x5a };

static inline void *aligned_new(size_t bytes) {
#if defined(_WIN32)
    return _aligned_malloc(bytes, 64);
#else
    void *memory = NULL;
    return posix_memalign(&memory, 64, bytes) ? NULL : memory;
#endif
}
static inline void aligned_free(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

static inline void *scratch_new(size_t bytes) {
    size_t room = (bytes + 63) / 64 * 64;
    if (room < bytes) return NULL;
#if defined(LENET_FAST_DEBUG)
    char *start = (char *)aligned_new(room + 3 * SCRATCH_GUARD);
    if (!start) return NULL;
    memset(start, SCRATCH_PATTERN, room + 3 * SCRATCH_GUARD);
    memcpy(start, &bytes, sizeof bytes);
    return start + 2 * SCRATCH_GUARD;
#else
    return aligned_new(room ? room : 64);
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
    aligned_free(start);
#else
    aligned_free(memory);
#endif
}

/* Bytes of images to lanes: 16 pixels of so many images, transposed, made floats. */
typedef uint8_t bytes_16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint8_t bytes_f32 __attribute__((vector_size(LANES_F32), aligned(1), may_alias));
typedef uint8_t bytes_f64 __attribute__((vector_size(LANES_F64), aligned(1), may_alias));
#define LOW_BYTES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_BYTES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

/* square[p] becomes byte p of each row: four rounds of perfect shuffles. */
static inline void transpose_bytes(bytes_16 *square) {
    for (int round = 0; round < 4; round++) {
        bytes_16 next[16];
        for (int i = 0; i < 8; i++) {
            next[2 * i] = SHUFFLE(square[i], square[i + 8], bytes_16, LOW_BYTES);
            next[2 * i + 1] = SHUFFLE(square[i], square[i + 8], bytes_16, HIGH_BYTES);
        }
        for (int i = 0; i < 16; i++) square[i] = next[i];
    }
}
/* GCC would convert one byte after the other. */
static inline lanes_f32 from_bytes_f32(const bytes_16 *x) {
#if defined(__AVX512F__)
    return (lanes_f32)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)x)));
#elif defined(__AVX2__)
    return (lanes_f32)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)x)));
#else
    return __builtin_convertvector(*(const bytes_f32 *)x, lanes_f32);
#endif
}
static inline lanes_f64 from_bytes_f64(const bytes_16 *x) {
#if defined(__AVX512F__)
    return (lanes_f64)_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)x)));
#else
    return __builtin_convertvector(*(const bytes_f64 *)x, lanes_f64);
#endif
}

/* Numbers too small for a full mantissa count as 0 on this thread, until `restore_small`. Intel's
   cores take a hundred times as long for them, and the gradient of a digit that the network is sure
   of consists of them. */
static inline unsigned flush_small(void) {
#if defined(__x86_64__)
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040); /* flush results to zero; read inputs as zero */
    return before;
#else
    return 0;
#endif
}
static inline void restore_small(unsigned before) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(before);
#else
    (void)before;
#endif
}

/* The threads of one call take numbered tickets, and wait until enough are done. */
static inline long long take_ticket(long long *next) {
    return __atomic_fetch_add(next, 1, __ATOMIC_ACQ_REL);
}
static inline void ticket_done(long long *done) { __atomic_fetch_add(done, 1, __ATOMIC_ACQ_REL); }
static inline long long read_shared(const long long *x) {
    return __atomic_load_n(x, __ATOMIC_ACQUIRE);
}
static inline void write_shared(long long *x, long long value) {
    __atomic_store_n(x, value, __ATOMIC_RELEASE);
}
/* Busy for a few microseconds, as long as most waits are; then others get the core. */
static inline void wait_a_little(long long turns) {
    if (turns > 2000) {
        sched_yield();
    } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}
static inline double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
