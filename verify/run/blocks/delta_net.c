/*
 * The gated delta net of Qwen3-Next: queries, keys and values are convolved before the delta rule; each head decays by one
 * factor, and its result is normed and gated.
 */
#include "verify/run/block.h"
#include "verify/run/blocks/convolution.h"
#include "verify/run/blocks/delta_rule.h"
#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <string.h>

struct delta_net {
    struct nb_linear qkv, gate; /* either these, */
    struct nb_linear fused;     /* or both in one, by groups of heads, as older files have them */
    struct nb_linear out;
    struct nb_linear beta, time; /* one value for each head; or, without TIME, BETA gives both, by groups of heads */
    struct nb_convolution convolution;
    const float *time_bias, *rate;
    const struct nb_norm *norm; /* of a head's result */
    struct nb_delta_rule shape; /* without the pointers to rows */
};

/* Rows are tokens. */
struct memory {
    float *fused; /* of FUSED */
    float *made, *convolved;
    float *gate, *results;
    float *both; /* of BETA, if that gives both */
    float *beta, *decay;
    float *room;
};

struct kept {
    float *rows; /* of the convolution */
    float *states;
};

struct step {
    const struct delta_net *x;
    const struct nb_run *run;
    struct memory memory;
    struct kept kept;
};

static size_t
keys_size(const struct delta_net *x)
{
    return (size_t)x->shape.key_heads * x->shape.key_length;
}

static size_t
values_size(const struct delta_net *x)
{
    return (size_t)x->shape.heads * x->shape.value_length;
}

/* What is convolved: queries, keys and values. */
static size_t
qkv_size(const struct delta_net *x)
{
    return 2 * keys_size(x) + values_size(x);
}

/* --- loading ---------------------------------------------------------------------------------------------- */

static enum nb_status
load_shape(const struct nb_loader *l, struct nb_delta_rule *d)
{
    enum nb_status status = nb_load_count(l, NB_HP_SSM_RANK, &d->heads);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_SSM_GROUPS, &d->key_heads);
    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_SSM_STATE, &d->key_length);
    d->value_length = d->key_length;
    d->tiled = l->model->arch->tiles_key_heads;
    return status;
}

static enum nb_status
load_matrices(struct nb_loader *l, struct delta_net *x)
{
    enum nb_status status = nb_load_linear_if_any(l, "blk.%l.ssm_in", &x->fused);

    if (status == NB_OK && x->fused.weight == NULL) {
        status = nb_load_linear(l, "blk.%l.attn_qkv", &x->qkv);
        if (status == NB_OK)
            status = nb_load_linear(l, "blk.%l.attn_gate", &x->gate);
    }
    if (status == NB_OK && nb_load_has(l, "blk.%l.ssm_ba.weight"))
        status = nb_load_linear(l, "blk.%l.ssm_ba", &x->beta);
    else if (status == NB_OK) {
        status = nb_load_linear(l, "blk.%l.ssm_beta", &x->beta);
        if (status == NB_OK)
            status = nb_load_linear(l, "blk.%l.ssm_alpha", &x->time);
    }
    return status == NB_OK ? nb_load_linear(l, "blk.%l.ssm_out", &x->out) : status;
}

static enum nb_status
load_small_tensors(const struct nb_loader *l, struct delta_net *x)
{
    enum nb_status status = nb_load_convolution(l, "blk.%l.ssm_conv1d", &x->convolution);

    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.ssm_dt.bias", &x->time_bias);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.ssm_a", &x->rate);
    return status == NB_OK ? nb_load_norm(l, "blk.%l.ssm_norm", &x->norm) : status;
}

static enum nb_status
check_sizes(const struct nb_loader *l, const struct delta_net *x)
{
    const struct nb_delta_rule *d = &x->shape;
    const uint64_t keys = (uint64_t)d->key_heads * d->key_length, values = (uint64_t)d->heads * d->value_length;
    const bool gates_fit = x->time.weight == NULL ? x->beta.rows == 2 * (uint64_t)d->heads
                                                  : x->beta.rows == d->heads && x->time.rows == d->heads;
    const bool rows_fit = x->fused.weight != NULL ? x->fused.rows == 2 * keys + 2 * values
                                                  : x->qkv.rows == 2 * keys + values && x->gate.rows == values;

    if (d->heads % d->key_heads == 0 && x->convolution.channels == 2 * keys + values && rows_fit &&
        x->out.columns == values && gates_fit && x->norm != NULL && nb_norm_fits(x->norm, d->heads, d->value_length))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: linear attention with %" PRIu32 " heads of %" PRIu32 " elements over %" PRIu32
                   " keys cannot be run with the tensors of layer %" PRIu32,
                   l->model->source->path, d->heads, d->key_length, d->key_heads, l->layer);
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct delta_net *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : load_shape(l, &x->shape);

    if (status == NB_OK)
        status = load_matrices(l, x);
    if (status == NB_OK)
        status = load_small_tensors(l, x);
    return status == NB_OK ? check_sizes(l, x) : status;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static struct memory
take(const struct delta_net *x, struct nb_scratch *s)
{
    struct memory m;

    m.fused = nb_scratch_take(s, s->tokens, x->fused.rows);
    m.made = nb_scratch_take(s, s->tokens, qkv_size(x));
    m.convolved = nb_scratch_take(s, s->tokens, qkv_size(x));
    m.gate = nb_scratch_take(s, s->tokens, values_size(x));
    m.results = nb_scratch_take(s, s->tokens, values_size(x));
    m.both = nb_scratch_take(s, s->tokens, x->time.weight == NULL ? x->beta.rows : 0);
    m.beta = nb_scratch_take(s, s->tokens, x->shape.heads);
    m.decay = nb_scratch_take(s, s->tokens, x->shape.heads);
    m.room = nb_delta_rule_room(&x->shape, s);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static struct kept
take_kept(const struct delta_net *x, struct nb_scratch *s)
{
    struct kept kept;

    kept.rows = nb_convolution_take(&x->convolution, s);
    kept.states = nb_delta_rule_states(&x->shape, s);
    return kept;
}

static void
state(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take_kept(b->data, s);
}

/* --- running ------------------------------------------------------------------------------------------------ */

/* Takes what FUSED gave apart: for each group its query and key, then the values and the gates of its heads. */
static void
take_rows_apart(const struct step *s, size_t i)
{
    const struct delta_net *x = s->x;
    const size_t key = x->shape.key_length, value = values_size(x) / x->shape.key_heads;
    const float *from = s->memory.fused + i * x->fused.rows;
    float *q = s->memory.made + i * qkv_size(x), *k = q + keys_size(x), *v = k + keys_size(x);
    float *gate = s->memory.gate + i * values_size(x);

    for (size_t g = 0; g < x->shape.key_heads; g++, from += 2 * (key + value)) {
        memcpy(q + g * key, from, key * sizeof *q);
        memcpy(k + g * key, from + key, key * sizeof *k);
        memcpy(v + g * value, from + 2 * key, value * sizeof *v);
        memcpy(gate + g * value, from + 2 * key + value, value * sizeof *gate);
    }
}

/* Takes what BETA gave apart: for each group of heads that share a key, their betas, then their time steps. */
static void
take_gates_apart(const struct step *s, size_t i)
{
    const struct nb_delta_rule *d = &s->x->shape;
    const size_t group = d->heads / d->key_heads;
    const float *both = s->memory.both + i * 2 * d->heads;

    for (size_t h = 0; h < d->heads; h++) {
        const float *own = both + h / group * 2 * group + h % group;

        s->memory.beta[i * d->heads + h] = own[0];
        s->memory.decay[i * d->heads + h] = own[group];
    }
}

/* Makes betas and decays of what was multiplied, and takes apart what was multiplied in one. */
static enum nb_status
gates_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct delta_net *x = s->x;
    const size_t heads = x->shape.heads;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *beta = s->memory.beta + i * heads, *decay = s->memory.decay + i * heads;

        if (x->fused.weight != NULL)
            take_rows_apart(s, i);
        if (x->time.weight == NULL)
            take_gates_apart(s, i);
        for (size_t h = 0; h < heads; h++) {
            beta[h] = nb_sigmoid(beta[h]);
            decay[h] = expf(x->rate[h] * nb_softplus(decay[h] + x->time_bias[h]));
        }
    }
    return NB_OK;
}

static enum nb_status
finish_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct delta_net *x = s->x;
    const size_t size = values_size(x);
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *row = s->memory.results + i * size;

        nb_norm_heads(x->norm, row, x->shape.heads, x->shape.value_length);
        nb_vector_math()->activate(NB_ACTIVATION_SILU, s->memory.gate + i * size, row, size, row);
    }
    return NB_OK;
}

static enum nb_status
project(struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct delta_net *x = s->x;
    const struct memory *m = &s->memory;
    const bool fused = x->fused.weight != NULL, both = x->time.weight == NULL;
    struct nb_product products[4];
    size_t n = 0;
    enum nb_status status;

    if (fused) {
        products[n++] = (struct nb_product){ &x->fused, 0, m->fused, false };
    } else {
        products[n++] = (struct nb_product){ &x->qkv, 0, m->made, false };
        products[n++] = (struct nb_product){ &x->gate, 0, m->gate, false };
    }
    products[n++] = (struct nb_product){ &x->beta, 0, both ? m->both : m->beta, false };
    if (!both)
        products[n++] = (struct nb_product){ &x->time, 0, m->decay, false };
    status = nb_run_multiply(r, r->in, r->n, products, n, err);
    if (status == NB_OK)
        status = nb_run_rows(r, gates_task, s, err);
    if (status == NB_OK)
        status = nb_convolve(r, &x->convolution, m->made, qkv_size(x), s->kept.rows, m->convolved, true, err);
    return status;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct delta_net *x = b->data;
    struct step step = { x, r, take(x, &r->scratch), take_kept(x, &r->state) };
    const struct memory *m = &step.memory;
    const struct nb_product out = { &x->out, 0, r->out, true };
    struct nb_delta_rule rule = x->shape;
    enum nb_status status = project(&step, r, err);

    rule.q = m->convolved;
    rule.k = rule.q + keys_size(x);
    rule.v = rule.k + keys_size(x);
    rule.q_row = rule.k_row = rule.v_row = qkv_size(x);
    rule.decay = m->decay;
    rule.beta = m->beta;
    rule.out = m->results;
    rule.states = step.kept.states;
    rule.room = m->room;
    if (status == NB_OK)
        status = nb_delta_rule(r, &rule, err);
    if (status == NB_OK)
        status = nb_run_rows(r, finish_task, &step, err);
    return status == NB_OK ? nb_run_multiply(r, m->results, r->n, &out, 1, err) : status;
}

const struct nb_block_kind nb_block_delta_net = {
    .name = "delta_net", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
