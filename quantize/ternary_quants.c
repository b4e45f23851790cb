/*
 * The formats of one or two bits that need no search: TQ1_0 and TQ2_0 (-1, 0, 1
 * times the largest magnitude), Q2_0 (the same, by 64), Q1_0 (the sign times the
 * mean magnitude). Layouts and algorithms: ggml-quants.c of llama.cpp v0.5.0,
 * reproduced to the bit. One lane holds one block. None uses importance.
 */
#include "fit.h"
#include "kernels.h"
#include "strip.h"

#define SUPER 256

struct block_tq1_0 {
    uint8_t qs[48]; /* five weights in a byte: the fraction 0.t0 t1 t2 t3 t4 in base 3, times 256 */
    uint8_t qh[4];  /* four weights in a byte */
    uint16_t d;
};

struct block_tq2_0 {
    uint8_t qs[64];
    uint16_t d;
};

struct block_q1_0 { uint16_t d; uint8_t qs[16]; };
struct block_q2_0 { uint16_t d; uint8_t qs[16]; };

_Static_assert(sizeof(struct block_tq1_0) == 54, "tq1_0");
_Static_assert(sizeof(struct block_tq2_0) == 66, "tq2_0");
_Static_assert(sizeof(struct block_q1_0) == 18, "q1_0");
_Static_assert(sizeof(struct block_q2_0) == 18, "q2_0");

/*
 * Inverse * x rounded, halves away from zero, plus 1: 0, 1 or 2, since no
 * magnitude passes 1 by more than a rounding.
 */
NB_INLINE lu
trit(lf x, lf inverse)
{
    const lf v = x * inverse;

    return (lu)(li_count(lm_int(lf_le(lf_set1(0.5f), v)), lm_not(lf_le(v, lf_set1(-0.5f)))));
}

/*
 * 1 / max. Where that is infinite, because max is subnormal, the reference
 * converts infinities to integers, which makes 0 of them on x86: an inverse of 0
 * does the same.
 */
NB_INLINE lf
inverse_of(lf max, lm *infinite)
{
    const lm none = lf_eq(max, lf_set1(0));
    const lf inverse = lf_set1(1) / lf_select(none, lf_set1(1), max);

    *infinite = lf_eq(inverse, lf_set1(INFINITY));
    return lf_select(lm_or(none, *infinite), lf_set1(0), inverse);
}

/* COUNT trits, STRIDE weights apart, as the byte of TQ1_0. */
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
    lf x[SUPER], d, inverse;
    lu words[12], last = lu_set1(0);
    lm infinite;

    lf_load_blocks(x, s->x, 0, SUPER);
    d = nb_largest_magnitude(x, SUPER);
    inverse = inverse_of(d, &infinite);
    for (int w = 0; w < 12; w++) { /* 32 bytes of weights 32 apart, then 16 bytes of weights 16 apart */
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
    lf x[SUPER], d, inverse;
    lu words[16];
    lm infinite;

    lf_load_blocks(x, s->x, 0, SUPER);
    d = nb_largest_magnitude(x, SUPER);
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
        /* Here the reference's infinities end at level 0. */
        words[w] = (lu)li_select(infinite, (li)lu_set1(0), (li)words[w]);
    }
    nb_store_u16(s, offsetof(struct block_q2_0, d), nb_halves(d));
    lu_store_blocks(s->out, offsetof(struct block_q2_0, qs), words, 4);
}

NB_ENCODER(nb_encode_tq1_0, SUPER, sizeof(struct block_tq1_0), false, strips, encode_tq1_0_strip)
NB_ENCODER(nb_encode_tq2_0, SUPER, sizeof(struct block_tq2_0), false, strips, encode_tq2_0_strip)
NB_ENCODER(nb_encode_q1_0, 128, sizeof(struct block_q1_0), false, strips, encode_q1_0_strip)
NB_ENCODER(nb_encode_q2_0, 64, sizeof(struct block_q2_0), false, strips, encode_q2_0_strip)

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

    for (size_t i = 0; i < count / SUPER; i++, b++, out += SUPER) {
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

    for (size_t i = 0; i < count / SUPER; i++, b++, out += SUPER) {
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
