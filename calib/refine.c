#include "calib/refine.h"

#include "calib/refine_run.h"
#include "calib/texts.h"
#include "formats/base/checked.h"
#include "formats/base/file_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define EMBEDDING_SHARE 1.0f /* of the diagonal that a tied output gets for being the embedding, too */

/* --- steps ------------------------------------------------------------------------------------------------------ */

static enum nb_status
refine_group(struct nb_refine_run *r, const struct nb_refine_group *g, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    r->wanted = g;
    for (uint32_t first = 0; first < g->matrix[0]->experts && status == NB_OK; first += r->experts) {
        status = nb_refine_new_moments(r, first, g->matrix[0]->experts == 1, err);
        if (status == NB_OK)
            status = nb_refine_gather(r, err);
        if (status == NB_OK)
            status = nb_refine_experts(r, err);
        nb_refine_free_moments(r);
    }
    return status;
}

/* Does the current step in one of the models, or makes its stream. */
static enum nb_status
each_batch(struct nb_refine_run *r, bool is_original, bool embeds, struct nb_error *err)
{
    struct nb_forward *f = is_original ? r->of_original : r->of_quantized;
    const struct nb_model *m = is_original ? r->original : &r->quantized;
    enum nb_status status = NB_OK;

    for (uint32_t b = 0; b < nb_refine_batches(r) && status == NB_OK; b++) {
        const int32_t *tokens = r->tokens + nb_refine_start_of(r, b);
        const struct nb_stream stream = nb_refine_stream(r, is_original, b);
        const uint32_t chunks = nb_refine_chunks_in(r, b);

        status = embeds ? nb_forward_embed(f, m, tokens, r->options->bos, chunks, stream.x, err)
                        : nb_forward_step(f, m, tokens, r->options->bos, chunks, r->step, &stream, err);
    }
    return status;
}

/* --- the output ------------------------------------------------------------------------------------------------- */

/* The moments of BATCH's last states: of the original model alone if the output is tied, else of both streams. */
static enum nb_status
gather_states(struct nb_refine_run *r, bool is_tied, uint32_t batch, struct nb_error *err)
{
    const size_t start = nb_refine_start_of(r, batch);
    const uint32_t n = nb_refine_chunks_in(r, batch);
    const float *states = r->stream;
    enum nb_status status;

    if (is_tied) {
        status = nb_forward_run(r->of_original, r->original, r->tokens + start, r->options->bos, n, &states, err);
    } else {
        status = nb_forward_end(r->of_original, r->original, n, nb_refine_stream(r, true, batch).x, r->input, err);
        if (status == NB_OK)
            status = nb_forward_end(r->of_quantized, &r->quantized, n, nb_refine_stream(r, false, batch).x, r->stream,
                                    err);
    }
    if (status == NB_OK) {
        const struct nb_moments_input in = { .n = nb_refine_tokens_in(r, batch), .x = states, .o = r->input };

        status = nb_moments_add(nb_refine_is_held_out(r, batch) ? r->held : r->fit, r->pool, &in, err);
    }
    return status;
}

/* A tied output is the embedding, too, for which all columns count alike. */
static void
add_embedding(struct nb_moments *m)
{
    double sum = 0;

    for (size_t i = 0; i < m->columns; i++)
        sum += (double)m->h[i * m->columns + i];
    for (size_t i = 0; i < m->columns; i++)
        m->h[i * m->columns + i] += EMBEDDING_SHARE * (float)(sum / (double)m->columns);
}

/*
 * The output matrix, a step of its own after the last block. One that is the embedding as well is refined before the layers,
 * which then see its error, by the states of the original model; no state is kept of that.
 */
static enum nb_status
refine_output(struct nb_refine_run *r, struct nb_error *err)
{
    const struct nb_model *m = &r->quantized;
    const bool is_tied = m->output->weight == m->token_embedding->weight;
    enum nb_status status = NB_OK;

    r->groups[0] = (struct nb_refine_group){ .matrix = { m->output }, .count = 1, .key = m->output->name };
    (void)nb_refine_encoding(m->output, &r->groups[0].encoding[0]); /* refine_steps has asked */
    r->n_groups = 1;
    r->wanted = &r->groups[0];
    if (!is_tied)
        status = r->step == r->resumed ? nb_refine_state_restore(r, err) : nb_refine_state_write(r, err);
    if (status != NB_OK)
        return status;
    status = nb_refine_new_moments(r, 0, !is_tied, err);
    for (uint32_t b = 0; b < nb_refine_batches(r) && status == NB_OK; b++)
        status = gather_states(r, is_tied, b, err);
    if (status == NB_OK) {
        nb_moments_finish(r->fit);
        nb_moments_finish(r->held);
        if (is_tied) {
            add_embedding(r->fit);
            add_embedding(r->held);
        }
        status = nb_refine_experts(r, err);
    }
    nb_refine_free_moments(r);
    return status;
}

/* Refines the matrices of the current step. Those of steps that a stopped run has done are refined already. */
static enum nb_status
refine_step(struct nb_refine_run *r, struct nb_error *err)
{
    enum nb_status status;

    r->n_groups = 0;
    if (r->resumed != SIZE_MAX && r->step < r->resumed)
        return NB_OK;
    status = nb_refine_find_groups(r, err);
    if (status == NB_OK)
        status = r->step == r->resumed ? nb_refine_state_restore(r, err) : nb_refine_state_write(r, err);
    for (size_t i = 0; i < r->n_groups && status == NB_OK; i++)
        status = refine_group(r, &r->groups[i], err);
    return status;
}

static enum nb_status
refine_steps(struct nb_refine_run *r, struct nb_error *err)
{
    struct nb_encoding encoding;
    const bool refines_output = nb_refine_can(r, r->quantized.output, &encoding);
    const bool is_tied = r->quantized.output->weight == r->quantized.token_embedding->weight;
    enum nb_status status = NB_OK;

    if (refines_output && is_tied && r->resumed == SIZE_MAX)
        status = refine_output(r, err);
    if (status == NB_OK)
        status = each_batch(r, true, true, err);
    if (status == NB_OK)
        status = each_batch(r, false, true, err);
    for (r->step = 0; r->step < r->quantized.n_blocks && status == NB_OK;) {
        status = refine_step(r, err);
        if (status == NB_OK && (r->n_groups == 0 || !r->groups[r->n_groups - 1].is_last))
            status = each_batch(r, true, false, err);
        if (status == NB_OK)
            status = each_batch(r, false, false, err);
        r->step = nb_forward_step_end(&r->quantized, r->step);
    }
    if (status == NB_OK && refines_output && !is_tied)
        status = refine_output(r, err);
    if (status == NB_OK && r->options->state != NULL)
        unlink(r->options->state);
    return status;
}

/* --- the run ---------------------------------------------------------------------------------------------------- */

uint32_t
nb_refine_chunks(size_t count, const struct nb_refine_options *o)
{
    const size_t all = count / o->chunk_tokens;

    return (uint32_t)(o->max_chunks > 0 && all > o->max_chunks ? o->max_chunks : all);
}

uint32_t
nb_refine_batch(size_t count, const struct nb_refine_options *o)
{
    const uint32_t whole = NB_BATCH_TOKENS / o->chunk_tokens, most = nb_refine_chunks(count, o) / (2 * NB_HELD_OUT);
    const uint32_t batch = whole < most ? whole : most;

    return batch > 0 ? batch : 1;
}

/* Where the run is, in words. */
static void
name_step(const struct nb_refine_run *r, char *what, size_t size)
{
    if (r->step < r->quantized.n_blocks)
        snprintf(what, size, "block %zu of %zu", r->step + 1, r->quantized.n_blocks);
    else
        snprintf(what, size, "the output matrix");
}

static void
look(void *context)
{
    struct nb_refine_run *r = context;
    char what[64];

    if (r->options->progress != NULL && r->quantized.n_blocks > 0) {
        name_step(r, what, sizeof what);
        r->options->progress(r->options->context, what, (double)r->step / (double)r->quantized.n_blocks);
    }
    if (r->options->stop != NULL && *r->options->stop)
        r->break_off = 1;
}

static enum nb_status
allocate(struct nb_refine_run *r, const int32_t *tokens, size_t count, struct nb_error *err)
{
    const uint64_t all = (uint64_t)r->chunks * r->options->chunk_tokens;
    const uint64_t batch = (uint64_t)r->batch * r->options->chunk_tokens, columns = nb_refine_embedding(r);
    enum nb_status status = nb_refine_new_streams(r, err);

    for (uint32_t i = 0; i < nb_model_layers(r->original); i++) {
        const size_t heads = (size_t)nb_hp_at(&r->original->hp, NB_HP_HEADS, i);

        r->heads = heads > r->heads ? heads : r->heads;
    }
    if (status != NB_OK)
        return status;
    r->error = nb_aligned(batch * columns * sizeof(float));
    r->weights = nb_aligned(batch * sizeof(float));
    r->shares = nb_aligned((r->heads + 1) * batch * sizeof(float));
    r->readers = calloc(nb_pool_threads(r->pool), sizeof *r->readers);
    r->tokens = nb_malloc(all * sizeof *tokens);
    if (r->tokens != NULL)
        nb_spread_chunks(tokens, count, r->options->chunk_tokens, r->chunks, r->tokens);
    return r->tokens != NULL && r->error != NULL && r->weights != NULL && r->shares != NULL && r->readers != NULL
               ? NB_OK
               : nb_fail_memory(err);
}

static enum nb_status
open_files(struct nb_refine_run *r, struct nb_error *err)
{
    const struct nb_store *store = &r->source.store;

    r->files = calloc((size_t)store->n_files + 1, sizeof *r->files);
    if (r->files == NULL)
        return nb_fail_memory(err);
    for (uint32_t i = 0; i < store->n_files; i++)
        r->files[i].fd = -1;
    for (uint32_t i = 0; i < store->n_files; i++) {
        char *name = (char *)store->files[i].name;

        r->files[i] = (struct nb_file_out){ nb_open(name, O_WRONLY | O_CLOEXEC, 0), name, name };
        if (r->files[i].fd < 0)
            return nb_fail(err, NB_SYSTEM, "%s: %s", name, strerror(errno));
    }
    return NB_OK;
}

static enum nb_status
start(struct nb_refine_run *r, struct nb_error *err)
{
    enum nb_status status = nb_pool_new(&r->pool, r->options->threads, err);

    if (status != NB_OK)
        return status;
    r->watch = (struct nb_pool_watch){ look, r, &r->break_off };
    nb_pool_watch(r->pool, &r->watch);
    status = nb_forward_new(&r->of_original, r->pool, r->batch, r->options->chunk_tokens, err);
    if (status == NB_OK)
        status = nb_forward_new(&r->of_quantized, r->pool, r->batch, r->options->chunk_tokens, err);
    return status == NB_OK ? open_files(r, err) : status;
}

static void
finish(struct nb_refine_run *r)
{
    for (unsigned i = 0; r->readers != NULL && i < nb_pool_threads(r->pool); i++)
        nb_view_reader_free(&r->readers[i]);
    free(r->readers);
    free(r->tokens);
    nb_refine_free_streams(r);
    free(r->error);
    free(r->weights);
    free(r->shares);
    nb_forward_free(r->of_original);
    nb_forward_free(r->of_quantized);
    nb_pool_free(r->pool);
    for (uint32_t i = 0; r->files != NULL && i < r->source.store.n_files; i++)
        if (r->files[i].fd >= 0)
            close(r->files[i].fd);
    free(r->files);
}

/* A hash of everything that must be equal for a run to be taken up again. */
static uint64_t
fingerprint(const struct nb_refine_run *r)
{
    const struct nb_refine_options *o = r->options;
    const uint64_t numbers[] = { o->chunk_tokens, r->chunks, (uint64_t)o->bos, r->original->source->file_bytes,
                                 r->source.file_bytes };
    const uint64_t of_tokens = XXH3_64bits(r->tokens, (size_t)r->chunks * o->chunk_tokens * sizeof *r->tokens);
    uint64_t hash = XXH3_64bits_withSeed(numbers, sizeof numbers, of_tokens);

    for (size_t i = 0; i < r->source.n_tensors; i++) {
        const struct nb_view *t = &r->source.tensors[i];

        hash = XXH3_64bits_withSeed(t->name, strlen(t->name), hash ^ (uint64_t)t->type << 32 ^ t->elements);
    }
    return hash;
}

/* Whether the file is the original quantized: it has its blocks, and its matrices. */
static enum nb_status
check_file(const struct nb_refine_run *r, struct nb_error *err)
{
    const struct nb_linear *a = r->original->matrices, *b = r->quantized.matrices;

    while (a != NULL && b != NULL && strcmp(a->name, b->name) == 0 && a->rows == b->rows && a->columns == b->columns &&
           a->experts == b->experts) {
        a = a->next;
        b = b->next;
    }
    if (a == NULL && b == NULL && r->original->n_blocks == r->quantized.n_blocks)
        return NB_OK;
    return nb_fail(err, NB_INPUT, "%s: is not %s quantized", r->source.path, r->original->source->path);
}

static enum nb_status
interrupted(const struct nb_refine_run *r, struct nb_error *err)
{
    char what[64];

    name_step(r, what, sizeof what);
    if (r->options->state == NULL || !nb_is_file(r->options->state))
        return nb_fail(err, NB_INTERRUPTED, "interrupted");
    return nb_fail(err, NB_INTERRUPTED, "interrupted; the same command will go on at %s", what);
}

enum nb_status
nb_refine_file(const struct nb_model *original, const char *path, const int32_t *tokens, size_t count,
               const struct nb_refine_options *o, struct nb_refine_summary *summary, struct nb_error *err)
{
    struct nb_refine_run r = { .original = original, .options = o, .summary = summary };
    enum nb_status status;

    *summary = (struct nb_refine_summary){ 0 };
    r.chunks = nb_refine_chunks(count, o);
    summary->tokens = (size_t)r.chunks * o->chunk_tokens;
    if (r.chunks < 2)
        return nb_fail(err, NB_INPUT,
                       "the text has %zu tokens, fewer than the two chunks of %" PRIu32 " that are needed", count,
                       o->chunk_tokens);
    r.batch = nb_refine_batch(count, o);
    status = nb_source_open(&r.source, path, NULL, err);
    if (status != NB_OK)
        return status;
    status = nb_model_open(&r.quantized, &r.source, err);
    if (status == NB_OK) {
        status = check_file(&r, err);
        if (status == NB_OK)
            status = start(&r, err);
        if (status == NB_OK)
            status = allocate(&r, tokens, count, err);
        if (status == NB_OK) {
            r.fingerprint = fingerprint(&r);
            status = nb_refine_state_read(&r, err);
        }
        if (status == NB_OK && r.resumed == SIZE_MAX)
            status = nb_refine_judge(&r, &summary->kld_before, err);
        if (status == NB_OK)
            status = refine_steps(&r, err);
        if (status == NB_OK)
            status = nb_refine_judge(&r, &summary->kld, err);
        if (status == NB_INTERRUPTED)
            status = interrupted(&r, err);
        finish(&r);
        nb_model_close(&r.quantized);
    }
    nb_source_close(&r.source);
    return status;
}
