/*
 * Mamba (Gu and Dao 2023): a convolution, then a state space whose steps depend on the input. Each channel has a state of
 * its own, whose elements decay at their own rates.
 */
#include "verify/run/block.h"
#include "verify/run/blocks/convolution.h"
#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <string.h>

struct mamba {
    struct nb_linear in;  /* gives the channels, and their gates */
    struct nb_linear x;   /* of the channels: a compressed time step, then what is written and what is read */
    struct nb_linear dt;  /* decompresses the time step */
    struct nb_linear out; /* of the channels */
    struct nb_convolution convolution;
    const float *rates; /* state x inner: how elements decay; below zero */
    const float *skip;  /* the share of a channel's input in its result */
    struct nb_norm plain_norm;
    const struct nb_norm *dt_norm, *write_norm, *read_norm; /* NULL: none */
    uint32_t inner, state, rank;
};

/* Rows are tokens. */
struct memory {
    float *made;     /* of IN */
    float *channels; /* convolved; then the results */
    float *steps;    /* of X */
    float *rank, *time;
    float *room; /* for each thread */
};

struct kept {
    float *rows;   /* of the convolution */
    float *states; /* for each chunk: state x inner */
};

struct step {
    const struct mamba *x;
    const struct nb_run *run;
    struct memory memory;
    struct kept kept;
};

#define CHANNELS_IN_TASK 128u
#define PLAIN_EPSILON 1e-6f /* mixer_rms_eps of Falcon Mamba, for which there is no key */

/* --- loading ---------------------------------------------------------------------------------------------- */

static enum nb_status
load_sizes(const struct nb_loader *l, struct mamba *x)
{
    enum nb_status status = nb_load_count(l, NB_HP_SSM_INNER, &x->inner);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_SSM_STATE, &x->state);
    return status == NB_OK ? nb_load_count(l, NB_HP_SSM_RANK, &x->rank) : status;
}

static enum nb_status
load_matrices(struct nb_loader *l, struct mamba *x)
{
    enum nb_status status = nb_load_linear(l, "blk.%l.ssm_in", &x->in);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ssm_x", &x->x);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ssm_dt", &x->dt);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ssm_out", &x->out);
    return status == NB_OK ? nb_load_convolution(l, "blk.%l.ssm_conv1d", &x->convolution) : status;
}

/* Norms with weights (Jamba), or without (Falcon Mamba). */
static enum nb_status
load_norms(const struct nb_loader *l, struct mamba *x)
{
    enum nb_status status;

    if (nb_hp(&l->model->hp, NB_HP_SSM_NORMED) != 0) {
        x->plain_norm = (struct nb_norm){ .kind = NB_NORM_RMS, .epsilon = PLAIN_EPSILON };
        x->dt_norm = x->write_norm = x->read_norm = &x->plain_norm;
        return NB_OK;
    }
    status = nb_load_norm(l, "blk.%l.ssm_dt_norm", &x->dt_norm);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.ssm_b_norm", &x->write_norm);
    return status == NB_OK ? nb_load_norm(l, "blk.%l.ssm_c_norm", &x->read_norm) : status;
}

static enum nb_status
check_sizes(const struct nb_loader *l, const struct mamba *x)
{
    const uint64_t inner = x->inner, state = x->state;

    if (x->in.rows == 2 * inner && x->x.columns == inner && x->x.rows == x->rank + 2 * state &&
        x->dt.columns == x->rank && x->dt.rows == inner && x->out.columns == inner &&
        x->convolution.channels == inner && nb_norm_fits(x->dt_norm, 1, x->rank) &&
        nb_norm_fits(x->write_norm, 1, x->state) && nb_norm_fits(x->read_norm, 1, x->state))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: a state space of %" PRIu32 " channels with states of %" PRIu32
                   " elements cannot be run with the tensors of layer %" PRIu32,
                   l->model->source->path, x->inner, x->state, l->layer);
}

/* The rates of each channel become rows with one element of all channels. */
static enum nb_status
load_rates(const struct nb_loader *l, struct mamba *x)
{
    const float *stored;
    float *rates;
    enum nb_status status = nb_load_small(l, "blk.%l.ssm_a", &stored);

    if (status != NB_OK)
        return status;
    rates = nb_arena_calloc(&l->model->arena, x->state, x->inner * sizeof *rates);
    if (rates == NULL)
        return nb_fail_memory(l->err);
    for (size_t c = 0; c < x->inner; c++)
        for (size_t i = 0; i < x->state; i++)
            rates[i * x->inner + c] = stored[c * x->state + i];
    x->rates = rates;
    return nb_load_small(l, "blk.%l.ssm_d", &x->skip);
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct mamba *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : load_sizes(l, x);

    if (status == NB_OK)
        status = load_matrices(l, x);
    if (status == NB_OK)
        status = load_norms(l, x);
    if (status == NB_OK)
        status = check_sizes(l, x);
    return status == NB_OK ? load_rates(l, x) : status;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static struct memory
take(const struct mamba *x, struct nb_scratch *s)
{
    struct memory m;

    m.made = nb_scratch_take(s, s->tokens, x->in.rows);
    m.channels = nb_scratch_take(s, s->tokens, x->inner);
    m.steps = nb_scratch_take(s, s->tokens, x->x.rows);
    m.rank = nb_scratch_take(s, s->tokens, x->rank);
    m.time = nb_scratch_take(s, s->tokens, x->inner);
    m.room = nb_scratch_take(s, s->threads * 3, CHANNELS_IN_TASK);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static struct kept
take_kept(const struct mamba *x, struct nb_scratch *s)
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

/* Takes what X gave apart, and norms the parts. */
static enum nb_status
part_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct mamba *x = s->x;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *row = s->memory.steps + i * x->x.rows, *rank = s->memory.rank + i * x->rank;
        float *written = row + x->rank, *read = written + x->state;

        memcpy(rank, row, x->rank * sizeof *rank);
        if (x->dt_norm != NULL)
            nb_norm_row(x->dt_norm, rank, x->rank, rank);
        if (x->write_norm != NULL)
            nb_norm_row(x->write_norm, written, x->state, written);
        if (x->read_norm != NULL)
            nb_norm_row(x->read_norm, read, x->state, read);
    }
    return NB_OK;
}

/* The results of token I in N channels from FIRST on, whose STATE begins there. */
static void
scan_token(const struct step *s, size_t i, size_t first, size_t n, float *state, float *room)
{
    const struct nb_vector_math *math = nb_vector_math();
    const struct mamba *x = s->x;
    const float *step = s->memory.steps + i * x->x.rows, *gate = s->memory.made + i * x->in.rows + x->inner + first;
    float *time = room, *value = time + CHANNELS_IN_TASK, *out = value + CHANNELS_IN_TASK;
    float *channels = s->memory.channels + i * x->inner + first;

    for (size_t c = 0; c < n; c++) {
        time[c] = nb_softplus(s->memory.time[i * x->inner + first + c]);
        value[c] = time[c] * channels[c];
        out[c] = x->skip[first + c] * channels[c];
    }
    math->recur_selectively(state, x->state, n, x->inner, x->rates + first, time, step + x->rank, value,
                            step + x->rank + x->state, out);
    math->activate(NB_ACTIVATION_SILU, gate, out, n, channels);
}

/* Some channels of a chunk. */
static enum nb_status
scan_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct mamba *x = s->x;
    const size_t parts = (x->inner + CHANNELS_IN_TASK - 1) / CHANNELS_IN_TASK;
    const size_t chunk = task / parts, first = task % parts * CHANNELS_IN_TASK;
    const size_t n = x->inner - first < CHANNELS_IN_TASK ? x->inner - first : CHANNELS_IN_TASK;
    float *own = s->kept.states + chunk * x->state * x->inner + first;

    (void)err;
    for (size_t i = 0; i < x->state && r->first == 0; i++)
        memset(own + i * x->inner, 0, n * sizeof *own);
    for (size_t i = chunk * r->each; i < (chunk + 1) * r->each; i++)
        scan_token(s, i, first, n, own, s->memory.room + (size_t)worker * 3 * CHANNELS_IN_TASK);
    return NB_OK;
}

static enum nb_status
make_steps(struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct mamba *x = s->x;
    const struct memory *m = &s->memory;
    const struct nb_product in = { &x->in, 0, m->made, false }, steps = { &x->x, 0, m->steps, false };
    const struct nb_product time = { &x->dt, 0, m->time, false };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, &in, 1, err);

    if (status == NB_OK)
        status = nb_convolve(r, &x->convolution, m->made, x->in.rows, s->kept.rows, m->channels, true, err);
    if (status == NB_OK)
        status = nb_run_multiply(r, m->channels, r->n, &steps, 1, err);
    if (status == NB_OK)
        status = nb_run_rows(r, part_task, s, err);
    return status == NB_OK ? nb_run_multiply(r, m->rank, r->n, &time, 1, err) : status;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mamba *x = b->data;
    struct step step = { x, r, take(x, &r->scratch), take_kept(x, &r->state) };
    const struct nb_product out = { &x->out, 0, r->out, true };
    const size_t parts = (x->inner + CHANNELS_IN_TASK - 1) / CHANNELS_IN_TASK;
    enum nb_status status = make_steps(&step, r, err);

    if (status == NB_OK)
        status = nb_pool_run(r->pool, scan_task, &step, r->n / r->each * parts, err);
    return status == NB_OK ? nb_run_multiply(r, step.memory.channels, r->n, &out, 1, err) : status;
}

const struct nb_block_kind nb_block_mamba = {
    .name = "mamba", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
