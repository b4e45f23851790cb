/* A matrix in the place of attention, as pruned models have it (DeciLM). */
#include "verify/run/block.h"

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct nb_linear *matrix = b->data = nb_load_room(l, sizeof *matrix);
    const uint32_t embedding = nb_model_embedding(l->model);
    enum nb_status status = matrix == NULL ? nb_fail_memory(l->err) : nb_load_linear(l, "blk.%l.attn_output", matrix);

    if (status != NB_OK || (matrix->columns == embedding && matrix->rows == embedding))
        return status;
    return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' does not map states to states", l->model->source->path,
                   matrix->name);
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)b;
    (void)s;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct nb_product product = { b->data, 0, r->out, true };

    return nb_run_multiply(r, r->in, r->n, &product, 1, err);
}

const struct nb_block_kind nb_block_linear = {
    .name = "linear", .norm = "attn_norm", .load = load, .scratch = scratch, .run = run
};
