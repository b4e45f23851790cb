#include "verify/drift/drift.h"

#include "formats/base/checked.h"
#include "formats/base/pool.h"
#include "verify/drift/divergence.h"
#include "verify/run/forward.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of logits in memory per model; those of two models are held at once. */
#define LOGITS_BYTES ((size_t)96 << 20)

struct run {
    const struct nb_model *const *model;
    size_t models;
    const struct nb_drift_options *options;
    struct nb_drift *drift;
    const int32_t *tokens;
    struct nb_pool *pool;
    struct nb_pool_watch watch;
    struct nb_forward *forward;
    uint32_t done, running; /* chunks: before and in the current batch */
    size_t models_done;     /* in the current batch: whose states are known */
    double scored;          /* in the current batch: the share of the states that have been scored */
    double output_share;    /* the part of the work that the output matrices are */
    float **states;         /* per model: the scored states of a batch */
    float *base_logits, *logits;
    struct nb_log_sum *base_rows;
    size_t max_rows; /* rows of logits */
    uint32_t vocab;
    size_t first_model; /* that is run: 1 if the base is saved */

    /* Of a base that is saved, or is to be: its predictions for a block of rows, and memory for them. */
    struct nb_prediction *predictions;
    uint32_t *ids;
    float *log_p;
    struct nb_candidate *candidates; /* of each thread */

    /* The block of rows that is being scored. */
    size_t which; /* model */
    size_t first; /* scored token */
};

static uint32_t
scored_in_chunk(uint32_t chunk_tokens)
{
    return chunk_tokens - 1 - chunk_tokens / 2;
}

uint32_t
nb_drift_chunks(size_t count, const struct nb_drift_options *o)
{
    const size_t chunks = count / o->chunk_tokens;

    if (chunks < 2)
        return 0;
    if (o->max_chunks > 0 && chunks > o->max_chunks)
        return o->max_chunks;
    return chunks > UINT32_MAX ? UINT32_MAX : (uint32_t)chunks;
}

size_t
nb_drift_position(const struct nb_drift *d, size_t i)
{
    const uint32_t per_chunk = scored_in_chunk(d->chunk_tokens);

    return i / per_chunk * d->chunk_tokens + d->chunk_tokens / 2 + i % per_chunk + 1;
}

/* The true token at the position of scored token I. */
static int32_t
true_token(const struct run *r, size_t i)
{
    return r->tokens[nb_drift_position(r->drift, i)];
}

static enum nb_status
check_finite(const struct run *r, double log_sum, size_t i, struct nb_error *err)
{
    if (isfinite(log_sum))
        return NB_OK;
    return nb_fail(err, NB_INPUT, "%s: its logits are NaN or infinite at scored token %zu",
                   r->model[r->which]->source->path, i);
}

static enum nb_status
score_base_row(void *context, size_t row, unsigned worker, struct nb_error *err)
{
    struct run *r = context;
    const size_t vocab = r->vocab, i = r->first + row;
    const float *logits = r->base_logits + row * vocab;
    struct nb_log_sum *b = &r->base_rows[row];
    enum nb_status status;

    *b = nb_log_sum_of(logits, vocab);
    r->drift->score[0][i] = (struct nb_score){ (float)(b->log - (double)logits[true_token(r, i)]), 0, true,
                                               (int32_t)b->top };
    status = check_finite(r, b->log, i, err);
    if (status == NB_OK && r->options->save != NULL)
        nb_predict(logits, r->vocab, b->log, true_token(r, i), i,
                   r->candidates + worker * (size_t)nb_prediction_capacity(r->vocab), &r->predictions[row]);
    return status;
}

/* Reads the next ROWS predictions of the saved base. */
static enum nb_status
take_saved_rows(struct run *r, size_t rows, struct nb_error *err)
{
    const enum nb_status status = nb_base_reader_next(r->options->base_from, r->predictions, rows, err);

    for (size_t row = 0; row < rows && status == NB_OK; row++)
        r->drift->score[0][r->first + row] = (struct nb_score){ r->predictions[row].nll, 0, true,
                                                                r->predictions[row].top };
    return status;
}

static enum nb_status
score_row(void *context, size_t row, unsigned worker, struct nb_error *err)
{
    struct run *r = context;
    const size_t vocab = r->vocab, i = r->first + row;
    const float *q = r->logits + row * vocab;
    const struct nb_log_sum own = nb_log_sum_of(q, vocab);
    double kld;

    (void)worker;
    if (r->options->base_from != NULL)
        kld = nb_prediction_kld(&r->predictions[row], q, own.log);
    else
        kld = nb_divergence(r->base_logits + row * vocab, &r->base_rows[row], q, &own, vocab);
    r->drift->score[r->which][i] = (struct nb_score){
        .nll = (float)(own.log - (double)q[true_token(r, i)]),
        .kld = (float)kld,
        .same_top = (int32_t)own.top == r->drift->score[0][i].top,
        .top = (int32_t)own.top,
    };
    return check_finite(r, own.log, i, err);
}

/* Scores ROWS rows of the batch from row FIRST on, which is scored token r->first. */
static enum nb_status
score_block(struct run *r, size_t first, size_t rows, struct nb_error *err)
{
    enum nb_status status = r->first_model == 0 ? NB_OK : take_saved_rows(r, rows, err);

    for (r->which = r->first_model; r->which < r->models && status == NB_OK; r->which++) {
        const struct nb_model *m = r->model[r->which];
        float *logits = r->which == 0 ? r->base_logits : r->logits;

        nb_forward_round(r->forward, r->which > 0 && r->options->round);
        status = nb_forward_logits(r->forward, m, r->states[r->which] + first * nb_model_embedding(m), rows, logits,
                                   err);
        if (status == NB_OK)
            status = nb_pool_run(r->pool, r->which == 0 ? score_base_row : score_row, r, rows, err);
        if (status == NB_OK && r->which == 0 && r->options->save != NULL)
            status = nb_base_writer_put(r->options->save, r->predictions, rows, err);
    }
    return status;
}

/* Gathers the states that predict scored tokens. */
static void
keep_states(struct run *r, const struct nb_model *m, const float *hidden, uint32_t chunks, float *to)
{
    const size_t n = r->options->chunk_tokens, rows = scored_in_chunk(r->options->chunk_tokens), half = n / 2;
    const size_t columns = nb_model_embedding(m);

    for (uint32_t c = 0; c < chunks; c++)
        memcpy(to + c * rows * columns, hidden + (c * n + half) * columns, rows * columns * sizeof *to);
}

static enum nb_status
run_batch(struct run *r, uint32_t first, uint32_t chunks, struct nb_error *err)
{
    const size_t per_chunk = scored_in_chunk(r->options->chunk_tokens), rows = chunks * per_chunk;
    enum nb_status status = NB_OK;

    r->scored = 0;
    for (size_t k = r->first_model; k < r->models && status == NB_OK; k++) {
        const float *hidden;

        r->models_done = k;

        if (r->options->stop != NULL && *r->options->stop)
            return nb_fail(err, NB_INTERRUPTED, "interrupted");
        nb_forward_round(r->forward, k > 0 && r->options->round);
        status = nb_forward_run(r->forward, r->model[k], r->tokens + (size_t)first * r->options->chunk_tokens,
                                r->options->bos, chunks, &hidden, err);
        if (status == NB_OK)
            keep_states(r, r->model[k], hidden, chunks, r->states[k]);
    }
    r->models_done = r->models;
    for (size_t i = 0, n; i < rows && status == NB_OK; i += n) {
        n = rows - i < r->max_rows ? rows - i : r->max_rows;
        r->first = first * per_chunk + i;
        status = score_block(r, i, n, err);
        r->scored = (double)(i + n) / (double)rows;
    }
    return status;
}

/* Memory for the predictions of a block of rows, and of each thread. */
static enum nb_status
allocate_predictions(struct run *r, struct nb_error *err)
{
    const uint64_t capacity = nb_prediction_capacity(r->vocab), all = r->max_rows * capacity;

    r->predictions = calloc(r->max_rows, sizeof *r->predictions);
    r->ids = nb_malloc(all * sizeof *r->ids);
    r->log_p = nb_malloc(all * sizeof *r->log_p);
    r->candidates = nb_malloc(nb_pool_threads(r->pool) * capacity * sizeof *r->candidates);
    if (r->predictions == NULL || r->ids == NULL || r->log_p == NULL || r->candidates == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < r->max_rows; i++) {
        r->predictions[i].id = r->ids + i * (size_t)capacity;
        r->predictions[i].log_p = r->log_p + i * (size_t)capacity;
    }
    return NB_OK;
}

static enum nb_status
allocate(struct run *r, uint32_t batch_chunks, struct nb_error *err)
{
    const size_t vocab = r->vocab;
    const size_t rows = (size_t)batch_chunks * scored_in_chunk(r->options->chunk_tokens);

    r->max_rows = LOGITS_BYTES / (vocab * sizeof(float));
    r->max_rows = r->max_rows < 16 ? 16 : r->max_rows > rows ? rows : r->max_rows;
    r->states = calloc(r->models, sizeof *r->states);
    r->base_logits = nb_malloc(r->first_model > 0 ? 1 : (uint64_t)r->max_rows * vocab * sizeof(float));
    r->logits = r->models > 1 ? nb_malloc((uint64_t)r->max_rows * vocab * sizeof(float)) : NULL;
    r->base_rows = calloc(r->max_rows, sizeof *r->base_rows);
    r->drift->score = calloc(r->models, sizeof *r->drift->score);
    if (r->states == NULL || r->base_logits == NULL || (r->models > 1 && r->logits == NULL) || r->base_rows == NULL ||
        r->drift->score == NULL)
        return nb_fail_memory(err);
    for (size_t k = 0; k < r->models; k++) {
        const uint64_t columns = k < r->first_model ? 1 : nb_model_embedding(r->model[k]);

        r->states[k] = nb_malloc((uint64_t)rows * columns * sizeof(float));
        r->drift->score[k] = calloc(r->drift->scored, sizeof *r->drift->score[k]);
        if (r->states[k] == NULL || r->drift->score[k] == NULL)
            return nb_fail_memory(err);
    }
    return r->options->save == NULL && r->options->base_from == NULL ? NB_OK : allocate_predictions(r, err);
}

static void
release(struct run *r)
{
    for (size_t k = 0; r->states != NULL && k < r->models; k++)
        free(r->states[k]);
    free(r->states);
    free(r->base_logits);
    free(r->logits);
    free(r->base_rows);
    free(r->predictions);
    free(r->ids);
    free(r->log_p);
    free(r->candidates);
    nb_forward_free(r->forward);
    nb_pool_free(r->pool);
}

/* All models must have the same vocabulary size, and every token must be in it. */
static enum nb_status
check_vocabularies(const struct run *r, size_t used, struct nb_error *err)
{
    const uint32_t vocab = r->vocab;
    const char *base = r->first_model > 0 ? "the saved base" : r->model[0]->source->path;

    for (size_t k = 1; k < r->models; k++)
        if (nb_model_vocab(r->model[k]) != vocab)
            return nb_fail(err, NB_INPUT, "%s has %" PRIu32 " tokens, %s has %" PRIu32 ": they cannot be compared",
                           r->model[k]->source->path, nb_model_vocab(r->model[k]), base, vocab);
    for (size_t i = 0; i < used; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= vocab)
            return nb_fail(err, NB_USAGE, "token %zu is %" PRId32 ", which the vocabulary does not have", i,
                           r->tokens[i]);
    return NB_OK;
}

/* How much of the work the products with the output matrix are, which are made for half of the tokens. */
static double
output_share(const struct nb_model *m)
{
    double output = 0.5 * (double)m->output->rows, all = output;

    for (const struct nb_linear *l = m->matrices; l != NULL; l = l->next)
        if (l != m->output)
            all += (double)l->rows * (double)l->columns / nb_model_embedding(m);
    return output / all;
}

static double
share_of_batch(const struct run *r)
{
    const double current = r->models_done < r->models ? nb_forward_share(r->forward) : 0;

    return ((double)r->models_done + current) / (double)r->models * (1 - r->output_share) + r->scored * r->output_share;
}

static void
look(void *context)
{
    struct run *r = context;

    if (r->options->progress != NULL)
        r->options->progress(r->options->context, r->done, r->drift->chunks,
                             (r->done + r->running * share_of_batch(r)) / r->drift->chunks);
}

static enum nb_status
run_chunks(struct run *r, uint32_t batch, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    look(r);
    while (r->done < r->drift->chunks && status == NB_OK) {
        const uint32_t left = r->drift->chunks - r->done, n = left < batch ? left : batch;

        r->running = n;
        status = run_batch(r, r->done, n, err);
        if (status != NB_OK)
            return status;
        r->done += n;
        r->running = 0;
        look(r);
    }
    return status;
}

enum nb_status
nb_drift_measure(const struct nb_model *const *model, size_t models, const int32_t *tokens, size_t count,
                 const struct nb_drift_options *o, struct nb_drift *drift, struct nb_error *err)
{
    struct run r = { .model = model, .models = models, .options = o, .drift = drift, .tokens = tokens };
    const uint32_t chunks = nb_drift_chunks(count, o);
    uint32_t batch = NB_BATCH_TOKENS / o->chunk_tokens;
    enum nb_status status;

    *drift = (struct nb_drift){ .chunk_tokens = o->chunk_tokens, .models = models };
    if (chunks == 0)
        return nb_fail(err, NB_INPUT, "the text has %zu tokens; two chunks of %" PRIu32 " are needed at least", count,
                       o->chunk_tokens);
    r.first_model = o->base_from == NULL ? 0 : 1;
    r.vocab = o->base_from == NULL ? nb_model_vocab(model[0]) : nb_base_reader_about(o->base_from)->vocab;
    batch = batch < 1 ? 1 : batch > chunks ? chunks : batch;
    drift->chunks = chunks;
    drift->scored = (size_t)chunks * scored_in_chunk(o->chunk_tokens);
    status = check_vocabularies(&r, (size_t)chunks * o->chunk_tokens, err);
    if (status == NB_OK)
        status = nb_pool_new(&r.pool, o->threads, err);
    if (status == NB_OK)
        status = allocate(&r, batch, err);
    if (status == NB_OK) {
        r.output_share = models > r.first_model ? output_share(model[r.first_model]) : 0;
        r.watch = (struct nb_pool_watch){ look, &r, o->stop };
        nb_pool_watch(r.pool, &r.watch);
        status = nb_forward_new(&r.forward, r.pool, batch, o->chunk_tokens, err);
    }
    if (status == NB_OK)
        status = run_chunks(&r, batch, err);
    release(&r);
    if (status != NB_OK)
        nb_drift_free(drift);
    return status;
}

void
nb_drift_free(struct nb_drift *d)
{
    for (size_t k = 0; d->score != NULL && k < d->models; k++)
        free(d->score[k]);
    free(d->score);
    *d = (struct nb_drift){ 0 };
}
