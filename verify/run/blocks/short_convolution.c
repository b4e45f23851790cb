/* The gated short convolution of LFM2: a convolution of gated values, gated again. */
#include "verify/run/block.h"
#include "verify/run/blocks/convolution.h"

#include <inttypes.h>

struct short_convolution {
    struct nb_linear in; /* gives the gate in front, the one behind, and the values */
    struct nb_linear out;
    struct nb_convolution convolution;
};

/* Rows are tokens. */
struct memory {
    float *made, *gated, *results;
};

struct step {
    const struct short_convolution *x;
    const struct nb_run *run;
    struct memory memory;
};

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct short_convolution *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : nb_load_linear(l, "blk.%l.shortconv.in_proj", &x->in);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.shortconv.out_proj", &x->out);
    if (status == NB_OK)
        status = nb_load_convolution(l, "blk.%l.shortconv.conv", &x->convolution);
    if (status != NB_OK)
        return status;
    if (x->in.rows % 3 != 0 || x->in.rows / 3 != x->convolution.channels || x->out.columns != x->convolution.channels)
        return nb_fail(l->err, NB_UNSUPPORTED,
                       "%s: the convolution of layer %" PRIu32 " has %zu channels, and cannot be run with its matrices",
                       l->model->source->path, l->layer, x->convolution.channels);
    return NB_OK;
}

static struct memory
take(const struct short_convolution *x, struct nb_scratch *s)
{
    struct memory m;

    m.made = nb_scratch_take(s, s->tokens, x->in.rows);
    m.gated = nb_scratch_take(s, s->tokens, x->convolution.channels);
    m.results = nb_scratch_take(s, s->tokens, x->convolution.channels);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static void
state(const struct nb_block *b, struct nb_scratch *s)
{
    const struct short_convolution *x = b->data;

    (void)nb_convolution_take(&x->convolution, s);
}

static enum nb_status
gate_values_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const size_t channels = s->x->convolution.channels;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *gate = s->memory.made + i * s->x->in.rows, *values = gate + 2 * channels;

        for (size_t c = 0; c < channels; c++)
            s->memory.gated[i * channels + c] = gate[c] * values[c];
    }
    return NB_OK;
}

static enum nb_status
gate_results_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const size_t channels = s->x->convolution.channels;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *gate = s->memory.made + i * s->x->in.rows + channels;

        for (size_t c = 0; c < channels; c++)
            s->memory.results[i * channels + c] *= gate[c];
    }
    return NB_OK;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct short_convolution *x = b->data;
    struct step step = { x, r, take(x, &r->scratch) };
    const struct memory *m = &step.memory;
    float *kept = nb_convolution_take(&x->convolution, &r->state);
    const struct nb_product in = { &x->in, 0, m->made, false }, out = { &x->out, 0, r->out, true };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, &in, 1, err);

    if (status == NB_OK)
        status = nb_run_rows(r, gate_values_task, &step, err);
    if (status == NB_OK)
        status = nb_convolve(r, &x->convolution, m->gated, x->convolution.channels, kept, m->results, false, err);
    if (status == NB_OK)
        status = nb_run_rows(r, gate_results_task, &step, err);
    return status == NB_OK ? nb_run_multiply(r, m->results, r->n, &out, 1, err) : status;
}

const struct nb_block_kind nb_block_short_convolution = {
    .name = "short_convolution", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
