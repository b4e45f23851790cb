#include "verify/run/rope.h"

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

/*
 * YaRN (Peng et al. 2023, as in ggml's rope_yarn): frequencies of slow pairs are divided by FACTOR,
 * those of fast pairs are kept, those between are interpolated; the magnitude is slightly increased.
 */
static void
stretch_by_yarn(struct nb_rope *r, const struct nb_hparams *hp, double factor)
{
    const double dims = r->dims, original = nb_hp_or(hp, NB_HP_ROPE_CONTEXT, nb_hp(hp, NB_HP_CONTEXT));
    const double low = fmax(0, floor(yarn_pair(dims, original, nb_hp_or(hp, NB_HP_YARN_BETA_FAST, 32), r->base)));
    const double high = fmin(dims - 1, ceil(yarn_pair(dims, original, nb_hp_or(hp, NB_HP_YARN_BETA_SLOW, 1), r->base)));

    for (uint32_t i = 0; i < r->dims / 2; i++) {
        const double ramp = 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));

        r->frequencies[i] *= (1 - ramp) / factor + ramp;
    }
    r->magnitude = (1 + 0.1 * log(factor)) * nb_hp_or(hp, NB_HP_ROPE_ATTN_FACTOR, 1);
}

static enum nb_status
set_frequencies(const struct nb_loader *l, struct nb_rope *r)
{
    const struct nb_hparams *hp = &l->model->hp;
    const double factor = nb_hp_or(hp, NB_HP_ROPE_FACTOR, 1);
    const char *type = nb_hp_text(hp, NB_HP_ROPE_SCALING);
    const float *factors;
    enum nb_status status = nb_load_small(l, "rope_freqs.weight", &factors);

    if (status != NB_OK)
        return status;
    for (uint32_t i = 0; i < r->dims / 2; i++)
        r->frequencies[i] = pow(r->base, -2.0 * i / r->dims) / (factors == NULL ? 1 : (double)factors[i]);
    r->magnitude = 1;
    if (type == NULL || strcmp(type, "none") == 0)
        return NB_OK;
    if (strcmp(type, "yarn") == 0) {
        stretch_by_yarn(r, hp, factor);
    } else if (strcmp(type, "linear") == 0) {
        for (uint32_t i = 0; i < r->dims / 2; i++)
            r->frequencies[i] /= factor;
    } else {
        return nb_fail(l->err, NB_UNSUPPORTED, "%s: rotary scaling of type '%s' is not supported",
                       l->model->source->path, type);
    }
    return NB_OK;
}

enum nb_status
nb_load_rope(struct nb_loader *l, uint32_t head_dim, const struct nb_rope **out)
{
    struct nb_rope new = { .halves = l->model->arch->rope == NB_ROPE_HALVES }, *r;
    enum nb_status status = nb_load_count(l, NB_HP_ROPE_DIMS, &new.dims);

    if (status == NB_OK)
        status = nb_load_above_zero(l, NB_HP_ROPE_BASE, &new.base);
    if (status == NB_OK && (head_dim % 2 != 0 || new.dims % 2 != 0 || new.dims > head_dim))
        status = nb_fail(l->err, NB_UNSUPPORTED,
                         "%s: heads of %" PRIu32 " elements, of which %" PRIu32 " turn, cannot be run",
                         l->model->source->path, head_dim, new.dims);
    if (status != NB_OK)
        return status;
    for (const struct nb_rope *old = l->model->ropes; old != NULL; old = old->next) {
        if (old->dims == new.dims && old->base == new.base) {
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
    for (size_t position = 0; position < positions; position++) {
        for (size_t i = 0; i < r->dims / 2; i++) {
            const double angle = (double)position * r->frequencies[i];

            *table++ = (float)(cos(angle) * r->magnitude);
            *table++ = (float)(sin(angle) * r->magnitude);
        }
    }
}

void
nb_rope_rotate(const struct nb_rope *r, const float *row, float *x, size_t heads, size_t head_dim)
{
    const bool halves = r->halves;
    const size_t pairs = r->dims / 2;

    for (size_t h = 0; h < heads; h++, x += head_dim) {
        for (size_t i = 0; i < pairs; i++) {
            float *a = halves ? &x[i] : &x[2 * i], *b = halves ? &x[i + pairs] : &x[2 * i + 1];
            const float c = row[2 * i], s = row[2 * i + 1], u = *a, v = *b;

            *a = u * c - v * s;
            *b = u * s + v * c;
        }
    }
}
