/*
 * Rounding of what goes into matrix products, as llama.cpp's kernels for CPUs do it: they multiply quantized weights with
 * vectors that are quantized to 8 bits, too. For numbers that can be compared with those of its tools.
 */
#ifndef NB_ACTIVATIONS_H
#define NB_ACTIVATIONS_H

#include "formats/base/pool.h"
#include "formats/elements/types.h"

#include <stddef.h>

enum nb_rounding {
    NB_ROUNDING_NONE,
    NB_ROUNDING_F16,
    NB_ROUNDING_BF16,
    NB_ROUNDING_Q8_0, /* blocks of 32, with a scale in F16; also that of Q8_1 */
    NB_ROUNDING_Q8_K, /* blocks of 256, with a scale in F32 */
};

/* What the vectors are rounded to that are multiplied with weights of TYPE: ggml-cpu's table of type traits. */
enum nb_rounding nb_rounding_for(enum nb_type type);
/* OUT[i] = the rounded X[i], for N elements. A last block may be short. Values that are not finite become NaN. */
void nb_round_row(enum nb_rounding rounding, const float *x, size_t n, float *out);
/* The same for ROWS rows of COLUMNS elements. */
enum nb_status nb_round_rows(enum nb_rounding rounding, const float *x, size_t rows, size_t columns,
                             struct nb_pool *pool, float *out, struct nb_error *err) NB_MUST_CHECK;

#endif
