/* The types of one or two bits: TQ1_0, TQ2_0, Q1_0, Q2_0. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/decoders.h"
#include "formats/elements/halves.h"

/* Trit N of a byte of TQ1_0, times D. */
static float
trit_value(uint8_t byte, int n, float d)
{
    static const uint8_t powers[5] = { 1, 3, 9, 27, 81 };
    const uint8_t rest = (uint8_t)(byte * powers[n]);

    return (float)((rest * 3 >> 8) - 1) * d;
}

void
NB_TIERED(nb_decode_tq1_0)(const void *blocks, size_t count, float *out)
{
    const struct block_tq1_0 *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int n = 0; n < 5; n++) {
            for (int m = 0; m < 32; m++)
                out[32 * n + m] = trit_value(b->qs[m], n, d);
            for (int m = 0; m < 16; m++)
                out[160 + 16 * n + m] = trit_value(b->qs[32 + m], n, d);
        }
        for (int n = 0; n < 4; n++)
            for (int m = 0; m < 4; m++)
                out[240 + 4 * n + m] = trit_value(b->qh[m], n, d);
    }
}

void
NB_TIERED(nb_decode_tq2_0)(const void *blocks, size_t count, float *out)
{
    const struct block_tq2_0 *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 8; j++)
            for (int m = 0; m < 32; m++)
                out[32 * j + m] = (float)((b->qs[j / 4 * 32 + m] >> (j % 4 * 2) & 3) - 1) * d;
    }
}

void
NB_TIERED(nb_decode_q1_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q1_0 *b = blocks;

    for (size_t i = 0; i < count / 128; i++, b++, out += 128) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 128; j++)
            out[j] = b->qs[j / 8] >> (j % 8) & 1 ? d : -d;
    }
}

void
NB_TIERED(nb_decode_q2_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q2_0 *b = blocks;

    for (size_t i = 0; i < count / 64; i++, b++, out += 64) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 64; j++)
            out[j] = (float)((b->qs[j / 4] >> (j % 4 * 2) & 3) - 1) * d;
    }
}
