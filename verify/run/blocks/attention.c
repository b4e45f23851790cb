/*
 * Causal attention with grouped queries over the tokens of a chunk. What an architecture's attention has (biases, norms of
 * queries and keys, gates, sinks, windows) is told by its tensors, its keys and its struct nb_arch_attention.
 */
#include "formats/models/expression.h"
#include "verify/run/block.h"
#include "verify/run/blocks/attend.h"
#include "verify/run/blocks/indexer.h"
#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct attention {
    struct nb_linear qkv;     /* either this one, */
    struct nb_linear q, k, v; /* or these */
    struct nb_linear gate;    /* of the heads' results: one for each element, or for each head; may be absent */
    struct nb_linear output;
    const struct nb_norm *q_norm, *k_norm, *v_norm, *output_norm; /* NULL: none */
    const struct nb_block *lender; /* the block of an earlier layer whose keys and values are used; NULL: its own */
    const struct nb_rope *rope;    /* NULL: positions are not rotary */
    const struct nb_arch_attention *facts;
    struct nb_attend shape;     /* without the pointers to rows */
    struct nb_indexer *indexer; /* NULL: none */
    float limit;                /* of queries, keys and values; 0: none */
    float value_scale;
    double temperature, temperature_length; /* see temperature_at; 0: none */
};

/* Rows are tokens. */
struct memory {
    float *made; /* the product with fused matrices */
    float *q, *gate;
    float *k, *v; /* on their way to where they are kept */
    float *heads; /* the concatenated results of the heads */
    float *scores;
    struct nb_indexer_memory indexer;
};

struct kept {
    float *k, *v;
    struct nb_indexer_kept indexer;
};

struct step {
    const struct attention *a;
    const struct nb_run *run;
    struct memory memory;
    struct kept kept;
};

static size_t
q_size(const struct attention *a)
{
    return (size_t)a->shape.heads * a->shape.key_length;
}

static size_t
k_size(const struct attention *a)
{
    return (size_t)a->shape.kv_heads * a->shape.key_length;
}

static size_t
v_size(const struct attention *a)
{
    return (size_t)a->shape.kv_heads * a->shape.value_length;
}

static size_t
heads_size(const struct attention *a)
{
    return (size_t)a->shape.heads * a->shape.value_length;
}

/* --- loading ---------------------------------------------------------------------------------------------- */

/* The length of keys or values: layers that slide may have their own. */
static enum nb_status
load_length(const struct nb_loader *l, enum nb_hparam usual, enum nb_hparam of_sliding, uint32_t *out)
{
    const struct nb_hparams *hp = &l->model->hp;
    const bool slides = nb_hp_at(hp, NB_HP_SLIDES, l->layer) != 0;

    return nb_load_count(l, slides && nb_hp_has(hp, of_sliding) ? of_sliding : usual, out);
}

static enum nb_status
load_shape(const struct nb_loader *l, struct attention *a)
{
    const struct nb_model *m = l->model;
    struct nb_attend *s = &a->shape;
    enum nb_status status = nb_load_count(l, NB_HP_HEADS, &s->heads);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_KV_HEADS, &s->kv_heads);
    if (status == NB_OK)
        status = load_length(l, NB_HP_KEY_LENGTH, NB_HP_KEY_LENGTH_SWA, &s->key_length);
    if (status == NB_OK)
        status = load_length(l, NB_HP_VALUE_LENGTH, NB_HP_VALUE_LENGTH_SWA, &s->value_length);
    if (status != NB_OK)
        return status;
    s->scale = (float)nb_hp_or(&m->hp, NB_HP_ATTENTION_SCALE, 0);
    s->scale = s->scale > 0 ? s->scale : 1.0f / sqrtf((float)s->key_length);
    s->soft_cap = (float)nb_hp(&m->hp, NB_HP_ATTENTION_SOFTCAP);
    s->max_alibi_bias = nb_hp(&m->hp, NB_HP_MAX_ALIBI_BIAS);
    s->window = nb_arch_window(m->arch, &m->hp, l->layer);
    s->chunked = m->arch->attention.chunked;
    return nb_load_small(l, "blk.%l.attn_sinks.weight", &s->sinks);
}

static void
load_factors(const struct nb_loader *l, struct attention *a)
{
    const struct nb_hparams *hp = &l->model->hp;

    a->facts = &l->model->arch->attention;
    a->limit = (float)nb_hp(hp, NB_HP_CLAMP_KQV);
    a->value_scale = (float)nb_hp_or(hp, NB_HP_VALUE_SCALE, 1);
    a->temperature = nb_hp(hp, NB_HP_TEMPERATURE_SCALE);
    a->temperature_length = nb_hp_or(hp, NB_HP_TEMPERATURE_LENGTH, nb_hp(hp, NB_HP_ROPE_CONTEXT));
    if (a->temperature_length < 1 || !nb_expression_holds(a->facts->heats, hp, l->layer))
        a->temperature = 0;
}

static enum nb_status
load_indexer(struct nb_loader *l, struct attention *a)
{
    enum nb_status status;

    if (!nb_has_block_indexer(l) || a->rope == NULL)
        return NB_OK;
    a->indexer = nb_load_room(l, sizeof *a->indexer);
    if (a->indexer == NULL)
        return nb_fail_memory(l->err);
    status = nb_load_block_indexer(l, a->rope, a->indexer);
    if (status != NB_OK || a->indexer->heads == a->shape.kv_heads)
        return status;
    return nb_fail(l->err, NB_UNSUPPORTED, "%s: %" PRIu32 " heads of an indexer cannot choose for %" PRIu32 " keys",
                   l->model->source->path, a->indexer->heads, a->shape.kv_heads);
}

static enum nb_status
load_norms(const struct nb_loader *l, struct attention *a)
{
    enum nb_status status = nb_load_norm(l, "blk.%l.attn_sub_norm", &a->output_norm);

    if (status == NB_OK && a->facts->norms_values)
        status = nb_load_plain_norm(l, &a->v_norm);
    if (status == NB_OK && a->facts->plain_norms) {
        if (!nb_expression_holds(a->facts->plainly_normed, &l->model->hp, l->layer))
            return NB_OK;
        status = nb_load_plain_norm(l, &a->q_norm);
        a->k_norm = a->q_norm;
        return status;
    }
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.attn_q_norm", &a->q_norm);
    return status == NB_OK ? nb_load_norm(l, "blk.%l.attn_k_norm", &a->k_norm) : status;
}

static enum nb_status
load_keys_and_values(struct nb_loader *l, struct attention *a)
{
    enum nb_status status = NB_OK;

    if (a->lender != NULL)
        return NB_OK;
    status = nb_load_linear(l, "blk.%l.attn_k", &a->k);
    if (status != NB_OK)
        return status;
    return a->facts->keys_as_values ? nb_load_linear_if_any(l, "blk.%l.attn_v", &a->v)
                                    : nb_load_linear(l, "blk.%l.attn_v", &a->v);
}

static enum nb_status
load_matrices(struct nb_loader *l, struct attention *a)
{
    enum nb_status status = nb_load_linear_if_any(l, "blk.%l.attn_qkv", &a->qkv);

    if (status == NB_OK && a->qkv.weight == NULL) {
        status = nb_load_linear(l, "blk.%l.attn_q", &a->q);
        if (status == NB_OK)
            status = load_keys_and_values(l, a);
    }
    if (status == NB_OK)
        status = nb_load_linear_if_any(l, "blk.%l.attn_gate", &a->gate);
    return status == NB_OK ? nb_load_linear(l, "blk.%l.attn_output", &a->output) : status;
}

/*
 * The last layers may use the keys and values of another: of the last before them that also slides, or also does not.
 */
static enum nb_status
load_lender(const struct nb_loader *l, const struct nb_block *b, struct attention *a)
{
    const struct nb_model *m = l->model;
    const double own = nb_hp(&m->hp, NB_HP_LAYERS) - nb_hp(&m->hp, NB_HP_SHARED_KV_LAYERS);
    const bool slides = nb_hp_at(&m->hp, NB_HP_SLIDES, l->layer) != 0;

    if (l->layer < own)
        return NB_OK;
    for (struct nb_block *e = m->blocks + (b - m->blocks); e > m->blocks && a->lender == NULL; e--) {
        if (e[-1].kind != &nb_block_attention || e[-1].layer >= own ||
            (nb_hp_at(&m->hp, NB_HP_SLIDES, e[-1].layer) != 0) != slides)
            continue;
        e[-1].lends = true;
        a->lender = &e[-1];
    }
    if (a->lender != NULL)
        return NB_OK;
    return nb_fail(l->err, NB_INPUT, "%s: no earlier layer has the keys and values that layer %" PRIu32 " shares",
                   m->source->path, l->layer);
}

/* Whether keys and values have their matrices, or come from a layer with the same sizes. */
static bool
keys_and_values_fit(const struct attention *a)
{
    const struct nb_attend *s = &a->shape, *lent;

    if (a->lender == NULL)
        return a->k.rows == k_size(a) && a->v.rows == (a->v.weight == NULL ? 0 : v_size(a)) &&
               (a->v.weight != NULL || v_size(a) == k_size(a));
    lent = &((const struct attention *)a->lender->data)->shape;
    return lent->kv_heads == s->kv_heads && lent->key_length == s->key_length && lent->value_length == s->value_length;
}

/* The shapes of tensors are those of the architecture's table; what is done with them must fit, too. */
static enum nb_status
check_sizes(const struct nb_loader *l, const struct attention *a)
{
    const struct nb_attend *s = &a->shape;
    const size_t q = q_size(a), k = k_size(a), v = v_size(a), heads = heads_size(a);
    const bool fits = a->qkv.weight != NULL
                          ? a->qkv.rows == q + k + v
                          : a->q.rows == q * (a->facts->gate_in_queries ? 2 : 1) && keys_and_values_fit(a);
    const bool gate_fits = a->gate.weight == NULL || a->gate.rows == s->heads || a->gate.rows == heads;

    if (fits && gate_fits && s->heads % s->kv_heads == 0 && a->output.columns == heads &&
        (!a->facts->gate_in_queries || s->key_length == s->value_length) &&
        nb_norm_fits(a->q_norm, s->heads, s->key_length) && nb_norm_fits(a->k_norm, s->kv_heads, s->key_length))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: attention with %" PRIu32 " heads of %" PRIu32 " elements over %" PRIu32
                   " keys and values of %" PRIu32 " elements cannot be run with the tensors of layer %" PRIu32,
                   l->model->source->path, s->heads, s->key_length, s->kv_heads, s->value_length, l->layer);
}

static enum nb_status
load(struct nb_loader *l, struct nb_block *b)
{
    struct attention *a = b->data = nb_load_room(l, sizeof *a);
    enum nb_status status = a == NULL ? nb_fail_memory(l->err) : load_shape(l, a);

    if (status != NB_OK)
        return status;
    load_factors(l, a);
    if (nb_expression_holds(a->facts->rotates, &l->model->hp, l->layer))
        status = nb_load_rope(l, a->shape.key_length, &a->rope);
    if (status == NB_OK)
        status = load_indexer(l, a);
    if (status == NB_OK)
        status = load_norms(l, a);
    if (status == NB_OK)
        status = load_lender(l, b, a);
    if (status == NB_OK)
        status = load_matrices(l, a);
    return status == NB_OK ? check_sizes(l, a) : status;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static struct memory
take(const struct attention *a, struct nb_scratch *s)
{
    const size_t gate = a->facts->gate_in_queries ? heads_size(a) : a->gate.rows;
    struct memory m = { 0 };

    m.made = nb_scratch_take(s, s->tokens,
                             a->qkv.weight != NULL       ? a->qkv.rows
                             : a->facts->gate_in_queries ? a->q.rows
                                                         : 0);
    m.q = nb_scratch_take(s, s->tokens, q_size(a));
    m.gate = nb_scratch_take(s, s->tokens, gate);
    m.k = nb_scratch_take_made(s, k_size(a));
    m.v = nb_scratch_take_made(s, v_size(a));
    m.heads = nb_scratch_take(s, s->tokens, heads_size(a));
    m.scores = nb_attend_scores(s);
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
take_kept(const struct attention *a, struct nb_scratch *s)
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
    const struct attention *a = b->data;

    if (a->lender == NULL)
        (void)take_kept(a, s);
}

/* Where the keys and values are, those of the block itself or of the one that lends them. */
static struct kept
kept_by(const struct attention *a, struct nb_run *r)
{
    struct nb_scratch lent;

    if (a->lender == NULL)
        return take_kept(a, &r->state);
    lent = nb_run_state_of(r, a->lender);
    return take_kept(a->lender->data, &lent);
}

/* --- queries, keys and values ------------------------------------------------------------------------------- */

/* Takes a token's row of a fused product apart. */
static void
take_apart(const struct step *s, size_t i)
{
    const struct attention *a = s->a;
    const struct memory *m = &s->memory;
    const size_t key = a->shape.key_length, kept = nb_run_kept_row(s->run, i);

    if (a->qkv.weight != NULL) {
        const float *from = m->made + i * a->qkv.rows;

        memcpy(m->q + i * q_size(a), from, q_size(a) * sizeof *from);
        memcpy(s->kept.k + kept * k_size(a), from + q_size(a), k_size(a) * sizeof *from);
        memcpy(s->kept.v + kept * v_size(a), from + q_size(a) + k_size(a), v_size(a) * sizeof *from);
    } else if (a->facts->gate_in_queries) {
        for (size_t h = 0; h < a->shape.heads; h++) {
            const float *from = m->made + i * a->q.rows + h * 2 * key;

            memcpy(m->q + i * q_size(a) + h * key, from, key * sizeof *from);
            memcpy(m->gate + i * heads_size(a) + h * key, from + key, key * sizeof *from);
        }
    }
}

static void
clamp(float *x, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
}

/*
 * The factor of the query at POSITION, which makes attention over long texts sharper (Nakanishi 2025, as in Llama 4):
 * 1 + scale * ln(1 + floor((position + offset) / length)).
 */
static float
temperature_at(const struct attention *a, size_t position)
{
    const double steps = floor(((double)position + a->facts->temperature_offset) / a->temperature_length);

    return a->temperature == 0 ? 1 : (float)(1 + a->temperature * log1p(steps));
}

static void
finish_heads(const struct step *s, const struct nb_norm *norm, float *x, size_t heads, size_t position)
{
    const struct attention *a = s->a;
    const size_t length = a->shape.key_length;

    if (norm != NULL && !a->facts->norms_after_rotation)
        nb_norm_heads(norm, x, heads, length);
    if (a->rope != NULL)
        nb_rope_rotate(a->rope, nb_run_rotations(s->run, a->rope) + position * a->rope->dims, x, heads, length);
    if (norm != NULL && a->facts->norms_after_rotation)
        nb_norm_heads(norm, x, heads, length);
}

static void
finish_keys_and_values(const struct step *s, size_t i)
{
    const struct attention *a = s->a;
    const bool is_fused = a->qkv.weight != NULL;
    const size_t kept = nb_run_kept_row(s->run, i);
    float *k = s->kept.k + kept * k_size(a), *v = s->kept.v + kept * v_size(a);

    if (!is_fused)
        (void)nb_run_keep(s->run, i, s->kept.k, s->memory.k, k_size(a));
    if (!is_fused && a->v.weight != NULL)
        (void)nb_run_keep(s->run, i, s->kept.v, s->memory.v, v_size(a));
    else if (!is_fused)
        memcpy(v, k, v_size(a) * sizeof *v);
    if (a->limit > 0) {
        clamp(k, k_size(a), a->limit);
        clamp(v, v_size(a), a->limit);
    }
    finish_heads(s, a->k_norm, k, a->shape.kv_heads, nb_run_position(s->run, i));
    if (a->v_norm != NULL)
        nb_norm_heads(a->v_norm, v, a->shape.kv_heads, a->shape.value_length);
    for (size_t c = 0; c < v_size(a) && a->value_scale != 1; c++)
        v[c] *= a->value_scale;
}

/* Makes the queries, keys and values of some tokens of what was multiplied. */
static enum nb_status
finish_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct attention *a = s->a;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const size_t position = nb_run_position(s->run, i);
        float *q = s->memory.q + i * q_size(a);
        const float temperature = temperature_at(a, position);

        take_apart(s, i);
        if (a->limit > 0)
            clamp(q, q_size(a), a->limit);
        finish_heads(s, a->q_norm, q, a->shape.heads, position);
        for (size_t c = 0; c < q_size(a) && temperature != 1; c++)
            q[c] *= temperature;
        if (a->lender == NULL)
            finish_keys_and_values(s, i);
    }
    return NB_OK;
}

/* Multiplies the input with the matrices. Keys and values are written to where they are kept, if their rows follow one another. */
static enum nb_status
project(const struct step *s, struct nb_run *r, struct nb_error *err)
{
    const struct attention *a = s->a;
    const struct memory *m = &s->memory;
    const struct nb_product all[] = {
        { &a->qkv, 0, m->made, false },
        { &a->q, 0, a->facts->gate_in_queries ? m->made : m->q, false },
        { &a->k, 0, nb_run_made(r, s->kept.k, m->k, k_size(a)), false },
        { &a->v, 0, nb_run_made(r, s->kept.v, m->v, v_size(a)), false },
        { &a->gate, 0, m->gate, false },
    };
    struct nb_product there[NB_MAX_PRODUCTS + 1]; /* one fused matrix stands for three */
    size_t count = 0;

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].matrix->weight != NULL)
            there[count++] = all[i];
    return nb_run_multiply(r, r->in, r->n, there, count, err);
}

/* Lets the indexer choose, if not everything is chosen anyway. */
static enum nb_status
run_indexer(const struct step *s, struct nb_run *r, struct nb_attend *attend, struct nb_error *err)
{
    const struct nb_indexer *x = s->a->indexer;
    const struct nb_product products[] = {
        { &x->q, 0, s->memory.indexer.q, false },
        { &x->k, 0, nb_run_made(r, s->kept.indexer.k, s->memory.indexer.k, x->length), false },
    };
    enum nb_status status = nb_run_multiply(r, r->in, r->n, products, 2, err);

    if (status == NB_OK)
        status = nb_index(x, &s->memory.indexer, &s->kept.indexer, r, err);
    if (nb_indexer_takes_all(x, r->first + r->each))
        return status;
    attend->chosen = s->kept.indexer.chosen;
    attend->chosen_head = nb_attend_words(&r->scratch);
    attend->chosen_row = nb_indexer_choices(x) * attend->chosen_head;
    return status;
}

/* --- results -------------------------------------------------------------------------------------------------- */

/* Applies gates of any function, one for each element or for each head. */
static void
apply_gates(const struct attention *a, const float *gate, size_t gates, float *row)
{
    const size_t share = heads_size(a) / gates;

    for (size_t c = 0; c < heads_size(a); c++) {
        const float x = gate[c / share];

        row[c] *= a->facts->gates_by_softplus ? nb_softplus(x) : nb_sigmoid(x);
    }
}

/* Applies the gate to a token's results, and norms them. */
static enum nb_status
gate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct attention *a = s->a;
    const size_t gates = a->facts->gate_in_queries ? heads_size(a) : a->gate.rows;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *row = s->memory.heads + i * heads_size(a);
        const float *gate = s->memory.gate + i * gates;

        if (gates == heads_size(a) && !a->facts->gates_by_softplus)
            nb_vector_math()->apply_gate(row, gate, gates);
        else if (gates > 0)
            apply_gates(a, gate, gates, row);
        if (a->output_norm != NULL)
            nb_norm_row(a->output_norm, row, heads_size(a), row);
    }
    return NB_OK;
}

static enum nb_status
run(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct attention *a = b->data;
    struct step step = { a, r, take(a, &r->scratch), kept_by(a, r) };
    const struct memory *m = &step.memory;
    const struct nb_product output = { &a->output, 0, r->out, true };
    struct nb_attend attend = a->shape;
    enum nb_status status = project(&step, r, err);

    attend.q = m->q;
    attend.k = step.kept.k;
    attend.v = step.kept.v;
    attend.k_row = k_size(a);
    attend.v_row = v_size(a);
    attend.out = m->heads;
    attend.scores = m->scores;
    if (status == NB_OK)
        status = nb_run_rows(r, finish_task, &step, err);
    if (status == NB_OK && a->indexer != NULL)
        status = run_indexer(&step, r, &attend, err);
    if (status == NB_OK)
        status = nb_attend(r, &attend, err);
    if (status == NB_OK && (a->gate.weight != NULL || a->facts->gate_in_queries || a->output_norm != NULL))
        status = nb_run_rows(r, gate_task, &step, err);
    if (status == NB_OK)
        status = nb_run_multiply(r, m->heads, r->n, &output, 1, err);
    return status;
}

const struct nb_block_kind nb_block_attention = {
    .name = "attention", .norm = "attn_norm", .load = load, .scratch = scratch, .state = state, .run = run
};
