"""The parts of a program that are the same for every network: templates of C.

What they leave open is written ``$name``, as :class:`string.Template` has it.
"""

from __future__ import annotations

HEADER = """\
/*
 * $name.h: a network that reads digits, $kind; written by lenet_fast.
 *
$layers
 *
 * $sizes.
 */
#ifndef ${NAME}_H
#define ${NAME}_H

$include#define ${NAME}_MAPS $maps
#define ${NAME}_ROWS $rows
#define ${NAME}_COLUMNS $columns
#define ${NAME}_CLASSES $classes
$define
#ifdef __cplusplus
extern "C" {
#endif

/*
 * Return the class of an image, and its outputs:
 * $outputs.
 *
 * The pixels are bytes, 0 background to 255 foreground, row by row: $inverted.
 * An image that is smaller than the network's input, $height x $width, is centred in it; for one
 * that is larger, the result is -1. There is one set of buffers: threads have to take turns.
 */
int ${name}_classify(const unsigned char *pixels, int rows, int columns, $output outputs[$classes]);

/* Compute the outputs for an image that is prepared already, $meaning. */
void ${name}_run($value image$image, $output outputs[$classes]);
"""

HEADER_END = """\
#ifdef __cplusplus
}
#endif

#endif
"""

SOFTMAX_DECLARED = """\
/* Turn the outputs into probabilities. */
void ${name}_softmax(float outputs[$classes]);
"""

HEAD = """\
/*
 * $name.c: a network that reads digits, $kind; written by lenet_fast.
 *
$layers
 *
 * $sizes.
 *
 * As a program that reads images from files or standard input:
 *
 *     cc -std=c99 -O2 -D${NAME}_MAIN $name.c ${libraries}-o $name
 *
 * Indices: o output map, c input map, r and s row and column of the output, u and v row and column
 * in the kernel.
 */
#include "$name.h"
"""

LIBM = "#include <math.h>\n"

OWN = {
    "expm1f": """\
/*
 * e^x - 1, wrong by 2 units of the last place at most: 2^k e^r - 1, where r is small and its power
 * series short.
 */
#define expm1f own_expm1f
static float expm1f(float x)
{
    if (x > 88.0f)
        x = 88.0f;
    if (x < -88.0f)
        x = -88.0f;
    int k = (int)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    float r = (x - (float)k * 0.693145752f) - (float)k * 1.42860677e-6f;
    float series = 1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7)));
    series = r * (1 + r / 2 * (1 + r / 3 * series));
    float power = 1;
    for (int i = 0; i < k; i++)
        power *= 2;
    for (int i = 0; i > k; i--)
        power /= 2;
    return power * series + (power - 1);
}
""",
    "expf": """\
#define expf own_expf
static float expf(float x)
{
    return expm1f(x) + 1;
}
""",
    "tanhf": """\
#define tanhf own_tanhf
static float tanhf(float x)
{
    float e = expm1f(x > 10 ? 20 : x < -10 ? -20 : 2 * x);
    return e / (e + 2);
}
""",
    "erff": """\
/* Wrong by 5e-7 at most (Abramowitz and Stegun 1964, 7.1.26). */
#define erff own_erff
static float erff(float x)
{
    float t = 1 / (1 + 0.3275911f * (x < 0 ? -x : x));
    float series = -0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f));
    float y = 1 - t * (0.254829592f + t * series) * expf(-x * x);
    return x < 0 ? -y : y;
}
""",
}
"""Functions of math.h, for programs without it."""

NEEDS = {
    "scaled_tanh": "expm1f tanhf",
    "tanh": "expm1f tanhf",
    "sigmoid": "expm1f expf",
    "elu": "expm1f",
    "gelu": "expm1f expf erff",
    "gelu_tanh": "expm1f tanhf",
    "softmax": "expm1f expf",
}
"""Which of them an activation needs, and what these need."""

ACTIVATIONS = {
    "scaled_tanh": """\
static float scaled_tanh(float x)
{
    return 1.7159f * tanhf(x * (2.0f / 3));
}
""",
    "sigmoid": """\
static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}
""",
    "relu": """\
static float relu(float x)
{
    return x < 0 ? 0 : x;
}
""",
    "leaky_relu": """\
static float leaky_relu(float x, float slope)
{
    return x < 0 ? x * slope : x;
}
""",
    "elu": """\
static float elu(float x, float alpha)
{
    return x < 0 ? alpha * expm1f(x) : x;
}
""",
    "gelu": """\
/* x times the normal distribution's Phi(x) */
static float gelu(float x)
{
    return 0.5f * x * (1 + erff(x * 0.707106781f));
}
""",
    "gelu_tanh": """\
/* The tanh comes near the normal distribution's Phi. */
static float gelu_tanh(float x)
{
    return 0.5f * x * (1 + tanhf(0.797884561f * (x + 0.044715f * x * x * x)));
}
""",
}

RUN = """\
/* Every layer reads what is in one buffer, and writes the other. */
$buffers
void ${name}_run($value image$image, $output outputs[$classes])
{
$calls
}

/* Put an image into the middle of the network's input, $meaning. */
static void prepare(const unsigned char *pixels, int rows, int columns, $value image$image)
{
    int top = ($height - rows) / 2, left = ($width - columns) / 2;
    for (int c = 0; c < $maps; c++)
        for (int r = 0; r < $height; r++)
            for (int s = 0; s < $width; s++) {
                int i = r - top, j = s - left;
                unsigned char pixel = 0;
                if (i >= 0 && i < rows && j >= 0 && j < columns)
                    pixel = pixels[(c * rows + i) * columns + j];
                image[c][r][s] = $pixel;
            }
}

int ${name}_classify(const unsigned char *pixels, int rows, int columns, $output outputs[$classes])
{
    if (rows < 1 || rows > $height || columns < 1 || columns > $width)
        return -1;
    prepare(pixels, rows, columns, even.image);
    ${name}_run(even.image, outputs);
    int best = 0;  /* whose output is the $which */
    for (int k = 1; k < $classes; k++)
        if (outputs[k] $better outputs[best])
            best = k;
    return best;
}
"""

SOFTMAX = """\
void ${name}_softmax(float outputs[$classes])
{
    float largest = outputs[0], sum = 0;
    for (int k = 1; k < $classes; k++)
        if (outputs[k] > largest)
            largest = outputs[k];
    for (int k = 0; k < $classes; k++)
        sum += outputs[k] = expf(outputs[k] - largest);
    for (int k = 0; k < $classes; k++)
        outputs[k] /= sum;
}
"""

MAIN = """\
#ifdef ${NAME}_MAIN
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Return the next number in the head of a PGM file, or -1. */
static int header_number(FILE *file)
{
    int c = getc(file), number = -1;
    while (c == '#' || isspace(c)) {
        if (c == '#')  /* a comment, up to the end of the line */
            while (c != '\\n' && c != EOF)
                c = getc(file);
        c = getc(file);
    }
    for (; c >= '0' && c <= '9' && number < 1000000; c = getc(file))
        number = (number < 0 ? 0 : number * 10) + (c - '0');
    return number;
}

/* Print class and outputs of every image in a file: raw bytes, or PGM (P5). */
static int answer(FILE *file, const char *file_name)
{
    static unsigned char pixels[${NAME}_MAPS * $height * $width];
    $output outputs[$classes];
    unsigned char start[2];
    size_t got;
    while ((got = fread(start, 1, 2, file)) > 0) {
        int rows = ${NAME}_ROWS, columns = ${NAME}_COLUMNS;
        size_t known = got;
        if (${NAME}_MAPS == 1 && got == 2 && start[0] == 'P' && start[1] == '5') {
            known = 0;
            columns = header_number(file);
            rows = header_number(file);
            if (header_number(file) != 255 || rows < 1 || rows > $height || columns < 1 ||
                columns > $width) {
                fprintf(stderr, "%s: expected bytes, at most $height x $width\\n", file_name);
                return 1;
            }
        }
        memcpy(pixels, start, known);
        size_t count = (size_t)(${NAME}_MAPS * rows * columns);
        if (known > count || fread(pixels + known, 1, count - known, file) != count - known) {
            fprintf(stderr, "%s: expected %d bytes, got fewer\\n", file_name, (int)count);
            return 1;
        }
        printf("%d", ${name}_classify(pixels, rows, columns, outputs));
        for (int k = 0; k < $classes; k++)
            printf(" %.9g", $number);
        printf("\\n");
    }
    return 0;
}

int main(int argc, char **argv)
{
    int status = 0;
    if (argc == 1)
        return answer(stdin, "standard input");
    for (int k = 1; k < argc; k++) {
        FILE *file = fopen(argv[k], "rb");
        if (file == NULL) {
            perror(argv[k]);
            status = 1;
            continue;
        }
        status |= answer(file, argv[k]);
        fclose(file);
    }
    return status;
}
#endif
"""

FIXED = {
    "clamp": """\
static int32_t clamp(int32_t x, int32_t limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}
""",
    "scaled": """\
#if (-1 >> 1) != -1
#error "expected a compiler that shifts negative numbers to the right with their sign"
#endif

/* x / 2^shift, rounded to the nearest; of a shift to the left, the result has a limit */
static int32_t scaled(int32_t x, int shift)
{
    if (shift > 0)
        return (x + ((int32_t)1 << (shift - 1))) >> shift;
    return clamp(x, $sums >> -shift) * ((int32_t)1 << -shift);
}
""",
    "relu": """\
static int32_t relu(int32_t x)
{
    return x < 0 ? 0 : x;
}
""",
    "leaky_relu": """\
/* The slope is times 4096. */
static int32_t leaky_relu(int32_t x, int32_t slope)
{
    return x < 0 ? scaled((x < -65536 ? -65536 : x) * slope, 12) : x;
}
""",
    "lookup": """\
/* A function's value at x / $one, on the line between two entries of its table. */
static int32_t lookup(const int16_t table[$entries], int32_t x)
{
    int32_t place = (x < -$half ? -$half : x > $last ? $last : x) + $half;
    int32_t left = table[place / $step], right = table[place / $step + 1];
    return left + scaled((right - left) * (place % $step), $digits);
}
""",
}
"""What programs in integers call; a function may call those before it."""

BY_TABLE = """\
static int32_t ${function}_by_table(int32_t x)
{
    return lookup(${function}_table, x)$linear;
}
"""
