/*
 * Loops over the codes of weights that other toolkits have quantized, with the current tier. All tiers compute the same:
 * each step is one float32 operation.
 */
#ifndef NB_CODE_LOOPS_H
#define NB_CODE_LOOPS_H

#include "formats/elements/tier.h"

#include <stddef.h>
#include <stdint.h>

struct nb_code_loops {
    /* OUT[i] = the bits of MASK in word i, of 32 bits, from bit SHIFT on, minus MINUS. */
    void (*of_words)(const void *words, unsigned shift, unsigned mask, int minus, size_t count, float *out);
    /* OUT[8 i + k] = the four bits of word i from bit SHIFT[k] on, minus MINUS. */
    void (*of_nibbles)(const void *words, const uint32_t *shift, int minus, size_t count, float *out);
    /* X[i] = (X[i] - ZEROS[i]) * SCALES[i]; ZEROS may be NULL. */
    void (*scale)(float *x, const float *zeros, const float *scales, size_t count);
};

const struct nb_code_loops *nb_code_loops(void);

#ifdef NB_TIER
extern const struct nb_code_loops NB_TIERED(nb_code_loops);
#endif

#endif
