#include "verify/run/blocks/delta_rule.h"

#include "verify/run/vector_math.h"

#include <math.h>
#include <string.h>

#define EPSILON 1e-6 /* added to squared lengths */

static size_t
room_size(const struct nb_delta_rule *d)
{
    return 3 * (size_t)d->key_length + 2 * (size_t)d->value_length;
}

float *
nb_delta_rule_states(const struct nb_delta_rule *d, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->chunks * d->heads, (size_t)d->key_length * d->value_length);
}

float *
nb_delta_rule_room(const struct nb_delta_rule *d, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->threads, room_size(d));
}

struct step {
    const struct nb_run *run;
    const struct nb_delta_rule *rule;
};

/* OUT = FACTOR times X, N elements, divided by its length. */
static void
unit_vector(const float *x, size_t n, double factor, float *out)
{
    double squares = 0;
    float scale;

    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    scale = (float)(factor / sqrt(squares + EPSILON));
    for (size_t i = 0; i < n; i++)
        out[i] = scale * x[i];
}

/* The decays of a head's keys at token I, made in ROOM if there is but one. */
static const float *
decays_at(const struct nb_delta_rule *d, size_t i, size_t head, float *room)
{
    if (d->by_key)
        return d->decay + (i * d->heads + head) * d->key_length;
    for (size_t k = 0; k < d->key_length; k++)
        room[k] = d->decay[i * d->heads + head];
    return room;
}

static void
learn_token(const struct nb_delta_rule *d, size_t i, size_t head, float *state, float *room)
{
    const struct nb_vector_math *math = nb_vector_math();
    const size_t keys = d->key_length, values = d->value_length;
    const size_t key_head = d->tiled ? head % d->key_heads : head / (d->heads / d->key_heads);
    const float *value = d->v + i * d->v_row + head * values, beta = d->beta[i * d->heads + head];
    float *q = room, *k = q + keys, *decays = k + keys, *correction = decays + keys, *out = correction + values;

    unit_vector(d->q + i * d->q_row + key_head * keys, keys, 1 / sqrt((double)keys), q);
    unit_vector(d->k + i * d->k_row + key_head * keys, keys, 1, k);
    memset(correction, 0, 2 * values * sizeof *correction);
    math->recur(state, keys, values, decays_at(d, i, head, decays), NULL, value, k, correction);
    for (size_t c = 0; c < values; c++)
        correction[c] = beta * (value[c] - correction[c]);
    math->recur(state, keys, values, NULL, k, correction, q, out);
    memcpy(d->out + (i * d->heads + head) * values, out, values * sizeof *out);
}

/* One head of a chunk. */
static enum nb_status
learn_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_delta_rule *d = s->rule;
    const struct nb_run *r = s->run;
    const size_t chunk = task / d->heads, head = task % d->heads, size = (size_t)d->key_length * d->value_length;
    float *own = d->states + task * size;

    (void)err;
    if (r->first == 0)
        memset(own, 0, size * sizeof *own);
    for (size_t i = chunk * r->each; i < (chunk + 1) * r->each; i++)
        learn_token(d, i, head, own, d->room + worker * room_size(d));
    return NB_OK;
}

enum nb_status
nb_delta_rule(struct nb_run *r, const struct nb_delta_rule *d, struct nb_error *err)
{
    struct step step = { r, d };

    return nb_pool_run(r->pool, learn_task, &step, r->n / r->each * d->heads, err);
}
