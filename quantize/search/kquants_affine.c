/*
 * Q2_K, Q4_K and Q5_K: super-blocks of 256 weights in groups of 16 or 32, each
 * with a quantized scale and a quantized minimum: a weight is
 * d * scale * level - dmin * min. Layouts and algorithms: ggml-quants.c of
 * llama.cpp v0.5.0, reproduced to the bit. One lane holds one super-block.
 */
#include "formats/elements/block_layouts.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

struct affine_type {
    int size;        /* weights per group */
    float top;       /* the largest level */
    float scale_top; /* the largest quantized scale */
    float mean_square_factor;
    /* Limits for the byte that a negative scale becomes: for rounded scales, and for fitted ones. */
    float rounded_limit, fitted_limit;
    struct nb_affine_search plain, weighted;
};

#define GROUPS(type) (NB_SUPER_BLOCK / (type)->size)

static const struct affine_type q2_K = {
    16, 3, 15, 1, 255, 255, { 3, -0.5f, 0.1f, 15, true }, { 3, -0.9f, 0.05f, 36, false }
};
static const struct affine_type q4_K = {
    32, 15, 63, 2, 63, 255, { 15, -1.0f, 0.1f, 20, false }, { 15, -0.9f, 0.05f, 36, false }
};
static const struct affine_type q5_K = {
    32, 31, 63, 2, 63, 63, { 31, -0.5f, 0.1f, 15, false }, { 31, -0.9f, 0.05f, 36, false }
};

/* A strip of super-blocks, quantized but not yet packed. */
struct affine_blocks {
    lu d, dmin; /* halves */
    lu scale[16], min[16];
    lu level[NB_SUPER_BLOCK];
};

/* Error weights without importance: |x| for Q2_K, the group's root mean square + |x| for the others. */
NB_INLINE void
plain_weights(const struct affine_type *type, const lf *x, lf *w)
{
    const int n = type->size;
    const lf base = n == 16 ? lf_set1(0) : lf_sqrt(nb_sum_of_squares(x, n) / lf_set1((float)n));

    for (int i = 0; i < n; i++)
        w[i] = base + lf_abs(x[i]);
}

/* The weights of the errors in group J. */
NB_INLINE void
group_weights(const struct affine_type *type, const struct nb_strip *s, const lf *x, int j, lf sigma2, lf *w)
{
    lf importance[32];

    if (!s->has_importance) {
        plain_weights(type, x, w);
        return;
    }
    lf_load_blocks(importance, s->importance, (size_t)(j * type->size), type->size);
    nb_importance_weights(x, importance, sigma2, type->size, w);
}

/*
 * Groups that are fitted at once: two pairs, unless their floats would not fit
 * the first-level cache (48 KiB).
 */
#define FITTED(type) ((type)->size * NB_LANES < 512 ? NB_MAX_FITTED : NB_PAIR)

/* Fits every group; WEIGHT receives the sums of the error weights. */
NB_INLINE void
fit_groups(const struct affine_type *type, const struct nb_strip *s, const lf *x, struct nb_fit *fit, lf *weight)
{
    lf sigma2 = lf_set1(0);

    if (s->has_importance)
        sigma2 = lf_set1(type->mean_square_factor) * nb_sum_of_squares(x, NB_SUPER_BLOCK) / lf_set1(NB_SUPER_BLOCK);
    for (int j = 0; j < GROUPS(type); j += FITTED(type)) {
        struct nb_affine_group group[NB_MAX_FITTED];
        lf w[NB_MAX_FITTED][32];

        for (int k = 0; k < FITTED(type); k++) {
            group[k].x = x + (j + k) * type->size;
            group[k].w = w[k];
            group_weights(type, s, group[k].x, j + k, sigma2, w[k]);
        }
        nb_fit_affine(group, FITTED(type), type->size, s->has_importance ? type->weighted : type->plain);
        for (int k = 0; k < FITTED(type); k++) {
            fit[j + k] = group[k].fit;
            weight[j + k] = group[k].sum_w;
        }
    }
}

/* Quantizes scales relative to the largest. Returns the step as halves. */
NB_INLINE lu
round_scales(const struct affine_type *type, const lf *scale, lu *rounded)
{
    const lf zero = lf_set1(0), top = lf_set1(type->scale_top), limit = lf_set1(type->rounded_limit);
    lf max = zero, factor;

    for (int j = 0; j < GROUPS(type); j++)
        max = lf_max(scale[j], max);
    factor = lf_select(lf_lt(zero, max), top / lf_select(lf_lt(zero, max), max, top), zero);
    for (int j = 0; j < GROUPS(type); j++)
        rounded[j] = (lu)li_min(lf_nearest(factor * scale[j]) & 0xFF, lf_to_int(limit));
    return nb_halves(max / top);
}

/* The same with importance: each group is weighted by the sum of its error weights. */
NB_INLINE lu
fit_scales(const struct affine_type *type, const lf *scale, const lf *weight, lu *rounded)
{
    li level[16];
    const lf d = nb_fit_positive(scale, weight, GROUPS(type), type->scale_top, level);

    for (int j = 0; j < GROUPS(type); j++)
        rounded[j] = (lu)li_min(level[j], lf_to_int(lf_set1(type->fitted_limit)));
    return nb_halves(d);
}

/*
 * The scales and minimums as decoded from the packed bytes. A negative fit has
 * bits that do not fit; in the reference these change the value that shares the
 * byte.
 */
NB_INLINE void
share_bytes(const struct affine_type *type, struct affine_blocks *b)
{
    if (type->size == 16) { /* scale and minimum in one byte */
        for (int j = 0; j < 16; j++) {
            b->min[j] = (b->min[j] | b->scale[j] >> 4) & 15;
            b->scale[j] &= 15;
        }
        return;
    }
    for (int j = 0; j < 4; j++) { /* the high bits of j + 4 are stored above those of j */
        b->scale[j + 4] = (b->scale[j + 4] & 15) | ((b->scale[j + 4] >> 4 | b->scale[j] >> 6) & 3) << 4;
        b->min[j + 4] = (b->min[j + 4] & 15) | ((b->min[j + 4] >> 4 | b->min[j] >> 6) & 3) << 4;
        b->scale[j] &= 63;
        b->min[j] &= 63;
    }
}

/* Rounds all weights with the decoded scales; if a scale is 0 the levels of the search are kept. */
NB_INLINE void
final_levels(const struct affine_type *type, const lf *x, const struct nb_fit *fit, struct affine_blocks *out)
{
    const int n = type->size;
    const lf d = nb_from_halves(out->d), dmin = nb_from_halves(out->dmin);

    for (int j = 0; j < GROUPS(type); j++) {
        const lf scale = d * lf_from_int((li)out->scale[j]), min = dmin * lf_from_int((li)out->min[j]);
        const lm none = lf_eq(scale, lf_set1(0));
        const lf divisor = lf_select(none, lf_set1(1), scale);
        li searched[32];

        for (int i = 0; i < n; i++)
            out->level[j * n + i] =
                (lu)lf_to_int(nb_level((x[j * n + i] + min) / divisor, lf_set1(0), lf_set1(type->top), false));
        if (!lm_any(none))
            continue;
        nb_affine_fit_levels(&fit[j], x + j * n, n, type->top, searched);
        for (int i = 0; i < n; i++)
            out->level[j * n + i] = (lu)li_select(none, searched[i], (li)out->level[j * n + i]);
    }
}

NB_INLINE void
quantize_strip(const struct affine_type *type, const struct nb_strip *s, struct affine_blocks *out)
{
    struct nb_fit fit[16];
    lf x[NB_SUPER_BLOCK], weight[16], scale[16], min[16];

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    fit_groups(type, s, x, fit, weight);
    for (int j = 0; j < GROUPS(type); j++) {
        scale[j] = fit[j].scale;
        min[j] = -fit[j].min;
    }
    if (s->has_importance) {
        out->d = fit_scales(type, scale, weight, out->scale);
        out->dmin = fit_scales(type, min, weight, out->min);
    } else {
        out->d = round_scales(type, scale, out->scale);
        out->dmin = round_scales(type, min, out->min);
    }
    share_bytes(type, out);
    final_levels(type, x, fit, out);
}

/* The first 16 bytes of Q4_K and Q5_K: d, dmin, and 6 bits of each scale and minimum. */
NB_INLINE void
pack_header(const struct nb_strip *s, const struct affine_blocks *b)
{
    lu words[4] = { b->d | b->dmin << 16, lu_set1(0), lu_set1(0), lu_set1(0) };

    for (int j = 0; j < 4; j++) {
        words[1] |= (b->scale[j] | b->scale[j + 4] >> 4 << 6) << 8 * j;
        words[2] |= (b->min[j] | b->min[j + 4] >> 4 << 6) << 8 * j;
        words[3] |= ((b->scale[j + 4] & 15) | (b->min[j + 4] & 15) << 4) << 8 * j;
    }
    lu_store_blocks(s->out, 0, words, 4);
}

/* The low four bits of 256 levels, 64 weights in 32 bytes: weight l in the low, l + 32 in the high half of a byte. */
NB_INLINE void
pack_nibbles(const lu *level, lu *words)
{
    for (int w = 0; w < NB_SUPER_BLOCK / 8; w++) {
        const lu *low = level + w / 8 * 64 + w % 8 * 4, *high = low + 32;

        words[w] = nb_bytes((low[0] & 15) | (high[0] & 15) << 4, (low[1] & 15) | (high[1] & 15) << 4,
                            (low[2] & 15) | (high[2] & 15) << 4, (low[3] & 15) | (high[3] & 15) << 4);
    }
}

NB_INLINE void
encode_q2_K_strip(const struct nb_strip *s)
{
    struct affine_blocks b;
    lu words[16];

    quantize_strip(&q2_K, s, &b);
    for (int w = 0; w < 4; w++)
        words[w] = nb_bytes(b.scale[4 * w] | b.min[4 * w] << 4, b.scale[4 * w + 1] | b.min[4 * w + 1] << 4,
                            b.scale[4 * w + 2] | b.min[4 * w + 2] << 4, b.scale[4 * w + 3] | b.min[4 * w + 3] << 4);
    lu_store_blocks(s->out, offsetof(struct block_q2_K, scales), words, 4);
    nb_pack_two_bits(b.level, words);
    lu_store_blocks(s->out, offsetof(struct block_q2_K, qs), words, 16);
    nb_store_u16(s, offsetof(struct block_q2_K, d), b.d);
    nb_store_u16(s, offsetof(struct block_q2_K, dmin), b.dmin);
}

NB_INLINE void
encode_q4_K_strip(const struct nb_strip *s)
{
    struct affine_blocks b;
    lu words[32];

    quantize_strip(&q4_K, s, &b);
    pack_header(s, &b);
    pack_nibbles(b.level, words);
    lu_store_blocks(s->out, offsetof(struct block_q4_K, qs), words, 32);
}

NB_INLINE void
encode_q5_K_strip(const struct nb_strip *s)
{
    struct affine_blocks b;
    lu words[32];

    quantize_strip(&q5_K, s, &b);
    pack_header(s, &b);
    pack_nibbles(b.level, words);
    lu_store_blocks(s->out, offsetof(struct block_q5_K, qs), words, 32);
    for (int w = 0; w < 8; w++) { /* bit j of byte l is the fifth bit of weight 32 j + l */
        words[w] = lu_set1(0);
        for (int j = 0; j < 8; j++)
            for (int i = 0; i < 4; i++)
                words[w] |= b.level[32 * j + 4 * w + i] >> 4 << (8 * i + j);
    }
    lu_store_blocks(s->out, offsetof(struct block_q5_K, qh), words, 8);
}

NB_ENCODER(nb_encode_q2_K, NB_SUPER_BLOCK, sizeof(struct block_q2_K), false, strips, encode_q2_K_strip)
NB_ENCODER(nb_encode_q4_K, NB_SUPER_BLOCK, sizeof(struct block_q4_K), false, strips, encode_q4_K_strip)
NB_ENCODER(nb_encode_q5_K, NB_SUPER_BLOCK, sizeof(struct block_q5_K), false, strips, encode_q5_K_strip)
