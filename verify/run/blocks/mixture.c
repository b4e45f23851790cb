/*
 * A mixture of experts as in Mixtral: each token is processed by the few experts with the highest
 * router scores, and their outputs are added, weighted by their shares.
 */
#include "verify/run/block.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <string.h>

struct mixture {
    struct nb_norm norm;
    struct nb_linear router;         /* gives a score for each expert */
    struct nb_linear gate, up, down; /* of all experts, stacked */
    uint32_t experts, used;
};

/* Rows are the tokens of the batch, or only those of the current expert. */
struct memory {
    float *scores;   /* per expert: the router's scores, then the shares, 0 for experts that were not chosen */
    float *in, *out; /* input and output of the current expert */
    float *gate, *up;
    uint32_t *tokens; /* the tokens of the current expert */
    float *shares;    /* and their shares */
    uint32_t *kept;   /* per expert: whether it was already chosen for the token */
};

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct mixture *x = b->data = nb_load_room(l, sizeof *x);
    const double used = nb_hp_at(&l->model->hp, NB_HP_EXPERTS_USED, l->layer);
    uint32_t size;
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : nb_load_count(l, NB_HP_EXPERTS, &x->experts);

    if (status != NB_OK)
        return status;
    if (!(used >= 1 && used <= x->experts))
        return nb_fail(l->err, NB_INPUT, "%s: %.0f of %" PRIu32 " experts cannot be used", l->model->source->path, used,
                       x->experts);
    x->used = (uint32_t)used;
    status = nb_load_count(l, NB_HP_FEED_FORWARD, &size);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.ffn_norm", &x->norm);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_gate_inp", &x->router);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_gate_exps", &x->gate);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_up_exps", &x->up);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.ffn_down_exps", &x->down);
    return status;
}

static struct memory
take(const struct mixture *x, struct nb_scratch *s)
{
    struct memory m;

    m.scores = nb_scratch_take(s, s->tokens, x->experts);
    m.in = nb_scratch_take(s, s->tokens, x->gate.columns);
    m.out = nb_scratch_take(s, s->tokens, x->down.rows);
    m.gate = nb_scratch_take(s, s->tokens, x->gate.rows);
    m.up = nb_scratch_take(s, s->tokens, x->up.rows);
    m.tokens = nb_scratch_take(s, s->tokens, 1);
    m.shares = nb_scratch_take(s, s->tokens, 1);
    m.kept = nb_scratch_take(s, 1, x->experts);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

/* --- choosing --------------------------------------------------------------------------------------------- */

/*
 * Keeps the USED highest of the N shares (the first of equal ones), normalizes their sum to 1, and
 * sets the others to 0. KEPT is a buffer for N flags.
 */
static void
keep_highest(float *shares, size_t n, size_t used, uint32_t *kept)
{
    double sum = 0;

    memset(kept, 0, n * sizeof *kept);
    for (size_t k = 0; k < used; k++) {
        size_t best = n;

        for (size_t i = 0; i < n; i++)
            if (!kept[i] && (best == n || shares[i] > shares[best]))
                best = i;
        kept[best] = 1;
        sum += (double)shares[best];
    }
    for (size_t i = 0; i < n; i++)
        shares[i] = kept[i] ? (float)((double)shares[i] / sum) : 0;
}

/* Softmax over the scores of all experts; then only the highest are kept. */
static void
choose(const struct mixture *x, const struct memory *m, size_t tokens)
{
    for (size_t i = 0; i < tokens; i++) {
        float *scores = m->scores + i * x->experts;

        nb_vector_math()->softmax(scores, x->experts);
        keep_highest(scores, x->experts, x->used, m->kept);
    }
}

/* --- one expert ------------------------------------------------------------------------------------------- */

/* Gathers the inputs of the tokens that use EXPERT; returns their number. */
static size_t
gather(const struct mixture *x, const struct memory *m, const float *inputs, size_t tokens, uint32_t expert)
{
    const size_t columns = x->gate.columns;
    size_t n = 0;

    for (size_t i = 0; i < tokens; i++) {
        const float share = m->scores[i * x->experts + expert];

        if (share == 0)
            continue;
        memcpy(m->in + n * columns, inputs + i * columns, columns * sizeof *inputs);
        m->tokens[n] = (uint32_t)i;
        m->shares[n++] = share;
    }
    return n;
}

/* Adds their N outputs, weighted by their shares, to their rows of TO. */
static void
scatter(const struct mixture *x, const struct memory *m, size_t n, float *to)
{
    const size_t columns = x->down.rows;

    for (size_t i = 0; i < n; i++) {
        const float *from = m->out + i * columns;
        float *row = to + (size_t)m->tokens[i] * columns;

        for (size_t c = 0; c < columns; c++)
            row[c] += m->shares[i] * from[c];
    }
}

static enum nb_status
run_expert(const struct mixture *x, const struct memory *m, uint32_t expert, struct nb_run *r, struct nb_error *err)
{
    const struct nb_product gate_up[] = { { &x->gate, expert, m->gate, false }, { &x->up, expert, m->up, false } };
    const struct nb_product down = { &x->down, expert, m->out, false };
    const size_t n = gather(x, m, r->normed, r->n, expert);
    enum nb_status status;

    if (n == 0)
        return NB_OK;
    status = nb_run_multiply(r, m->in, n, gate_up, 2, err);
    if (status != NB_OK)
        return status;
    nb_vector_math()->swiglu(m->gate, m->up, n * x->gate.rows);
    status = nb_run_multiply(r, m->gate, n, &down, 1, err);
    if (status == NB_OK)
        scatter(x, m, n, r->x);
    return status;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mixture *x = b->data;
    const struct memory m = take(x, &r->scratch);
    const struct nb_product router = { &x->router, 0, m.scores, false };
    enum nb_status status = nb_run_norm(r, &x->norm, err);

    if (status == NB_OK)
        status = nb_run_multiply(r, r->normed, r->n, &router, 1, err);
    if (status == NB_OK)
        choose(x, &m, r->n);
    for (uint32_t expert = 0; expert < x->experts && status == NB_OK; expert++)
        status = run_expert(x, &m, expert, r, err);
    return status;
}

const struct nb_block_kind nb_block_mixture = { .name = "mixture", .load = load, .scratch = scratch, .run = run };
