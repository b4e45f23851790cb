/*
 * Q4_K, Q5_K and Q6_K: super-blocks of 256 weights, whose groups of 32 or 16
 * have scales (and minimums) that are themselves quantized. Layouts and
 * algorithms: ggml-quants.c of llama.cpp v0.5.0, reproduced to the bit.
 */
#include "fit.h"
#include "halves.h"
#include "kernels.h"

#define SUPER 256
#define GROUPS 16 /* that are fitted together: a multiple of every NB_LANES */

struct block_q4_K {
    uint16_t d, dmin;   /* half floats: of the scales, of the minimums */
    uint8_t scales[12]; /* eight of 6 bits, and eight minimums of 6 bits */
    uint8_t qs[128];
};

struct block_q5_K {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

struct block_q6_K {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint16_t d;
};

_Static_assert(sizeof(struct block_q4_K) == 144, "q4_K");
_Static_assert(sizeof(struct block_q5_K) == 176, "q5_K");
_Static_assert(sizeof(struct block_q6_K) == 210, "q6_K");

/* Super-block scales and minimums: d, dmin and what the 12 bytes say. */
struct affine_scales {
    uint16_t d, dmin;
    uint8_t scale[8], min[8];
};

static void
pack_scales(const struct affine_scales *s, uint8_t *packed)
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(s->scale[j] | s->scale[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(s->min[j] | s->min[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((s->scale[j + 4] & 15) | (s->min[j + 4] & 15) << 4);
    }
}

static void
unpack_scales(const uint8_t *packed, uint8_t *scale, uint8_t *min)
{
    for (int j = 0; j < 4; j++) {
        scale[j] = packed[j] & 63;
        min[j] = packed[j + 4] & 63;
        scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        min[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* The floats that the quantized scales and minimums stand for: a weight is ds * level - dm. */
static void
unpack_steps(uint16_t d, uint16_t dmin, const uint8_t *packed, float *ds, float *dm)
{
    uint8_t scale[8], min[8];

    unpack_scales(packed, scale, min);
    for (int j = 0; j < 8; j++) {
        ds[j] = nb_f16_to_f32(d) * (float)scale[j];
        dm[j] = nb_f16_to_f32(dmin) * (float)min[j];
    }
}

/* How a type with minimums is searched without importance. */
struct affine_search {
    float top, first, step;
    int steps;
};

static const struct affine_search search_q4_K = { 15, -1.0f, 0.1f, 20 };
static const struct affine_search search_q5_K = { 31, -0.5f, 0.1f, 15 };

/* What the groups of two super-blocks were fitted to. */
struct affine_groups {
    float scale[GROUPS], min[GROUPS]; /* min negated: what is subtracted */
    float weight[GROUPS];             /* sums of the weights; with importance only */
    uint8_t level[2 * SUPER];
};

/* w = the root mean square of the group + |x| */
NB_INLINE void
plain_weights(const lf *x, lf *w)
{
    lf sum = lf_set1(0), rms;

    for (int i = 0; i < 32; i++)
        sum += x[i] * x[i];
    rms = lf_sqrt(sum / lf_set1(32));
    for (int i = 0; i < 32; i++)
        w[i] = rms + lf_abs(x[i]);
}

/* w = importance * sqrt(sigma2 + x^2), where sigma2 is twice the super-block's mean square */
NB_INLINE void
importance_weights(const lf *x, const lf *importance, lf sigma2, lf *w)
{
    for (int i = 0; i < 32; i++)
        w[i] = importance[i] * lf_sqrt(sigma2 + x[i] * x[i]);
}

NB_INLINE void
fit_affine_groups(const float *x, const float *importance, const float *sigma2, const struct affine_search *s,
                  struct affine_groups *out)
{
    const float top = s->top;

    for (int g = 0; g < GROUPS; g += NB_LANES) {
        lf xs[32], ws[32], is[32], sigma, sum = lf_set1(0);
        li level[32];
        struct nb_fit fit;

        lf_load_blocks(xs, x + g * 32, 32);
        if (importance == NULL) {
            plain_weights(xs, ws);
            fit = nb_fit_affine(xs, ws, 32, top, s->first, s->step, s->steps);
        } else {
            lf_load_blocks(is, importance + g * 32, 32);
            memcpy(&sigma, sigma2 + g, sizeof sigma);
            importance_weights(xs, is, sigma, ws);
            for (int i = 0; i < 32; i++)
                sum += ws[i];
            lf_store(out->weight + g, sum);
            fit = nb_fit_affine(xs, ws, 32, top, -0.9f, 0.05f, 36);
        }
        lf_store(out->scale + g, fit.scale);
        lf_store(out->min + g, -fit.min);
        nb_affine_fit_levels(&fit, xs, 32, top, level);
        li_store_blocks(out->level + g * 32, level, 32);
    }
}

static uint8_t
six_bits(float v)
{
    const uint8_t l = (uint8_t)nb_nearest(v);

    return l < 63 ? l : 63;
}

/* The eight scales against their largest, likewise the minimums. */
static void
quantize_scales(const float *scale, const float *min, struct affine_scales *out)
{
    float max_scale = 0, max_min = 0, to_scale, to_min;

    for (int j = 0; j < 8; j++) {
        max_scale = scale[j] > max_scale ? scale[j] : max_scale;
        max_min = min[j] > max_min ? min[j] : max_min;
    }
    to_scale = max_scale > 0 ? 63.0f / max_scale : 0;
    to_min = max_min > 0 ? 63.0f / max_min : 0;
    for (int j = 0; j < 8; j++) {
        out->scale[j] = six_bits(to_scale * scale[j]);
        out->min[j] = six_bits(to_min * min[j]);
    }
    out->d = nb_f32_to_f16(max_scale / 63.0f);
    out->dmin = nb_f32_to_f16(max_min / 63.0f);
}

/* The same by importance: each group counts by its weights' sum. */
static void
fit_scales(const float *scale, const float *min, const float *weight, struct affine_scales *out)
{
    out->d = nb_f32_to_f16(nb_fit_positive(8, 63, scale, out->scale, weight));
    out->dmin = nb_f32_to_f16(nb_fit_positive(8, 63, min, out->min, weight));
}

/* Rounds all weights again with the scales as they will be read. */
NB_INLINE void
final_affine_levels(const float *x, const float *d, const float *dm, float top, uint8_t *level)
{
    for (int g = 0; g < GROUPS; g += NB_LANES) {
        uint8_t fresh[32 * NB_LANES];
        lf xs[32], ds, ms;
        li ls[32];

        lf_load_blocks(xs, x + g * 32, 32);
        memcpy(&ds, d + g, sizeof ds);
        memcpy(&ms, dm + g, sizeof ms);
        for (int i = 0; i < 32; i++)
            ls[i] = lf_nearest(nb_level((xs[i] + ms) / ds, lf_set1(0), lf_set1(top), false));
        li_store_blocks(fresh, ls, 32);
        for (int k = 0; k < NB_LANES; k++)
            if (d[g + k] != 0) /* without a scale the search's levels stand */
                memcpy(level + (g + k) * 32, fresh + k * 32, 32);
    }
}

/* Two super-blocks at X (zeros where there is but one) to scales and levels. */
static void
encode_affine_pair(const float *x, const float *importance, const struct affine_search *search,
                   struct affine_scales *scales, uint8_t *level)
{
    struct affine_groups groups;
    float sigma2[GROUPS], d[GROUPS], dm[GROUPS];

    for (int b = 0; b < 2 && importance != NULL; b++) {
        float sum = 0;

        for (int i = 0; i < SUPER; i++)
            sum += x[b * SUPER + i] * x[b * SUPER + i];
        for (int j = 0; j < 8; j++)
            sigma2[b * 8 + j] = 2 * sum / SUPER;
    }
    fit_affine_groups(x, importance, sigma2, search, &groups);
    for (int b = 0; b < 2; b++) {
        if (importance == NULL)
            quantize_scales(groups.scale + b * 8, groups.min + b * 8, &scales[b]);
        else
            fit_scales(groups.scale + b * 8, groups.min + b * 8, groups.weight + b * 8, &scales[b]);
        for (int j = 0; j < 8; j++) {
            d[b * 8 + j] = nb_f16_to_f32(scales[b].d) * (float)scales[b].scale[j];
            dm[b * 8 + j] = nb_f16_to_f32(scales[b].dmin) * (float)scales[b].min[j];
        }
    }
    final_affine_levels(x, d, dm, search->top, groups.level);
    memcpy(level, groups.level, sizeof groups.level);
}

typedef void pack_affine_fn(const struct affine_scales *scales, const uint8_t *level, void *block);

static void
pack_q4_K(const struct affine_scales *scales, const uint8_t *level, void *block)
{
    struct block_q4_K b = { .d = scales->d, .dmin = scales->dmin };

    pack_scales(scales, b.scales);
    for (int j = 0; j < 4; j++)
        for (int l = 0; l < 32; l++)
            b.qs[32 * j + l] = (uint8_t)(level[64 * j + l] | level[64 * j + l + 32] << 4);
    memcpy(block, &b, sizeof b);
}

static void
pack_q5_K(const struct affine_scales *scales, const uint8_t *level, void *block)
{
    struct block_q5_K b = { .d = scales->d, .dmin = scales->dmin };

    pack_scales(scales, b.scales);
    for (int j = 0; j < 4; j++) {
        for (int l = 0; l < 32; l++) {
            const uint8_t low = level[64 * j + l], high = level[64 * j + l + 32];

            b.qs[32 * j + l] = (uint8_t)((low & 15) | (high & 15) << 4);
            b.qh[l] |= (uint8_t)(low >> 4 << (2 * j) | high >> 4 << (2 * j + 1));
        }
    }
    memcpy(block, &b, sizeof b);
}

static void
encode_affine(const float *x, size_t rows, size_t columns, const float *importance,
              const struct affine_search *search, pack_affine_fn *pack, size_t block_bytes, uint8_t *out)
{
    /* Without importance a row's end means nothing. */
    if (importance == NULL) {
        columns *= rows;
        rows = 1;
    }
    for (size_t row = 0; row < rows; row++) {
        for (size_t at = 0; at < columns; at += 2 * SUPER) {
            const size_t n = columns - at < 2 * SUPER ? 1 : 2;
            const float *from = x + row * columns + at, *weights = importance == NULL ? NULL : importance + at;
            float lone[2 * SUPER] = { 0 }, lone_weights[2 * SUPER] = { 0 };
            struct affine_scales scales[2];
            uint8_t level[2 * SUPER];

            if (n == 1) {
                memcpy(lone, from, SUPER * sizeof *from);
                from = lone;
                if (weights != NULL) {
                    memcpy(lone_weights, weights, SUPER * sizeof *weights);
                    weights = lone_weights;
                }
            }
            encode_affine_pair(from, weights, search, scales, level);
            for (size_t b = 0; b < n; b++, out += block_bytes)
                pack(&scales[b], level + b * SUPER, out);
        }
    }
}

void
NB_TIERED(nb_encode_q4_K)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    encode_affine(x, rows, columns, importance, &search_q4_K, pack_q4_K, sizeof(struct block_q4_K), blocks);
}

void
NB_TIERED(nb_encode_q5_K)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    encode_affine(x, rows, columns, importance, &search_q5_K, pack_q5_K, sizeof(struct block_q5_K), blocks);
}

void
NB_TIERED(nb_decode_q4_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q4_K *b = blocks;

    for (size_t i = 0; i < count / SUPER; i++, b++, out += SUPER) {
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

    for (size_t i = 0; i < count / SUPER; i++, b++, out += SUPER) {
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

/* Q6_K: sixteen groups of 16 with a signed scale of 8 bits and no minimum. */

NB_INLINE void
fit_linear_groups(const float *x, const float *importance, float *scale, uint8_t *level)
{
    for (int g = 0; g < GROUPS; g += NB_LANES) {
        lf xs[16], ws[16];
        li ls[16];
        struct nb_fit fit;

        lf_load_blocks(xs, x + g * 16, 16);
        if (importance != NULL)
            lf_load_blocks(ws, importance + g * 16, 16);
        else
            for (int i = 0; i < 16; i++)
                ws[i] = xs[i] * xs[i];
        fit = nb_fit_linear(xs, ws, 16, 32);
        lf_store(scale + g, fit.scale);
        nb_linear_fit_levels(&fit, xs, 16, 32, ls);
        li_store_blocks(level + g * 16, ls, 16);
    }
}

NB_INLINE void
final_linear_levels(const float *x, const float *d, uint8_t *level)
{
    for (int g = 0; g < GROUPS; g += NB_LANES) {
        uint8_t fresh[16 * NB_LANES];
        lf xs[16], ds;
        li ls[16];

        lf_load_blocks(xs, x + g * 16, 16);
        memcpy(&ds, d + g, sizeof ds);
        for (int i = 0; i < 16; i++)
            ls[i] = lf_nearest(nb_level(xs[i] / ds, lf_set1(-32), lf_set1(31), false) + lf_set1(32));
        li_store_blocks(fresh, ls, 16);
        for (int k = 0; k < NB_LANES; k++)
            if (d[g + k] != 0)
                memcpy(level + (g + k) * 16, fresh + k * 16, 16);
    }
}

static void
pack_q6_K(const uint8_t *level, struct block_q6_K *b)
{
    for (int half = 0; half < 2; half++) {
        const uint8_t *q = level + 128 * half;

        for (int l = 0; l < 32; l++) {
            b->ql[64 * half + l] = (uint8_t)((q[l] & 15) | (q[l + 64] & 15) << 4);
            b->ql[64 * half + l + 32] = (uint8_t)((q[l + 32] & 15) | (q[l + 96] & 15) << 4);
            b->qh[32 * half + l] =
                (uint8_t)(q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
        }
    }
}

static void
encode_q6_K_block(const float *x, const float *importance, struct block_q6_K *out)
{
    struct block_q6_K b = { .d = 0 };
    float scale[GROUPS], d[GROUPS], largest = 0, absolute = 0, inverse;
    uint8_t level[SUPER];

    fit_linear_groups(x, importance, scale, level);
    for (int j = 0; j < GROUPS; j++) {
        if (fabsf(scale[j]) > absolute) {
            absolute = fabsf(scale[j]);
            largest = scale[j];
        }
    }
    if (absolute < NB_GROUP_EPSILON) {
        memcpy(out, &b, sizeof b);
        return;
    }
    inverse = -128.0f / largest;
    b.d = nb_f32_to_f16(1 / inverse);
    for (int j = 0; j < GROUPS; j++) {
        b.scales[j] = (int8_t)nb_min_int(127, nb_nearest(inverse * scale[j]));
        d[j] = nb_f16_to_f32(b.d) * (float)b.scales[j];
    }
    final_linear_levels(x, d, level);
    pack_q6_K(level, &b);
    memcpy(out, &b, sizeof b);
}

void
NB_TIERED(nb_encode_q6_K)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks)
{
    struct block_q6_K *out = blocks;

    for (size_t row = 0; row < rows; row++, x += columns)
        for (size_t at = 0; at < columns; at += SUPER)
            encode_q6_K_block(x + at, importance == NULL ? NULL : importance + at, out++);
}

void
NB_TIERED(nb_decode_q6_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q6_K *b = blocks;

    for (size_t i = 0; i < count / SUPER; i++, b++, out += SUPER) {
        const float d = nb_f16_to_f32(b->d);

        for (int half = 0; half < 2; half++) {
            for (int k = 0; k < 4; k++) {
                for (int l = 0; l < 32; l++) {
                    const int low = b->ql[64 * half + 32 * (k % 2) + l] >> (k / 2 * 4) & 15;
                    const int high = b->qh[32 * half + l] >> (2 * k) & 3;

                    out[128 * half + 32 * k + l] =
                        d * (float)b->scales[8 * half + 2 * k + l / 16] * (float)((low | high << 4) - 32);
                }
            }
        }
    }
}
