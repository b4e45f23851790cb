/*
 * Decoding of the IQ types with codebooks: look an entry up, multiply by the
 * scale, and set signs (IQ2, IQ3) or shift (IQ1).
 */
#include "formats/elements/block_layouts.h"
#include "formats/elements/codebooks.h"
#include "formats/elements/decoders.h"
#include "formats/elements/halves.h"
#include "formats/elements/lanes.h"

/* The values of the levels. */
static const float iq2_values[4] = { 8, 25, 43, 0 };
static const float iq3_xxs_values[8] = { 4, 12, 20, 28, 36, 44, 52, 62 };
static const float iq3_s_values[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };

/* Decodes COUNT weights of an entry: d times its values, negated where SIGNS has a bit. */
NB_INLINE void
decode_entry(uint32_t code, int bits, int count, const float *values, uint32_t signs, float d, float *out)
{
    for (int i = 0; i < count; i++) {
        const float v = d * values[code >> (bits * i) & ((1u << bits) - 1)];

        out[i] = signs >> i & 1 ? -v : v;
    }
}

/* Eight signs from seven bits: the eighth makes the number of negative ones even. */
static uint32_t
eight_signs(uint32_t seven)
{
    return seven | (uint32_t)__builtin_parity(seven) << 7;
}

void
NB_TIERED(nb_decode_iq2_xxs)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq2_xxs;
    const struct block_iq2_xxs *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        for (int j = 0; j < 8; j++) {
            const uint32_t indices = b->qs[2 * j], rest = b->qs[2 * j + 1];
            const float d = nb_f16_to_f32(b->d) * (0.5f + (float)(rest >> 28)) * 0.25f;

            for (int l = 0; l < 4; l++, out += 8)
                decode_entry(entries[indices >> 8 * l & 255], 2, 8, iq2_values, eight_signs(rest >> 7 * l & 127), d,
                             out);
        }
    }
}

void
NB_TIERED(nb_decode_iq2_xs)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq2_xs;
    const struct block_iq2_xs *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        for (int j = 0; j < 32; j++, out += 8) {
            const float scale = 0.5f + (float)(b->scales[j / 4] >> (j / 2 % 2 * 4) & 15);

            decode_entry(entries[b->qs[j] & 511], 2, 8, iq2_values, eight_signs(b->qs[j] >> 9),
                         nb_f16_to_f32(b->d) * scale * 0.25f, out);
        }
    }
}

void
NB_TIERED(nb_decode_iq2_s)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq2_s;
    const struct block_iq2_s *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        for (int j = 0; j < 32; j++, out += 8) {
            const float scale = 0.5f + (float)(b->scales[j / 4] >> (j / 2 % 2 * 4) & 15);
            const uint32_t index = b->qs[j] | ((uint32_t)b->qh[j / 4] >> (j % 4 * 2) & 3) << 8;

            decode_entry(entries[index], 2, 8, iq2_values, b->signs[j], nb_f16_to_f32(b->d) * scale * 0.25f, out);
        }
    }
}

void
NB_TIERED(nb_decode_iq3_xxs)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq3_xxs;
    const struct block_iq3_xxs *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        for (int j = 0; j < 64; j++, out += 4) {
            const uint32_t rest = b->signs_and_scale[j / 8], signs = eight_signs(rest >> j / 2 % 4 * 7 & 127);

            decode_entry(entries[b->qs[j]], 3, 4, iq3_xxs_values, signs >> j % 2 * 4,
                         nb_f16_to_f32(b->d) * (0.5f + (float)(rest >> 28)) * 0.5f, out);
        }
    }
}

void
NB_TIERED(nb_decode_iq3_s)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq3_s;
    const struct block_iq3_s *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        for (int j = 0; j < 64; j++, out += 4) {
            const uint32_t index = b->qs[j] | ((uint32_t)b->qh[j / 8] >> j % 8 & 1) << 8;
            const int scale = b->scales[j / 16] >> (j / 8 % 2 * 4) & 15;

            decode_entry(entries[index], 3, 4, iq3_s_values, (uint32_t)b->signs[j / 2] >> j % 2 * 4,
                         nb_f16_to_f32(b->d) * (float)(1 + 2 * scale), out);
        }
    }
}

static void
decode_shifted(uint32_t code, float d, bool down, float *out)
{
    for (int i = 0; i < 8; i++)
        out[i] = d * ((float)(code >> 2 * i & 3) - 1 + (down ? -IQ1_DELTA : IQ1_DELTA));
}

void
NB_TIERED(nb_decode_iq1_s)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq1;
    const struct block_iq1_s *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        for (int j = 0; j < 32; j++, out += 8) {
            const uint32_t bits = b->qh[j / 4], index = b->qs[j] | (bits >> j % 4 * 3 & 7) << 8;

            decode_shifted(entries[index], nb_f16_to_f32(b->d) * (float)(2 * (bits >> 12 & 7) + 1), bits >> 15, out);
        }
    }
}

void
NB_TIERED(nb_decode_iq1_m)(const void *blocks, size_t count, float *out)
{
    const uint16_t *entries = nb_grid_iq1;
    const struct block_iq1_m *b = blocks;

    for (size_t i = 0; i < count / NB_SUPER_BLOCK; i++, b++) {
        const uint16_t *s = b->scales;
        const float d =
            nb_f16_to_f32((uint16_t)(s[0] >> 12 | (s[1] >> 12) << 4 | (s[2] >> 12) << 8 | (s[3] >> 12) << 12));

        for (int j = 0; j < 32; j++, out += 8) {
            const uint32_t bits = (uint32_t)b->qh[j / 2] >> j % 2 * 4, index = b->qs[j] | (bits & 7) << 8;

            decode_shifted(entries[index], d * (float)(2 * (s[j / 8] >> j / 2 % 4 * 3 & 7) + 1), bits & 8, out);
        }
    }
}
