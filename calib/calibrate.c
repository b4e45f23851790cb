#include "calib/calibrate.h"

#include "calib/state.h"
#include "formats/base/clock.h"
#include "formats/base/file_in.h"
#include "formats/base/pool.h"
#include "verify/run/forward.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define COLUMNS_IN_TASK 64u
#define SAVE_SECONDS 10  /* a state is written so often */
#define STOP_SECONDS 0.5 /* a batch that lasts longer after a stop is broken off, and what it did is lost */

struct run {
    const struct nb_model *model;
    const struct nb_calibrate_options *options;
    struct nb_sums *sums;
    struct nb_pool *pool;
    struct nb_pool_watch watch;
    struct nb_forward *forward;
    uint32_t done, chunks, batch; /* chunks */
    uint32_t saved, running;      /* chunks in the state, and in the batch that is being run */
    double saved_at, stop_seen;   /* seconds; 0: not yet */
    volatile sig_atomic_t break_off;

    /* The input that is being observed. */
    const float *input;
    size_t tokens, columns;
    double *squares;
};

uint32_t
nb_calibrate_chunks(size_t count, const struct nb_calibrate_options *o)
{
    const size_t all = count / o->chunk_tokens, chunks = all > o->from_chunk ? all - o->from_chunk : 0;

    if (o->max_chunks > 0 && chunks > o->max_chunks)
        return o->max_chunks;
    return chunks > UINT32_MAX ? UINT32_MAX : (uint32_t)chunks;
}

/* --- observing -------------------------------------------------------------------------------------------- */

/* Adds some columns of the input. Tokens are added in order per column, so threads do not change the result. */
static enum nb_status
add_columns(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct run *r = context;
    const size_t first = task * COLUMNS_IN_TASK, left = r->columns - first;

    (void)worker;
    (void)err;
    nb_vector_math()->add_squares(r->squares + first, r->input + first, r->tokens, r->columns,
                                  left < COLUMNS_IN_TASK ? left : COLUMNS_IN_TASK);
    return NB_OK;
}

static bool
all_finite(const double *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += values[i]; /* none is negative, so there is no cancellation */
    return isfinite(sum);
}

static struct nb_sums_entry *
entry_of(const struct run *r, const struct nb_linear *matrix)
{
    return nb_sums_entry(r->sums, matrix->name, matrix->columns, matrix->experts);
}

/* For matrices that share an input, the sums are computed once, for the first, and copied to the others. */
static enum nb_status
observe(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert, const float *input,
        size_t tokens, struct nb_error *err)
{
    struct run *r = context;
    const size_t columns = (size_t)matrices[0]->columns;
    struct nb_sums_entry *first = entry_of(r, matrices[0]);
    enum nb_status status;

    if (first == NULL)
        return nb_fail_memory(err);
    r->input = input;
    r->tokens = tokens;
    r->columns = columns;
    r->squares = first->squares + expert * columns;
    status = nb_pool_run(r->pool, add_columns, r, (columns + COLUMNS_IN_TASK - 1) / COLUMNS_IN_TASK, err);
    if (status != NB_OK)
        return status;
    if (!all_finite(r->squares, columns))
        return nb_fail(err, NB_INPUT, "%s: the input of '%s' is NaN or infinite", r->model->source->path,
                       matrices[0]->name);
    first->tokens[expert] += tokens;
    for (size_t i = 1; i < count; i++) {
        struct nb_sums_entry *e = entry_of(r, matrices[i]);

        if (e == NULL)
            return nb_fail_memory(err);
        memcpy(e->squares + expert * columns, r->squares, columns * sizeof *e->squares);
        e->tokens[expert] = first->tokens[expert]; /* make_entries has made all entries, so none has moved */
    }
    return NB_OK;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* A hash of everything that must be equal for a run to be resumed. */
static uint64_t
fingerprint(const struct run *r, const int32_t *tokens, size_t count)
{
    const struct nb_calibrate_options *o = r->options;
    const uint64_t numbers[] = { o->chunk_tokens,
                                 o->from_chunk,
                                 o->max_chunks,
                                 (uint64_t)o->bos,
                                 o->process_output,
                                 r->model->source->file_bytes,
                                 nb_model_layers(r->model),
                                 nb_model_embedding(r->model) };
    uint64_t hash = XXH3_64bits_withSeed(numbers, sizeof numbers, XXH3_64bits(tokens, count * sizeof *tokens));

    for (size_t i = 0; i < r->model->source->n_tensors; i++) {
        const struct nb_view *t = &r->model->source->tensors[i];

        hash = XXH3_64bits_withSeed(t->name, strlen(t->name), hash ^ (uint64_t)t->type << 32 ^ t->elements);
    }
    return hash;
}

/* Makes the entries in the order of the model, so that a state can be read into them. */
static enum nb_status
make_entries(struct run *r, struct nb_error *err)
{
    for (const struct nb_linear *l = r->model->matrices; l != NULL; l = l->next)
        if ((l != r->model->output || r->options->process_output) && entry_of(r, l) == NULL)
            return nb_fail_memory(err);
    return NB_OK;
}

static enum nb_status
run_batch(struct run *r, const int32_t *tokens, uint32_t chunks, struct nb_error *err)
{
    const size_t n = r->options->chunk_tokens;
    const float *hidden;
    enum nb_status status;

    status = nb_forward_run(r->forward, r->model, tokens, r->options->bos, chunks, &hidden, err);
    if (status == NB_OK && r->options->process_output)
        status = observe(r, &r->model->output, 1, 0, hidden, chunks * n, err);
    return status;
}

static bool
is_stopped(const struct run *r)
{
    return r->options->stop != NULL && *r->options->stop;
}

/* Progress; and a batch that does not end soon after a stop was asked for is broken off. */
static void
look(void *context)
{
    struct run *r = context;

    if (r->options->progress != NULL)
        r->options->progress(r->options->context, r->done, r->chunks,
                             (r->done + r->running * nb_forward_share(r->forward)) / r->chunks);
    if (!is_stopped(r))
        return;
    if (r->stop_seen <= 0)
        r->stop_seen = nb_seconds();
    if (r->options->state == NULL || nb_seconds() - r->stop_seen >= STOP_SECONDS)
        r->break_off = 1;
}

static enum nb_status
interrupted(const struct run *r, struct nb_error *err)
{
    if (r->options->state == NULL || r->saved == 0)
        return nb_fail(err, NB_INTERRUPTED, "interrupted");
    return nb_fail(err, NB_INTERRUPTED,
                   "interrupted; the same command will go on after %" PRIu32 " of %" PRIu32 " chunks", r->saved,
                   r->chunks);
}

/* Writes the state if it is time for it, or if the run ends here. */
static enum nb_status
save(struct run *r, uint64_t print, struct nb_error *err)
{
    const struct nb_calibrate_options *o = r->options;
    const uint32_t unsaved = r->done - r->saved;
    enum nb_status status;

    if (o->state == NULL || unsaved == 0 ||
        !(is_stopped(r) || (o->save_every > 0 && unsaved >= o->save_every) ||
          nb_seconds() - r->saved_at >= SAVE_SECONDS))
        return NB_OK;
    status = nb_state_write(r->sums, o->state, print, r->done, err);
    r->saved = r->done;
    r->saved_at = nb_seconds();
    return status;
}

/* From chunk r->done on to the end, or to a stop. */
static enum nb_status
run_chunks(struct run *r, const int32_t *tokens, uint64_t print, struct nb_error *err)
{
    const struct nb_calibrate_options *o = r->options;
    enum nb_status status = NB_OK;

    r->saved = r->done;
    r->saved_at = nb_seconds();
    look(r);
    while (r->done < r->chunks && status == NB_OK) {
        const uint32_t left = r->chunks - r->done, n = left < r->batch ? left : r->batch;

        status = save(r, print, err);
        if (status == NB_OK && is_stopped(r))
            return interrupted(r, err);
        r->running = n;
        if (status == NB_OK)
            status = run_batch(r, tokens + (size_t)(o->from_chunk + r->done) * o->chunk_tokens, n, err);
        if (status == NB_INTERRUPTED)
            return interrupted(r, err);
        if (status == NB_OK)
            r->done += n;
        r->running = 0;
        look(r);
    }
    return status;
}

enum nb_status
nb_calibrate(const struct nb_model *model, const int32_t *tokens, size_t count, const struct nb_calibrate_options *o,
             struct nb_sums *sums, struct nb_error *err)
{
    struct run r = { .model = model, .options = o, .sums = sums };
    const uint32_t chunks = nb_calibrate_chunks(count, o);
    const uint32_t whole = NB_BATCH_TOKENS / o->chunk_tokens;
    const uint64_t print = fingerprint(&r, tokens, count);
    enum nb_status status;

    if (chunks == 0)
        return nb_fail(err, NB_INPUT,
                       "the text has %zu tokens, too few for a chunk of %" PRIu32 " after %" PRIu32 " skipped chunks",
                       count, o->chunk_tokens, o->from_chunk);
    r.chunks = chunks;
    r.batch = whole < 1 ? 1 : whole;
    status = make_entries(&r, err);
    if (status == NB_OK)
        status = nb_pool_new(&r.pool, o->threads, err);
    if (status == NB_OK) {
        r.watch = (struct nb_pool_watch){ look, &r, &r.break_off };
        nb_pool_watch(r.pool, &r.watch);
    }
    if (status == NB_OK)
        status = nb_forward_new(&r.forward, r.pool, r.batch, o->chunk_tokens, err);
    if (status == NB_OK && o->state != NULL && nb_is_file(o->state))
        status = nb_state_read(sums, o->state, print, &r.done, err);
    if (status == NB_OK) {
        nb_forward_observe(r.forward, observe, &r);
        status = run_chunks(&r, tokens, print, err);
    }
    if (status == NB_OK) {
        sums->chunks += chunks;
        sums->chunk_size = o->chunk_tokens;
        if (o->state != NULL)
            unlink(o->state);
    }
    nb_forward_free(r.forward);
    nb_pool_free(r.pool);
    return status;
}
