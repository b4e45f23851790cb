/* Compiled once per tier. Loops of constant length are what compilers make vectors of. */
#include "formats/elements/code_loops.h"
#include "formats/elements/lanes.h"

#include <string.h>

#define STEP 16
#define IN_WORD 8 /* codes of four bits */

static void
of_words(const void *words, unsigned shift, unsigned mask, int minus, size_t count, float *out)
{
    const unsigned char *at = words;
    uint32_t word[STEP];
    size_t i = 0;

    for (; i + STEP <= count; i += STEP) {
        memcpy(word, at + i * sizeof word[0], sizeof word);
        for (int k = 0; k < STEP; k++)
            out[i + (size_t)k] = (float)((int)(word[k] >> shift & mask) - minus);
    }
    for (; i < count; i++) {
        memcpy(word, at + i * sizeof word[0], sizeof word[0]);
        out[i] = (float)((int)(word[0] >> shift & mask) - minus);
    }
}

static void
of_nibbles(const void *words, const uint32_t *shift, int minus, size_t count, float *out)
{
    const unsigned char *at = words;
    uint32_t by[IN_WORD];

    memcpy(by, shift, sizeof by);
    for (size_t i = 0; i < count; i++) {
        uint32_t word;

        memcpy(&word, at + i * sizeof word, sizeof word);
        for (int k = 0; k < IN_WORD; k++)
            out[i * IN_WORD + (size_t)k] = (float)((int)(word >> by[k] & 15) - minus);
    }
}

static void
scale(float *x, const float *zeros, const float *scales, size_t count)
{
    size_t i = 0;

    for (; zeros != NULL && i + NB_LANES <= count; i += NB_LANES)
        lf_store(x + i, (lf_load(x + i) - lf_load(zeros + i)) * lf_load(scales + i));
    for (; zeros == NULL && i + NB_LANES <= count; i += NB_LANES)
        lf_store(x + i, lf_load(x + i) * lf_load(scales + i));
    for (; i < count; i++)
        x[i] = (x[i] - (zeros != NULL ? zeros[i] : 0)) * scales[i];
}

const struct nb_code_loops NB_TIERED(nb_code_loops) = { of_words, of_nibbles, scale };
