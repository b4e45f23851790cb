/*
 * Q3_K and Q6_K: super-blocks of 256 weights in sixteen groups, each with a
 * quantized signed scale: a weight is d * scale * level. Layouts
 * and algorithms: ggml-quants.c of llama.cpp v0.5.0, reproduced to the bit. One
 * lane holds one super-block.
 */
#include "formats/elements/block_layouts.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

#define GROUPS 16
#define GROUP 16

/* Rounds all weights with the groups' decoded scales; if a scale is 0 the LEVEL of the search is kept. */
NB_INLINE void
final_levels(const lf *x, const lf *scale, float top, lu *level)
{
    for (int j = 0; j < GROUPS; j++) {
        const lm none = lf_eq(scale[j], lf_set1(0));
        const lf divisor = lf_select(none, lf_set1(1), scale[j]);

        for (int i = j * GROUP; i < (j + 1) * GROUP; i++) {
            const lf l = nb_level(x[i] / divisor, lf_set1(-top), lf_set1(top - 1), false) + lf_set1(top);

            level[i] = (lu)li_select(none, (li)level[i], lf_to_int(l));
        }
    }
}

/* Quantizes Q3_K's scales without importance, relative to the one of largest magnitude. Returns d as halves. */
NB_INLINE lu
round_q3_K_scales(const lf *scale, lu *rounded)
{
    const lf largest = nb_largest(scale, GROUPS);
    const lm none = lf_eq(largest, lf_set1(0));
    const lf inverse = lf_set1(-32) / lf_select(none, lf_set1(1), largest);

    for (int j = 0; j < GROUPS; j++) {
        /* The reference converts the level to a byte before it clamps it. */
        const li byte = ((lf_nearest(inverse * scale[j]) & 0xFF) ^ 0x80) - 0x80;
        const li level = li_max(li_min(byte, lf_to_int(lf_set1(31))), lf_to_int(lf_set1(-32))) + 32;

        rounded[j] = (lu)li_select(none, level & 0, level);
    }
    return nb_halves(lf_select(none, lf_set1(0), lf_set1(1) / inverse));
}

/* Fits the scale and the levels of every group of Q3_K; returns d as halves and 6 bits per scale. */
NB_INLINE lu
quantize_q3_K(const struct nb_strip *s, const lf *x, lu *rounded, lu *level)
{
    lf scale[GROUPS], weight[GROUPS];
    struct nb_fit fit;
    li l[GROUP];

    if (!s->has_importance) {
        for (int j = 0; j < GROUPS; j++) {
            scale[j] = nb_fit_linear_descent(x + j * GROUP, GROUP, 4, l);
            memcpy(level + j * GROUP, l, sizeof l);
        }
        return round_q3_K_scales(scale, rounded);
    }
    const lf sigma2 = lf_set1(2) * nb_sum_of_squares(x, NB_SUPER_BLOCK) / lf_set1(NB_SUPER_BLOCK);

    for (int j = 0; j < GROUPS; j++) {
        lf importance[GROUP], w[GROUP];

        lf_load_blocks(importance, s->importance, (size_t)j * GROUP, GROUP);
        nb_importance_weights(x + j * GROUP, importance, sigma2, GROUP, w);
        weight[j] = lf_set1(0);
        for (int i = 0; i < GROUP; i++)
            weight[j] += w[i];
        fit = nb_fit_linear(x + j * GROUP, w, GROUP, 4);
        scale[j] = fit.scale;
        nb_linear_fit_levels(&fit, x + j * GROUP, GROUP, 4, l);
        memcpy(level + j * GROUP, l, sizeof l);
    }
    fit = nb_fit_linear(scale, weight, GROUPS, 32);
    nb_linear_fit_levels(&fit, scale, GROUPS, 32, l);
    memcpy(rounded, l, sizeof l);
    return nb_halves(fit.scale);
}

/* Sixteen 6-bit scales in 12 bytes: the low four bits, with 8 + j above j in a byte, then the high two bits. */
NB_INLINE void
pack_q3_K_scales(const struct nb_strip *s, const lu *scale)
{
    lu words[3] = { lu_set1(0), lu_set1(0), lu_set1(0) };

    for (int j = 0; j < 8; j++)
        words[j / 4] |= ((scale[j] & 15) | (scale[j + 8] & 15) << 4) << 8 * (j % 4);
    for (int j = 0; j < GROUPS; j++)
        words[2] |= scale[j] >> 4 << (8 * (j % 4) + j / 4 * 2);
    for (size_t w = 0; w < 3; w++)
        nb_store_u32(s, offsetof(struct block_q3_K, scales) + 4 * w, words[w]);
}

NB_INLINE void
encode_q3_K_strip(const struct nb_strip *s)
{
    lf x[NB_SUPER_BLOCK], step[GROUPS];
    lu level[NB_SUPER_BLOCK], scale[GROUPS], words[16], d;

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    d = quantize_q3_K(s, x, scale, level);
    for (int j = 0; j < GROUPS; j++)
        step[j] = nb_from_halves(d) * lf_from_int((li)scale[j] - 32);
    final_levels(x, step, 4, level);
    for (int w = 0; w < 8; w++) {
        words[w] = lu_set1(0);
        for (int j = 0; j < 8; j++)
            for (int i = 0; i < 4; i++)
                words[w] |= level[32 * j + 4 * w + i] >> 2 << (8 * i + j);
    }
    lu_store_blocks(s->out, offsetof(struct block_q3_K, hmask), words, 8);
    nb_pack_two_bits(level, words);
    lu_store_blocks(s->out, offsetof(struct block_q3_K, qs), words, 16);
    pack_q3_K_scales(s, scale);
    nb_store_u16(s, offsetof(struct block_q3_K, d), d);
}

/* For each 128 weights: byte l of 64 holds l and l + 64; their high two bits share a byte with l + 32 and l + 96. */
NB_INLINE void
pack_q6_K_levels(const struct nb_strip *s, const lu *level)
{
    lu low[32], high[16];

    for (int w = 0; w < 16; w++) {
        const lu *l = level + w / 8 * 128 + w % 8 * 4;

        low[w / 8 * 16 + w % 8] = low[w / 8 * 16 + w % 8 + 8] = high[w] = lu_set1(0);
        for (int i = 0; i < 4; i++) {
            low[w / 8 * 16 + w % 8] |= ((l[i] & 15) | (l[i + 64] & 15) << 4) << 8 * i;
            low[w / 8 * 16 + w % 8 + 8] |= ((l[i + 32] & 15) | (l[i + 96] & 15) << 4) << 8 * i;
            high[w] |= (l[i] >> 4 | l[i + 32] >> 4 << 2 | l[i + 64] >> 4 << 4 | l[i + 96] >> 4 << 6) << 8 * i;
        }
    }
    lu_store_blocks(s->out, offsetof(struct block_q6_K, ql), low, 32);
    lu_store_blocks(s->out, offsetof(struct block_q6_K, qh), high, 16);
}

NB_INLINE void
encode_q6_K_strip(const struct nb_strip *s)
{
    lf x[NB_SUPER_BLOCK], scale[GROUPS], largest, inverse;
    lu level[NB_SUPER_BLOCK], words[4], d;
    lm none;

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    for (int j = 0; j < GROUPS; j++) {
        struct nb_fit fit;
        lf w[GROUP];
        li l[GROUP];

        if (s->has_importance)
            lf_load_blocks(w, s->importance, (size_t)j * GROUP, GROUP);
        else
            for (int i = 0; i < GROUP; i++)
                w[i] = x[j * GROUP + i] * x[j * GROUP + i];
        fit = nb_fit_linear(x + j * GROUP, w, GROUP, 32);
        scale[j] = fit.scale;
        nb_linear_fit_levels(&fit, x + j * GROUP, GROUP, 32, l);
        memcpy(level + j * GROUP, l, sizeof l);
    }
    largest = nb_largest(scale, GROUPS);
    none = lf_lt(lf_abs(largest), lf_set1(NB_GROUP_EPSILON)); /* the whole block is then zero bytes */
    inverse = lf_set1(-128) / lf_select(none, lf_set1(1), largest);
    d = (lu)li_select(none, (li)lu_set1(0), (li)nb_halves(lf_set1(1) / inverse));
    for (int w = 0; w < 4; w++)
        words[w] = lu_set1(0);
    for (int j = 0; j < GROUPS; j++) {
        const li rounded = li_min(lf_nearest(inverse * scale[j]), lf_to_int(lf_set1(127)));
        const li byte = ((rounded & 0xFF) ^ 0x80) - 0x80;

        words[j / 4] |= (lu)li_select(none, byte & 0, byte & 0xFF) << 8 * (j % 4);
        scale[j] = nb_from_halves(d) * lf_from_int(byte);
    }
    final_levels(x, scale, 32, level);
    for (int i = 0; i < NB_SUPER_BLOCK; i++)
        level[i] = (lu)li_select(none, (li)level[i] & 0, (li)level[i]);
    pack_q6_K_levels(s, level);
    lu_store_blocks(s->out, offsetof(struct block_q6_K, scales), words, 4);
    nb_store_u16(s, offsetof(struct block_q6_K, d), d);
}

NB_ENCODER(nb_encode_q3_K, NB_SUPER_BLOCK, sizeof(struct block_q3_K), false, strips, encode_q3_K_strip)
NB_ENCODER(nb_encode_q6_K, NB_SUPER_BLOCK, sizeof(struct block_q6_K), false, strips, encode_q6_K_strip)
