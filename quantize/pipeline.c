#include "pipeline.h"

#include "codec.h"
#include "file_out.h"

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
 * 256 KiB and less than that.
 */
#define TILE 65536u
#define MAX_ELEMENT_BYTES 8u
#define MAX_THREADS 256u
#define PROGRESS_NANOSECONDS 100000000L

struct job {
    const struct nb_source *source;
    const struct nb_plan *plan;
    const struct nb_pipeline_options *options;
    struct nb_file_out out;
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

/* Rounds the floats as a file of type VIA between two steps would. */
static enum nb_status
round_via(struct worker *w, const struct tile *tile, struct nb_error *err)
{
    const enum nb_type via = tile->tensor->via;
    const size_t n = (size_t)tile->count;
    size_t bad;

    nb_encode(via, w->floats, 1, n, NULL, w->done);
    bad = nb_find_nonfinite(via, w->done, n);
    if (bad < n && !w->job->options->allow_nonfinite)
        return overflow_error(tile, via, bad, err);
    nb_decode(via, w->done, n, w->floats);
    return NB_OK;
}

/* The finished bytes of a tile; *BYTES points to them. */
static enum nb_status
convert(struct worker *w, const struct tile *tile, const unsigned char **bytes, struct nb_error *err)
{
    const enum nb_type from = tile->tensor->source->type, to = tile->tensor->choice.type;
    const bool strict = !w->job->options->allow_nonfinite;
    const size_t n = (size_t)tile->count;
    size_t bad;

    *bytes = w->raw;
    if (strict && (bad = nb_find_nonfinite(from, w->raw, n)) < n)
        return nonfinite_error(tile, bad, err);
    if (from == to && tile->tensor->via == NB_TYPE_NONE)
        return NB_OK;
    nb_decode(from, w->raw, n, w->floats);
    if (tile->tensor->via != NB_TYPE_NONE) {
        enum nb_status status = round_via(w, tile, err);

        if (status != NB_OK)
            return status;
    }
    nb_encode(to, w->floats, 1, n, NULL, w->done);
    if (strict && (bad = nb_find_nonfinite(to, w->done, n)) < n)
        return overflow_error(tile, to, bad, err);
    *bytes = w->done;
    return NB_OK;
}

static enum nb_status
do_tile(struct worker *w, const struct tile *tile, struct nb_error *err)
{
    const struct nb_plan_tensor *t = tile->tensor;
    const struct nb_type_info *to = nb_type_info(t->choice.type);
    const unsigned char *bytes;
    enum nb_status status =
        nb_source_read(w->job->source, t->source, tile->first, tile->count, w->raw, err);

    if (status == NB_OK)
        status = convert(w, tile, &bytes, err);
    if (status != NB_OK)
        return status;
    return nb_out_write(&w->job->out, t->offset + tile->first / to->block * to->block_bytes, bytes,
                        tile->count / to->block * to->block_bytes, err);
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

static uint64_t
tiles_of(const struct nb_plan_tensor *t)
{
    return (t->source->elements + TILE - 1) / TILE;
}

/* Tiles come to a worker in rising order, so it finds them by walking on. */
static void
work(struct worker *w)
{
    struct job *job = w->job;
    const struct nb_plan_tensor *t = job->plan->tensors, *end = t + job->plan->n_tensors;
    uint64_t first_tile = 0; /* of t */

    while (!atomic_load_explicit(&job->failing, memory_order_relaxed)) {
        const uint64_t number = atomic_fetch_add(&job->next_tile, 1);
        struct nb_error err;
        struct tile tile;
        enum nb_status status;

        while (t < end && number - first_tile >= tiles_of(t))
            first_tile += tiles_of(t++);
        if (t == end)
            return;
        tile.tensor = t;
        tile.first = (number - first_tile) * TILE;
        tile.count = t->source->elements - tile.first < TILE ? t->source->elements - tile.first : TILE;
        if (job->options->stop != NULL && *job->options->stop != 0)
            status = nb_fail(&err, NB_SYSTEM, "interrupted");
        else
            status = do_tile(w, &tile, &err);
        if (status != NB_OK) {
            note_failure(job, number, status, &err);
            return;
        }
        atomic_fetch_add_explicit(&job->bytes_done,
                                  tile.count / nb_type_info(t->source->type)->block *
                                      nb_type_info(t->source->type)->block_bytes,
                                  memory_order_relaxed);
    }
}

static void *
worker_main(void *argument)
{
    struct worker w = { .job = argument };
    struct job *job = w.job;
    struct nb_error err;

    w.raw = malloc((size_t)TILE * MAX_ELEMENT_BYTES);
    w.floats = malloc(TILE * sizeof *w.floats);
    w.done = malloc((size_t)TILE * sizeof(float));
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

/* Waits for the workers, reporting progress in between. */
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

enum nb_status
nb_pipeline_run(const struct nb_source *source, const struct nb_plan *plan, const char *name,
                const struct nb_pipeline_options *options, struct nb_error *err)
{
    struct job job = { .source = source, .plan = plan, .options = options };
    enum nb_status status = nb_out_create(&job.out, name, plan->total_bytes, options->replace, err);

    if (status != NB_OK)
        return status;
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.finished, NULL);
    status = nb_out_write(&job.out, 0, plan->header, plan->header_bytes, err);
    if (status == NB_OK) {
        run_workers(&job);
        status = job.status;
        if (status != NB_OK && err != NULL)
            *err = job.error;
    }
    pthread_cond_destroy(&job.finished);
    pthread_mutex_destroy(&job.lock);
    if (status != NB_OK)
        nb_out_abort(&job.out);
    else
        status = nb_out_commit(&job.out, options->replace, err);
    return status;
}
