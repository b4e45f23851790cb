/*
 * Levels are unpacked in loops over bytes that compilers make vectors of; they do not know the lanes of a tier. Compiled
 * once per tier.
 */
#include "formats/elements/block_layouts.h"
#include "formats/elements/halves.h"
#include "formats/elements/unpackers.h"

#include <string.h>

#define BLOCK 32

/* The low four bits of 16 bytes, then the high ones, less SHIFT. */
static inline void
unpack_nibbles(const uint8_t *restrict qs, int shift, int8_t *restrict level)
{
    for (int k = 0; k < 16; k++) {
        level[k] = (int8_t)((qs[k] & 15) - shift);
        level[k + 16] = (int8_t)((qs[k] >> 4) - shift);
    }
}

/* Adds 16 where a bit of the four bytes at QH is set: each byte is repeated, cut to one bit in each copy, and made 0 or 1. */
static inline void
add_fifth_bits(const uint8_t *restrict qh, int8_t *restrict level)
{
    int8_t high[BLOCK];

    for (int i = 0; i < 4; i++) {
        const uint64_t bits = qh[i] * 0x0101010101010101u & 0x8040201008040201u;
        const uint64_t ones = (bits + 0x7F7F7F7F7F7F7F7Fu) >> 7 & 0x0101010101010101u;

        for (int k = 0; k < 8; k++)
            high[8 * i + k] = (int8_t)(ones >> (8 * k) & 1);
    }
    for (int k = 0; k < BLOCK; k++)
        level[k] = (int8_t)(level[k] + 16 * high[k]);
}

static void
unpack_q4_0(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q4_0 *b = blocks;

    (void)min;
    for (size_t i = 0; i < count / BLOCK; i++) {
        scale[2 * i] = scale[2 * i + 1] = nb_f16_to_f32(b[i].d);
        unpack_nibbles(b[i].qs, 8, level + BLOCK * i);
    }
}

static void
unpack_q4_1(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q4_1 *b = blocks;

    for (size_t i = 0; i < count / BLOCK; i++) {
        scale[2 * i] = scale[2 * i + 1] = nb_f16_to_f32(b[i].d);
        min[2 * i] = min[2 * i + 1] = -nb_f16_to_f32(b[i].m);
        unpack_nibbles(b[i].qs, 0, level + BLOCK * i);
    }
}

static void
unpack_q5_0(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q5_0 *b = blocks;

    (void)min;
    for (size_t i = 0; i < count / BLOCK; i++) {
        scale[2 * i] = scale[2 * i + 1] = nb_f16_to_f32(b[i].d);
        unpack_nibbles(b[i].qs, 16, level + BLOCK * i);
        add_fifth_bits(b[i].qh, level + BLOCK * i);
    }
}

static void
unpack_q5_1(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q5_1 *b = blocks;

    for (size_t i = 0; i < count / BLOCK; i++) {
        scale[2 * i] = scale[2 * i + 1] = nb_f16_to_f32(b[i].d);
        min[2 * i] = min[2 * i + 1] = -nb_f16_to_f32(b[i].m);
        unpack_nibbles(b[i].qs, 0, level + BLOCK * i);
        add_fifth_bits(b[i].qh, level + BLOCK * i);
    }
}

static void
unpack_q8_0(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q8_0 *b = blocks;

    (void)min;
    for (size_t i = 0; i < count / BLOCK; i++) {
        scale[2 * i] = scale[2 * i + 1] = nb_f16_to_f32(b[i].d);
        memcpy(level + BLOCK * i, b[i].qs, BLOCK);
    }
}

/* --- K-quants --------------------------------------------------------------------------------------------------------- */

/* Two bits of each of 32 bytes, from bit SHIFT on. */
static inline void
unpack_pairs(const uint8_t *restrict qs, int shift, int8_t *restrict level)
{
    for (int l = 0; l < 32; l++)
        level[l] = (int8_t)(qs[l] >> shift & 3);
}

static void
unpack_q2_K(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q2_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, level += NB_SUPER_BLOCK, scale += 16, min += 16) {
        const float d = nb_f16_to_f32(b->d), dmin = nb_f16_to_f32(b->dmin);

        for (int j = 0; j < 16; j++) {
            scale[j] = d * (float)(b->scales[j] & 15);
            min[j] = dmin * (float)(b->scales[j] >> 4);
        }
        for (int j = 0; j < 8; j++)
            unpack_pairs(b->qs + j / 4 * 32, j % 4 * 2, level + (size_t)j * 32);
    }
}

static void
unpack_q3_K(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q3_K *b = blocks;

    (void)min;
    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, level += NB_SUPER_BLOCK, scale += 16) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 16; j++) {
            const int low = b->scales[j % 8] >> (j / 8 * 4) & 15, high = b->scales[8 + j % 4] >> (j / 4 * 2) & 3;

            scale[j] = d * (float)((low | high << 4) - 32);
        }
        for (int j = 0; j < 8; j++) {
            int8_t *to = level + (size_t)j * 32;

            unpack_pairs(b->qs + j / 4 * 32, j % 4 * 2, to);
            for (int l = 0; l < 32; l++)
                to[l] = (int8_t)(to[l] + (b->hmask[l] >> j & 1) * 4 - 4);
        }
    }
}

/* The scales and minimums of Q4_K and Q5_K, each for two groups of 16. */
static inline void
unpack_steps(uint16_t d, uint16_t dmin, const uint8_t *restrict packed, float *restrict scale, float *restrict min)
{
    const float all = nb_f16_to_f32(d), all_min = nb_f16_to_f32(dmin);

    for (int j = 0; j < 4; j++) {
        const int s = (packed[j + 8] & 15) | packed[j] >> 6 << 4, m = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;

        scale[2 * j] = scale[2 * j + 1] = all * (float)(packed[j] & 63);
        min[2 * j] = min[2 * j + 1] = all_min * (float)(packed[j + 4] & 63);
        scale[2 * j + 8] = scale[2 * j + 9] = all * (float)s;
        min[2 * j + 8] = min[2 * j + 9] = all_min * (float)m;
    }
}

static void
unpack_q4_K(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q4_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, level += NB_SUPER_BLOCK, scale += 16, min += 16) {
        unpack_steps(b->d, b->dmin, b->scales, scale, min);
        for (int j = 0; j < 4; j++) {
            const uint8_t *restrict qs = b->qs + j * 32;
            int8_t *restrict low = level + (size_t)j * 64, *restrict high = low + 32;

            for (int l = 0; l < 32; l++)
                low[l] = qs[l] & 15;
            for (int l = 0; l < 32; l++)
                high[l] = (int8_t)(qs[l] >> 4);
        }
    }
}

static void
unpack_q5_K(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q5_K *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, level += NB_SUPER_BLOCK, scale += 16, min += 16) {
        unpack_steps(b->d, b->dmin, b->scales, scale, min);
        for (int j = 0; j < 8; j++) {
            const uint8_t *restrict qs = b->qs + j / 2 * 32, *restrict qh = b->qh;
            int8_t *restrict to = level + (size_t)j * 32;

            for (int l = 0; l < 32; l++)
                to[l] = (int8_t)((qs[l] >> (j % 2 * 4) & 15) | (qh[l] >> j & 1) << 4);
        }
    }
}

static inline void
unpack_half_q6_K(const uint8_t *restrict ql, const uint8_t *restrict qh, int8_t *restrict level)
{
    for (int l = 0; l < 32; l++) {
        const uint8_t a = ql[l], b = ql[32 + l],
                      h = qh[l]; /* all steps in bytes, or vectors would have to be widened */
        const uint8_t first = (uint8_t)((a & 15) | ((uint8_t)(h << 4) & 48));
        const uint8_t second = (uint8_t)((b & 15) | ((uint8_t)(h << 2) & 48));
        const uint8_t third = (uint8_t)(a >> 4 | (h & 48)), fourth = (uint8_t)(b >> 4 | (h >> 2 & 48));

        level[l] = (int8_t)(first - 32);
        level[32 + l] = (int8_t)(second - 32);
        level[64 + l] = (int8_t)(third - 32);
        level[96 + l] = (int8_t)(fourth - 32);
    }
}

static void
unpack_q6_K(const void *blocks, size_t count, int8_t *restrict level, float *restrict scale, float *restrict min)
{
    const struct block_q6_K *b = blocks;

    (void)min;
    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++, level += NB_SUPER_BLOCK, scale += 16) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 16; j++)
            scale[j] = d * (float)b->scales[j];
        unpack_half_q6_K(b->ql, b->qh, level);
        unpack_half_q6_K(b->ql + 64, b->qh + 32, level + 128);
    }
}

const struct nb_unpackers NB_TIERED(nb_unpackers) = {
    .unpack = {
        [NB_Q4_0] = unpack_q4_0,
        [NB_Q4_1] = unpack_q4_1,
        [NB_Q5_0] = unpack_q5_0,
        [NB_Q5_1] = unpack_q5_1,
        [NB_Q8_0] = unpack_q8_0,
        [NB_Q2_K] = unpack_q2_K,
        [NB_Q3_K] = unpack_q3_K,
        [NB_Q4_K] = unpack_q4_K,
        [NB_Q5_K] = unpack_q5_K,
        [NB_Q6_K] = unpack_q6_K,
    },
};
