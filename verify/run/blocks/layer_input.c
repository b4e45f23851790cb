#include "verify/run/blocks/layer_input.h"

#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>

/* The short vectors of all layers. */
struct inputs {
    struct nb_linear projection; /* of the embeddings of tokens */
    struct nb_linear table;      /* by token */
    const struct nb_norm *norm;  /* of a projected vector */
    size_t length;               /* of a vector */
};

/* --- one layer's ---------------------------------------------------------------------------------------------- */

enum nb_status
nb_load_layer_input(struct nb_loader *l, struct nb_layer_input *x)
{
    const struct nb_model *m = l->model;
    enum nb_status status = nb_load_linear(l, "blk.%l.inp_gate", &x->gate);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.proj", &x->projection);
    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].kind == &nb_block_layer_inputs)
            x->inputs = &m->blocks[i];
    x->length = x->gate.rows;
    x->at = x->length * l->layer;
    x->row = x->inputs == NULL ? 0 : ((const struct inputs *)x->inputs->data)->table.columns;
    x->activation = m->arch->activation;
    if (x->inputs != NULL && x->projection.columns == x->length && x->row >= x->at + x->length)
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED, "%s: the embeddings by layer do not fit the tensors of layer %" PRIu32,
                   m->source->path, l->layer);
}

float *
nb_layer_input_take(const struct nb_layer_input *x, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->tokens, x->length);
}

/* What the block "layer_inputs" has made: tokens x row. */
static float *
take_inputs(size_t row, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->tokens, row);
}

struct step {
    const struct nb_layer_input *input;
    const struct nb_run *run;
    const float *inputs;
    float *gate;
};

static enum nb_status
gate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_layer_input *x = s->input;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++)
        nb_vector_math()->activate(x->activation, s->gate + i * x->length, s->inputs + i * x->row + x->at, x->length,
                                   s->gate + i * x->length);
    return NB_OK;
}

enum nb_status
nb_layer_input_run(const struct nb_layer_input *x, float *gate, struct nb_run *r, const float *in, float *out,
                   struct nb_error *err)
{
    const struct nb_product gating = { &x->gate, 0, gate, false }, projection = { &x->projection, 0, out, true };
    struct nb_scratch state = nb_run_state_of(r, x->inputs);
    struct step step = { x, r, take_inputs(x->row, &state), gate };
    enum nb_status status = nb_run_multiply(r, in, r->n, &gating, 1, err);

    if (status == NB_OK)
        status = nb_run_rows(r, gate_task, &step, err);
    return status == NB_OK ? nb_run_multiply(r, gate, r->n, &projection, 1, err) : status;
}

static enum nb_status
load_input(struct nb_loader *l, struct nb_block *b)
{
    struct nb_layer_input *x = b->data = nb_load_room(l, sizeof *x);

    return x == NULL ? nb_fail_memory(l->err) : nb_load_layer_input(l, x);
}

static void
scratch_of_input(const struct nb_block *b, struct nb_scratch *s)
{
    (void)nb_layer_input_take(b->data, s);
}

static enum nb_status
run_input(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    return nb_layer_input_run(b->data, nb_layer_input_take(b->data, &r->scratch), r, r->in, r->out, err);
}

const struct nb_block_kind nb_block_layer_input = {
    .name = "layer_input", .load = load_input, .scratch = scratch_of_input, .run = run_input
};

/* --- all layers' ---------------------------------------------------------------------------------------------- */

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct inputs *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err)
                                      : nb_load_linear(l, "per_layer_model_proj", &x->projection);

    if (status == NB_OK)
        status = nb_load_table(l, "per_layer_token_embd.weight", &x->table);
    if (status == NB_OK)
        status = nb_load_norm(l, "per_layer_proj_norm", &x->norm);
    if (status != NB_OK)
        return status;
    b->lends = true;
    x->length = x->norm == NULL ? 0 : x->norm->length;
    if (x->length > 0 && x->table.columns == x->projection.rows && x->table.columns % x->length == 0 &&
        x->projection.columns == nb_model_embedding(l->model) && x->table.rows >= nb_model_vocab(l->model))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED, "%s: the embeddings by layer do not fit one another",
                   l->model->source->path);
}

static float *
take_row(const struct inputs *x, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->threads, x->table.columns);
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take_row(b->data, s);
}

static void
state(const struct nb_block *b, struct nb_scratch *s)
{
    const struct inputs *x = b->data;

    (void)take_inputs(x->table.columns, s);
}

struct inputs_step {
    const struct inputs *x;
    const struct nb_run *run;
    float *rows, *inputs;
};

/* (norm(projection / sqrt(embedding)) + embedding of the token * sqrt(length)) / sqrt(2) for some tokens. */
static enum nb_status
join_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct inputs_step *s = context;
    const struct nb_run *r = s->run;
    const struct inputs *x = s->x;
    const float root = sqrtf((float)x->projection.columns), scale = sqrtf((float)x->length);
    float *row = s->rows + worker * x->table.columns;
    size_t i, end = nb_run_task_rows(r, task, &i);
    enum nb_status status = NB_OK;

    for (; i < end && status == NB_OK; i++) {
        float *input = s->inputs + i * x->table.columns;

        status = nb_model_rows(r->model, x->table.weight, (uint64_t)nb_run_token(r, i), 1, &r->panels.readers[worker],
                               row, err);
        for (size_t c = 0; c < x->table.columns && status == NB_OK; c++)
            input[c] /= root;
        for (size_t c = 0; c < x->table.columns && status == NB_OK; c += x->length)
            nb_norm_row(x->norm, input + c, x->length, input + c);
        for (size_t c = 0; c < x->table.columns && status == NB_OK; c++)
            input[c] = (input[c] + row[c] * scale) * (float)M_SQRT1_2;
    }
    return status;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct inputs *x = b->data;
    struct inputs_step step = { x, r, take_row(x, &r->scratch), take_inputs(x->table.columns, &r->state) };
    const struct nb_product product = { &x->projection, 0, step.inputs, false };
    enum nb_status status = nb_run_multiply(r, r->x, r->n, &product, 1, err);

    return status == NB_OK ? nb_run_rows(r, join_task, &step, err) : status;
}

const struct nb_block_kind nb_block_layer_inputs = {
    .name = "layer_inputs", .sets_stream = true, .load = load, .scratch = scratch, .state = state, .run = run
};
