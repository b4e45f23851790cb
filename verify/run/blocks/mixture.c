/*
 * A mixture of experts: each token is processed by the few experts that its router chooses, and their outputs are added,
 * weighted by their shares; and by shared experts, which are there for all tokens.
 */
#include "verify/run/block.h"
#include "verify/run/blocks/feed_forward.h"
#include "verify/run/blocks/routing.h"
#include "verify/run/scalar_math.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct mixture {
    struct nb_linear router;      /* gives a score for each expert */
    struct nb_norm router_norm;   /* of the stream, which the router then reads instead of the block's input */
    struct nb_linear shared_gate; /* one value for each token, whose sigmoid weighs the shared expert; may be absent */
    struct nb_linear latent_down, latent_up; /* around the experts, which then see a shorter vector; may be absent */
    struct nb_feed_forward expert;           /* all experts, stacked */
    struct nb_feed_forward shared;
    struct nb_routing routing;
    bool has_shared, weighs_input;
    float part; /* of chosen and shared experts in the result */
};

/* Rows are the tokens of the batch, or only those of the current expert. */
struct memory {
    float *scores; /* per expert: the router's scores, then the shares, 0 for experts that were not chosen */
    float *latent, *latent_sum; /* what the experts see, and their sum, if it is not the block's input and output */
    float *in, *out;            /* input and output of the current expert */
    struct nb_feed_forward_memory expert, shared;
    uint32_t *tokens; /* the tokens of the current expert */
    float *shares;    /* and their shares */
    float *gate;      /* of the shared expert */
    float *room;      /* of nb_route, per thread */
};

struct step {
    const struct mixture *x;
    const struct nb_run *run;
    const struct memory *memory;
};

/*
 * A router with a scale for each element of its input has a norm of its own, of the stream (Gemma 4): without weights, times
 * the scale, divided by the root of the length.
 */
static enum nb_status
load_router(struct nb_loader *l, struct mixture *x)
{
    enum nb_status status = nb_load_linear(l, "blk.%l.ffn_gate_inp", &x->router);
    const struct nb_norm *plain;
    float *weights;

    if (status != NB_OK || x->router.scale == NULL)
        return status;
    status = nb_load_plain_norm(l, &plain);
    weights = nb_load_room(l, x->router.columns * sizeof *weights);
    if (status != NB_OK || weights == NULL)
        return status == NB_OK ? nb_fail_memory(l->err) : status;
    for (size_t i = 0; i < x->router.columns; i++)
        weights[i] = x->router.scale[i] / sqrtf((float)x->router.columns);
    x->router.scale = NULL;
    x->router_norm = *plain;
    x->router_norm.weight = weights;
    return NB_OK;
}

static enum nb_status
load_shared(struct nb_loader *l, struct mixture *x)
{
    enum nb_status status = NB_OK;

    x->has_shared = nb_load_has(l, "blk.%l.ffn_up_shexp.weight");
    if (x->has_shared)
        status = nb_load_feed_forward(l, "_shexp", NB_HP_SWIGLU_CLAMP_SHARED, &x->shared);
    return status == NB_OK ? nb_load_linear_if_any(l, "blk.%l.ffn_gate_inp_shexp", &x->shared_gate) : status;
}

static enum nb_status
load_experts(struct nb_loader *l, struct mixture *x)
{
    enum nb_status status = nb_load_linear_if_any(l, "blk.%l.ffn_latent_down", &x->latent_down);

    if (status == NB_OK)
        status = nb_load_feed_forward(l, "_exps", NB_HP_SWIGLU_CLAMP, &x->expert);
    return status == NB_OK ? nb_load_linear_if_any(l, "blk.%l.ffn_latent_up", &x->latent_up) : status;
}

/* Whether the experts read and give what is around them. */
static bool
experts_fit(const struct mixture *x)
{
    if (x->latent_down.weight == NULL || x->latent_up.weight == NULL)
        return x->latent_down.weight == x->latent_up.weight && x->expert.up.columns == x->router.columns;
    return x->latent_down.rows == x->expert.up.columns && x->latent_up.columns == x->expert.down.rows &&
           x->latent_up.rows == x->router.columns;
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct mixture *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : nb_load_routing(l, &x->routing);

    if (status == NB_OK)
        status = load_router(l, x);
    if (status == NB_OK)
        status = load_experts(l, x);
    if (status == NB_OK)
        status = load_shared(l, x);
    if (status != NB_OK)
        return status;
    x->weighs_input = l->model->arch->weighs_expert_input;
    x->part = x->has_shared && l->model->arch->averages_shared ? 0.5f : 1;
    x->routing.scale *= (double)x->part;
    if (x->router.rows != x->routing.experts || x->expert.up.experts != x->routing.experts)
        return nb_fail(l->err, NB_INPUT, "%s: the experts of layer %" PRIu32 " are not as many as %s says",
                       l->model->source->path, l->layer, nb_hparam_info(NB_HP_EXPERTS)->label);
    if (!experts_fit(x))
        return nb_fail(l->err, NB_UNSUPPORTED,
                       "%s: experts that see %zu elements cannot be run with the tensors of layer %" PRIu32,
                       l->model->source->path, x->expert.up.columns, l->layer);
    return NB_OK;
}

static size_t
larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static struct memory
take(const struct mixture *x, struct nb_scratch *s)
{
    struct memory m;

    m.scores = nb_scratch_take(s, s->tokens, x->routing.experts);
    m.in = nb_scratch_take(s, s->tokens, larger(x->expert.up.columns, x->router.columns));
    m.out = nb_scratch_take(s, s->tokens, larger(x->expert.down.rows, x->shared.down.rows));
    m.latent = nb_scratch_take(s, s->tokens, x->latent_down.rows);
    m.latent_sum = nb_scratch_take(s, s->tokens, x->latent_up.columns);
    m.expert = nb_feed_forward_take(&x->expert, s);
    m.shared = nb_feed_forward_take(&x->shared, s);
    m.tokens = nb_scratch_take(s, s->tokens, 1);
    m.shares = nb_scratch_take(s, s->tokens, 1);
    m.gate = nb_scratch_take(s, s->tokens, x->shared_gate.rows);
    m.room = nb_scratch_take(s, s->threads, nb_route_room(&x->routing) / sizeof(float));
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static enum nb_status
route_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_routing *routing = &s->x->routing;
    float *room = s->memory->room + worker * (nb_route_room(routing) / sizeof(float));
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)err;
    for (; i < end; i++)
        nb_route(routing, s->memory->scores + i * routing->experts, room);
    return NB_OK;
}

/* --- one expert ------------------------------------------------------------------------------------------- */

/* Gathers the rows of FROM, one for each of TOKENS, of those that use EXPERT; returns their number. */
static size_t
gather(const struct mixture *x, const struct memory *m, const float *from, size_t tokens, uint32_t expert)
{
    const size_t columns = x->expert.up.columns;
    size_t n = 0;

    for (size_t i = 0; i < tokens; i++) {
        const float share = m->scores[i * x->routing.experts + expert];
        float *in = m->in + n * columns;

        if (share == 0)
            continue;
        memcpy(in, from + i * columns, columns * sizeof *in);
        for (size_t c = 0; c < columns && x->weighs_input; c++)
            in[c] *= share;
        m->tokens[n] = (uint32_t)i;
        m->shares[n++] = x->weighs_input ? 1 : share;
    }
    return n;
}

/* Adds their N outputs, weighted by their shares, to their rows of TO. */
static void
scatter(const struct mixture *x, const struct memory *m, size_t n, float *to)
{
    const size_t columns = x->expert.down.rows;

    for (size_t i = 0; i < n; i++) {
        const float *from = m->out + i * columns;
        float *row = to + (size_t)m->tokens[i] * columns;

        for (size_t c = 0; c < columns; c++)
            row[c] += m->shares[i] * from[c];
    }
}

/* Adds the results of EXPERT for the rows of IN, one for each token, to OUT. */
static enum nb_status
run_expert(const struct mixture *x, const struct memory *m, uint32_t expert, struct nb_run *r, const float *in,
           float *out, struct nb_error *err)
{
    const size_t n = gather(x, m, in, r->n, expert);
    enum nb_status status = NB_OK;

    if (n == 0)
        return NB_OK;
    status = nb_feed_forward_run(&x->expert, expert, &m->expert, r, m->in, n, m->out, false, err);
    if (status == NB_OK)
        scatter(x, m, n, out);
    return status;
}

static enum nb_status
run_experts(const struct mixture *x, const struct memory *m, struct nb_run *r, struct nb_error *err)
{
    const bool latent = x->latent_down.weight != NULL;
    const struct nb_product down = { &x->latent_down, 0, m->latent, false }, up = { &x->latent_up, 0, r->out, true };
    const float *in = latent ? m->latent : r->in;
    float *out = latent ? m->latent_sum : r->out;
    enum nb_status status = latent ? nb_run_multiply(r, r->in, r->n, &down, 1, err) : NB_OK;

    if (latent)
        memset(out, 0, r->n * x->latent_up.columns * sizeof *out);
    for (uint32_t expert = 0; expert < x->routing.experts && status == NB_OK; expert++)
        status = run_expert(x, m, expert, r, in, out, err);
    return status == NB_OK && latent ? nb_run_multiply(r, m->latent_sum, r->n, &up, 1, err) : status;
}

/* --- all ---------------------------------------------------------------------------------------------------- */

/* The shared expert sees all tokens. */
static enum nb_status
run_shared(const struct mixture *x, const struct memory *m, struct nb_run *r, struct nb_error *err)
{
    const struct nb_product gate = { &x->shared_gate, 0, m->gate, false };
    const size_t columns = x->shared.down.rows;
    enum nb_status status = NB_OK;

    if (x->shared_gate.weight == NULL && x->part == 1)
        return nb_feed_forward_run(&x->shared, 0, &m->shared, r, r->in, r->n, r->out, true, err);
    if (x->shared_gate.weight != NULL)
        status = nb_run_multiply(r, r->in, r->n, &gate, 1, err);
    if (status == NB_OK)
        status = nb_feed_forward_run(&x->shared, 0, &m->shared, r, r->in, r->n, m->out, false, err);
    for (size_t i = 0; i < r->n && status == NB_OK; i++) {
        const float share = x->part * (x->shared_gate.weight == NULL ? 1 : nb_sigmoid(m->gate[i]));

        for (size_t c = 0; c < columns; c++)
            r->out[i * columns + c] += share * m->out[i * columns + c];
    }
    return status;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mixture *x = b->data;
    const struct memory m = take(x, &r->scratch);
    const struct nb_product router = { &x->router, 0, m.scores, false };
    const bool is_normed = x->router_norm.weight != NULL;
    struct step step = { x, r, &m };
    enum nb_status status = is_normed ? nb_run_norm(r, &x->router_norm, r->x, m.in, err) : NB_OK;

    if (status == NB_OK)
        status = nb_run_multiply(r, is_normed ? m.in : r->in, r->n, &router, 1, err);

    if (status == NB_OK)
        status = nb_run_rows(r, route_task, &step, err);
    if (status == NB_OK)
        status = run_experts(x, &m, r, err);
    return status == NB_OK && x->has_shared ? run_shared(x, &m, r, err) : status;
}

const struct nb_block_kind nb_block_mixture = {
    .name = "mixture", .norm = "ffn_norm", .load = load, .scratch = scratch, .run = run
};
