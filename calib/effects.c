#include "calib/effects.h"

#include "calib/texts.h"
#include "formats/base/checked.h"
#include "formats/base/pool.h"
#include "verify/drift/divergence.h"
#include "verify/run/forward.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCORED 256u /* positions whose predictions are compared, spread over the second halves of the chunks */

struct run {
    struct nb_model *model;
    const struct nb_effects_options *options;
    const struct nb_view **others; /* the tensors of the quantized file, by name */
    size_t n_others;
    struct nb_pool *pool;
    struct nb_pool_watch watch;
    volatile sig_atomic_t break_off;
    struct nb_forward *forward;
    int32_t *tokens;
    uint32_t chunks;
    size_t scored;
    struct nb_stream stream, copy; /* of all tokens: before the current step, and what is changed */
    size_t lent_bytes;             /* of either */
    float *picked, *base, *logits; /* SCORED x embedding; SCORED x vocabulary */
    const struct nb_view **views;  /* of the matrices of the current step */
    size_t n_views;
    struct nb_effect *effects;
    size_t n_effects, done, all;
};

static size_t
embedding(const struct run *r)
{
    return nb_model_embedding(r->model);
}

static size_t
tokens(const struct run *r)
{
    return (size_t)r->chunks * r->options->chunk_tokens;
}

/* --- predictions ---------------------------------------------------------------------------------------------- */

/* Token number I of those that are scored: in the second half of a chunk, as evenly as can be. */
static size_t
scored_token(const struct run *r, size_t i)
{
    const size_t each = r->options->chunk_tokens, in_chunk = (r->scored + r->chunks - 1) / r->chunks;
    const size_t chunk = i / in_chunk, half = each - each / 2;

    return chunk * each + each / 2 + i % in_chunk * half / in_chunk;
}

/* LOGITS receives those of the scored tokens after the residual stream X. */
static enum nb_status
predict(struct run *r, const float *x, float *logits, struct nb_error *err)
{
    enum nb_status status = nb_forward_end(r->forward, r->model, r->chunks, x, r->copy.x, err);

    for (size_t i = 0; i < r->scored; i++)
        memcpy(r->picked + i * embedding(r), r->copy.x + scored_token(r, i) * embedding(r),
               embedding(r) * sizeof(float));
    return status == NB_OK ? nb_forward_logits(r->forward, r->model, r->picked, r->scored, logits, err) : status;
}

struct divergence {
    const struct run *run;
    double *kld; /* of each scored token */
};

static enum nb_status
divergence_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct divergence *d = context;
    const size_t vocab = nb_model_vocab(d->run->model);
    const float *base = d->run->base + task * vocab, *other = d->run->logits + task * vocab;
    const struct nb_log_sum of_base = nb_log_sum_of(base, vocab), of_other = nb_log_sum_of(other, vocab);
    const double kld = nb_divergence(base, &of_base, other, &of_other, vocab);

    (void)worker;
    (void)err;
    d->kld[task] = kld > 0 ? kld : 0;
    return NB_OK;
}

static enum nb_status
compare(struct run *r, double *mean, struct nb_error *err)
{
    double kld[SCORED];
    struct divergence d = { r, kld };
    enum nb_status status = nb_pool_run(r->pool, divergence_task, &d, r->scored, err);

    *mean = 0;
    for (size_t i = 0; i < r->scored && status == NB_OK; i++)
        *mean += kld[i] / (double)r->scored;
    return status;
}

/* --- matrices -------------------------------------------------------------------------------------------------- */

static void
note_view(struct run *r, const struct nb_view *view)
{
    for (size_t i = 0; i < r->n_views; i++)
        if (r->views[i] == view)
            return;
    r->views[r->n_views++] = view;
}

static enum nb_status
note(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert, const float *input,
     size_t n, struct nb_error *err)
{
    (void)expert;
    (void)input;
    (void)n;
    (void)err;
    for (size_t i = 0; i < count; i++)
        note_view(context, matrices[i]->weight);
    return NB_OK;
}

static void
copy_stream(const struct run *r, const struct nb_stream *from, const struct nb_stream *to)
{
    memcpy(to->x, from->x, tokens(r) * embedding(r) * sizeof *to->x);
    if (r->lent_bytes > 0)
        memcpy(to->lent, from->lent, r->lent_bytes);
}

/* Runs the steps from block FIRST on, on r->copy. */
static enum nb_status
run_from(struct run *r, size_t first, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = first; i < r->model->n_blocks && status == NB_OK; i = nb_forward_step_end(r->model, i))
        status = nb_forward_step(r->forward, r->model, r->tokens, r->options->bos, r->chunks, i, &r->copy, err);
    return status;
}

/* Measures VIEW, which is first used in the step at block FIRST, or as the embedding. */
static enum nb_status
measure(struct run *r, const struct nb_view *view, size_t first, bool is_embedding, struct nb_error *err)
{
    const struct nb_view *other = nb_views_find(r->others, r->n_others, view->name);
    struct nb_effect *effect = &r->effects[r->n_effects++];
    enum nb_status status = NB_OK;

    *effect = (struct nb_effect){ view->name, view, 0 };
    r->done++;
    if (other == NULL || other->elements != view->elements)
        return NB_OK;
    r->model->replaced = view;
    r->model->replacement = other;
    if (is_embedding)
        status = nb_forward_embed(r->forward, r->model, r->tokens, r->options->bos, r->chunks, r->copy.x, err);
    else
        copy_stream(r, &r->stream, &r->copy);
    if (status == NB_OK)
        status = run_from(r, first, err);
    if (status == NB_OK)
        status = predict(r, r->copy.x, r->logits, err);
    if (status == NB_OK)
        status = compare(r, &effect->kld, err);
    r->model->replaced = NULL;
    return status;
}

static enum nb_status
measure_step(struct run *r, size_t first, struct nb_error *err)
{
    enum nb_status status;

    r->n_views = 0;
    nb_forward_observe(r->forward, note, r);
    copy_stream(r, &r->stream, &r->copy);
    status = nb_forward_step(r->forward, r->model, r->tokens, r->options->bos, r->chunks, first, &r->copy, err);
    nb_forward_observe(r->forward, NULL, NULL);
    for (size_t i = 0; i < r->n_views && status == NB_OK; i++)
        status = measure(r, r->views[i], first, false, err);
    return status == NB_OK
               ? nb_forward_step(r->forward, r->model, r->tokens, r->options->bos, r->chunks, first, &r->stream, err)
               : status;
}

static enum nb_status
measure_all(struct run *r, struct nb_error *err)
{
    const struct nb_model *m = r->model;
    enum nb_status status = nb_forward_embed(r->forward, m, r->tokens, r->options->bos, r->chunks, r->copy.x, err);

    if (status == NB_OK)
        memcpy(r->stream.x, r->copy.x, tokens(r) * embedding(r) * sizeof(float));
    if (status == NB_OK)
        status = run_from(r, 0, err);
    if (status == NB_OK)
        status = predict(r, r->copy.x, r->base, err);
    if (status == NB_OK)
        status = measure(r, m->token_embedding->weight, 0, true, err);
    for (size_t i = 0; i < m->n_blocks && status == NB_OK; i = nb_forward_step_end(m, i))
        status = measure_step(r, i, err);
    if (status == NB_OK && m->output->weight != m->token_embedding->weight)
        status = measure(r, m->output->weight, m->n_blocks, false, err);
    return status;
}

/* --- the run --------------------------------------------------------------------------------------------------- */

size_t
nb_effects_count(const struct nb_model *m)
{
    size_t count = 1;

    for (const struct nb_linear *l = m->matrices; l != NULL; l = l->next)
        count++;
    return count;
}

static void
look(void *context)
{
    struct run *r = context;

    if (r->options->progress != NULL && r->n_effects > 0)
        r->options->progress(r->options->context, r->effects[r->n_effects - 1].name, (double)r->done / (double)r->all);
    if (r->options->stop != NULL && *r->options->stop)
        r->break_off = 1;
}

static enum nb_status
start(struct run *r, const int32_t *text, size_t count, const struct nb_source *other, struct nb_error *err)
{
    const uint64_t floats = (uint64_t)tokens(r) * embedding(r) * sizeof(float);
    const uint64_t logits = (uint64_t)r->scored * nb_model_vocab(r->model) * sizeof(float);
    const uint64_t lent = nb_forward_lent_bytes(r->model, r->chunks, r->options->chunk_tokens);
    enum nb_status status = nb_pool_new(&r->pool, r->options->threads, err);

    if (status == NB_OK) {
        r->watch = (struct nb_pool_watch){ look, r, &r->break_off };
        nb_pool_watch(r->pool, &r->watch);
        status = nb_forward_new(&r->forward, r->pool, r->chunks, r->options->chunk_tokens, err);
    }
    r->n_others = other->n_tensors;
    r->others = nb_views_by_name(other->tensors, other->n_tensors);
    r->tokens = nb_malloc((uint64_t)tokens(r) * sizeof *r->tokens);
    r->stream = (struct nb_stream){ nb_aligned(floats), nb_aligned(lent) };
    r->copy = (struct nb_stream){ nb_aligned(floats), nb_aligned(lent) };
    r->lent_bytes = (size_t)lent;
    r->picked = nb_aligned((uint64_t)r->scored * embedding(r) * sizeof(float));
    r->base = nb_aligned(logits);
    r->logits = nb_aligned(logits);
    r->views = calloc(r->all, sizeof *r->views);
    if (status == NB_OK && (r->others == NULL || r->tokens == NULL || r->stream.x == NULL || r->copy.x == NULL ||
                            (lent > 0 && (r->stream.lent == NULL || r->copy.lent == NULL)) || r->picked == NULL ||
                            r->base == NULL || r->logits == NULL || r->views == NULL))
        status = nb_fail_memory(err);
    if (status == NB_OK)
        nb_spread_chunks(text, count, r->options->chunk_tokens, r->chunks, r->tokens);
    return status;
}

enum nb_status
nb_effects_measure(struct nb_model *m, const struct nb_source *other, const int32_t *text, size_t count,
                   const struct nb_effects_options *o, struct nb_effect *effects, struct nb_error *err)
{
    const size_t all = count / o->chunk_tokens;
    struct run r = { .model = m, .options = o, .effects = effects, .all = nb_effects_count(m) };
    enum nb_status status;

    if (all == 0)
        return nb_fail(err, NB_INPUT, "the text has %zu tokens, fewer than a chunk of %" PRIu32, count,
                       o->chunk_tokens);
    r.chunks = all < o->chunks ? (uint32_t)all : o->chunks;
    r.scored = tokens(&r) / 2 < SCORED ? tokens(&r) / 2 : SCORED;
    status = start(&r, text, count, other, err);
    if (status == NB_OK)
        status = measure_all(&r, err);
    for (; r.n_effects < r.all && status == NB_OK; r.n_effects++) /* matrices that are used twice, or not at all */
        effects[r.n_effects] = (struct nb_effect){ 0 };
    m->replaced = NULL;
    free(r.others);
    free(r.tokens);
    free(r.stream.x);
    free(r.stream.lent);
    free(r.copy.x);
    free(r.copy.lent);
    free(r.picked);
    free(r.base);
    free(r.logits);
    free(r.views);
    nb_forward_free(r.forward);
    nb_pool_free(r.pool);
    return status;
}
