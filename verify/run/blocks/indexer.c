#include "verify/run/blocks/indexer.h"

#include "formats/base/blas.h"
#include "verify/run/blocks/attend.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- loading ---------------------------------------------------------------------------------------------- */

bool
nb_has_indexer(const struct nb_loader *l)
{
    return nb_load_has(l, "blk.%l.indexer.attn_k.weight");
}

static enum nb_status
load_tensors(struct nb_loader *l, struct nb_indexer *x)
{
    enum nb_status status = nb_load_linear(l, "blk.%l.indexer.attn_k", &x->k);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.indexer.proj", &x->weigh);
    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.indexer.attn_q_b", &x->q);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.indexer.k_norm.weight", &x->k_norm.weight);
    return status == NB_OK ? nb_load_small(l, "blk.%l.indexer.k_norm.bias", &x->k_norm.bias) : status;
}

static enum nb_status
load_sizes(struct nb_loader *l, struct nb_indexer *x)
{
    enum nb_status status = nb_load_count(l, NB_HP_INDEXER_HEADS, &x->heads);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_INDEXER_KEY_LENGTH, &x->length);
    return status == NB_OK ? nb_load_count(l, NB_HP_INDEXER_TOP_K, &x->most) : status;
}

static enum nb_status
check_sizes(const struct nb_loader *l, size_t rank, const struct nb_indexer *x)
{
    if (x->rope.dims <= x->length && x->k.rows == x->length && x->q.rows == (size_t)x->heads * x->length &&
        x->q.columns == rank && (x->weigh.weight == NULL || x->weigh.rows == x->heads) &&
        (x->q_norm.rows == 0 || x->q_norm.length == x->length) && x->k_norm.length == x->length)
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: the indexer of layer %" PRIu32 ", with %" PRIu32 " heads of %" PRIu32
                   " elements, cannot be run with its tensors",
                   l->model->source->path, l->layer, x->heads, x->length);
}

enum nb_status
nb_load_indexer(struct nb_loader *l, size_t rank, const struct nb_rope *rope, struct nb_indexer *x)
{
    enum nb_status status = load_sizes(l, x);

    if (status == NB_OK)
        status = load_tensors(l, x);
    if (status != NB_OK)
        return status;
    /* The epsilon of torch's LayerNorm in transformers' indexers. */
    x->k_norm = (struct nb_norm){ .kind = NB_NORM_LAYER,
                                  .weight = x->k_norm.weight,
                                  .bias = x->k_norm.bias,
                                  .length = x->length,
                                  .rows = 1,
                                  .epsilon = 1e-6f };
    x->block = 1;
    x->rope = *rope;
    if (l->model->arch->attention.indexer_halves) {
        x->rope.step = 1;
        x->rope.gap = rope->dims / 2;
    }
    return check_sizes(l, rank, x);
}

bool
nb_has_block_indexer(const struct nb_loader *l)
{
    return nb_load_has(l, "blk.%l.indexer.q_proj.weight");
}

static enum nb_status
load_block_tensors(struct nb_loader *l, struct nb_indexer *x)
{
    const struct nb_norm *q_norm = NULL, *k_norm = NULL;
    enum nb_status status = nb_load_linear(l, "blk.%l.indexer.q_proj", &x->q);

    if (status == NB_OK)
        status = nb_load_linear(l, "blk.%l.indexer.k_proj", &x->k);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.indexer.q_norm", &q_norm);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.indexer.k_norm", &k_norm);
    if (q_norm != NULL && k_norm != NULL) {
        x->q_norm = *q_norm;
        x->k_norm = *k_norm;
    }
    return status;
}

enum nb_status
nb_load_block_indexer(struct nb_loader *l, const struct nb_rope *rope, struct nb_indexer *x)
{
    enum nb_status status = load_sizes(l, x);

    if (status == NB_OK)
        status = nb_load_count(l, NB_HP_INDEXER_BLOCK, &x->block);
    if (status == NB_OK)
        status = load_block_tensors(l, x);
    x->local = (uint32_t)nb_hp(&l->model->hp, NB_HP_INDEXER_LOCAL);
    x->rope = *rope;
    return status == NB_OK ? check_sizes(l, nb_model_embedding(l->model), x) : status;
}

size_t
nb_indexer_choices(const struct nb_indexer *x)
{
    return x->weigh.weight != NULL ? 1 : x->heads;
}

bool
nb_indexer_takes_all(const struct nb_indexer *x, size_t positions)
{
    return (positions + x->block - 1) / x->block <= x->most;
}

/* --- memory ----------------------------------------------------------------------------------------------- */

struct nb_indexer_memory
nb_indexer_take(const struct nb_indexer *x, struct nb_scratch *s)
{
    struct nb_indexer_memory m;

    m.q = nb_scratch_take(s, s->tokens, x->q.rows);
    m.weights = nb_scratch_take(s, s->tokens, x->weigh.rows);
    m.k = nb_scratch_take_made(s, x->length);
    m.scores = nb_scratch_take(s, s->threads * ((size_t)x->heads + 2), s->chunk_tokens);
    return m;
}

struct nb_indexer_kept
nb_indexer_take_kept(const struct nb_indexer *x, struct nb_scratch *s)
{
    struct nb_indexer_kept kept;

    kept.k = nb_scratch_take(s, s->chunks * s->chunk_tokens, x->length);
    kept.chosen = nb_scratch_take(s, s->tokens, nb_indexer_choices(x) * nb_attend_words(s));
    return kept;
}

/* --- running ---------------------------------------------------------------------------------------------- */

struct step {
    const struct nb_indexer *indexer;
    const struct nb_indexer_memory *memory;
    const struct nb_indexer_kept *kept;
    const struct nb_run *run;
};

static float *
key_at(const struct step *s, size_t chunk, size_t position)
{
    return s->kept->k + (chunk * s->run->scratch.chunk_tokens + position) * s->indexer->length;
}

/* Norms and rotates the keys and the queries of some tokens. */
static enum nb_status
finish_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_indexer *x = s->indexer;
    const float *table = nb_run_rotations(s->run, &x->rope);
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const size_t position = nb_run_position(s->run, i);
        float *k = nb_run_keep(s->run, i, s->kept->k, s->memory->k, x->length), *q = s->memory->q + i * x->q.rows;

        nb_norm_row(&x->k_norm, k, x->length, k);
        for (size_t h = 0; h < x->heads && x->q_norm.rows > 0; h++)
            nb_norm_row(&x->q_norm, q + h * x->length, x->length, q + h * x->length);
        nb_rope_rotate(&x->rope, table + position * x->rope.dims, k, 1, x->length);
        nb_rope_rotate(&x->rope, table + position * x->rope.dims, q, x->heads, x->length);
    }
    return NB_OK;
}

/* The scores of the SEEN positions for token I, by each head. */
static void
score(const struct step *s, size_t i, size_t seen, float *by_head)
{
    const struct nb_indexer *x = s->indexer;

    nb_sgemm(&(struct nb_sgemm){ .transpose = true,
                                 .m = x->heads,
                                 .n = seen,
                                 .k = x->length,
                                 .alpha = 1,
                                 .a = s->memory->q + i * x->q.rows,
                                 .b = key_at(s, i / s->run->each, 0),
                                 .c = by_head,
                                 .a_row = x->length,
                                 .b_row = x->length,
                                 .c_row = seen });
}

/* The sum over the heads of weight * max(0, score). */
static void
weigh(const struct nb_indexer *x, const float *weights, const float *by_head, size_t seen, float *scores)
{
    memset(scores, 0, seen * sizeof *scores);
    for (size_t h = 0; h < x->heads; h++)
        for (size_t k = 0; k < seen; k++)
            scores[k] += weights[h] * fmaxf(by_head[h * seen + k], 0);
}

/* The highest score of each block; the last ones, which are always chosen, have the highest of all. Returns their number. */
static size_t
pool(const struct nb_indexer *x, const float *by_position, size_t seen, float *scores)
{
    const size_t blocks = (seen + x->block - 1) / x->block;

    for (size_t b = 0; b < blocks; b++) {
        const size_t end = (b + 1) * x->block < seen ? (b + 1) * x->block : seen;

        scores[b] = b + x->local >= blocks ? INFINITY : -INFINITY;
        for (size_t k = b * x->block; k < end; k++)
            scores[b] = fmaxf(scores[b], by_position[k]);
    }
    return blocks;
}

static int
compare_descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

/* Marks positions of the blocks with the highest of COUNT scores, the first of equal ones. ORDERED has room for as many. */
static void
choose(const struct nb_indexer *x, const float *scores, size_t count, size_t seen, float *ordered, uint32_t *chosen)
{
    size_t above = 0;
    float least;

    memcpy(ordered, scores, count * sizeof *ordered);
    qsort(ordered, count, sizeof *ordered, compare_descending);
    least = ordered[x->most - 1];
    for (size_t b = 0; b < count; b++)
        above += scores[b] > least;
    for (size_t b = 0, equal = x->most - above; b < count; b++) {
        if (scores[b] < least || (scores[b] == least && equal == 0))
            continue;
        equal -= scores[b] == least;
        for (size_t k = b * x->block; k < (b + 1) * x->block && k < seen; k++)
            chosen[k / 32] |= 1u << k % 32;
    }
}

static enum nb_status
choose_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_indexer *x = s->indexer;
    const size_t chunk = s->run->scratch.chunk_tokens, words = nb_attend_words(&s->run->scratch);
    const size_t choices = nb_indexer_choices(x);
    float *by_head = s->memory->scores + worker * ((size_t)x->heads + 2) * chunk;
    float *scores = by_head + x->heads * chunk;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)err;
    for (; i < end; i++) {
        const size_t seen = nb_run_position(s->run, i) + 1;
        const bool takes_all = nb_indexer_takes_all(x, seen);
        uint32_t *chosen = s->kept->chosen + i * choices * words;

        memset(chosen, takes_all ? 0xFF : 0, choices * words * sizeof *chosen);
        if (takes_all)
            continue;
        score(s, i, seen, by_head);
        if (x->weigh.weight != NULL) {
            weigh(x, s->memory->weights + i * x->heads, by_head, seen, scores);
            choose(x, scores, seen, seen, scores + chunk, chosen);
            continue;
        }
        for (size_t h = 0; h < choices; h++) {
            const size_t blocks = pool(x, by_head + h * seen, seen, scores);

            choose(x, scores, blocks, seen, scores + chunk, chosen + h * words);
        }
    }
    return NB_OK;
}

enum nb_status
nb_index(const struct nb_indexer *x, const struct nb_indexer_memory *m, const struct nb_indexer_kept *kept,
         struct nb_run *r, struct nb_error *err)
{
    struct step step = { x, m, kept, r };
    enum nb_status status = nb_run_rows(r, finish_task, &step, err);

    return status == NB_OK ? nb_run_rows(r, choose_task, &step, err) : status;
}
