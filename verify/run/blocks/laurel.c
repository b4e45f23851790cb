/* LAuReL (Menghani et al. 2024): the input, and the input through two matrices of low rank, added to the stream. */
#include "verify/run/block.h"

#include <inttypes.h>

struct laurel {
    struct nb_linear left, right;
    const struct nb_norm *norm;
};

struct memory {
    float *low, *result; /* rows are tokens */
};

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct laurel *x = b->data = nb_load_room(l, sizeof *x);
    const uint32_t embedding = nb_model_embedding(l->model);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : nb_load_linear(l, "blk.%l.laurel_l", &x->left);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.laurel_r", &x->right);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.laurel_post_norm", &x->norm);
    if (status != NB_OK || (x->norm != NULL && x->norm->length == embedding && x->left.columns == embedding &&
                            x->right.columns == x->left.rows && x->right.rows == embedding))
        return status;
    return nb_fail(l->err, NB_UNSUPPORTED, "%s: the matrices of low rank of layer %" PRIu32 " do not fit one another",
                   l->model->source->path, l->layer);
}

static struct memory
take(const struct laurel *x, struct nb_scratch *s)
{
    struct memory m;

    m.low = nb_scratch_take(s, s->tokens, x->left.rows);
    m.result = nb_scratch_take(s, s->tokens, x->right.rows);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

struct step {
    const struct laurel *x;
    const struct nb_run *run;
    float *result;
};

static enum nb_status
add_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const size_t columns = s->x->right.rows;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *in = s->run->in + i * columns;
        float *row = s->result + i * columns, *out = s->run->out + i * columns;

        nb_norm_row(s->x->norm, row, columns, row);
        for (size_t c = 0; c < columns; c++)
            out[c] += in[c] + row[c];
    }
    return NB_OK;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct laurel *x = b->data;
    const struct memory m = take(x, &r->scratch);
    const struct nb_product left = { &x->left, 0, m.low, false }, right = { &x->right, 0, m.result, false };
    struct step step = { x, r, m.result };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, &left, 1, err);

    if (status == NB_OK)
        status = nb_run_multiply(r, m.low, r->n, &right, 1, err);
    return status == NB_OK ? nb_run_rows(r, add_task, &step, err) : status;
}

const struct nb_block_kind nb_block_laurel = {
    .name = "laurel", .norm = "attn_norm", .load = load, .scratch = scratch, .run = run
};
