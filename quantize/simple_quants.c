/*
 * The block formats of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Layouts and
 * algorithms: ggml-quants.c of llama.cpp v0.5.0, reproduced to the bit.
 */
#include "fit.h"
#include "halves.h"
#include "kernels.h"

#define BLOCK 32
#define BATCH 16 /* blocks that are worked on together: a multiple of every NB_LANES */

struct block_q4_0 { uint16_t d; uint8_t qs[16]; };
struct block_q4_1 { uint16_t d, m; uint8_t qs[16]; };
struct block_q5_0 { uint16_t d; uint8_t qh[4], qs[16]; };
struct block_q5_1 { uint16_t d, m; uint8_t qh[4], qs[16]; };
struct block_q8_0 { uint16_t d; int8_t qs[32]; };

_Static_assert(sizeof(struct block_q4_0) == 18, "q4_0");
_Static_assert(sizeof(struct block_q4_1) == 20, "q4_1");
_Static_assert(sizeof(struct block_q5_0) == 22, "q5_0");
_Static_assert(sizeof(struct block_q5_1) == 24, "q5_1");
_Static_assert(sizeof(struct block_q8_0) == 34, "q8_0");

/* A batch of blocks between search and packing. */
struct batch {
    float d[BATCH], m[BATCH]; /* m is 0 where the type has none */
    uint8_t level[BATCH * BLOCK];
};

/* 1 / d, or 0 */
NB_INLINE lf
inverse_or_zero(lf d)
{
    return lf_select(lf_eq(d, lf_set1(0)), lf_set1(0), lf_set1(1) / d);
}

/*
 * What (int8_t)v gives where it is defined, and the low byte of x86's
 * conversion where it is not; then capped.
 */
NB_INLINE li
truncated_level(lf v, int32_t cap)
{
    const li byte = ((lf_truncate(v) & 0xFF) ^ 0x80) - 0x80, caps = (li){ 0 } + cap;
#if NB_LANES == 1
    return byte < caps ? byte : caps;
#else
    const li less = (li)(byte < caps);

    return (byte & less) | (caps & ~less);
#endif
}

/* Q4_0, Q5_0: the largest value, sign included, becomes -TOP. */
NB_INLINE void
round_linear(const lf *x, float top, struct batch *out, int at)
{
    lf absolute = lf_set1(0), largest = lf_set1(0), d, inverse;
    li level[BLOCK];

    for (int i = 0; i < BLOCK; i++) {
        const lf a = lf_abs(x[i]);
        const lm more = lf_lt(absolute, a);

        absolute = lf_select(more, a, absolute);
        largest = lf_select(more, x[i], largest);
    }
    d = largest / lf_set1(-top);
    inverse = inverse_or_zero(d);
    for (int i = 0; i < BLOCK; i++)
        level[i] = truncated_level(x[i] * inverse + lf_set1(top + 0.5f), (int32_t)(2 * top) - 1);
    lf_store(out->d + at, d);
    lf_store(out->m + at, lf_set1(0));
    li_store_blocks(out->level + at * BLOCK, level, BLOCK);
}

/* Q4_1, Q5_1: the range from the smallest to the largest value in TOP steps. */
NB_INLINE void
round_affine(const lf *x, float top, struct batch *out, int at)
{
    lf min = x[0], max = x[0], d, inverse;
    li level[BLOCK];

    for (int i = 1; i < BLOCK; i++) {
        min = lf_min(x[i], min);
        max = lf_max(x[i], max);
    }
    d = (max - min) / lf_set1(top);
    inverse = inverse_or_zero(d);
    for (int i = 0; i < BLOCK; i++)
        level[i] = truncated_level((x[i] - min) * inverse + lf_set1(0.5f), (int32_t)top);
    lf_store(out->d + at, d);
    lf_store(out->m + at, min);
    li_store_blocks(out->level + at * BLOCK, level, BLOCK);
}

/* w = importance * sqrt(sigma2 + x^2), where sigma2 is the row's mean square */
NB_INLINE void
importance_weights(const lf *x, const float *importance, float sigma2, lf *w)
{
    lf_load_blocks(w, importance, BLOCK);
    for (int i = 0; i < BLOCK; i++)
        w[i] *= lf_sqrt(lf_set1(sigma2) + x[i] * x[i]);
}

NB_INLINE void
search_linear(const lf *x, const lf *w, float top, struct batch *out, int at)
{
    const struct nb_fit fit = nb_fit_linear(x, w, BLOCK, top);
    li level[BLOCK];

    nb_linear_fit_levels(&fit, x, BLOCK, top, level);
    lf_store(out->d + at, fit.scale);
    lf_store(out->m + at, lf_set1(0));
    li_store_blocks(out->level + at * BLOCK, level, BLOCK);
}

NB_INLINE void
search_affine(const lf *x, const lf *w, float top, struct batch *out, int at)
{
    const struct nb_fit fit = nb_fit_affine(x, w, BLOCK, top, -0.9f, 0.05f, 36);
    li level[BLOCK];

    nb_affine_fit_levels(&fit, x, BLOCK, top, level);
    lf_store(out->d + at, fit.scale);
    /* The reference negates the minimum twice, which keeps its sign also at zero. */
    lf_store(out->m + at, fit.min);
    li_store_blocks(out->level + at * BLOCK, level, BLOCK);
}

enum form { LINEAR, AFFINE };

NB_INLINE void
quantize_batch(const float *x, const float *importance, float sigma2, const enum form form, const float top,
               struct batch *out)
{
    for (int g = 0; g < BATCH; g += NB_LANES) {
        lf xs[BLOCK], ws[BLOCK];

        lf_load_blocks(xs, x + g * BLOCK, BLOCK);
        if (importance != NULL)
            importance_weights(xs, importance + g * BLOCK, sigma2, ws);
        if (form == LINEAR && importance == NULL)
            round_linear(xs, top, out, g);
        else if (form == LINEAR)
            search_linear(xs, ws, top, out, g);
        else if (importance == NULL)
            round_affine(xs, top, out, g);
        else
            search_affine(xs, ws, top, out, g);
    }
}

typedef void pack_fn(float d, float m, const uint8_t *level, void *block);

/* COLUMNS floats of one row; the last batch is filled up with zeros. */
NB_INLINE uint8_t *
encode_row(const float *x, size_t columns, const float *importance, const enum form form, const float top,
           pack_fn *pack, size_t block_bytes, uint8_t *out)
{
    float sigma2 = 0;

    if (importance != NULL) {
        for (size_t i = 0; i < columns; i++)
            sigma2 += x[i] * x[i];
        sigma2 /= (float)columns;
    }
    for (size_t at = 0; at < columns; at += BATCH * BLOCK) {
        const size_t n = columns - at < BATCH * BLOCK ? columns - at : BATCH * BLOCK;
        const float *from = x + at, *weights = importance == NULL ? NULL : importance + at;
        float rest[BATCH * BLOCK], rest_weights[BATCH * BLOCK];
        struct batch batch;

        if (n < BATCH * BLOCK) {
            memset(rest, 0, sizeof rest);
            memset(rest_weights, 0, sizeof rest_weights);
            memcpy(rest, from, n * sizeof *from);
            from = rest;
            if (weights != NULL) {
                memcpy(rest_weights, weights, n * sizeof *weights);
                weights = rest_weights;
            }
        }
        quantize_batch(from, weights, sigma2, form, top, &batch);
        for (size_t b = 0; b < n / BLOCK; b++, out += block_bytes)
            pack(batch.d[b], batch.m[b], batch.level + b * BLOCK, out);
    }
    return out;
}

NB_INLINE void
encode_rows(const float *x, size_t rows, size_t columns, const float *importance, const enum form form,
            const float top, pack_fn *pack, size_t block_bytes, uint8_t *out)
{
    if (importance == NULL) { /* without importance a row's end means nothing */
        encode_row(x, rows * columns, NULL, form, top, pack, block_bytes, out);
        return;
    }
    for (size_t row = 0; row < rows; row++)
        out = encode_row(x + row * columns, columns, importance, form, top, pack, block_bytes, out);
}

static void
pack_nibbles(const uint8_t *level, uint8_t *qs)
{
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((level[i] & 15) | (level[i + 16] & 15) << 4);
}

static void
pack_fifth_bits(const uint8_t *level, uint8_t *qh)
{
    for (int i = 0; i < 4; i++) {
        unsigned bits = 0;

        for (int k = 0; k < 8; k++)
            bits |= (unsigned)(level[8 * i + k] >> 4 & 1) << k;
        qh[i] = (uint8_t)bits;
    }
}

static void
pack_q4_0(float d, float m, const uint8_t *level, void *block)
{
    struct block_q4_0 *b = block;

    (void)m;
    b->d = nb_f32_to_f16(d);
    pack_nibbles(level, b->qs);
}

static void
pack_q4_1(float d, float m, const uint8_t *level, void *block)
{
    struct block_q4_1 *b = block;

    b->d = nb_f32_to_f16(d);
    b->m = nb_f32_to_f16(m);
    pack_nibbles(level, b->qs);
}

static void
pack_q5_0(float d, float m, const uint8_t *level, void *block)
{
    struct block_q5_0 *b = block;

    (void)m;
    b->d = nb_f32_to_f16(d);
    pack_fifth_bits(level, b->qh);
    pack_nibbles(level, b->qs);
}

static void
pack_q5_1(float d, float m, const uint8_t *level, void *block)
{
    struct block_q5_1 *b = block;

    b->d = nb_f32_to_f16(d);
    b->m = nb_f32_to_f16(m);
    pack_fifth_bits(level, b->qh);
    pack_nibbles(level, b->qs);
}

void
NB_TIERED(nb_encode_q4_0)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    encode_rows(x, rows, columns, importance, LINEAR, 8, pack_q4_0, sizeof(struct block_q4_0), blocks);
}

void
NB_TIERED(nb_encode_q5_0)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    encode_rows(x, rows, columns, importance, LINEAR, 16, pack_q5_0, sizeof(struct block_q5_0), blocks);
}

void
NB_TIERED(nb_encode_q4_1)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    encode_rows(x, rows, columns, importance, AFFINE, 15, pack_q4_1, sizeof(struct block_q4_1), blocks);
}

void
NB_TIERED(nb_encode_q5_1)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    encode_rows(x, rows, columns, importance, AFFINE, 31, pack_q5_1, sizeof(struct block_q5_1), blocks);
}

/*
 * Q8_0: of one block only the largest magnitude is needed, and a maximum does
 * not mind the order, so here the lanes are elements.
 */
static void
encode_q8_0_block(const float *x, struct block_q8_0 *out)
{
    const int lanes = NB_LANES;
    lf v[BLOCK / NB_LANES], largest = lf_set1(0);
    float amax = 0, d, inverse;
    int32_t q[BLOCK];

    memcpy(v, x, sizeof v);
    for (int i = 0; i < BLOCK / lanes; i++)
        largest = lf_max(lf_abs(v[i]), largest);
    for (int k = 0; k < lanes; k++)
        amax = lf_get(largest, k) > amax ? lf_get(largest, k) : amax;
    d = amax / 127;
    inverse = d != 0 ? 1.0f / d : 0;
    for (int i = 0; i < BLOCK / lanes; i++) {
        /* Half away from zero: the part behind the point is exact, so it can be looked at. */
        const lf product = v[i] * lf_set1(inverse), whole = lf_from_int(lf_truncate(product));
        const lm half = lf_le(lf_set1(0.5f), lf_abs(product - whole));
        const li level = lf_truncate(whole + lf_select(half, lf_copysign(lf_set1(1), product), lf_set1(0)));

        memcpy(q + i * lanes, &level, sizeof level);
    }
    out->d = nb_f32_to_f16(d);
    for (int i = 0; i < BLOCK; i++)
        out->qs[i] = (int8_t)(uint8_t)q[i];
}

void
NB_TIERED(nb_encode_q8_0)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    struct block_q8_0 *out = blocks;

    (void)importance; /* the reference has no use for it either */
    for (size_t i = 0; i < rows * columns; i += BLOCK)
        encode_q8_0_block(x + i, out++);
}

void
NB_TIERED(nb_decode_q4_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q4_0 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < 16; k++) {
            out[k] = (float)((b->qs[k] & 15) - 8) * d;
            out[k + 16] = (float)((b->qs[k] >> 4) - 8) * d;
        }
    }
}

void
NB_TIERED(nb_decode_q4_1)(const void *blocks, size_t count, float *out)
{
    const struct block_q4_1 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d), m = nb_f16_to_f32(b->m);

        for (int k = 0; k < 16; k++) {
            out[k] = (float)(b->qs[k] & 15) * d + m;
            out[k + 16] = (float)(b->qs[k] >> 4) * d + m;
        }
    }
}

/* Weight K's level of five bits. */
static int
five_bits(const uint8_t *qs, const uint8_t *qh, int k)
{
    return (qs[k % 16] >> (k / 16 * 4) & 15) | (qh[k / 8] >> (k % 8) & 1) << 4;
}

void
NB_TIERED(nb_decode_q5_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q5_0 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)(five_bits(b->qs, b->qh, k) - 16) * d;
    }
}

void
NB_TIERED(nb_decode_q5_1)(const void *blocks, size_t count, float *out)
{
    const struct block_q5_1 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d), m = nb_f16_to_f32(b->m);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)five_bits(b->qs, b->qh, k) * d + m;
    }
}

void
NB_TIERED(nb_decode_q8_0)(const void *blocks, size_t count, float *out)
{
    const struct block_q8_0 *b = blocks;

    for (size_t i = 0; i < count; i += BLOCK, b++, out += BLOCK) {
        const float d = nb_f16_to_f32(b->d);

        for (int k = 0; k < BLOCK; k++)
            out[k] = (float)b->qs[k] * d;
    }
}
