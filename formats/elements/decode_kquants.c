/* The K-quants: super-blocks of 256 weights whose groups have quantized scales. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/decoders.h"
#include "formats/elements/halves.h"

/* The values of Q4_K's and Q5_K's scales and minimums. */
static void
unpack_steps(uint16_t d, uint16_t dmin, const uint8_t *packed, float *ds, float *dm)
{
    const float scale = nb_f16_to_f32(d), min = nb_f16_to_f32(dmin);

    for (int j = 0; j < 4; j++) {
        ds[j] = scale * (float)(packed[j] & 63);
        dm[j] = min * (float)(packed[j + 4] & 63);
        ds[j + 4] = scale * (float)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        dm[j + 4] = min * (float)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

void
NB_TIERED(nb_decode_q2_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q2_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        const float d = nb_f16_to_f32(b->d), dmin = nb_f16_to_f32(b->dmin);

        for (int j = 0; j < 16; j++) {
            const float scale = d * (float)(b->scales[j] & 15), min = dmin * (float)(b->scales[j] >> 4);

            for (int l = 0; l < 16; l++)
                out[16 * j + l] = scale * (float)(b->qs[j / 8 * 32 + j % 2 * 16 + l] >> (j % 8 / 2 * 2) & 3) - min;
        }
    }
}

void
NB_TIERED(nb_decode_q4_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q4_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        float ds[8], dm[8];

        unpack_steps(b->d, b->dmin, b->scales, ds, dm);
        for (int j = 0; j < 8; j++)
            for (int l = 0; l < 32; l++)
                out[32 * j + l] = ds[j] * (float)(b->qs[j / 2 * 32 + l] >> (j % 2 * 4) & 15) - dm[j];
    }
}

void
NB_TIERED(nb_decode_q5_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q5_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        float ds[8], dm[8];

        unpack_steps(b->d, b->dmin, b->scales, ds, dm);
        for (int j = 0; j < 8; j++) {
            for (int l = 0; l < 32; l++) {
                const int low = b->qs[j / 2 * 32 + l] >> (j % 2 * 4) & 15, high = b->qh[l] >> j & 1;

                out[32 * j + l] = ds[j] * (float)(low | high << 4) - dm[j];
            }
        }
    }
}

void
NB_TIERED(nb_decode_q3_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q3_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 16; j++) {
            const int low = b->scales[j % 8] >> (j / 8 * 4) & 15, high = b->scales[8 + j % 4] >> (j / 4 * 2) & 3;
            const float scale = d * (float)((low | high << 4) - 32);

            for (int l = 0; l < 16; l++) {
                const int at = j % 2 * 16 + l; /* in 32 bytes */
                const int level = (b->qs[j / 8 * 32 + at] >> (j % 8 / 2 * 2) & 3) | (b->hmask[at] >> (j / 2) & 1) << 2;

                out[16 * j + l] = scale * (float)(level - 4);
            }
        }
    }
}

/* The levels of 128 weights, in one byte each: steps that vectors of bytes can take. */
static void
unpack_levels_q6_K(const uint8_t *restrict ql, const uint8_t *restrict qh, int8_t *restrict level)
{
    for (int l = 0; l < 32; l++) {
        level[l] = (int8_t)(((ql[l] & 15) | (qh[l] & 3) << 4) - 32);
        level[32 + l] = (int8_t)(((ql[32 + l] & 15) | (qh[l] >> 2 & 3) << 4) - 32);
        level[64 + l] = (int8_t)((ql[l] >> 4 | (qh[l] >> 4 & 3) << 4) - 32);
        level[96 + l] = (int8_t)((ql[32 + l] >> 4 | qh[l] >> 6 << 4) - 32);
    }
}

void
NB_TIERED(nb_decode_q6_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q6_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, out += NB_SUPER_BLOCK) {
        const float d = nb_f16_to_f32(b->d);
        int8_t level[NB_SUPER_BLOCK];

        unpack_levels_q6_K(b->ql, b->qh, level);
        unpack_levels_q6_K(b->ql + 64, b->qh + 32, level + 128);
        for (int j = 0; j < 16; j++) {
            const float scale = d * (float)b->scales[j];

#pragma GCC unroll 1 /* a vector of these 16; unrolled, GCC takes vectors across groups, which is far slower */
            for (int l = 0; l < 16; l++)
                out[16 * j + l] = scale * (float)level[16 * j + l];
        }
    }
}
