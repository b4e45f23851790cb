/*
 * Mamba 2 (Dao and Gu 2024): as Mamba, but all elements of a head's state decay alike, and heads share what they write and
 * read by groups. Behind the gate there may be a norm, by groups.
 */
#include "verify/run/block.h"
#include "verify/run/blocks/convolution.h"
#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <string.h>

struct mamba2 {
    struct nb_linear in; /* gives gates, then what is convolved, then a time step for each head */
    struct nb_linear out;
    struct nb_convolution convolution; /* of values, of what is written and of what is read */
    const float *time_bias, *rate, *skip;
    const struct nb_norm *norm; /* NULL: none */
    uint32_t inner, state, groups, heads;
};

/* Rows are tokens. */
struct memory {
    float *made, *convolved;
    float *results; /* of the heads */
    float *room;    /* for each thread */
};

struct kept {
    float *rows;   /* of the convolution */
    float *states; /* for each head of each chunk: state x values of a head */
};

struct step {
    const struct mamba2 *x;
    const struct nb_run *run;
    struct memory memory;
    struct kept kept;
};

static size_t
head_length(const struct mamba2 *x)
{
    return x->inner / x->heads;
}

/* --- loading ---------------------------------------------------------------------------------------------- */

static enum nb_status
load_sizes(const struct nb_loader *l, struct mamba2 *x)
{
    enum nb_status status = nb_load_count(l, NB_HP_SSM_INNER, &x->inner);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_SSM_STATE, &x->state);
    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_SSM_GROUPS, &x->groups);
    return status == NB_OK ? nb_load_count(l, NB_HP_SSM_RANK, &x->heads) : status;
}

static enum nb_status
load_tensors(struct nb_loader *l, struct mamba2 *x)
{
    enum nb_status status = nb_load_linear(l, "blk.%l.ssm_in", &x->in);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ssm_out", &x->out);
    if (status == NB_OK)
        status = nb_load_convolution(l, "blk.%l.ssm_conv1d", &x->convolution);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.ssm_dt.bias", &x->time_bias);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.ssm_a", &x->rate);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.ssm_d", &x->skip);
    return status == NB_OK ? nb_load_norm(l, "blk.%l.ssm_norm", &x->norm) : status;
}

static enum nb_status
check_sizes(const struct nb_loader *l, const struct mamba2 *x)
{
    const uint64_t inner = x->inner, convolved = inner + 2 * (uint64_t)x->groups * x->state;

    if (x->inner % x->heads == 0 && x->heads % x->groups == 0 && x->inner % x->groups == 0 &&
        x->convolution.channels == convolved && x->in.rows == inner + convolved + x->heads && x->out.columns == inner &&
        nb_norm_fits(x->norm, x->groups, x->inner / x->groups))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: a state space of %" PRIu32 " heads in %" PRIu32 " groups, with %" PRIu32
                   " channels and states of %" PRIu32 " elements, cannot be run with the tensors of layer %" PRIu32,
                   l->model->source->path, x->heads, x->groups, x->inner, x->state, l->layer);
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct mamba2 *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : load_sizes(l, x);

    if (status == NB_OK)
        status = load_tensors(l, x);
    return status == NB_OK ? check_sizes(l, x) : status;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static size_t
room_size(const struct mamba2 *x)
{
    return x->state + 2 * head_length(x);
}

static struct memory
take(const struct mamba2 *x, struct nb_scratch *s)
{
    struct memory m;

    m.made = nb_scratch_take(s, s->tokens, x->in.rows);
    m.convolved = nb_scratch_take(s, s->tokens, x->convolution.channels);
    m.results = nb_scratch_take(s, s->tokens, x->inner);
    m.room = nb_scratch_take(s, s->threads, room_size(x));
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static struct kept
take_kept(const struct mamba2 *x, struct nb_scratch *s)
{
    struct kept kept;

    kept.rows = nb_convolution_take(&x->convolution, s);
    kept.states = nb_scratch_take(s, s->chunks * x->state, x->inner);
    return kept;
}

static void
state(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take_kept(b->data, s);
}

/* --- running ------------------------------------------------------------------------------------------------ */

static void
scan_token(const struct step *s, size_t i, size_t head, float *state, float *room)
{
    const struct mamba2 *x = s->x;
    const size_t length = head_length(x), group = head / (x->heads / x->groups);
    const float *row = s->memory.convolved + i * x->convolution.channels, *from = row + head * length;
    const float *written = row + x->inner + group * x->state, *read = written + (size_t)x->groups * x->state;
    const float *times = s->memory.made + (i + 1) * x->in.rows - x->heads;
    const float time = nb_softplus(times[head] + x->time_bias[head]), decay = expf(time * x->rate[head]);
    float *decays = room, *value = decays + x->state, *out = value + length;

    for (size_t n = 0; n < x->state; n++)
        decays[n] = decay;
    for (size_t c = 0; c < length; c++) {
        value[c] = time * from[c];
        out[c] = x->skip[head] * from[c];
    }
    nb_vector_math()->recur(state, x->state, length, decays, written, value, read, out);
    memcpy(s->memory.results + i * x->inner + head * length, out, length * sizeof *out);
}

/* One head of a chunk. */
static enum nb_status
scan_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct mamba2 *x = s->x;
    const size_t chunk = task / x->heads, head = task % x->heads, size = x->state * head_length(x);
    float *own = s->kept.states + task * size;

    (void)err;
    if (r->first == 0)
        memset(own, 0, size * sizeof *own);
    for (size_t i = chunk * r->each; i < (chunk + 1) * r->each; i++)
        scan_token(s, i, head, own, s->memory.room + (size_t)worker * room_size(x));
    return NB_OK;
}

static enum nb_status
gate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct mamba2 *x = s->x;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *row = s->memory.results + i * x->inner;

        nb_vector_math()->activate(NB_ACTIVATION_SILU, s->memory.made + i * x->in.rows, row, x->inner, row);
        if (x->norm != NULL)
            nb_norm_heads(x->norm, row, x->groups, x->inner / x->groups);
    }
    return NB_OK;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mamba2 *x = b->data;
    struct step step = { x, r, take(x, &r->scratch), take_kept(x, &r->state) };
    const struct memory *m = &step.memory;
    const struct nb_product in = { &x->in, 0, m->made, false }, out = { &x->out, 0, r->out, true };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, &in, 1, err);

    if (status == NB_OK)
        status = nb_convolve(r, &x->convolution, m->made + x->inner, x->in.rows, step.kept.rows, m->convolved, true,
                             err);
    if (status == NB_OK)
        status = nb_pool_run(r->pool, scan_task, &step, r->n / r->each * x->heads, err);
    if (status == NB_OK)
        status = nb_run_rows(r, gate_task, &step, err);
    return status == NB_OK ? nb_run_multiply(r, m->results, r->n, &out, 1, err) : status;
}

const struct nb_block_kind nb_block_mamba2 = {
    .name = "mamba2", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
