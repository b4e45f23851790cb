/*
 * IQ4_NL and IQ4_XS: four-bit indices into a fixed table of sixteen values,
 * which are denser around zero. Layouts, table and algorithms: ggml-quants.c of
 * llama.cpp v0.5.0, reproduced to the bit. One lane holds one block.
 */
#include "formats/elements/block_layouts.h"
#include "formats/elements/four_bit.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

#define GROUP 32

/* The midpoints of adjacent values. */
static const struct nb_thresholds middles = {
    { -115.5f, -74, -42, -16, 7, 31.5f, 61, 101 },
    { -93.5f, -28.5f, 19, 79 },
    { -57, 45.5f },
    -4.5f,
};

/*
 * The index of the nearest value; a midpoint belongs to the upper one. The
 * reference compares two rounded differences; both are exact near the middle of
 * two nb_iq4_values, where it matters.
 */
NB_INLINE li
nearest_value(lf x)
{
    return lf_rank(&middles, x);
}

/* The sums that rate a scale: x ~ value / inverse, by weighted least squares. */
NB_INLINE void
value_sums(const lf *x, const lf *w, lf inverse, lf *qx, lf *q2)
{
    *qx = *q2 = lf_set1(0);
    for (int i = 0; i < GROUP; i++) {
        const lf q = lf_lookup16(nb_iq4_values, nearest_value(inverse * x[i]));
        const lf wq = w[i] * q;

        *qx += wq * x[i];
        *q2 += wq * q;
    }
}

/* The scale of a group: maps the value of largest magnitude to -127, then tries scales around that. */
NB_INLINE lf
fit_group(const lf *x, const lf *w)
{
    const lf zero = lf_set1(0);
    lf largest = nb_largest(x, GROUP), d, best, qx, q2;
    const lm flat = lf_lt(lf_abs(largest), lf_set1(NB_GROUP_EPSILON));

    largest = lf_select(flat, lf_set1(1), largest);
    value_sums(x, w, lf_set1(1) / (-largest / lf_set1(nb_iq4_values[0])), &qx, &q2);
    d = lf_select(lf_lt(zero, q2), qx / q2, zero);
    best = d * qx;
    for (int t = -7; t <= 7; t++) {
        lm better;

        value_sums(x, w, lf_set1((float)t + nb_iq4_values[0]) / largest, &qx, &q2);
        better = lm_and(lf_lt(zero, q2), lf_lt(best * q2, qx * qx));
        d = lf_select(better, qx / q2, d);
        best = lf_select(better, d * qx, best);
    }
    return lf_select(flat, zero, d);
}

/* Error weights: by importance, without it x^2. */
NB_INLINE void
group_weights(const struct nb_strip *s, size_t at, const lf *x, lf sigma2, lf *w)
{
    lf importance[GROUP];

    if (s->has_importance) {
        lf_load_blocks(importance, s->importance, at, GROUP);
        nb_importance_weights(x, importance, sigma2, GROUP, w);
    } else {
        for (int i = 0; i < GROUP; i++)
            w[i] = x[i] * x[i];
    }
}

/* A group's indices for INVERSE, the factor of its weights; 0 for a scale of zero. */
NB_INLINE void
store_indices(const struct nb_strip *s, size_t at, const lf *x, lf d)
{
    const lm none = lf_eq(d, lf_set1(0));
    const lf inverse = lf_select(none, lf_set1(0), lf_set1(1) / d);
    lu words[4];

    for (int w = 0; w < 4; w++) {
        words[w] = lu_set1(0);
        for (int i = 4 * w; i < 4 * w + 4; i++)
            words[w] |= ((lu)nearest_value(inverse * x[i]) | (lu)nearest_value(inverse * x[i + 16]) << 4) << i % 4 * 8;
    }
    lu_store_blocks(s->out, at, words, 4);
}

NB_INLINE void
encode_iq4_nl_strip(const struct nb_strip *s)
{
    lf x[GROUP], w[GROUP], d;

    lf_load_blocks(x, s->x, 0, GROUP);
    group_weights(s, 0, x, nb_sum_of_squares(x, GROUP) * lf_set1(2.0f / GROUP), w);
    d = fit_group(x, w);
    nb_store_u16(s, offsetof(struct block_iq4_nl, d), nb_halves(d));
    store_indices(s, offsetof(struct block_iq4_nl, qs), x, d);
}

NB_INLINE void
encode_iq4_xs_strip(const struct nb_strip *s)
{
    lf x[NB_SUPER_BLOCK], w[GROUP], scale[8], sigma2, d, inverse;
    lu high = lu_set1(0), low = lu_set1(0);

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    sigma2 = nb_sum_of_squares(x, NB_SUPER_BLOCK) * lf_set1(2.0f / NB_SUPER_BLOCK);
    for (int j = 0; j < 8; j++) {
        group_weights(s, (size_t)j * GROUP, x + j * GROUP, sigma2, w);
        scale[j] = fit_group(x + j * GROUP, w);
    }
    d = -nb_largest(scale, 8) / lf_set1(32);
    inverse = lf_select(lf_eq(d, lf_set1(0)), lf_set1(0), lf_set1(1) / d);
    for (int j = 0; j < 8; j++) {
        const lf level = nb_level(inverse * scale[j], lf_set1(-32), lf_set1(31), false);
        const lu bits = (lu)(lf_to_int(level) + 32);

        store_indices(s, offsetof(struct block_iq4_xs, qs) + (size_t)j * 16, x + j * GROUP, d * level);
        low |= (bits & 15) << 4 * j;
        high |= bits >> 4 << 2 * j;
    }
    nb_store_u32(s, 0, nb_halves(d) | high << 16);
    nb_store_u32(s, offsetof(struct block_iq4_xs, scales_l), low);
}

NB_ENCODER(nb_encode_iq4_nl, GROUP, sizeof(struct block_iq4_nl), false, strips, encode_iq4_nl_strip)
NB_ENCODER(nb_encode_iq4_xs, NB_SUPER_BLOCK, sizeof(struct block_iq4_xs), false, strips, encode_iq4_xs_strip)
