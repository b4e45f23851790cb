/* The types of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/decoders.h"
#include "formats/elements/halves.h"

#define BLOCK 32

void
NB_TIERED(nb_decode_q4_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q4_0 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < 16; k++) {
            out[k] = (float)((b->qs[k] & 15) - 8) * d;
            out[k + 16] = (float)((b->qs[k] >> 4) - 8) * d;
        }
    }
}

void
NB_TIERED(nb_decode_q4_1)(const void *blocks, size_t count, float *out)
{
    const struct block_q4_1 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d), m = nb_f16_to_f32(b->m);

        for (int k = 0; k < 16; k++) {
            out[k] = (float)(b->qs[k] & 15) * d + m;
            out[k + 16] = (float)(b->qs[k] >> 4) * d + m;
        }
    }
}

/* The five-bit level of weight K. */
static int
five_bits(const uint8_t *qs, const uint8_t *qh, int k)
{
    return (qs[k % 16] >> (k / 16 * 4) & 15) | (qh[k / 8] >> (k % 8) & 1) << 4;
}

void
NB_TIERED(nb_decode_q5_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q5_0 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)(five_bits(b->qs, b->qh, k) - 16) * d;
    }
}

void
NB_TIERED(nb_decode_q5_1)(const void *blocks, size_t count, float *out)
{
    const struct block_q5_1 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d), m = nb_f16_to_f32(b->m);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)five_bits(b->qs, b->qh, k) * d + m;
    }
}

void
NB_TIERED(nb_decode_q8_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q8_0 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)b->qs[k] * d;
    }
}

/* Q8_1 is meant for products at run time: its sum s is not needed for decoding. */
void
NB_TIERED(nb_decode_q8_1)(const void *blocks, size_t count, float *out)
{
    const struct block_q8_1 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)b->qs[k] * d;
    }
}
