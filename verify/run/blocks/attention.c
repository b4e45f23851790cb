/*
 * Causal grouped-query attention over the tokens of a chunk, with rotary embeddings of queries and
 * keys.
 */
#include "verify/run/blas.h"
#include "verify/run/block.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define QUERIES 128u /* processed at once */

struct attention {
    struct nb_norm norm;
    struct nb_linear q, k, v, output;
    const struct nb_rope *rope;
    uint32_t heads, kv_heads, head_dim;
};

/* Rows are tokens, except in the scores. */
struct memory {
    float *q, *k, *v;
    float *heads;  /* the concatenated outputs of the heads */
    float *scores; /* per thread QUERIES x tokens of a chunk */
};

struct step {
    const struct attention *a;
    const struct nb_run *run;
    struct memory memory;
};

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct attention *a = b->data = nb_load_room(l, sizeof *a);
    uint32_t value_length;
    enum nb_status status = a == NULL ? nb_fail_memory(l->err) : nb_load_count(l, NB_HP_HEADS, &a->heads);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_KV_HEADS, &a->kv_heads);
    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_KEY_LENGTH, &a->head_dim);
    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_VALUE_LENGTH, &value_length);
    if (status == NB_OK && value_length != a->head_dim)
        status = nb_fail(l->err, NB_UNSUPPORTED,
                         "%s: keys of %" PRIu32 " elements and values of %" PRIu32 " cannot be run",
                         l->model->source->path, a->head_dim, value_length);
    if (status == NB_OK)
        status = nb_load_rope(l, a->head_dim, &a->rope);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.attn_norm", &a->norm);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.attn_q", &a->q);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.attn_k", &a->k);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.attn_v", &a->v);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.attn_output", &a->output);
    return status;
}

static struct memory
take(const struct attention *a, struct nb_scratch *s)
{
    struct memory m;

    m.q = nb_scratch_take(s, s->tokens, a->q.rows);
    m.k = nb_scratch_take(s, s->tokens, a->k.rows);
    m.v = nb_scratch_take(s, s->tokens, a->v.rows);
    m.heads = nb_scratch_take(s, s->tokens, a->output.columns);
    m.scores = nb_scratch_take(s, s->threads * QUERIES, s->chunk_tokens);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static enum nb_status
rotate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct attention *a = s->a;
    const float *table = nb_run_rotations(s->run, a->rope);
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *row = table + i % s->run->scratch.chunk_tokens * a->rope->dims;

        nb_rope_rotate(a->rope, row, s->memory.q + i * a->q.rows, a->heads, a->head_dim);
        nb_rope_rotate(a->rope, row, s->memory.k + i * a->k.rows, a->kv_heads, a->head_dim);
    }
    return NB_OK;
}

/*
 * Computes one head of one chunk of TOKENS tokens. Rows of Q and OUT have heads x head dimension
 * elements, those of K and V key-value heads x head dimension. SCORES has room for QUERIES x TOKENS.
 */
static void
attend(const struct attention *a, const float *q, const float *k, const float *v, size_t tokens, size_t head,
       float *scores, float *out)
{
    const size_t d = a->head_dim, q_row = a->heads * d, kv_row = a->kv_heads * d;
    const size_t kv_head = head / (a->heads / a->kv_heads);
    const float scale = 1.0f / sqrtf((float)d);
    const struct nb_vector_math *math = nb_vector_math();

    q += head * d;
    out += head * d;
    k += kv_head * d;
    v += kv_head * d;
    for (size_t first = 0; first < tokens; first += QUERIES) {
        const size_t rows = tokens - first < QUERIES ? tokens - first : QUERIES;
        const size_t seen = first + rows; /* keys that any of these queries attends to */

        nb_sgemm(&(struct nb_sgemm){ .transpose = true,
                                     .m = rows,
                                     .n = seen,
                                     .k = d,
                                     .alpha = scale,
                                     .a = q + first * q_row,
                                     .b = k,
                                     .c = scores,
                                     .a_row = q_row,
                                     .b_row = kv_row,
                                     .c_row = seen });
        for (size_t i = 0; i < rows; i++) {
            float *row = scores + i * seen;
            const size_t own = first + i + 1;

            math->softmax(row, own);
            memset(row + own, 0, (seen - own) * sizeof *row);
        }
        nb_sgemm(&(struct nb_sgemm){ .m = rows,
                                     .n = d,
                                     .k = seen,
                                     .alpha = 1,
                                     .a = scores,
                                     .b = v,
                                     .c = out + first * q_row,
                                     .a_row = seen,
                                     .b_row = kv_row,
                                     .c_row = q_row });
    }
}

static enum nb_status
attend_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct attention *a = s->a;
    const struct memory *m = &s->memory;
    const size_t tokens = s->run->scratch.chunk_tokens, first = task / a->heads * tokens;
    const size_t q = first * a->q.rows, kv = first * a->k.rows;

    (void)err;
    attend(a, m->q + q, m->k + kv, m->v + kv, tokens, task % a->heads, m->scores + (size_t)worker * QUERIES * tokens,
           m->heads + q);
    return NB_OK;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct attention *a = b->data;
    struct step step = { a, r, take(a, &r->scratch) };
    const struct memory *m = &step.memory;
    const struct nb_product qkv[] = { { &a->q, 0, m->q, false }, { &a->k, 0, m->k, false }, { &a->v, 0, m->v, false } };
    const struct nb_product output = { &a->output, 0, r->x, true };
    enum nb_status status = nb_run_norm(r, &a->norm, err);

    if (status == NB_OK)
        status = nb_run_multiply(r, r->normed, r->n, qkv, 3, err);
    if (status == NB_OK)
        status = nb_run_rows(r, rotate_task, &step, err);
    if (status == NB_OK)
        status = nb_pool_run(r->pool, attend_task, &step, r->n / r->scratch.chunk_tokens * a->heads, err);
    if (status == NB_OK)
        status = nb_run_multiply(r, m->heads, r->n, &output, 1, err);
    return status;
}

const struct nb_block_kind nb_block_attention = { .name = "attention", .load = load, .scratch = scratch, .run = run };
