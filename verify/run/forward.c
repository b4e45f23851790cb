#include "verify/run/forward.h"

#include "verify/run/attention.h"
#include "verify/run/mixture.h"
#include "verify/run/product.h"
#include "verify/run/rope.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* OpenBLAS has threads of its own, which would get in the way of ours; other libraries lack this function. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

#define ROWS_IN_TASK 64u /* tokens that an elementwise task works on */

struct nb_forward {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_panels panels;
    uint32_t max_chunks, chunk_tokens;
    /* Rows are tokens. */
    float *x;            /* the residual stream */
    float *normed;       /* what goes into a block; in the end, what comes out */
    float *q, *k, *v;
    float *heads;        /* what the heads bring together */
    float *gate, *up;
    float *turns;        /* rotary table of a chunk */
    struct nb_mixture mixture;
    float **scores;      /* for each thread */
    nb_observe *observe;
    void *context;

    /* Of the run that is going on. */
    size_t n; /* tokens */
    uint32_t layer;
    const int32_t *tokens;
    int64_t bos;
    const float *norm_weight;
};

static float *
floats(size_t rows, size_t columns)
{
    size_t bytes;

    if (__builtin_mul_overflow(rows, columns * sizeof(float), &bytes) || bytes > SIZE_MAX - 64)
        return NULL;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void
free_floats(struct nb_forward *f)
{
    float **const all[] = { &f->x, &f->normed, &f->q, &f->k, &f->v, &f->heads, &f->gate, &f->up, &f->turns };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(*all[i]);
        *all[i] = NULL;
    }
    nb_mixture_free(&f->mixture);
    nb_panels_free(&f->panels);
}

static enum nb_status
allocate(struct nb_forward *f, const struct nb_model *m, struct nb_error *err)
{
    const size_t n = (size_t)f->max_chunks * f->chunk_tokens;
    const size_t q = (size_t)m->heads * m->head_dim, kv = (size_t)m->kv_heads * m->head_dim;

    f->x = floats(n, m->embedding);
    f->normed = floats(n, m->embedding);
    f->q = floats(n, q);
    f->k = floats(n, kv);
    f->v = floats(n, kv);
    f->heads = floats(n, q);
    f->gate = floats(n, m->feed_forward);
    f->up = floats(n, m->feed_forward);
    f->turns = floats(f->chunk_tokens, m->rope_dims + 1);
    if (f->x == NULL || f->normed == NULL || f->q == NULL || f->k == NULL || f->v == NULL || f->heads == NULL ||
        f->gate == NULL || f->up == NULL || f->turns == NULL)
        return nb_fail_memory(err);
    if (m->experts > 0 && !nb_mixture_new(&f->mixture, m, n))
        return nb_fail_memory(err);
    return nb_panels_new(&f->panels, m, f->pool, err);
}

static bool
is_same_shape(const struct nb_model *a, const struct nb_model *b)
{
    return a->embedding == b->embedding && a->feed_forward == b->feed_forward && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->rope_dims == b->rope_dims &&
           a->experts == b->experts && a->experts_used == b->experts_used;
}

/* Makes M the model that is run. The memory of one of the same shape will do. */
static enum nb_status
take_model(struct nb_forward *f, const struct nb_model *m, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    if (f->model == m)
        return NB_OK;
    if (f->model == NULL || !is_same_shape(f->model, m)) {
        f->model = NULL;
        free_floats(f);
        status = allocate(f, m, err);
    }
    if (status != NB_OK)
        return status;
    f->model = f->panels.model = m;
    nb_rope_table(m, f->chunk_tokens, f->turns);
    return NB_OK;
}

enum nb_status
nb_forward_new(struct nb_forward **forward, struct nb_pool *pool, uint32_t chunks, uint32_t chunk_tokens,
               struct nb_error *err)
{
    struct nb_forward *f = calloc(1, sizeof *f);

    if (f == NULL || (f->scores = calloc(nb_pool_threads(pool), sizeof *f->scores)) == NULL) {
        free(f);
        return nb_fail_memory(err);
    }
    if (openblas_set_num_threads != NULL)
        openblas_set_num_threads(1);
    f->pool = pool;
    f->max_chunks = chunks;
    f->chunk_tokens = chunk_tokens;
    for (unsigned i = 0; i < nb_pool_threads(pool); i++) {
        if ((f->scores[i] = floats(NB_ATTENTION_ROWS, chunk_tokens)) == NULL) {
            nb_forward_free(f);
            return nb_fail_memory(err);
        }
    }
    *forward = f;
    return NB_OK;
}

void
nb_forward_free(struct nb_forward *f)
{
    if (f == NULL)
        return;
    for (unsigned i = 0; i < nb_pool_threads(f->pool); i++)
        free(f->scores[i]);
    free(f->scores);
    free_floats(f);
    free(f);
}

void
nb_forward_observe(struct nb_forward *f, nb_observe *observe, void *context)
{
    f->observe = observe;
    f->context = context;
}

/* --- elementwise steps: each task does some tokens ------------------------------------------------------ */

static enum nb_status
run_rows(struct nb_forward *f, nb_task *task, struct nb_error *err)
{
    return nb_pool_run(f->pool, task, f, (f->n + ROWS_IN_TASK - 1) / ROWS_IN_TASK, err);
}

/* The tokens of a task: from FIRST up to the result. */
static size_t
rows_of(const struct nb_forward *f, size_t task, size_t *first)
{
    *first = task * ROWS_IN_TASK;
    return f->n - *first < ROWS_IN_TASK ? f->n : *first + ROWS_IN_TASK;
}

static enum nb_status
embed_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct nb_forward *f = context;
    const struct nb_model *m = f->model;
    size_t i, end = rows_of(f, task, &i);
    enum nb_status status = NB_OK;

    for (; i < end && status == NB_OK; i++) {
        const int64_t token = f->bos >= 0 && i % f->chunk_tokens == 0 ? f->bos : f->tokens[i];

        status = nb_model_rows(m, m->token_embedding, (uint64_t)token, 1, &f->panels.readers[worker],
                               f->x + i * m->embedding, err);
    }
    return status;
}

/* The norm of the residual stream. A NaN anywhere in it is seen here: it makes the mean of squares one. */
static enum nb_status
norm_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct nb_forward *f = context;
    const struct nb_model *m = f->model;
    size_t i, end = rows_of(f, task, &i);

    (void)worker;
    for (; i < end; i++) {
        const double mean = nb_vector_math()->rms_norm(f->x + i * m->embedding, f->norm_weight, m->embedding,
                                                       m->rms_epsilon, f->normed + i * m->embedding);

        if (!isfinite(mean))
            return f->layer < m->layers
                       ? nb_fail(err, NB_INPUT, "%s: what goes into block %" PRIu32 " is NaN or infinite at token %zu "
                                 "of a chunk", m->source->path, f->layer, i % f->chunk_tokens)
                       : nb_fail(err, NB_INPUT, "%s: what comes out of the last block is NaN or infinite at token %zu "
                                 "of a chunk", m->source->path, i % f->chunk_tokens);
    }
    return NB_OK;
}

static enum nb_status
turn_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct nb_forward *f = context;
    const struct nb_model *m = f->model;
    size_t i, end = rows_of(f, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *turns = f->turns + i % f->chunk_tokens * m->rope_dims;

        nb_rope_turn(m, turns, f->q + i * m->heads * m->head_dim, m->heads);
        nb_rope_turn(m, turns, f->k + i * m->kv_heads * m->head_dim, m->kv_heads);
    }
    return NB_OK;
}

static enum nb_status
activate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct nb_forward *f = context;
    const size_t columns = f->model->feed_forward;
    size_t first, end = rows_of(f, task, &first);

    (void)worker;
    (void)err;
    nb_vector_math()->swiglu(f->gate + first * columns, f->up + first * columns, (end - first) * columns);
    return NB_OK;
}

/* One head of one chunk. */
static enum nb_status
attend_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct nb_forward *f = context;
    const struct nb_model *m = f->model;
    const size_t first = task / m->heads * f->chunk_tokens;
    const size_t q = first * m->heads * m->head_dim, kv = first * m->kv_heads * m->head_dim;

    (void)err;
    nb_attend(m, f->q + q, f->k + kv, f->v + kv, f->chunk_tokens, task % m->heads, f->scores[worker], f->heads + q);
    return NB_OK;
}

/* --- the model --------------------------------------------------------------------------------------------- */

static enum nb_status
norm(struct nb_forward *f, const float *weight, struct nb_error *err)
{
    f->norm_weight = weight;
    return run_rows(f, norm_task, err);
}

/* Products of N rows of one input, shown to the observer first. */
static enum nb_status
multiply_rows(struct nb_forward *f, const float *in, size_t n, size_t columns, const struct nb_product *products,
              size_t count, uint32_t expert, struct nb_error *err)
{
    const struct nb_view *weights[4];
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < count; i++)
        weights[i] = products[i].matrix.weight;
    if (f->observe != NULL)
        status = f->observe(f->context, weights, count, expert, in, n, columns, err);
    return status == NB_OK ? nb_multiply(&f->panels, in, n, columns, products, count, err) : status;
}

static enum nb_status
multiply(struct nb_forward *f, const float *in, size_t columns, const struct nb_product *products, size_t count,
         struct nb_error *err)
{
    return multiply_rows(f, in, f->n, columns, products, count, 0, err);
}

static enum nb_status
attention_block(struct nb_forward *f, const struct nb_layer *l, struct nb_error *err)
{
    const struct nb_model *m = f->model;
    const struct nb_product qkv[] = { { l->q, f->q, false }, { l->k, f->k, false }, { l->v, f->v, false } };
    const struct nb_product output = { l->attn_output, f->x, true };
    enum nb_status status = norm(f, l->attn_norm, err);

    if (status == NB_OK)
        status = multiply(f, f->normed, m->embedding, qkv, 3, err);
    if (status == NB_OK)
        status = run_rows(f, turn_task, err);
    if (status == NB_OK)
        status = nb_pool_run(f->pool, attend_task, f, f->n / f->chunk_tokens * m->heads, err);
    if (status == NB_OK)
        status = multiply(f, f->heads, (size_t)m->heads * m->head_dim, &output, 1, err);
    return status;
}

/* The tokens that chose EXPERT, brought together, through it and back into the residual stream. */
static enum nb_status
run_expert(struct nb_forward *f, const struct nb_layer *l, uint32_t expert, struct nb_error *err)
{
    const struct nb_model *m = f->model;
    struct nb_mixture *x = &f->mixture;
    const size_t n = nb_mixture_gather(x, m, f->normed, f->n, expert);
    struct nb_product gate_up[] = { { l->gate, f->gate, false }, { l->up, f->up, false } };
    struct nb_product down = { l->down, x->out, false };
    enum nb_status status;

    gate_up[0].matrix.first = gate_up[1].matrix.first = (uint64_t)expert * m->feed_forward;
    down.matrix.first = (uint64_t)expert * m->embedding;
    if (n == 0)
        return NB_OK;
    status = multiply_rows(f, x->in, n, m->embedding, gate_up, 2, expert, err);
    if (status != NB_OK)
        return status;
    nb_vector_math()->swiglu(f->gate, f->up, n * m->feed_forward);
    status = multiply_rows(f, f->gate, n, m->feed_forward, &down, 1, expert, err);
    if (status == NB_OK)
        nb_mixture_scatter(x, m, n, f->x);
    return status;
}

static enum nb_status
mixture_block(struct nb_forward *f, const struct nb_layer *l, struct nb_error *err)
{
    const struct nb_model *m = f->model;
    const struct nb_product router = { l->router, f->mixture.scores, false };
    enum nb_status status = norm(f, l->ffn_norm, err);

    if (status == NB_OK)
        status = multiply(f, f->normed, m->embedding, &router, 1, err);
    if (status == NB_OK)
        nb_mixture_choose(&f->mixture, m, f->n);
    for (uint32_t expert = 0; expert < m->experts && status == NB_OK; expert++)
        status = run_expert(f, l, expert, err);
    return status;
}

static enum nb_status
feed_forward_block(struct nb_forward *f, const struct nb_layer *l, struct nb_error *err)
{
    const struct nb_model *m = f->model;
    const struct nb_product gate_up[] = { { l->gate, f->gate, false }, { l->up, f->up, false } };
    const struct nb_product down = { l->down, f->x, true };
    enum nb_status status = norm(f, l->ffn_norm, err);

    if (status == NB_OK)
        status = multiply(f, f->normed, m->embedding, gate_up, 2, err);
    if (status == NB_OK)
        status = run_rows(f, activate_task, err);
    if (status == NB_OK)
        status = multiply(f, f->gate, m->feed_forward, &down, 1, err);
    return status;
}

enum nb_status
nb_forward_run(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, int64_t bos, uint32_t chunks,
               const float **hidden, struct nb_error *err)
{
    enum nb_status status = take_model(f, m, err);

    f->n = (size_t)chunks * f->chunk_tokens;
    f->tokens = tokens;
    f->bos = bos;
    if (status == NB_OK)
        status = run_rows(f, embed_task, err);
    for (f->layer = 0; f->layer < m->layers && status == NB_OK; f->layer++) {
        status = attention_block(f, &m->layer[f->layer], err);
        if (status == NB_OK)
            status = m->experts > 0 ? mixture_block(f, &m->layer[f->layer], err)
                                    : feed_forward_block(f, &m->layer[f->layer], err);
    }
    if (status == NB_OK)
        status = norm(f, m->output_norm, err);
    *hidden = f->normed;
    return status;
}

enum nb_status
nb_forward_logits(struct nb_forward *f, const struct nb_model *m, const float *hidden, size_t rows, float *logits,
                  struct nb_error *err)
{
    const struct nb_product product = { m->output, logits, false };
    enum nb_status status = take_model(f, m, err);

    return status == NB_OK ? nb_multiply(&f->panels, hidden, rows, m->embedding, &product, 1, err) : status;
}
