/* A gated feed-forward network: down (silu(gate) * up). */
#include "verify/run/block.h"
#include "verify/run/vector_math.h"

struct dense {
    struct nb_norm norm;
    struct nb_linear gate, up, down;
};

/* Rows are tokens. */
struct memory {
    float *gate, *up;
};

struct step {
    const struct dense *d;
    const struct nb_run *run;
    struct memory memory;
};

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct dense *d = b->data = nb_load_room(l, sizeof *d);
    uint32_t size;
    enum nb_status status = d == NULL ? nb_fail_memory(l->err) : nb_load_count(l, NB_HP_FEED_FORWARD, &size);

    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.ffn_norm", &d->norm);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_gate", &d->gate);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_up", &d->up);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_down", &d->down);
    return status;
}

static struct memory
take(const struct dense *d, struct nb_scratch *s)
{
    struct memory m;

    m.gate = nb_scratch_take(s, s->tokens, d->gate.rows);
    m.up = nb_scratch_take(s, s->tokens, d->up.rows);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static enum nb_status
activate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const size_t columns = s->d->gate.rows;
    size_t first, end = nb_run_task_rows(s->run, task, &first);

    (void)worker;
    (void)err;
    nb_vector_math()->swiglu(s->memory.gate + first * columns, s->memory.up + first * columns, (end - first) * columns);
    return NB_OK;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct dense *d = b->data;
    struct step step = { d, r, take(d, &r->scratch) };
    const struct memory *m = &step.memory;
    const struct nb_product gate_up[] = { { &d->gate, 0, m->gate, false }, { &d->up, 0, m->up, false } };
    const struct nb_product down = { &d->down, 0, r->x, true };
    enum nb_status status = nb_run_norm(r, &d->norm, err);

    if (status == NB_OK)
        status = nb_run_multiply(r, r->normed, r->n, gate_up, 2, err);
    if (status == NB_OK)
        status = nb_run_rows(r, activate_task, &step, err);
    if (status == NB_OK)
        status = nb_run_multiply(r, m->gate, r->n, &down, 1, err);
    return status;
}

const struct nb_block_kind nb_block_dense = { .name = "dense", .load = load, .scratch = scratch, .run = run };
