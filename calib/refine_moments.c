/*
 * The moments of a group's input, from all batches: the original model and the quantized one run the current step on copies
 * of their streams, as far as it takes.
 */
#include "calib/refine_run.h"
#include "formats/base/checked.h"

#include <stdlib.h>
#include <string.h>

#define EXPERT_BYTES ((uint64_t)1024 << 20) /* of moments of experts that are gathered at once */
#define PSEUDO_TOKENS 0.25f /* for each column, by which the moments of an expert are drawn to those of all */

static bool
is_wanted(const struct nb_refine_run *r, const struct nb_linear *const *matrices)
{
    return strcmp(matrices[0]->name, r->wanted->key) == 0;
}

/* Keeps the original input. What follows is run only if the weights of tokens depend on it. */
static enum nb_status
take_original(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert, const float *input,
              size_t tokens, struct nb_error *err)
{
    struct nb_refine_run *r = context;

    (void)count;
    (void)expert;
    (void)err;
    if (!is_wanted(r, matrices))
        return NB_OK;
    memcpy(r->input, input, tokens * matrices[0]->columns * sizeof *input);
    r->seen = true;
    return r->wanted->weighting == NB_ALL_ALIKE ? NB_INTERRUPTED : NB_OK;
}

static enum nb_status
take_quantized(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert,
               const float *input, size_t tokens, struct nb_error *err)
{
    struct nb_refine_run *r = context;
    const bool is_mixture = matrices[0]->experts > 1;
    const struct nb_moments_input in = { .n = tokens,
                                         .x = input,
                                         .o = r->input,
                                         .e = r->error,
                                         .weights = r->wanted->weighting == NB_ALL_ALIKE ? NULL : r->weights,
                                         .room = r->room };
    enum nb_status status = NB_OK;

    (void)count;
    if (!is_wanted(r, matrices))
        return NB_OK;
    r->seen = true;
    if (is_mixture)
        status = nb_moments_add(r->is_held ? &r->held_pool : &r->fit_pool, r->pool, &in, err);
    if (status == NB_OK && expert >= r->first_expert && expert - r->first_expert < r->experts)
        status = nb_moments_add(&(r->is_held ? r->held : r->fit)[expert - r->first_expert], r->pool, &in, err);
    return status != NB_OK || is_mixture ? status : NB_INTERRUPTED;
}

/* Adds the shares of attention of some queries. */
static void
add_shares(void *context, size_t chunk, size_t head, const float *shares, size_t rows, size_t row, size_t first,
           size_t n)
{
    struct nb_refine_run *r = context;
    float *sum = r->shares + (head * r->batch + chunk) * r->options->chunk_tokens + first;

    for (size_t i = 0; i < rows && head < r->heads; i++)
        for (size_t k = 0; k < n; k++)
            sum[k] += shares[i * row + k];
}

/* Makes the mean of the weights of N tokens 1. */
static void
normalize(float *weights, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)weights[i];
    for (size_t i = 0; i < n; i++)
        weights[i] = sum > 0 ? (float)((double)weights[i] * (double)n / sum) : 1;
}

static void
weigh_by_shares(struct nb_refine_run *r, size_t n)
{
    const size_t apart = (size_t)r->batch * r->options->chunk_tokens;

    memset(r->weights, 0, n * sizeof *r->weights);
    for (size_t head = 0; head < r->heads; head++)
        for (size_t i = 0; i < n; i++)
            r->weights[i] += r->shares[head * apart + i];
    normalize(r->weights, n);
}

/* STREAM: the original one after the step. */
static void
weigh_by_stream(struct nb_refine_run *r, size_t n)
{
    const size_t columns = nb_refine_embedding(r);

    for (size_t i = 0; i < n; i++) {
        double square = 0;

        for (size_t k = 0; k < columns; k++)
            square += (double)r->stream[i * columns + k] * (double)r->stream[i * columns + k];
        r->weights[i] = square > 0 ? (float)((double)columns / square) : 0;
    }
    normalize(r->weights, n);
}

/* Runs the current step on a copy of a stream's part for BATCH, as far as the observer wants. */
static enum nb_status
run_copy(struct nb_refine_run *r, bool is_original, uint32_t batch, struct nb_error *err)
{
    const struct nb_stream copy = nb_refine_copy(r, is_original, batch);
    enum nb_status status;

    r->seen = false;
    status = nb_forward_step(is_original ? r->of_original : r->of_quantized, is_original ? r->original : &r->quantized,
                             r->tokens + nb_refine_start_of(r, batch), r->options->bos, nb_refine_chunks_in(r, batch),
                             r->step, &copy, err);
    return status == NB_INTERRUPTED && r->seen && !r->break_off ? NB_OK : status;
}

static enum nb_status
gather_batch(struct nb_refine_run *r, uint32_t batch, struct nb_error *err)
{
    const size_t n = nb_refine_tokens_in(r, batch);
    const float *original = nb_refine_stream(r, true, batch).x, *quantized = nb_refine_stream(r, false, batch).x;
    enum nb_status status;

    r->is_held = nb_refine_is_held_out(r, batch);
    memset(r->shares, 0, r->heads * r->batch * r->options->chunk_tokens * sizeof *r->shares);
    for (size_t i = 0; r->wanted->repairs && i < n * nb_refine_embedding(r); i++)
        r->error[i] = original[i] - quantized[i];
    status = r->wanted->matrix[0]->experts > 1 ? NB_OK : run_copy(r, true, batch, err);
    if (r->wanted->weighting == NB_BY_SHARES)
        weigh_by_shares(r, n);
    else if (r->wanted->weighting == NB_BY_STREAM)
        weigh_by_stream(r, n);
    if (r->wanted->is_last)
        nb_refine_take_copy(r, true, batch);
    return status == NB_OK ? run_copy(r, false, batch, err) : status;
}

void
nb_refine_free_moments(struct nb_refine_run *r)
{
    for (uint32_t i = 0; i < r->experts; i++) {
        if (r->fit != NULL)
            nb_moments_free(&r->fit[i]);
        if (r->held != NULL)
            nb_moments_free(&r->held[i]);
    }
    nb_moments_free(&r->fit_pool);
    nb_moments_free(&r->held_pool);
    free(r->fit);
    free(r->held);
    free(r->input);
    free(r->room);
    r->fit = r->held = NULL;
    r->input = r->room = NULL;
}

/* For experts from FIRST on: as many as memory is meant for. */
enum nb_status
nb_refine_new_moments(struct nb_refine_run *r, uint32_t first, bool with_original, struct nb_error *err)
{
    const struct nb_linear *m = r->wanted->matrix[0];
    const uint64_t bytes = 2 * (uint64_t)m->columns * m->columns * sizeof(float);
    const uint64_t fits = EXPERT_BYTES / bytes > 0 ? EXPERT_BYTES / bytes : 1, left = m->experts - first;
    const size_t rows = r->wanted->repairs ? m->rows : 0, floats = nb_refine_tokens_in(r, 0) * m->columns;
    bool good;

    r->first_expert = first;
    r->experts = (uint32_t)(left < fits ? left : fits);
    r->fit = calloc((size_t)r->experts + 1, sizeof *r->fit);
    r->held = calloc((size_t)r->experts + 1, sizeof *r->held);
    r->input = nb_aligned(floats * sizeof(float));
    r->room = nb_aligned(floats * sizeof(float));
    good = r->fit != NULL && r->held != NULL && r->input != NULL && r->room != NULL;
    for (uint32_t i = 0; i < r->experts && good; i++)
        good = nb_moments_new(&r->fit[i], m->columns, with_original, rows) &&
               nb_moments_new(&r->held[i], m->columns, with_original, rows);
    if (good && m->experts > 1)
        good = nb_moments_new(&r->fit_pool, m->columns, false, 0) &&
               nb_moments_new(&r->held_pool, m->columns, false, 0);
    return good ? NB_OK : nb_fail_memory(err);
}

/* Adds to the moments of an expert some of those of all experts: few tokens say little. */
static void
draw_to_pool(struct nb_moments *m, const struct nb_moments *pool)
{
    const float factor = PSEUDO_TOKENS * (float)m->columns / (float)(pool->tokens > 0 ? pool->tokens : 1);

    for (size_t i = 0; i < m->columns * m->columns; i++)
        m->h[i] += factor * pool->h[i];
}

enum nb_status
nb_refine_gather(struct nb_refine_run *r, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    nb_forward_observe(r->of_original, take_original, r);
    nb_forward_observe(r->of_quantized, take_quantized, r);
    if (r->wanted->weighting == NB_BY_SHARES)
        nb_forward_observe_shares(r->of_original, add_shares, r);
    for (uint32_t b = 0; b < nb_refine_batches(r) && status == NB_OK; b++)
        status = gather_batch(r, b, err);
    nb_forward_observe(r->of_original, NULL, NULL);
    nb_forward_observe(r->of_quantized, NULL, NULL);
    nb_forward_observe_shares(r->of_original, NULL, NULL);
    for (uint32_t i = 0; i < r->experts; i++) {
        if (r->fit_pool.h != NULL) {
            draw_to_pool(&r->fit[i], &r->fit_pool);
            draw_to_pool(&r->held[i], &r->held_pool);
        }
        nb_moments_finish(&r->fit[i]);
        nb_moments_finish(&r->held[i]);
    }
    return status;
}
