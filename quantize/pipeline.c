#include "quantize/pipeline.h"

#include "formats/base/file_out.h"
#include "quantize/search/encode.h"
#include "formats/elements/decode.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * Elements in a tile, a multiple of every block. Raw, float and finished form
 * together stay within a second-level cache: 65,536 BF16 weights are 128 KiB,
 * 256 KiB and less than that. With importance a tile is whole rows, as many as
 * there are in that, or one.
 */
#define TILE 65536u
/* Elements of a tile that are worked on at once: these stay within the first-level cache. */
#define CHUNK 8192u
#define MAX_ELEMENT_BYTES 8u
#define MAX_THREADS 256u
#define PROGRESS_NANOSECONDS 100000000L

struct job {
    const struct nb_source *source;
    const struct nb_plan *plan;
    const struct nb_pipeline_options *options;
    struct nb_file_out *outs; /* one for each file of the plan */
    uint64_t largest_tile, largest_chunk;
    atomic_uint_fast64_t next_tile, bytes_done;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t finished;
    unsigned running;
    enum nb_status status;
    struct nb_error error;
    uint64_t failed_tile; /* the first one in the file wins, so errors do not depend on threads */
    atomic_bool failing;
};

struct worker {
    struct job *job;
    unsigned char *raw, *done;
    float *floats;
};

struct tile {
    const struct nb_plan_tensor *tensor;
    uint64_t first, count; /* elements */
};

static enum nb_status
nonfinite_error(const struct tile *tile, uint64_t at, struct nb_error *err)
{
    const struct nb_tensor *t = tile->tensor->source;
    const uint64_t element = tile->first + at;

    return nb_fail(err, NB_INPUT,
                   "tensor '%s' (%s): element %" PRIu64 " (row %" PRIu64 ", column %" PRIu64
                   ") is NaN or infinite (--allow-nonfinite writes it all the same)",
                   t->source_name, t->name, element, element / t->ne[0], element % t->ne[0]);
}

static enum nb_status
overflow_error(const struct tile *tile, enum nb_type type, uint64_t at, struct nb_error *err)
{
    const struct nb_tensor *t = tile->tensor->source;
    const uint64_t element = tile->first + at;

    return nb_fail(err, NB_INPUT, "tensor '%s' (%s): near element %" PRIu64 " a value is too large for %s",
                   t->source_name, t->name, element, nb_type_info(type)->name);
}

/* A part of a tile: COUNT elements from AT on, counted from the tile's first. */
struct chunk {
    uint64_t at, count;
};

static uint64_t
bytes_of(enum nb_type type, uint64_t elements)
{
    const struct nb_type_info *info = nb_type_info(type);

    return elements / info->block * info->block_bytes;
}

/* Rounds the floats as a file of type VIA between two steps would, with room for that at DONE. */
static enum nb_status
round_via(struct worker *w, const struct tile *tile, const struct chunk *c, unsigned char *done, struct nb_error *err)
{
    const enum nb_type via = tile->tensor->via;
    const size_t n = (size_t)c->count;
    size_t bad;

    nb_encode(via, w->floats, 1, n, NULL, done);
    bad = nb_find_nonfinite(via, done, n);
    if (bad < n && !w->job->options->allow_nonfinite)
        return overflow_error(tile, via, c->at + bad, err);
    nb_decode(via, done, n, w->floats);
    return NB_OK;
}

static void
encode(const struct tile *tile, const struct chunk *c, const float *x, void *out)
{
    const struct nb_plan_tensor *t = tile->tensor;
    const uint64_t *ne = t->source->ne;

    if (t->importance == NULL)
        nb_encode(t->choice.type, x, 1, (size_t)c->count, NULL, out);
    else /* chunks are whole rows, and no tile crosses from one expert to the next */
        nb_encode(t->choice.type, x, (size_t)(c->count / ne[0]), (size_t)ne[0],
                  t->importance + tile->first / (ne[0] * ne[1]) * ne[0], out);
}

/* From the source's elements to finished ones, all checked while they are near. */
static enum nb_status
convert_chunk(struct worker *w, const struct tile *tile, const struct chunk *c, struct nb_error *err)
{
    const enum nb_type from = tile->tensor->source->type, to = tile->tensor->choice.type;
    const bool strict = !w->job->options->allow_nonfinite;
    const unsigned char *raw = w->raw + bytes_of(from, c->at);
    unsigned char *done = w->done + bytes_of(to, c->at);
    const size_t n = (size_t)c->count;
    enum nb_status status = NB_OK;
    size_t bad;

    if (strict && (bad = nb_find_nonfinite(from, raw, n)) < n)
        return nonfinite_error(tile, c->at + bad, err);
    if (from == to && tile->tensor->via == NB_TYPE_NONE)
        return NB_OK;
    nb_decode(from, raw, n, w->floats);
    if (tile->tensor->via != NB_TYPE_NONE)
        status = round_via(w, tile, c, done, err);
    if (status != NB_OK)
        return status;
    encode(tile, c, w->floats, done);
    if (strict && (bad = nb_find_nonfinite(to, done, n)) < n)
        return overflow_error(tile, to, c->at + bad, err);
    return NB_OK;
}

/*
 * Elements of a chunk: with importance, all rows of the tile, since the mean squares of
 * as many rows as there are lanes are summed side by side.
 */
static uint64_t
chunk_elements(const struct nb_plan_tensor *t)
{
    const uint64_t row = t->source->ne[0];

    return t->importance == NULL ? CHUNK : row < TILE ? TILE / row * row : row;
}

/* The finished bytes of a tile; *BYTES points to them. */
static enum nb_status
convert(struct worker *w, const struct tile *tile, const unsigned char **bytes, struct nb_error *err)
{
    const struct nb_plan_tensor *t = tile->tensor;
    const bool only_copied = t->source->type == t->choice.type && t->via == NB_TYPE_NONE;
    const uint64_t step = chunk_elements(t);
    enum nb_status status = NB_OK;

    for (struct chunk c = { .at = 0 }; c.at < tile->count && status == NB_OK; c.at += step) {
        c.count = tile->count - c.at < step ? tile->count - c.at : step;
        status = convert_chunk(w, tile, &c, err);
    }
    *bytes = only_copied ? w->raw : w->done;
    return status;
}

static enum nb_status
do_tile(struct worker *w, const struct tile *tile, struct nb_error *err)
{
    const struct nb_plan_tensor *t = tile->tensor;
    const unsigned char *bytes;
    enum nb_status status =
        nb_source_read(w->job->source, t->source, tile->first, tile->count, w->raw, err);

    if (status == NB_OK)
        status = convert(w, tile, &bytes, err);
    if (status != NB_OK)
        return status;
    return nb_out_write(&w->job->outs[t->file], t->offset + bytes_of(t->choice.type, tile->first), bytes,
                        bytes_of(t->choice.type, tile->count), err);
}

static void
note_failure(struct job *job, uint64_t tile, enum nb_status status, const struct nb_error *err)
{
    pthread_mutex_lock(&job->lock);
    if (job->status == NB_OK || tile < job->failed_tile) {
        job->status = status;
        job->error = *err;
        job->failed_tile = tile;
    }
    pthread_mutex_unlock(&job->lock);
    atomic_store(&job->failing, true);
}

/* How T is cut: into spans that no tile crosses, and those into tiles. */
struct cut {
    uint64_t span, tile, tiles_in_span, tiles;
};

static struct cut
cut_tensor(const struct nb_plan_tensor *t)
{
    const uint64_t *ne = t->source->ne;
    struct cut cut = { .span = t->source->elements, .tile = TILE };

    if (t->importance != NULL) {
        cut.span = ne[0] * ne[1];
        cut.tile = ne[0] < TILE ? TILE / ne[0] * ne[0] : ne[0];
    }
    cut.tiles_in_span = (cut.span + cut.tile - 1) / cut.tile;
    cut.tiles = cut.span == 0 ? 0 : t->source->elements / cut.span * cut.tiles_in_span;
    return cut;
}

static struct tile
tile_of(const struct nb_plan_tensor *t, const struct cut *cut, uint64_t number)
{
    const uint64_t within = number % cut->tiles_in_span * cut->tile;
    const uint64_t left = cut->span - within;

    return (struct tile){ t, number / cut->tiles_in_span * cut->span + within, left < cut->tile ? left : cut->tile };
}

/* Tiles come to a worker in rising order, so it finds them by walking on. */
static void
work(struct worker *w)
{
    struct job *job = w->job;
    const struct nb_plan_tensor *t = job->plan->tensors, *end = t + job->plan->n_tensors;
    uint64_t first_tile = 0; /* of t */
    struct cut cut = { 0 };

    if (t < end)
        cut = cut_tensor(t);
    while (!atomic_load_explicit(&job->failing, memory_order_relaxed)) {
        const uint64_t number = atomic_fetch_add(&job->next_tile, 1);
        struct nb_error err;
        struct tile tile;
        enum nb_status status;

        while (t < end && number - first_tile >= cut.tiles) {
            first_tile += cut.tiles;
            if (++t < end)
                cut = cut_tensor(t);
        }
        if (t == end)
            return;
        tile = tile_of(t, &cut, number - first_tile);
        if (job->options->stop != NULL && *job->options->stop != 0)
            status = nb_fail(&err, NB_SYSTEM, "interrupted");
        else
            status = do_tile(w, &tile, &err);
        if (status != NB_OK) {
            note_failure(job, number, status, &err);
            return;
        }
        atomic_fetch_add_explicit(&job->bytes_done, bytes_of(t->source->type, tile.count), memory_order_relaxed);
    }
}

static void *
worker_main(void *argument)
{
    struct worker w = { .job = argument };
    struct job *job = w.job;
    struct nb_error err;

    w.raw = malloc((size_t)job->largest_tile * MAX_ELEMENT_BYTES);
    w.floats = malloc((size_t)job->largest_chunk * sizeof *w.floats);
    w.done = malloc((size_t)job->largest_tile * sizeof(float));
    if (w.raw == NULL || w.floats == NULL || w.done == NULL)
        note_failure(job, 0, nb_fail_memory(&err), &err);
    else
        work(&w);
    free(w.raw);
    free(w.floats);
    free(w.done);
    pthread_mutex_lock(&job->lock);
    job->running--;
    pthread_cond_signal(&job->finished);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

static void
report(struct job *job)
{
    const struct nb_pipeline_options *o = job->options;

    if (o->progress != NULL)
        o->progress(o->context, atomic_load(&job->bytes_done), job->plan->source_bytes);
}

/* Waits for the workers, reporting progress and keeping the disk at work in between. */
static void
wait_for_workers(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    while (job->running > 0) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_NANOSECONDS;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&job->finished, &job->lock, &until);
        pthread_mutex_unlock(&job->lock);
        report(job);
        for (uint32_t i = 0; i < job->plan->n_files; i++)
            nb_out_flush(&job->outs[i]);
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
}

static unsigned
thread_count(unsigned asked)
{
    long cores;

    if (asked == 0) {
        cores = sysconf(_SC_NPROCESSORS_ONLN);
        asked = cores > 0 ? (unsigned)cores : 1;
    }
    return asked < MAX_THREADS ? asked : MAX_THREADS;
}

static void
run_workers(struct job *job)
{
    const unsigned wanted = thread_count(job->options->threads);
    pthread_t threads[MAX_THREADS];
    unsigned started = 0;
    struct nb_error err;

    job->running = wanted;
    while (started < wanted && pthread_create(&threads[started], NULL, worker_main, job) == 0)
        started++;
    if (started < wanted) {
        pthread_mutex_lock(&job->lock);
        job->running -= wanted - started; /* fewer will do */
        pthread_mutex_unlock(&job->lock);
        if (started == 0)
            note_failure(job, 0, nb_fail(&err, NB_SYSTEM, "no thread can be started"), &err);
    }
    wait_for_workers(job);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* How large the workers' buffers must be. */
static void
measure_buffers(struct job *job)
{
    job->largest_tile = TILE;
    job->largest_chunk = CHUNK;
    for (size_t i = 0; i < job->plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &job->plan->tensors[i];
        const uint64_t tile = cut_tensor(t).tile, chunk = chunk_elements(t);

        job->largest_tile = tile > job->largest_tile ? tile : job->largest_tile;
        job->largest_chunk = chunk > job->largest_chunk ? chunk : job->largest_chunk;
    }
}

static enum nb_status
create_files(struct job *job, const char *name, uint32_t *created, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (uint32_t i = 0; i < job->plan->n_files && status == NB_OK; i++) {
        const struct nb_plan_file *file = &job->plan->files[i];
        char *part = nb_plan_file_name(job->plan, name, i);

        status = part == NULL ? nb_fail_memory(err)
                              : nb_out_create(&job->outs[i], part, file->bytes, job->options->replace, err);
        free(part);
        if (status != NB_OK)
            return status;
        *created = i + 1;
        status = nb_out_write(&job->outs[i], 0, file->header, file->header_bytes, err);
    }
    return status;
}

/* Gives the files their names, if all went well; otherwise nothing stays. */
static enum nb_status
finish_files(struct job *job, uint32_t created, enum nb_status status, struct nb_error *err)
{
    for (uint32_t i = 0; i < created; i++) {
        if (status == NB_OK)
            status = nb_out_commit(&job->outs[i], job->options->replace, err);
        else
            nb_out_abort(&job->outs[i]);
    }
    return status;
}

enum nb_status
nb_pipeline_run(const struct nb_source *source, const struct nb_plan *plan, const char *name,
                const struct nb_pipeline_options *options, struct nb_error *err)
{
    struct job job = { .source = source, .plan = plan, .options = options };
    uint32_t created = 0;
    enum nb_status status;

    measure_buffers(&job);
    job.outs = calloc(plan->n_files, sizeof *job.outs);
    if (job.outs == NULL)
        return nb_fail_memory(err);
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.finished, NULL);
    status = create_files(&job, name, &created, err);
    if (status == NB_OK) {
        run_workers(&job);
        status = job.status;
        if (status != NB_OK && err != NULL)
            *err = job.error;
    }
    pthread_cond_destroy(&job.finished);
    pthread_mutex_destroy(&job.lock);
    status = finish_files(&job, created, status, err);
    free(job.outs);
    return status;
}
