#include "verify/tasks/sequences.h"

#include "formats/base/checked.h"
#include "verify/run/forward.h"
#include "verify/run/vector_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_STEP 16u /* sequences are run with others whose lengths are the same, rounded up to a multiple of this */
#define LOGITS_BYTES ((size_t)96 << 20)

struct run {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_forward *forward;
    struct nb_sequence **batch; /* sequences that are run at once */
    size_t in_batch;
    uint32_t length; /* of each, with what fills it up */
    int32_t *tokens;

    /* Tokens of the batch whose logits are computed at once: the output matrix is decoded for all of them together. */
    float *states, *logits;
    int32_t *truth; /* the tokens that come next */
    double *log_p;  /* of these */
    struct nb_sequence **owner;
    size_t rows, max_rows;
};

static uint32_t
rounded_length(const struct nb_sequence *s)
{
    return (s->length + LENGTH_STEP - 1) / LENGTH_STEP * LENGTH_STEP;
}

static int
by_length(const void *a, const void *b)
{
    const struct nb_sequence *x = *(struct nb_sequence *const *)a, *y = *(struct nb_sequence *const *)b;

    return x->length != y->length ? (x->length < y->length ? -1 : 1) : x < y ? -1 : x > y;
}

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

/* Takes the rows of a sequence whose states are at HIDDEN. */
static enum nb_status
take_rows(struct run *r, const float *hidden, struct nb_sequence *s, struct nb_error *err)
{
    const size_t columns = nb_model_embedding(r->model);
    enum nb_status status = NB_OK;

    s->score = 0;
    for (size_t i = s->start; i < s->end && status == NB_OK; i++) {
        memcpy(r->states + r->rows * columns, hidden + (i - 1) * columns, columns * sizeof *r->states);
        r->truth[r->rows] = s->id[i];
        r->owner[r->rows++] = s;
        if (r->rows == r->max_rows)
            status = score_rows(r, err);
    }
    return status;
}

/* Runs the batch. What fills a sequence up comes after it, and changes nothing before. */
static enum nb_status
run_batch(struct run *r, struct nb_error *err)
{
    const float *hidden;
    enum nb_status status;

    for (size_t i = 0; i < r->in_batch; i++) {
        const struct nb_sequence *s = r->batch[i];

        for (uint32_t k = 0; k < r->length; k++)
            r->tokens[i * r->length + k] = s->id[k < s->length ? k : s->length - 1];
    }
    status = nb_forward_run(r->forward, r->model, r->tokens, -1, (uint32_t)r->in_batch, &hidden, err);
    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < r->in_batch && status == NB_OK; i++)
        status = take_rows(r, hidden + i * r->length * (size_t)nb_model_embedding(r->model), r->batch[i], err);
    return status == NB_OK && r->rows > 0 ? score_rows(r, err) : status;
}

static enum nb_status
allocate(struct run *r, uint32_t longest, struct nb_error *err)
{
    const uint64_t vocab = nb_model_vocab(r->model);
    const uint64_t tokens = longest > NB_BATCH_TOKENS ? longest : NB_BATCH_TOKENS;

    r->max_rows = (size_t)(LOGITS_BYTES / (vocab * sizeof(float)));
    r->max_rows = r->max_rows < 16 ? 16 : r->max_rows > tokens ? (size_t)tokens : r->max_rows;
    r->tokens = nb_malloc(tokens * sizeof *r->tokens);
    r->states = nb_malloc((uint64_t)r->max_rows * nb_model_embedding(r->model) * sizeof *r->states);
    r->logits = nb_malloc(r->max_rows * vocab * sizeof *r->logits);
    r->truth = nb_malloc(r->max_rows * sizeof *r->truth);
    r->log_p = nb_malloc(r->max_rows * sizeof *r->log_p);
    r->owner = nb_malloc(r->max_rows * sizeof *r->owner);
    if (r->tokens == NULL || r->states == NULL || r->logits == NULL || r->truth == NULL || r->log_p == NULL ||
        r->owner == NULL)
        return nb_fail_memory(err);
    return NB_OK;
}

/* Runs the COUNT sequences at FIRST, whose rounded lengths are the same. */
static enum nb_status
run_length(struct run *r, struct nb_sequence **first, size_t count, bool round, struct nb_error *err)
{
    size_t at_once;
    enum nb_status status;

    r->length = rounded_length(first[0]);
    at_once = NB_BATCH_TOKENS / r->length;
    at_once = at_once < 1 ? 1 : at_once > count ? count : at_once;
    status = nb_forward_new(&r->forward, r->pool, (uint32_t)at_once, r->length, err);
    if (status != NB_OK)
        return status;
    nb_forward_round(r->forward, round);
    for (size_t i = 0; i < count && status == NB_OK; i += r->in_batch) {
        r->batch = first + i;
        r->in_batch = count - i < at_once ? count - i : at_once;
        status = run_batch(r, err);
    }
    nb_forward_free(r->forward);
    return status;
}

enum nb_status
nb_score_sequences(const struct nb_model *model, struct nb_sequence *sequences, size_t count, bool round,
                   struct nb_pool *pool, void (*progress)(void *context, size_t done), void *context,
                   struct nb_error *err)
{
    struct run r = { .model = model, .pool = pool };
    struct nb_sequence **sorted = nb_calloc(count, sizeof(struct nb_sequence *));
    enum nb_status status = sorted == NULL ? nb_fail_memory(err) : NB_OK;

    for (size_t i = 0; i < count && status == NB_OK; i++)
        sorted[i] = &sequences[i];
    if (status == NB_OK) {
        qsort(sorted, count, sizeof *sorted, by_length);
        status = allocate(&r, rounded_length(sorted[count - 1]), err);
    }
    for (size_t i = 0, n; i < count && status == NB_OK; i += n) {
        for (n = 1; i + n < count && rounded_length(sorted[i + n]) == rounded_length(sorted[i]);)
            n++;
        status = run_length(&r, sorted + i, n, round, err);
        if (progress != NULL)
            progress(context, i + n);
    }
    free(sorted);
    free(r.tokens);
    free(r.states);
    free(r.logits);
    free(r.truth);
    free(r.log_p);
    free(r.owner);
    return status;
}
