#include "verify/run/blocks/routing.h"

#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What a token's choice is made in. */
struct room {
    float *values; /* by which experts are chosen */
    uint32_t *kept;
};

static enum nb_status
check(const struct nb_loader *l, const struct nb_routing *r, double used)
{
    const struct nb_model *m = l->model;

    if (!(used >= 1 && used <= r->experts))
        return nb_fail(l->err, NB_INPUT, "%s: %.0f of %" PRIu32 " experts cannot be used", m->source->path, used,
                       r->experts);
    if (r->gating < NB_GATING_SOFTMAX || r->gating > NB_GATING_SPARSE_MIXER)
        return nb_fail(l->err, NB_UNSUPPORTED, "%s: routing of kind %u cannot be run", m->source->path,
                       (unsigned)r->gating);
    if (r->groups < 1 || r->experts % r->groups != 0 || r->groups_used < 1 || r->groups_used > r->groups ||
        (uint64_t)r->experts / r->groups * r->groups_used < (uint64_t)used)
        return nb_fail(l->err, NB_INPUT,
                       "%s: %.0f experts cannot be chosen from %" PRIu32 " of %" PRIu32 " groups of %" PRIu32
                       " experts",
                       m->source->path, used, r->groups_used, r->groups, r->experts);
    return NB_OK;
}

enum nb_status
nb_load_routing(const struct nb_loader *l, struct nb_routing *r)
{
    const struct nb_hparams *hp = &l->model->hp;
    const double used = nb_hp_at(hp, NB_HP_EXPERTS_USED, l->layer), gating = nb_hp(hp, NB_HP_EXPERT_GATING);
    const double groups = nb_hp(hp, NB_HP_EXPERT_GROUPS), groups_used = nb_hp(hp, NB_HP_EXPERT_GROUPS_USED);
    const double scale = nb_hp(hp, NB_HP_EXPERT_WEIGHTS_SCALE);
    enum nb_status status = nb_load_count(l, NB_HP_EXPERTS, &r->experts);

    if (status != NB_OK)
        return status;
    r->gating = gating > 0 ? (enum nb_gating)gating : NB_GATING_SOFTMAX;
    r->groups = groups > 1 ? (uint32_t)groups : 1;
    r->groups_used = groups > 1 ? (uint32_t)groups_used : 1;
    r->normalizes = nb_hp(hp, NB_HP_EXPERT_WEIGHTS_NORM) != 0;
    r->scale = scale == 0 ? 1 : scale;
    status = check(l, r, used);
    r->used = (uint32_t)used;
    return status == NB_OK ? nb_load_small(l, "blk.%l.exp_probs_b.bias", &r->bias) : status;
}

size_t
nb_route_room(const struct nb_routing *r)
{
    return r->experts * (sizeof(float) + sizeof(uint32_t));
}

static void
gate(const struct nb_routing *r, float *scores)
{
    switch (r->gating) {
    case NB_GATING_SOFTMAX:
        nb_vector_math()->softmax(scores, r->experts);
        break;
    case NB_GATING_SIGMOID:
        for (size_t i = 0; i < r->experts; i++)
            scores[i] = nb_sigmoid(scores[i]);
        break;
    case NB_GATING_SQRT_SOFTPLUS:
        for (size_t i = 0; i < r->experts; i++)
            scores[i] = sqrtf(nb_softplus(scores[i]));
        break;
    case NB_GATING_SOFTMAX_OF_USED:
    case NB_GATING_SPARSE_MIXER:
        break;
    }
}

/* The highest of the N VALUES, or the sum of the two highest. */
static float
highest_of(const float *values, size_t n, bool two)
{
    float first = -INFINITY, second = -INFINITY;

    for (size_t i = 0; i < n; i++) {
        if (values[i] > first) {
            second = first;
            first = values[i];
        } else if (values[i] > second) {
            second = values[i];
        }
    }
    return two && n > 1 ? first + second : first;
}

/*
 * Leaves the values of the best groups only: those with the highest expert where scores are shares (DeepSeek V2), or with
 * the highest sum of two (DeepSeek V3).
 */
static void
keep_groups(const struct nb_routing *r, const struct room *room)
{
    const size_t size = r->experts / r->groups;

    memset(room->kept, 0, r->groups * sizeof *room->kept);
    for (uint32_t k = 0; k < r->groups_used; k++) {
        size_t best = r->groups;
        float highest = 0;

        for (size_t g = 0; g < r->groups; g++) {
            const float sum = highest_of(room->values + g * size, size, r->gating != NB_GATING_SOFTMAX);

            if (!room->kept[g] && (best == r->groups || sum > highest)) {
                best = g;
                highest = sum;
            }
        }
        room->kept[best] = 1;
    }
    for (size_t i = 0; i < r->experts; i++)
        if (!room->kept[i / size])
            room->values[i] = -INFINITY;
}

/* Marks the experts with the highest values, the first of equal ones. */
static void
choose(const struct nb_routing *r, const struct room *room)
{
    memset(room->kept, 0, r->experts * sizeof *room->kept);
    for (size_t k = 0; k < r->used; k++) {
        size_t best = r->experts;

        for (size_t i = 0; i < r->experts; i++)
            if (!room->kept[i] && (best == r->experts || room->values[i] > room->values[best]))
                best = i;
        room->kept[best] = 1;
    }
}

/* The shares of the chosen experts. */
static void
weigh(const struct nb_routing *r, const struct room *room, float *scores)
{
    double sum = 0, highest = -INFINITY;

    for (size_t i = 0; i < r->experts; i++)
        if (room->kept[i] && (double)scores[i] > highest)
            highest = (double)scores[i];
    for (size_t i = 0; i < r->experts; i++) {
        if (!room->kept[i])
            scores[i] = 0;
        else if (r->gating == NB_GATING_SOFTMAX_OF_USED)
            scores[i] = (float)exp((double)scores[i] - highest);
        sum += (double)scores[i];
    }
    sum = r->normalizes || r->gating == NB_GATING_SOFTMAX_OF_USED ? sum : 1;
    for (size_t i = 0; i < r->experts; i++)
        scores[i] = (float)((double)scores[i] / sum * r->scale);
}

/*
 * SparseMixer (Liu et al. 2023) as PhiMoE runs it: the highest score takes its share in the softmax over all scores that are
 * at most 2 % below it; then the same among the others.
 */
static void
mix_sparsely(const struct nb_routing *r, const struct room *room, float *scores)
{
    memcpy(room->values, scores, r->experts * sizeof *scores);
    memset(scores, 0, r->experts * sizeof *scores);
    memset(room->kept, 0, r->experts * sizeof *room->kept);
    for (size_t k = 0; k < r->used; k++) {
        size_t best = r->experts;
        double sum = 0;

        for (size_t i = 0; i < r->experts; i++)
            if (!room->kept[i] && (best == r->experts || room->values[i] > room->values[best]))
                best = i;
        for (size_t i = 0; i < r->experts; i++) {
            const double gap = (double)room->values[best] - (double)room->values[i];

            if (!room->kept[i] && gap <= 0.02 * fmax(fabs((double)room->values[i]), (double)room->values[best]))
                sum += exp(-gap);
        }
        room->kept[best] = 1;
        scores[best] = (float)(1 / sum * r->scale);
    }
}

void
nb_route(const struct nb_routing *r, float *scores, void *memory)
{
    const struct room room = { memory, (uint32_t *)memory + r->experts };

    if (r->gating == NB_GATING_SPARSE_MIXER) {
        mix_sparsely(r, &room, scores);
        return;
    }
    gate(r, scores);
    for (size_t i = 0; i < r->experts; i++)
        room.values[i] = scores[i] + (r->bias == NULL ? 0 : r->bias[i]);
    if (r->groups > 1)
        keep_groups(r, &room);
    choose(r, &room);
    weigh(r, &room, scores);
}
