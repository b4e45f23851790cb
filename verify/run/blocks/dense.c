/* A dense feed-forward network. */
#include "verify/run/block.h"
#include "verify/run/blocks/feed_forward.h"

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct nb_feed_forward *f = b->data = nb_load_room(l, sizeof *f);

    uint32_t size;
    enum nb_status status = f == NULL ? nb_fail_memory(l->err) : nb_load_count(l, NB_HP_FEED_FORWARD, &size);

    return status == NB_OK ? nb_load_feed_forward(l, "", NB_HP_SWIGLU_CLAMP_SHARED, f) : status;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)nb_feed_forward_take(b->data, s);
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct nb_feed_forward_memory memory = nb_feed_forward_take(b->data, &r->scratch);

    return nb_feed_forward_run(b->data, 0, &memory, r, r->in, r->n, r->out, true, err);
}

const struct nb_block_kind nb_block_dense = {
    .name = "dense", .norm = "ffn_norm", .load = load, .scratch = scratch, .run = run
};
