/*
 * The formats of one or two bits that need no search: TQ1_0 and TQ2_0 (-1, 0, 1
 * times the largest magnitude), Q2_0 (the same in blocks of 64), Q1_0 (the sign
 * times the mean magnitude). Layouts and algorithms: ggml-quants.c of llama.cpp
 * v0.5.0, reproduced to the bit. One lane holds one block. None uses importance.
 */
#include "formats/elements/block_layouts.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

/*
 * Inverse * x rounded, halves away from zero, plus 1: 0, 1 or 2, since no
 * magnitude exceeds 1 by more than a rounding error.
 */
NB_INLINE lu
trit(lf x, lf inverse)
{
    const lf v = x * inverse;

    return (lu)(li_count(lm_int(lf_le(lf_set1(0.5f), v)), lm_not(lf_le(v, lf_set1(-0.5f)))));
}

/*
 * 1 / max. If it is infinite because max is subnormal, the reference converts
 * infinities to integers, which gives 0 on x86; an inverse of 0 has the same
 * result.
 */
NB_INLINE lf
inverse_of(lf max, lm *infinite)
{
    const lm none = lf_eq(max, lf_set1(0));
    const lf inverse = lf_set1(1) / lf_select(none, lf_set1(1), max);

    *infinite = lf_eq(inverse, lf_set1(INFINITY));
    return lf_select(lm_or(none, *infinite), lf_set1(0), inverse);
}

/* Packs COUNT trits, STRIDE weights apart, into a byte of TQ1_0. */
NB_INLINE lu
trits_byte(const lf *x, lf inverse, int count, int stride)
{
    lu q = lu_set1(0);

    for (int n = 0; n < 5; n++)
        q = q * 3 + (n < count ? trit(x[n * stride], inverse) : lu_set1(0));
    return ((q * 256 + 242) * 34522) >> 23; /* / 243, rounded up: exact for these */
}

NB_INLINE void
encode_tq1_0_strip(const struct nb_strip *s)
{
    lf x[NB_SUPER_BLOCK], d, inverse;
    lu words[12], last = lu_set1(0);
    lm infinite;

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    d = nb_largest_magnitude(x, NB_SUPER_BLOCK);
    inverse = inverse_of(d, &infinite);
    for (int w = 0; w < 12; w++) { /* 32 bytes with weights 32 apart, then 16 bytes with weights 16 apart */
        const lf *from = w < 8 ? x + 4 * w : x + 160 + 4 * (w - 8);

        words[w] = lu_set1(0);
        for (int i = 0; i < 4; i++)
            words[w] |= trits_byte(from + i, inverse, 5, w < 8 ? 32 : 16) << 8 * i;
    }
    for (int i = 0; i < 4; i++)
        last |= trits_byte(x + 240 + i, inverse, 4, 4) << 8 * i;
    lu_store_blocks(s->out, offsetof(struct block_tq1_0, qs), words, 12);
    nb_store_u32(s, offsetof(struct block_tq1_0, qh), last);
    nb_store_u16(s, offsetof(struct block_tq1_0, d), nb_halves(d));
}

NB_INLINE void
encode_tq2_0_strip(const struct nb_strip *s)
{
    lf x[NB_SUPER_BLOCK], d, inverse;
    lu words[16];
    lm infinite;

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    d = nb_largest_magnitude(x, NB_SUPER_BLOCK);
    inverse = inverse_of(d, &infinite);
    for (int w = 0; w < 16; w++) { /* byte l of 32: weights l, l + 32, l + 64, l + 96 of 128 */
        words[w] = lu_set1(0);
        for (int i = 0; i < 4; i++)
            for (int n = 0; n < 4; n++)
                words[w] |= trit(x[w / 8 * 128 + w % 8 * 4 + 32 * n + i], inverse) << (8 * i + 2 * n);
    }
    lu_store_blocks(s->out, offsetof(struct block_tq2_0, qs), words, 16);
    nb_store_u16(s, offsetof(struct block_tq2_0, d), nb_halves(d));
}

NB_INLINE void
encode_q1_0_strip(const struct nb_strip *s)
{
    lf x[128], sum = lf_set1(0);
    lu words[4];

    lf_load_blocks(x, s->x, 0, 128);
    for (int w = 0; w < 4; w++) {
        words[w] = lu_set1(0);
        for (int i = 0; i < 32; i++) {
            sum += lf_abs(x[32 * w + i]);
            words[w] |= (lu)lm_int(lf_le(lf_set1(0), x[32 * w + i])) << i;
        }
    }
    nb_store_u16(s, offsetof(struct block_q1_0, d), nb_halves(sum / lf_set1(128)));
    lu_store_blocks(s->out, offsetof(struct block_q1_0, qs), words, 4);
}

NB_INLINE void
encode_q2_0_strip(const struct nb_strip *s)
{
    lf x[64], d, inverse;
    lu words[4];
    lm infinite;

    lf_load_blocks(x, s->x, 0, 64);
    d = nb_largest_magnitude(x, 64);
    inverse = inverse_of(d, &infinite);
    for (int w = 0; w < 4; w++) {
        words[w] = lu_set1(0);
        for (int i = 0; i < 16; i++)
            words[w] |= trit(x[16 * w + i], inverse) << 2 * i;
        /* The reference's infinities give level 0 here. */
        words[w] = (lu)li_select(infinite, (li)lu_set1(0), (li)words[w]);
    }
    nb_store_u16(s, offsetof(struct block_q2_0, d), nb_halves(d));
    lu_store_blocks(s->out, offsetof(struct block_q2_0, qs), words, 4);
}

NB_ENCODER(nb_encode_tq1_0, NB_SUPER_BLOCK, sizeof(struct block_tq1_0), false, strips, encode_tq1_0_strip)
NB_ENCODER(nb_encode_tq2_0, NB_SUPER_BLOCK, sizeof(struct block_tq2_0), false, strips, encode_tq2_0_strip)
NB_ENCODER(nb_encode_q1_0, 128, sizeof(struct block_q1_0), false, strips, encode_q1_0_strip)
NB_ENCODER(nb_encode_q2_0, 64, sizeof(struct block_q2_0), false, strips, encode_q2_0_strip)
