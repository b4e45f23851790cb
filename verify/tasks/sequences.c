#include "verify/tasks/sequences.h"

#include "formats/base/checked.h"
#include "verify/run/forward.h"
#include "verify/run/vector_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_STEP 16u /* what is run at once has the same lengths, of which some are rounded to a multiple of this */
#define LOGITS_BYTES ((size_t)96 << 20)

/* Sequences that begin with the same TRUNK tokens, after which each has REST more, with what fills it up. */
struct family {
    struct nb_sequence *first;
    uint32_t count, trunk, rest;
};

struct run {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_forward *forward;
    struct nb_branches room, batch; /* the most that are run at once, and those of the next run */
    struct nb_sequence **branch;    /* of the batch */
    int32_t *trunk_tokens, *tokens;
    uint32_t *trunk;

    /* Tokens of the batch whose logits are computed at once: the output matrix is decoded for all of them together. */
    float *states, *logits;
    int32_t *truth; /* the tokens that come next */
    double *log_p;  /* of these */
    struct nb_sequence **owner;
    size_t rows, max_rows;

    size_t done;
    void (*progress)(void *context, size_t done);
    void *context;
};

static enum nb_status
score_row(void *context, size_t row, unsigned worker, struct nb_error *err)
{
    const struct run *r = context;
    const size_t vocab = nb_model_vocab(r->model);
    const float *logits = r->logits + row * vocab;
    const float max = nb_vector_math()->largest(logits, vocab, NULL);
    const double log_sum = (double)max + log(nb_vector_math()->sum_exp(logits, vocab, max));

    (void)worker;
    r->log_p[row] = (double)logits[r->truth[row]] - log_sum;
    return isfinite(r->log_p[row])
               ? NB_OK
               : nb_fail(err, NB_INPUT, "%s: its logits are NaN or infinite", r->model->source->path);
}

/* Adds what the rows so far say to the scores of their sequences. */
static enum nb_status
score_rows(struct run *r, struct nb_error *err)
{
    enum nb_status status = nb_forward_logits(r->forward, r->model, r->states, r->rows, r->logits, err);

    if (status == NB_OK)
        status = nb_pool_run(r->pool, score_row, r, r->rows, err);
    for (size_t k = 0; k < r->rows && status == NB_OK; k++)
        r->owner[k]->score += r->log_p[k] / (double)(r->owner[k]->end - r->owner[k]->start);
    r->rows = 0;
    return status;
}

/* Takes the rows of a sequence, whose states behind the trunk are at HIDDEN. */
static enum nb_status
take_rows(struct run *r, const float *hidden, struct nb_sequence *s, struct nb_error *err)
{
    const size_t columns = nb_model_embedding(r->model);
    enum nb_status status = NB_OK;

    s->score = 0;
    for (size_t i = s->start; i < s->end && status == NB_OK; i++) {
        memcpy(r->states + r->rows * columns, hidden + (i - 1 - r->batch.trunk_tokens) * columns,
               columns * sizeof *r->states);
        r->truth[r->rows] = s->id[i];
        r->owner[r->rows++] = s;
        if (r->rows == r->max_rows)
            status = score_rows(r, err);
    }
    return status;
}

/* Runs the batch, and empties it. */
static enum nb_status
run_batch(struct run *r, struct nb_error *err)
{
    const size_t row = (size_t)nb_model_embedding(r->model) * r->batch.branch_tokens;
    const float *hidden;
    enum nb_status status = nb_forward_run_branches(r->forward, r->model, &r->batch, &hidden, err);

    for (size_t i = 0; i < r->batch.branches && status == NB_OK; i++)
        status = take_rows(r, hidden + i * row, r->branch[i], err);
    if (status == NB_OK && r->rows > 0)
        status = score_rows(r, err);
    r->done += r->batch.branches;
    r->batch.trunks = r->batch.branches = 0;
    if (r->progress != NULL)
        r->progress(r->context, r->done);
    return status;
}

/* Adds sequence number I of F to the batch. What fills it up comes after it, and changes nothing before. */
static void
add_branch(struct run *r, const struct family *f, uint32_t i)
{
    struct nb_sequence *s = &f->first[i];
    const uint32_t number = r->batch.branches++;
    int32_t *to = r->tokens + (size_t)number * f->rest;

    if (number == 0 || i == 0)
        memcpy(r->trunk_tokens + (size_t)r->batch.trunks++ * f->trunk, s->id, f->trunk * sizeof *to);
    for (uint32_t k = 0; k < f->rest; k++)
        to[k] = s->id[f->trunk + k < s->length ? f->trunk + k : s->length - 1];
    r->trunk[number] = r->batch.trunks - 1;
    r->branch[number] = s;
}

/* Runs N families of the same lengths. */
static enum nb_status
run_families(struct run *r, const struct family *f, size_t n, bool round, struct nb_error *err)
{
    const uint32_t trunks = f->trunk == 0 ? NB_BATCH_TOKENS : NB_BATCH_TOKENS / f->trunk;
    uint32_t branches = NB_BATCH_TOKENS / f->rest, all = 0;
    enum nb_status status;

    for (size_t i = 0; i < n && all < branches; i++)
        all += f[i].count;
    branches = all < branches ? all : branches;
    r->room = r->batch;
    r->room.trunk_tokens = f->trunk;
    r->room.branch_tokens = f->rest;
    r->room.branches = branches < 1 ? 1 : branches;
    r->room.trunks = trunks < 1 ? 1 : trunks < r->room.branches ? trunks : r->room.branches;
    r->batch = r->room;
    r->batch.trunks = r->batch.branches = 0;
    status = nb_forward_new_branches(&r->forward, r->pool, &r->room, err);
    if (status != NB_OK)
        return status;
    nb_forward_round(r->forward, round);
    for (const struct family *end = f + n; f < end && status == NB_OK; f++)
        for (uint32_t i = 0; i < f->count && status == NB_OK; i++) {
            if (r->batch.branches == r->room.branches || (i == 0 && r->batch.trunks == r->room.trunks))
                status = run_batch(r, err);
            if (status == NB_OK)
                add_branch(r, f, i);
        }
    if (status == NB_OK)
        status = run_batch(r, err);
    nb_forward_free(r->forward);
    return status;
}

/* --- families ------------------------------------------------------------------------------------------------- */

static uint32_t
rounded(uint32_t length)
{
    return (length + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP;
}

/* The family of the sequences from S on. */
static struct family
family_of(struct nb_sequence *s)
{
    struct family f = { s, s->alike, 0, 0 };
    uint32_t trunk = f.count > 1 ? s->shared : 0, longest = 0;

    for (uint32_t i = 0; i < f.count; i++) {
        trunk = s[i].start - 1 < trunk ? s[i].start - 1
                                       : trunk; /* what predicts the first that is scored is run for each */
        longest = s[i].length > longest ? s[i].length : longest;
    }
    f.trunk = trunk / LENGTH_STEP * LENGTH_STEP;
    f.rest = rounded(longest - f.trunk);
    return f;
}

static int
by_lengths(const void *left, const void *right)
{
    const struct family *a = left, *b = right;

    if (a->trunk != b->trunk)
        return a->trunk < b->trunk ? -1 : 1;
    if (a->rest != b->rest)
        return a->rest < b->rest ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* *FAMILIES receives those of COUNT sequences, sorted by their lengths. */
static enum nb_status
find_families(struct nb_sequence *sequences, size_t count, struct family **families, size_t *n, struct nb_error *err)
{
    struct family *f = nb_calloc(count, sizeof *f);

    *families = f;
    *n = 0;
    if (f == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i += f[*n - 1].count)
        f[(*n)++] = family_of(&sequences[i]);
    qsort(f, *n, sizeof *f, by_lengths);
    return NB_OK;
}

static enum nb_status
allocate(struct run *r, const struct family *f, size_t n, struct nb_error *err)
{
    const uint64_t vocab = nb_model_vocab(r->model);
    uint64_t trunk = NB_BATCH_TOKENS, rest = NB_BATCH_TOKENS;

    for (size_t i = 0; i < n; i++) {
        trunk = f[i].trunk > trunk ? f[i].trunk : trunk;
        rest = f[i].rest > rest ? f[i].rest : rest;
    }
    r->max_rows = (size_t)(LOGITS_BYTES / (vocab * sizeof(float)));
    r->max_rows = r->max_rows < 16 ? 16 : r->max_rows > rest ? (size_t)rest : r->max_rows;
    r->batch.trunk_token = r->trunk_tokens = nb_malloc(trunk * sizeof *r->trunk_tokens);
    r->batch.branch_token = r->tokens = nb_malloc(rest * sizeof *r->tokens);
    r->batch.trunk = r->trunk = nb_malloc(NB_BATCH_TOKENS * sizeof *r->trunk);
    r->branch = nb_malloc(NB_BATCH_TOKENS * sizeof *r->branch);
    r->states = nb_malloc((uint64_t)r->max_rows * nb_model_embedding(r->model) * sizeof *r->states);
    r->logits = nb_malloc(r->max_rows * vocab * sizeof *r->logits);
    r->truth = nb_malloc(r->max_rows * sizeof *r->truth);
    r->log_p = nb_malloc(r->max_rows * sizeof *r->log_p);
    r->owner = nb_malloc(r->max_rows * sizeof *r->owner);
    if (r->trunk_tokens == NULL || r->tokens == NULL || r->trunk == NULL || r->branch == NULL || r->states == NULL ||
        r->logits == NULL || r->truth == NULL || r->log_p == NULL || r->owner == NULL)
        return nb_fail_memory(err);
    return NB_OK;
}

static void
release(struct run *r)
{
    free(r->trunk_tokens);
    free(r->tokens);
    free(r->trunk);
    free(r->branch);
    free(r->states);
    free(r->logits);
    free(r->truth);
    free(r->log_p);
    free(r->owner);
}

enum nb_status
nb_score_sequences(const struct nb_model *model, struct nb_sequence *sequences, size_t count, bool round,
                   struct nb_pool *pool, void (*progress)(void *context, size_t done), void *context,
                   struct nb_error *err)
{
    struct run r = { .model = model, .pool = pool, .progress = progress, .context = context };
    struct family *families;
    size_t n;
    enum nb_status status = find_families(sequences, count, &families, &n, err);

    if (status == NB_OK)
        status = allocate(&r, families, n, err);
    for (size_t i = 0, same; i < n && status == NB_OK; i += same) {
        const struct family *f = &families[i];

        for (same = 1; i + same < n && f[same].trunk == f->trunk && f[same].rest == f->rest;)
            same++;
        status = run_families(&r, f, same, round, err);
    }
    free(families);
    release(&r);
    return status;
}
