/*
 * The block formats of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Layouts and
 * algorithms: ggml-quants.c of llama.cpp v0.5.0, reproduced to the bit. One lane
 * holds one block.
 */
#include "formats/elements/block_layouts.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

#define BLOCK 32

/* A strip of blocks before packing: a weight is d * (level - top) or d * level + m. */
struct simple_blocks {
    lf d, m;
    li level[BLOCK];
};

/* 1 / d, or 0 */
NB_INLINE lf
inverse_or_zero(lf d)
{
    return lf_select(lf_eq(d, lf_set1(0)), lf_set1(0), lf_set1(1) / d);
}

/*
 * Rounds towards zero, to at most CAP. V is near the range 0 to CAP + 1, unless
 * it is infinite or NaN because the inverse of a tiny scale was infinite; the
 * reference then keeps the low byte of x86's conversion, which is 0.
 */
NB_INLINE li
truncated_level(lf v, float cap)
{
    return li_min(lf_truncate(v) & 0xFF, lf_to_int(lf_set1(cap)));
}

/* Q4_0, Q5_0: the value of largest magnitude becomes -TOP. */
NB_INLINE void
round_linear(const lf *x, float top, struct simple_blocks *out)
{
    lf inverse;

    out->d = nb_largest(x, BLOCK) / lf_set1(-top);
    inverse = inverse_or_zero(out->d);
    for (int i = 0; i < BLOCK; i++)
        out->level[i] = truncated_level(x[i] * inverse + lf_set1(top + 0.5f), 2 * top - 1);
}

/* Q4_1, Q5_1: TOP steps from the smallest to the largest value. */
NB_INLINE void
round_affine(const lf *x, float top, struct simple_blocks *out)
{
    lf min = x[0], max = x[0], inverse;

    for (int i = 1; i < BLOCK; i++) {
        min = lf_min(x[i], min);
        max = lf_max(x[i], max);
    }
    out->d = (max - min) / lf_set1(top);
    out->m = min;
    inverse = inverse_or_zero(out->d);
    for (int i = 0; i < BLOCK; i++)
        out->level[i] = truncated_level((x[i] - min) * inverse + lf_set1(0.5f), top);
}

NB_INLINE void
load_weighted(const struct nb_strip *s, lf *x, lf *w)
{
    lf importance[BLOCK];

    lf_load_blocks(x, s->x, 0, BLOCK);
    if (s->has_importance) {
        lf_load_blocks(importance, s->importance, 0, BLOCK);
        nb_importance_weights(x, importance, s->row_mean_square, BLOCK, w);
    }
}

NB_INLINE void
quantize_linear(const struct nb_strip *s, float top, struct simple_blocks *out)
{
    lf x[BLOCK], w[BLOCK];

    load_weighted(s, x, w);
    if (s->has_importance) {
        const struct nb_fit fit = nb_fit_linear(x, w, BLOCK, top);

        nb_linear_fit_levels(&fit, x, BLOCK, top, out->level);
        out->d = fit.scale;
    } else {
        round_linear(x, top, out);
    }
}

/* Two strips at once, because the fit processes pairs. */
NB_INLINE void
quantize_affine_pair(const struct nb_strip *pair, float top, struct simple_blocks *out)
{
    const struct nb_affine_search search = { top, -0.9f, 0.05f, 36, false };
    struct nb_affine_group groups[NB_PAIR];
    lf x[2][BLOCK], w[2][BLOCK];

    for (int k = 0; k < 2; k++)
        load_weighted(&pair[k], x[k], w[k]);
    if (!pair->has_importance) {
        for (int k = 0; k < 2; k++)
            round_affine(x[k], top, &out[k]);
        return;
    }
    for (int k = 0; k < 2; k++) {
        groups[k].x = x[k];
        groups[k].w = w[k];
    }
    nb_fit_affine(groups, NB_PAIR, BLOCK, search);
    for (int k = 0; k < 2; k++) {
        nb_affine_fit_levels(&groups[k].fit, x[k], BLOCK, top, out[k].level);
        out[k].d = groups[k].fit.scale;
        out[k].m = groups[k].fit.min; /* the reference negates it twice, which keeps the sign of a zero */
    }
}

/* Byte i: the low four bits of levels i and i + 16. */
NB_INLINE void
store_nibbles(const struct nb_strip *s, size_t at, const li *level)
{
    lu words[4];

    for (int w = 0; w < 4; w++) {
        words[w] = lu_set1(0);
        for (int i = 4 * w; i < 4 * w + 4; i++)
            words[w] |= (((lu)level[i] & 15) | ((lu)level[i + 16] & 15) << 4) << i % 4 * 8;
    }
    lu_store_blocks(s->out, at, words, 4);
}

/* Bit i: the fifth bit of level i. */
NB_INLINE void
store_fifth_bits(const struct nb_strip *s, size_t at, const li *level)
{
    lu bits = lu_set1(0);

    for (int i = 0; i < BLOCK; i++)
        bits |= ((lu)level[i] >> 4 & 1) << i;
    nb_store_u32(s, at, bits);
}

NB_INLINE void
encode_q4_0_strip(const struct nb_strip *s)
{
    struct simple_blocks b;

    quantize_linear(s, 8, &b);
    nb_store_u16(s, offsetof(struct block_q4_0, d), nb_halves(b.d));
    store_nibbles(s, offsetof(struct block_q4_0, qs), b.level);
}

NB_INLINE void
encode_q4_1_pair(const struct nb_strip *pair)
{
    struct simple_blocks b[2];

    quantize_affine_pair(pair, 15, b);
    for (int k = 0; k < 2; k++) {
        nb_store_u16(&pair[k], offsetof(struct block_q4_1, d), nb_halves(b[k].d));
        nb_store_u16(&pair[k], offsetof(struct block_q4_1, m), nb_halves(b[k].m));
        store_nibbles(&pair[k], offsetof(struct block_q4_1, qs), b[k].level);
    }
}

NB_INLINE void
encode_q5_0_strip(const struct nb_strip *s)
{
    struct simple_blocks b;

    quantize_linear(s, 16, &b);
    nb_store_u16(s, offsetof(struct block_q5_0, d), nb_halves(b.d));
    store_fifth_bits(s, offsetof(struct block_q5_0, qh), b.level);
    store_nibbles(s, offsetof(struct block_q5_0, qs), b.level);
}

NB_INLINE void
encode_q5_1_pair(const struct nb_strip *pair)
{
    struct simple_blocks b[2];

    quantize_affine_pair(pair, 31, b);
    for (int k = 0; k < 2; k++) {
        nb_store_u16(&pair[k], offsetof(struct block_q5_1, d), nb_halves(b[k].d));
        nb_store_u16(&pair[k], offsetof(struct block_q5_1, m), nb_halves(b[k].m));
        store_fifth_bits(&pair[k], offsetof(struct block_q5_1, qh), b[k].level);
        store_nibbles(&pair[k], offsetof(struct block_q5_1, qs), b[k].level);
    }
}

/* The reference ignores importance for Q8_0. */
NB_INLINE void
encode_q8_0_strip(const struct nb_strip *s)
{
    lf x[BLOCK], d, inverse;
    lu words[8];

    lf_load_blocks(x, s->x, 0, BLOCK);
    d = nb_largest_magnitude(x, BLOCK) / lf_set1(127);
    inverse = inverse_or_zero(d);
    for (int w = 0; w < 8; w++) {
        words[w] = lu_set1(0);
        for (int i = 0; i < 4; i++)
            words[w] |= ((lu)lf_round_away(x[4 * w + i] * inverse) & 0xFF) << 8 * i;
    }
    nb_store_u16(s, offsetof(struct block_q8_0, d), nb_halves(d));
    lu_store_blocks(s->out, offsetof(struct block_q8_0, qs), words, 8);
}

NB_ENCODER(nb_encode_q4_0, BLOCK, sizeof(struct block_q4_0), true, strips, encode_q4_0_strip)
NB_ENCODER(nb_encode_q4_1, BLOCK, sizeof(struct block_q4_1), true, strip_pairs, encode_q4_1_pair)
NB_ENCODER(nb_encode_q5_0, BLOCK, sizeof(struct block_q5_0), true, strips, encode_q5_0_strip)
NB_ENCODER(nb_encode_q5_1, BLOCK, sizeof(struct block_q5_1), true, strip_pairs, encode_q5_1_pair)
NB_ENCODER(nb_encode_q8_0, BLOCK, sizeof(struct block_q8_0), false, strips, encode_q8_0_strip)
