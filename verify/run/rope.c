#include "verify/run/rope.h"

#include "formats/models/expression.h"
#include "verify/run/load.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The pair that rotates N times over CONTEXT positions (YaRN, eq. 17). */
static double
yarn_pair(double dims, double context, double rotations, double base)
{
    return dims * log(context / (rotations * 2 * M_PI)) / (2 * log(base));
}

/* Of the rotated elements: the file's, or that of the paper, divided by what scales all elements. */
static double
yarn_magnitude(const struct nb_loader *l, double factor)
{
    const struct nb_hparams *hp = &l->model->hp;

    if (nb_hp(hp, NB_HP_YARN_ATTN_FACTOR) > 0)
        return nb_hp(hp, NB_HP_YARN_ATTN_FACTOR);
    if (l->model->arch->attention.yarn_scales_scores)
        return 1;
    return (1 + 0.1 * log(factor)) / (1 + 0.1 * nb_hp(hp, NB_HP_YARN_LOG_MULTIPLIER) * log(factor));
}

/*
 * YaRN (Peng et al. 2023, as in ggml's rope_yarn): frequencies of slow pairs are divided by FACTOR,
 * those of fast pairs are kept, those between are interpolated; the magnitude is slightly increased, unless the
 * multiplier (mscale_all_dim) takes it back.
 */
static void
stretch_by_yarn(const struct nb_loader *l, struct nb_rope *r, double factor)
{
    const struct nb_hparams *hp = &l->model->hp;
    const double dims = r->dims, original = nb_hp_or(hp, NB_HP_ROPE_CONTEXT, nb_hp(hp, NB_HP_CONTEXT));
    const bool is_exact = l->model->arch->attention.yarn_is_exact;
    const double fast = yarn_pair(dims, original, nb_hp_or(hp, NB_HP_YARN_BETA_FAST, 32), r->base);
    const double slow = yarn_pair(dims, original, nb_hp_or(hp, NB_HP_YARN_BETA_SLOW, 1), r->base);
    const double low = fmax(0, is_exact ? fast : floor(fast)), high = fmin(dims - 1, is_exact ? slow : ceil(slow));

    for (uint32_t i = 0; i < r->dims / 2; i++) {
        const double ramp = 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));

        r->frequencies[i] *= (1 - ramp) / factor + ramp;
    }
    r->magnitude = yarn_magnitude(l, factor) * nb_hp_or(hp, NB_HP_ROPE_ATTN_FACTOR, 1);
}

/* Divides FREQUENCIES by the factors in the tensor NAME, if there is one. */
static enum nb_status
divide_by(const struct nb_loader *l, const struct nb_rope *r, const char *name, double *frequencies)
{
    const float *factors;
    const enum nb_status status = nb_load_small(l, name, &factors);

    for (uint32_t i = 0; i < r->dims / 2 && status == NB_OK && factors != NULL; i++)
        frequencies[i] /= (double)factors[i];
    return status;
}

/* LongRoPE (Ding et al. 2024): other factors for texts that are longer than those of the original training. */
static enum nb_status
set_far(const struct nb_loader *l, struct nb_rope *r)
{
    enum nb_status status;

    if (!nb_load_has(l, "rope_factors_long.weight") || !nb_load_has(l, "rope_factors_short.weight"))
        return NB_OK;
    r->far = nb_arena_calloc(&l->model->arena, r->dims / 2, sizeof *r->far);
    if (r->far == NULL)
        return nb_fail_memory(l->err);
    memcpy(r->far, r->frequencies, r->dims / 2 * sizeof *r->far);
    r->near = nb_hp_or(&l->model->hp, NB_HP_ROPE_CONTEXT, nb_hp(&l->model->hp, NB_HP_CONTEXT));
    r->magnitude = nb_hp_or(&l->model->hp, NB_HP_ROPE_ATTN_FACTOR, 1);
    status = divide_by(l, r, "rope_factors_long.weight", r->far);
    return status == NB_OK ? divide_by(l, r, "rope_factors_short.weight", r->frequencies) : status;
}

static enum nb_status
scale_frequencies(const struct nb_loader *l, struct nb_rope *r)
{
    const struct nb_hparams *hp = &l->model->hp;
    const double factor = nb_hp_or(hp, NB_HP_ROPE_FACTOR, 1);
    const char *type = nb_hp_text(hp, NB_HP_ROPE_SCALING);
    enum nb_status status = divide_by(l, r, "rope_freqs.weight", r->frequencies);

    if (status == NB_OK)
        status = set_far(l, r);
    if (status != NB_OK || type == NULL || strcmp(type, "none") == 0 || strcmp(type, "longrope") == 0)
        return status;
    if (strcmp(type, "yarn") == 0) {
        stretch_by_yarn(l, r, factor);
    } else if (strcmp(type, "linear") == 0) {
        for (uint32_t i = 0; i < r->dims / 2; i++)
            r->frequencies[i] /= factor;
    } else {
        return nb_fail(l->err, NB_UNSUPPORTED, "%s: rotary scaling of type '%s' is not supported",
                       l->model->source->path, type);
    }
    return NB_OK;
}

static enum nb_status
set_frequencies(const struct nb_loader *l, struct nb_rope *r)
{
    for (uint32_t i = 0; i < r->dims / 2; i++)
        r->frequencies[i] = pow(r->base, -2.0 * i / r->dims);
    r->magnitude = 1;
    return r->scaled ? scale_frequencies(l, r) : NB_OK;
}

/* Which elements are the pairs of heads of HEAD_DIM elements; false if they are no rows of equal distances. */
static bool
set_pairs(enum nb_rope_pairing pairing, uint32_t head_dim, struct nb_rope *r)
{
    const bool whole = r->dims == head_dim;

    r->step = pairing == NB_ROPE_HALVES ? 1 : 2;
    r->gap = pairing == NB_ROPE_HALVES ? r->dims / 2 : pairing == NB_ROPE_INTERLEAVED && !whole ? r->dims : 1;
    return pairing != NB_ROPE_INTERLEAVED || whole || r->dims <= head_dim / 2;
}

static enum nb_status
dims_by_layer(const struct nb_loader *l, uint32_t *dims)
{
    uint64_t count;

    if (!nb_expression_count(l->model->arch->attention.rope_dims, &l->model->hp, l->layer, &count) || count < 1 ||
        count > NB_MAX_SIDE)
        return nb_fail(l->err, NB_INPUT, "%s: the rotated dimensions of layer %" PRIu32 " cannot be counted",
                       l->model->source->path, l->layer);
    *dims = (uint32_t)count;
    return NB_OK;
}

/* What the keys say of the rotations in the current layer. */
static enum nb_status
read_rope(const struct nb_loader *l, uint32_t head_dim, struct nb_rope *r)
{
    const struct nb_hparams *hp = &l->model->hp;
    const bool slides = nb_hp_at(hp, NB_HP_SLIDES, l->layer) != 0;
    enum nb_status status = nb_load_count(
        l, slides && nb_hp_has(hp, NB_HP_ROPE_DIMS_SWA) ? NB_HP_ROPE_DIMS_SWA : NB_HP_ROPE_DIMS, &r->dims);

    if (status == NB_OK)
        status = nb_load_above_zero(
            l, slides && nb_hp_has(hp, NB_HP_ROPE_BASE_SWA) ? NB_HP_ROPE_BASE_SWA : NB_HP_ROPE_BASE, &r->base);
    if (status == NB_OK && l->model->arch->attention.rope_dims != NULL)
        status = dims_by_layer(l, &r->dims);
    if (status == NB_OK &&
        (head_dim % 2 != 0 || r->dims % 2 != 0 || r->dims > head_dim || !set_pairs(l->model->arch->rope, head_dim, r)))
        status = nb_fail(l->err, NB_UNSUPPORTED,
                         "%s: heads of %" PRIu32 " elements, of which %" PRIu32 " turn, cannot be run",
                         l->model->source->path, head_dim, r->dims);
    r->scaled = !(slides && l->model->arch->attention.sliding_unscaled);
    return status;
}

enum nb_status
nb_load_rope(struct nb_loader *l, uint32_t head_dim, const struct nb_rope **out)
{
    struct nb_rope new = { 0 }, *r;
    enum nb_status status = read_rope(l, head_dim, &new);

    if (status != NB_OK)
        return status;
    for (const struct nb_rope *old = l->model->ropes; old != NULL; old = old->next) {
        if (old->dims == new.dims && old->gap == new.gap && old->base == new.base && old->scaled == new.scaled) {
            *out = old;
            return NB_OK;
        }
        new.before += old->dims;
    }
    r = nb_load_room(l, sizeof *r);
    new.frequencies = nb_arena_calloc(&l->model->arena, new.dims / 2 + 1, sizeof *new.frequencies);
    if (r == NULL || new.frequencies == NULL)
        return nb_fail_memory(l->err);
    *r = new;
    *out = *l->ropes_end = r;
    l->ropes_end = &r->next;
    return set_frequencies(l, r);
}

void
nb_rope_table(const struct nb_rope *r, size_t positions, float *table)
{
    const double *frequencies = r->far != NULL && (double)positions > r->near ? r->far : r->frequencies;

    for (size_t position = 0; position < positions; position++) {
        for (size_t i = 0; i < r->dims / 2; i++) {
            const double angle = (double)position * frequencies[i];

            *table++ = (float)(cos(angle) * r->magnitude);
            *table++ = (float)(sin(angle) * r->magnitude);
        }
    }
}

void
nb_rope_rotate(const struct nb_rope *r, const float *row, float *x, size_t heads, size_t head_dim)
{
    const size_t pairs = r->dims / 2;

    for (size_t h = 0; h < heads; h++, x += head_dim) {
        for (size_t i = 0; i < pairs; i++) {
            float *a = x + r->step * i, *b = a + r->gap;
            const float c = row[2 * i], s = row[2 * i + 1], u = *a, v = *b;

            *a = u * c - v * s;
            *b = u * s + v * c;
        }
    }
}
