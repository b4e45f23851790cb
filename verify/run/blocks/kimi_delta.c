/*
 * Kimi Delta Attention (Kimi Linear, 2025): queries, keys and values are convolved before the delta rule; each element of a
 * key decays by its own factor. Decays and the gates of results come from pairs of small matrices.
 */
#include "verify/run/block.h"
#include "verify/run/blocks/convolution.h"
#include "verify/run/blocks/delta_rule.h"
#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>

enum { Q, K, V, PARTS };

struct kimi_delta {
    struct nb_linear parts[PARTS], out;
    struct nb_linear time_down, time_up, gate_down, gate_up;
    struct nb_linear beta; /* one value for each head */
    struct nb_convolution convolutions[PARTS];
    const float *time_bias, *rate;
    const struct nb_norm *norm; /* of a head's result */
    struct nb_delta_rule shape; /* without the pointers to rows */
};

/* Rows are tokens. */
struct memory {
    float *made[PARTS], *convolved[PARTS];
    float *time_down, *gate_down, *decay, *gate;
    float *beta, *results;
    float *room;
};

struct kept {
    float *rows[PARTS]; /* of the convolutions */
    float *states;
};

struct step {
    const struct kimi_delta *x;
    const struct nb_run *run;
    struct memory memory;
    struct kept kept;
};

/* Of queries, keys, values or results: all heads. */
static size_t
row_size(const struct kimi_delta *x)
{
    return (size_t)x->shape.heads * x->shape.key_length;
}

/* --- loading ---------------------------------------------------------------------------------------------- */

static enum nb_status
load_shape(const struct nb_loader *l, struct nb_delta_rule *d)
{
    enum nb_status status = nb_load_count(l, NB_HP_HEADS, &d->heads);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_KDA_HEAD, &d->key_length);
    d->key_heads = d->heads;
    d->value_length = d->key_length;
    d->by_key = true;
    return status;
}

static enum nb_status
load_matrices(struct nb_loader *l, struct kimi_delta *x)
{
    const struct {
        const char *pattern;
        struct nb_linear *matrix;
    } rows[] = {
        { "blk.%l.attn_q", &x->parts[Q] }, { "blk.%l.attn_k", &x->parts[K] },   { "blk.%l.attn_v", &x->parts[V] },
        { "blk.%l.ssm_beta", &x->beta },   { "blk.%l.ssm_f_a", &x->time_down }, { "blk.%l.ssm_g_a", &x->gate_down },
        { "blk.%l.ssm_f_b", &x->time_up }, { "blk.%l.ssm_g_b", &x->gate_up },   { "blk.%l.attn_output", &x->out },
    };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == NB_OK; i++)
        status = nb_load_linear(l, rows[i].pattern, rows[i].matrix);
    return status;
}

static enum nb_status
load_small_tensors(const struct nb_loader *l, struct kimi_delta *x)
{
    static const char *const patterns[PARTS] = { "blk.%l.ssm_conv1d_q", "blk.%l.ssm_conv1d_k", "blk.%l.ssm_conv1d_v" };
    enum nb_status status = nb_load_small(l, "blk.%l.ssm_dt.bias", &x->time_bias);

    for (size_t i = 0; i < PARTS && status == NB_OK; i++)
        status = nb_load_convolution(l, patterns[i], &x->convolutions[i]);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.ssm_a", &x->rate);
    return status == NB_OK ? nb_load_norm(l, "blk.%l.ssm_norm", &x->norm) : status;
}

static enum nb_status
check_sizes(const struct nb_loader *l, const struct kimi_delta *x)
{
    const uint64_t size = (uint64_t)x->shape.heads * x->shape.key_length;
    bool fits = x->time_up.rows == size && x->gate_up.rows == size && x->time_up.columns == x->time_down.rows &&
                x->gate_up.columns == x->gate_down.rows && x->beta.rows == x->shape.heads && x->out.columns == size &&
                x->norm != NULL && nb_norm_fits(x->norm, x->shape.heads, x->shape.value_length);

    for (size_t i = 0; i < PARTS; i++)
        fits = fits && x->parts[i].rows == size && x->convolutions[i].channels == size;
    if (fits)
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: delta attention with %" PRIu32 " heads of %" PRIu32
                   " elements cannot be run with the tensors of layer %" PRIu32,
                   l->model->source->path, x->shape.heads, x->shape.key_length, l->layer);
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct kimi_delta *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : load_shape(l, &x->shape);

    if (status == NB_OK)
        status = load_matrices(l, x);
    if (status == NB_OK)
        status = load_small_tensors(l, x);
    return status == NB_OK ? check_sizes(l, x) : status;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static struct memory
take(const struct kimi_delta *x, struct nb_scratch *s)
{
    const size_t size = row_size(x);
    struct memory m;

    for (size_t i = 0; i < PARTS; i++) {
        m.made[i] = nb_scratch_take(s, s->tokens, size);
        m.convolved[i] = nb_scratch_take(s, s->tokens, size);
    }
    m.time_down = nb_scratch_take(s, s->tokens, x->time_down.rows);
    m.gate_down = nb_scratch_take(s, s->tokens, x->gate_down.rows);
    m.decay = nb_scratch_take(s, s->tokens, size);
    m.gate = nb_scratch_take(s, s->tokens, size);
    m.beta = nb_scratch_take(s, s->tokens, x->shape.heads);
    m.results = nb_scratch_take(s, s->tokens, size);
    m.room = nb_delta_rule_room(&x->shape, s);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static struct kept
take_kept(const struct kimi_delta *x, struct nb_scratch *s)
{
    struct kept kept;

    for (size_t i = 0; i < PARTS; i++)
        kept.rows[i] = nb_convolution_take(&x->convolutions[i], s);
    kept.states = nb_delta_rule_states(&x->shape, s);
    return kept;
}

static void
state(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take_kept(b->data, s);
}

/* --- running ------------------------------------------------------------------------------------------------ */

/* Makes betas and decays of what was multiplied. */
static enum nb_status
gates_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct kimi_delta *x = s->x;
    const size_t size = row_size(x), length = x->shape.key_length, heads = x->shape.heads;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *beta = s->memory.beta + i * heads, *decay = s->memory.decay + i * size;

        for (size_t h = 0; h < heads; h++)
            beta[h] = nb_sigmoid(beta[h]);
        for (size_t c = 0; c < size; c++)
            decay[c] = expf(x->rate[c / length] * nb_softplus(decay[c] + x->time_bias[c]));
    }
    return NB_OK;
}

static enum nb_status
finish_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct kimi_delta *x = s->x;
    const size_t size = row_size(x);
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *row = s->memory.results + i * size;

        nb_norm_heads(x->norm, row, x->shape.heads, x->shape.value_length);
        nb_vector_math()->apply_gate(row, s->memory.gate + i * size, size);
    }
    return NB_OK;
}

static enum nb_status
multiply_all(const struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct kimi_delta *x = s->x;
    const struct memory *m = &s->memory;
    const struct nb_product parts[] = {
        { &x->parts[Q], 0, m->made[Q], false },
        { &x->parts[K], 0, m->made[K], false },
        { &x->parts[V], 0, m->made[V], false },
        { &x->beta, 0, m->beta, false },
    };
    const struct nb_product downs[] = { { &x->time_down, 0, m->time_down, false },
                                        { &x->gate_down, 0, m->gate_down, false } };
    const struct nb_product time = { &x->time_up, 0, m->decay, false }, gate = { &x->gate_up, 0, m->gate, false };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, parts, 4, err);

    if (status == NB_OK)
        status = nb_run_multiply(r, r->in, r->n, downs, 2, err);
    if (status == NB_OK)
        status = nb_run_multiply(r, m->time_down, r->n, &time, 1, err);
    return status == NB_OK ? nb_run_multiply(r, m->gate_down, r->n, &gate, 1, err) : status;
}

static enum nb_status
learn(const struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct memory *m = &s->memory;
    struct nb_delta_rule rule = s->x->shape;

    rule.q = m->convolved[Q];
    rule.k = m->convolved[K];
    rule.v = m->convolved[V];
    rule.q_row = rule.k_row = rule.v_row = row_size(s->x);
    rule.decay = m->decay;
    rule.beta = m->beta;
    rule.out = m->results;
    rule.states = s->kept.states;
    rule.room = m->room;
    return nb_delta_rule(r, &rule, err);
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct kimi_delta *x = b->data;
    struct step step = { x, r, take(x, &r->scratch), take_kept(x, &r->state) };
    const struct memory *m = &step.memory;
    const struct nb_product out = { &x->out, 0, r->out, true };
    enum nb_status status = multiply_all(&step, r, err);

    for (size_t i = 0; i < PARTS && status == NB_OK; i++)
        status = nb_convolve(r, &x->convolutions[i], m->made[i], row_size(x), step.kept.rows[i], m->convolved[i], true,
                             err);
    if (status == NB_OK)
        status = nb_run_rows(r, gates_task, &step, err);
    if (status == NB_OK)
        status = learn(&step, r, err);
    if (status == NB_OK)
        status = nb_run_rows(r, finish_task, &step, err);
    return status == NB_OK ? nb_run_multiply(r, m->results, r->n, &out, 1, err) : status;
}

const struct nb_block_kind nb_block_kimi_delta = {
    .name = "kimi_delta", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
