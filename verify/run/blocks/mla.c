/*
 * Multi-head latent attention (DeepSeek V2): keys and values are made from a short vector for each token, beside which
 * stands one rotated piece of key that all heads share. If the matrices that make them are stacked by head, they are
 * absorbed: queries are brought to the length of the short vector, which is then the key and the value of all heads. If
 * they are whole, keys and values are made of it.
 */
#include "formats/models/expression.h"
#include "verify/run/block.h"
#include "verify/run/blocks/attend.h"
#include "verify/run/blocks/indexer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Heads that are attended to at once where matrices are absorbed, so that memory does not grow with their number. */
#define GROUP 8u

struct mla {
    struct nb_linear q;        /* either this one, */
    struct nb_linear q_a, q_b; /* or these two, with a norm between them */
    struct nb_linear kv_a;     /* makes the short vector and the shared piece of key */
    struct nb_linear k_b, v_b; /* stacked by head; or */
    struct nb_linear kv_b;     /* whole: each head's unrotated piece of key, then its value */
    struct nb_linear output;
    const struct nb_norm *q_norm, *kv_norm;
    const struct nb_rope *rope;
    bool rotates;                                /* false: the rotated pieces are there, but do not turn */
    uint32_t heads, key, value, rank, unrotated; /* KEY: rotated and unrotated elements */
    float scale;
    struct nb_indexer *indexer;      /* NULL: none */
    const struct nb_block *selector; /* a block whose indexer's choice holds here, maybe this one; NULL: none */
};

/* Rows are tokens. */
struct memory {
    float *low_q, *q;
    float *made;  /* the short vector and the shared piece of key */
    float *low;   /* the short vector, normed */
    float *whole; /* keys and values of all heads, if the matrix is whole */
    float *heads; /* the concatenated results of the heads */
    float *scores;
    float *in, *out;      /* of one head's product */
    float *group, *found; /* queries and results of a group of heads */
    struct nb_indexer_memory indexer;
};

/* With absorbed matrices K has the short vectors with the shared pieces behind them, and V is not used. */
struct kept {
    float *k, *v;
    struct nb_indexer_kept indexer;
};

struct step {
    const struct mla *a;
    const struct nb_run *run;
    struct memory memory;
    struct kept kept;
    uint32_t first, count; /* heads of the current group */
};

static bool
is_whole(const struct mla *a)
{
    return a->kv_b.weight != NULL;
}

static size_t
k_size(const struct mla *a)
{
    return is_whole(a) ? (size_t)a->heads * a->key : (size_t)a->rank + a->rope->dims;
}

static size_t
v_size(const struct mla *a)
{
    return is_whole(a) ? (size_t)a->heads * a->value : 0;
}

/* --- loading ---------------------------------------------------------------------------------------------- */

/* 1 / sqrt(key), with YaRN times the square of what it adds to the scores of all dimensions (DeepSeek's mscale). */
static float
scale_of(const struct nb_hparams *hp, uint32_t key)
{
    const char *scaling = nb_hp_text(hp, NB_HP_ROPE_SCALING);
    const double factor = nb_hp_or(hp, NB_HP_ROPE_FACTOR, 1);
    double scale = 1;

    if (scaling != NULL && strcmp(scaling, "yarn") == 0 && factor > 1)
        scale += nb_hp(hp, NB_HP_YARN_LOG_MULTIPLIER) * log(factor);
    return (float)(scale * scale / sqrt(key));
}

/* The lengths of a decompressed head have keys of their own, but for old files, whose matrices are whole. */
static enum nb_status
load_shape(struct nb_loader *l, struct mla *a)
{
    const struct nb_hparams *hp = &l->model->hp;
    const bool is_new = nb_hp(hp, NB_HP_KEY_LENGTH_MLA) > 0 && nb_hp(hp, NB_HP_VALUE_LENGTH_MLA) > 0;
    enum nb_status status = nb_load_count(l, NB_HP_HEADS, &a->heads);

    if (status == NB_OK)
        status = nb_load_count(l, is_new ? NB_HP_KEY_LENGTH_MLA : NB_HP_KEY_LENGTH, &a->key);
    if (status == NB_OK)
        status = nb_load_count(l, is_new ? NB_HP_VALUE_LENGTH_MLA : NB_HP_VALUE_LENGTH, &a->value);
    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_KV_LORA_RANK, &a->rank);
    if (status == NB_OK)
        status = nb_load_rope(l, a->key, &a->rope);
    if (status != NB_OK)
        return status;
    a->rotates = nb_expression_holds(l->model->arch->attention.rotates, hp, l->layer);
    a->unrotated = a->key - a->rope->dims;
    a->scale = scale_of(hp, a->key);
    return NB_OK;
}

static enum nb_status
load_queries(struct nb_loader *l, struct mla *a)
{
    enum nb_status status = nb_load_linear_if_any(l, "blk.%l.attn_q_a", &a->q_a);

    if (status != NB_OK)
        return status;
    if (a->q_a.weight == NULL)
        return nb_load_linear(l, "blk.%l.attn_q", &a->q);
    status = nb_load_norm(l, "blk.%l.attn_q_a_norm", &a->q_norm);
    return status == NB_OK ? nb_load_linear(l, "blk.%l.attn_q_b", &a->q_b) : status;
}

static enum nb_status
load_keys_and_values(struct nb_loader *l, struct mla *a)
{
    enum nb_status status = nb_load_linear(l, "blk.%l.attn_kv_a_mqa", &a->kv_a);

    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.attn_kv_a_norm", &a->kv_norm);
    if (status == NB_OK)
        status = nb_load_linear_if_any(l, "blk.%l.attn_kv_b", &a->kv_b);
    if (status != NB_OK || is_whole(a))
        return status;
    status = nb_load_linear(l, "blk.%l.attn_k_b", &a->k_b);
    return status == NB_OK ? nb_load_linear(l, "blk.%l.attn_v_b", &a->v_b) : status;
}

/* The block of an earlier layer whose indexer chooses for this one, which has none. */
static struct nb_block *
earlier_selector(const struct nb_loader *l, const struct nb_block *b)
{
    for (struct nb_block *earlier = l->model->blocks + (b - l->model->blocks); earlier > l->model->blocks; earlier--)
        if (earlier[-1].kind == &nb_block_mla && ((const struct mla *)earlier[-1].data)->indexer != NULL)
            return &earlier[-1];
    return NULL;
}

static enum nb_status
load_selector(struct nb_loader *l, struct nb_block *b, struct mla *a)
{
    struct nb_block *earlier;

    if (nb_has_indexer(l)) {
        a->indexer = nb_load_room(l, sizeof *a->indexer);
        a->selector = b;
        return a->indexer == NULL ? nb_fail_memory(l->err) : nb_load_indexer(l, a->q_a.rows, a->rope, a->indexer);
    }
    earlier = earlier_selector(l, b);
    if (earlier != NULL)
        earlier->lends = true;
    a->selector = earlier;
    return NB_OK;
}

static enum nb_status
check_sizes(const struct nb_loader *l, const struct mla *a)
{
    const size_t q = (size_t)a->heads * a->key, values = (size_t)a->heads * a->value;
    const bool q_fits = a->q_a.weight == NULL ? a->q.rows == q
                                              : a->q_b.rows == q && a->q_b.columns == a->q_a.rows &&
                                                    a->q_norm != NULL && a->q_norm->length == a->q_a.rows;
    const bool stacked_fits = a->k_b.columns == a->unrotated && a->k_b.rows == a->rank && a->k_b.experts == a->heads &&
                              a->v_b.columns == a->rank && a->v_b.rows == a->value && a->v_b.experts == a->heads;
    const bool whole_fits = a->kv_b.columns == a->rank && a->kv_b.rows == a->heads * ((size_t)a->unrotated + a->value);

    if (q_fits && a->unrotated > 0 && a->kv_a.rows == (size_t)a->rank + a->rope->dims && a->kv_norm != NULL &&
        a->kv_norm->length == a->rank && (is_whole(a) ? whole_fits : stacked_fits) && a->output.columns == values)
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: compressed attention with %" PRIu32 " heads of %" PRIu32 " elements, of which %" PRIu32
                   " turn, and values of %" PRIu32 " elements cannot be run with the tensors of layer %" PRIu32,
                   l->model->source->path, a->heads, a->key, a->rope->dims, a->value, l->layer);
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct mla *a = b->data = nb_load_room(l, sizeof *a);
    enum nb_status status = a == NULL ? nb_fail_memory(l->err) : load_shape(l, a);

    if (status == NB_OK)
        status = load_queries(l, a);
    if (status == NB_OK)
        status = load_keys_and_values(l, a);
    if (status == NB_OK)
        status = load_selector(l, b, a);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.attn_output", &a->output);
    return status == NB_OK ? check_sizes(l, a) : status;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static struct memory
take(const struct mla *a, struct nb_scratch *s)
{
    const size_t group = is_whole(a) ? 0 : a->heads < GROUP ? a->heads : GROUP;
    const size_t longest = a->unrotated > a->rank ? a->unrotated : a->rank;
    struct memory m = { 0 };

    m.low_q = nb_scratch_take(s, s->tokens, a->q_a.rows);
    m.q = nb_scratch_take(s, s->tokens, (size_t)a->heads * a->key);
    m.made = nb_scratch_take(s, s->tokens, a->kv_a.rows);
    m.low = nb_scratch_take(s, s->tokens, a->rank);
    m.whole = nb_scratch_take(s, s->tokens, a->kv_b.rows);
    m.heads = nb_scratch_take(s, s->tokens, (size_t)a->heads * a->value);
    m.scores = nb_attend_scores(s);
    m.in = nb_scratch_take(s, group > 0 ? s->tokens : 0, longest);
    m.out = nb_scratch_take(s, group > 0 ? s->tokens : 0, a->rank > a->value ? a->rank : a->value);
    m.group = nb_scratch_take(s, s->tokens, group * (a->rank + a->rope->dims));
    m.found = nb_scratch_take(s, s->tokens, group * a->rank);
    if (a->indexer != NULL)
        m.indexer = nb_indexer_take(a->indexer, s);
    return m;
}

static void
scratch(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

static struct kept
take_kept(const struct mla *a, struct nb_scratch *s)
{
    struct kept kept = { 0 };

    kept.k = nb_scratch_take(s, s->chunks * s->chunk_tokens, k_size(a));
    kept.v = nb_scratch_take(s, s->chunks * s->chunk_tokens, v_size(a));
    if (a->indexer != NULL)
        kept.indexer = nb_indexer_take_kept(a->indexer, s);
    return kept;
}

static void
state(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take_kept(b->data, s);
}

/* --- queries, keys and values ------------------------------------------------------------------------------- */

static enum nb_status
norm_queries_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const size_t columns = s->a->q_a.rows;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++)
        nb_norm_row(s->a->q_norm, s->memory.low_q + i * columns, columns, s->memory.low_q + i * columns);
    return NB_OK;
}

/* The products with the block's input, and those with the short vectors of queries. */
static enum nb_status
project(const struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct mla *a = s->a;
    const struct nb_indexer *x = a->indexer;
    const bool is_low = a->q_a.weight != NULL;
    const struct nb_product first[] = {
        { is_low ? &a->q_a : &a->q, 0, is_low ? s->memory.low_q : s->memory.q, false },
        { &a->kv_a, 0, s->memory.made, false },
        { x == NULL ? NULL : &x->k, 0,
          x == NULL ? NULL : nb_run_made(r, s->kept.indexer.k, s->memory.indexer.k, x->length), false },
        { x == NULL ? NULL : &x->weigh, 0, s->memory.indexer.weights, false },
    };
    const struct nb_product second[] = {
        { &a->q_b, 0, s->memory.q, false },
        { x == NULL ? NULL : &x->q, 0, s->memory.indexer.q, false },
    };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, first, x == NULL ? 2 : 4, err);

    if (status == NB_OK && is_low)
        status = nb_run_rows(r, norm_queries_task, (void *)s, err);
    if (status == NB_OK && is_low)
        status = nb_run_multiply(r, s->memory.low_q, r->n, second, x == NULL ? 1 : 2, err);
    return status;
}

/* Rotates queries and the shared piece of key of some tokens, and norms the short vector. */
static enum nb_status
finish_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct mla *a = s->a;
    const size_t dims = a->rope->dims;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *turn = nb_run_rotations(s->run, a->rope) + nb_run_position(s->run, i) * dims;
        float *made = s->memory.made + i * a->kv_a.rows, *low = s->memory.low + i * a->rank;

        for (size_t h = 0; h < a->heads && a->rotates; h++)
            nb_rope_rotate(a->rope, turn, s->memory.q + (i * a->heads + h) * a->key + a->unrotated, 1, dims);
        if (a->rotates)
            nb_rope_rotate(a->rope, turn, made + a->rank, 1, dims);
        nb_norm_row(a->kv_norm, made, a->rank, low);
        if (!is_whole(a)) {
            float *k = s->kept.k + nb_run_kept_row(s->run, i) * k_size(a);

            memcpy(k, low, a->rank * sizeof *k);
            memcpy(k + a->rank, made + a->rank, dims * sizeof *k);
        }
    }
    return NB_OK;
}

/* --- whole: keys and values of all heads ---------------------------------------------------------------------- */

static enum nb_status
spread_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct mla *a = s->a;
    const size_t row = (size_t)a->unrotated + a->value;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *shared = s->memory.made + i * a->kv_a.rows + a->rank;
        float *k = s->kept.k + nb_run_kept_row(s->run, i) * k_size(a),
              *v = s->kept.v + nb_run_kept_row(s->run, i) * v_size(a);

        for (size_t h = 0; h < a->heads; h++, k += a->key, v += a->value) {
            const float *from = s->memory.whole + i * a->kv_b.rows + h * row;

            memcpy(k, from, a->unrotated * sizeof *k);
            memcpy(k + a->unrotated, shared, a->rope->dims * sizeof *k);
            memcpy(v, from + a->unrotated, a->value * sizeof *v);
        }
    }
    return NB_OK;
}

static enum nb_status
run_whole(struct step *s, struct nb_run *r, struct nb_attend *attend, struct nb_error *err)
{
    const struct mla *a = s->a;
    const struct nb_product product = { &a->kv_b, 0, s->memory.whole, false };
    enum nb_status status = nb_run_multiply(r, s->memory.low, r->n, &product, 1, err);

    if (status == NB_OK)
        status = nb_run_rows(r, spread_task, s, err);
    attend->heads = attend->kv_heads = a->heads;
    attend->key_length = a->key;
    attend->value_length = a->value;
    attend->q = s->memory.q;
    attend->v = s->kept.v;
    attend->v_row = v_size(a);
    attend->out = s->memory.heads;
    return status == NB_OK ? nb_attend(r, attend, err) : status;
}

/* --- absorbed: the short vector is key and value -------------------------------------------------------------- */

/* Copies columns: N rows of COUNT elements, FROM_ROW and TO_ROW elements apart. */
static void
copy_columns(const float *from, size_t from_row, float *to, size_t to_row, size_t n, size_t count)
{
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * to_row, from + i * from_row, count * sizeof *to);
}

/* The queries of the current group: those of each head times its matrix, and the rotated pieces. */
static enum nb_status
absorb_keys(const struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct mla *a = s->a;
    const struct memory *m = &s->memory;
    const size_t q_row = (size_t)a->heads * a->key, one = a->rank + a->rope->dims;
    enum nb_status status = NB_OK;

    for (uint32_t h = 0; h < s->count && status == NB_OK; h++) {
        const float *q = m->q + (size_t)(s->first + h) * a->key;
        const struct nb_product product = { &a->k_b, s->first + h, m->out, false };

        copy_columns(q, q_row, m->in, a->unrotated, r->n, a->unrotated);
        status = nb_run_multiply(r, m->in, r->n, &product, 1, err);
        copy_columns(m->out, a->rank, m->group + h * one, s->count * one, r->n, a->rank);
        copy_columns(q + a->unrotated, q_row, m->group + h * one + a->rank, s->count * one, r->n, a->rope->dims);
    }
    return status;
}

/* The values of the current group: what each head found, times its matrix. */
static enum nb_status
absorb_values(const struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct mla *a = s->a;
    const struct memory *m = &s->memory;
    enum nb_status status = NB_OK;

    for (uint32_t h = 0; h < s->count && status == NB_OK; h++) {
        const struct nb_product product = { &a->v_b, s->first + h, m->out, false };

        copy_columns(m->found + (size_t)h * a->rank, (size_t)s->count * a->rank, m->in, a->rank, r->n, a->rank);
        status = nb_run_multiply(r, m->in, r->n, &product, 1, err);
        copy_columns(m->out, a->value, m->heads + (size_t)(s->first + h) * a->value, (size_t)a->heads * a->value, r->n,
                     a->value);
    }
    return status;
}

static enum nb_status
run_absorbed(struct step *s, struct nb_run *r, struct nb_attend *attend, struct nb_error *err)
{
    const struct mla *a = s->a;
    enum nb_status status = NB_OK;

    attend->kv_heads = 1;
    attend->key_length = a->rank + a->rope->dims;
    attend->value_length = a->rank;
    attend->q = s->memory.group;
    attend->v = s->kept.k;
    attend->v_row = k_size(a);
    attend->out = s->memory.found;
    for (s->first = 0; s->first < a->heads && status == NB_OK; s->first += s->count) {
        s->count = a->heads - s->first < GROUP ? a->heads - s->first : GROUP;
        attend->heads = s->count;
        status = absorb_keys(s, r, err);
        if (status == NB_OK)
            status = nb_attend(r, attend, err);
        if (status == NB_OK)
            status = absorb_values(s, r, err);
    }
    return status;
}

/* --- all ------------------------------------------------------------------------------------------------------ */

/* What the selector's indexer has chosen for each token; NULL if every position may be seen. */
static const uint32_t *
chosen_by(const struct mla *a, const struct nb_run *r)
{
    const struct mla *selecting = a->selector == NULL ? NULL : a->selector->data;
    struct nb_scratch state;

    if (selecting == NULL || nb_indexer_takes_all(selecting->indexer, r->first + r->each))
        return NULL;
    state = nb_run_state_of(r, a->selector);
    return take_kept(selecting, &state).indexer.chosen;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mla *a = b->data;
    struct step step = { a, r, take(a, &r->scratch), take_kept(a, &r->state), 0, 0 };
    const struct nb_product output = { &a->output, 0, r->out, true };
    struct nb_attend attend = { .scale = a->scale,
                                .k = step.kept.k,
                                .k_row = k_size(a),
                                .scores = step.memory.scores,
                                .chosen = chosen_by(a, r),
                                .chosen_row = nb_attend_words(&r->scratch) };
    enum nb_status status = project(&step, r, err);

    if (status == NB_OK)
        status = nb_run_rows(r, finish_task, &step, err);
    if (status == NB_OK && a->indexer != NULL)
        status = nb_index(a->indexer, &step.memory.indexer, &step.kept.indexer, r, err);
    if (status == NB_OK)
        status = is_whole(a) ? run_whole(&step, r, &attend, err) : run_absorbed(&step, r, &attend, err);
    return status == NB_OK ? nb_run_multiply(r, step.memory.heads, r->n, &output, 1, err) : status;
}

const struct nb_block_kind nb_block_mla = {
    .name = "mla", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
