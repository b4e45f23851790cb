#include "formats/base/pool.h"

#include "formats/base/clock.h"
#include "formats/base/system.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define MAX_THREADS 256u
#define WATCH_NANOSECONDS 100000000L

struct nb_pool {
    pthread_t *threads; /* all except the caller's */
    unsigned n_threads;
    const struct nb_pool_watch *watch; /* of nb_pool_run; the caller's */
    double looked;                     /* nb_seconds */

    pthread_mutex_t lock; /* protects the members below, except NEXT */
    pthread_cond_t start, finished;
    unsigned long job; /* number of the current job */
    unsigned working;
    bool stop;
    nb_task *task;
    void *context;
    size_t tasks;
    atomic_size_t next;
    atomic_bool failing;
    enum nb_status status;
    struct nb_error error;
    size_t failed; /* the task that returned STATUS */
};

struct worker {
    struct nb_pool *pool;
    unsigned number;
};

static void
note_failure(struct nb_pool *pool, size_t task, enum nb_status status, const struct nb_error *error)
{
    pthread_mutex_lock(&pool->lock);
    if (pool->status == NB_OK || task < pool->failed) {
        pool->status = status;
        pool->error = *error;
        pool->failed = task;
    }
    pthread_mutex_unlock(&pool->lock);
    atomic_store(&pool->failing, true);
}

static void
stop_if_asked(struct nb_pool *pool, const struct nb_pool_watch *watch)
{
    struct nb_error error;

    if (watch->stop != NULL && *watch->stop)
        note_failure(pool, 0, nb_fail(&error, NB_INTERRUPTED, "interrupted"), &error);
}

/* Calls the watch of the calling thread, and ends the job if a stop was requested. */
static void
look(struct nb_pool *pool, const struct nb_pool_watch *watch)
{
    if (watch->look != NULL)
        watch->look(watch->context);
    stop_if_asked(pool, watch);
}

static void
look_if_due(struct nb_pool *pool)
{
    const double now = nb_seconds();

    if (now - pool->looked < 1e-9 * (double)WATCH_NANOSECONDS)
        return;
    pool->looked = now;
    look(pool, pool->watch);
}

static void
work(struct nb_pool *pool, unsigned worker, bool watching)
{
    /* A task that was taken is run even after another failed: it may have a lower number and fail, too. */
    while (!atomic_load_explicit(&pool->failing, memory_order_relaxed)) {
        const size_t task = atomic_fetch_add(&pool->next, 1);
        struct nb_error error;
        enum nb_status status;

        if (task >= pool->tasks)
            break;
        status = pool->task(pool->context, task, worker, &error);
        if (status != NB_OK)
            note_failure(pool, task, status, &error);
        if (watching)
            look_if_due(pool);
    }
}

static void *
thread_main(void *argument)
{
    struct worker me = *(struct worker *)argument;
    struct nb_pool *pool = me.pool;
    unsigned long seen = 0;

    free(argument);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->job == seen && !pool->stop)
            pthread_cond_wait(&pool->start, &pool->lock);
        if (pool->stop)
            break;
        seen = pool->job;
        pthread_mutex_unlock(&pool->lock);
        work(pool, me.number, false);
        pthread_mutex_lock(&pool->lock);
        if (--pool->working == 0)
            pthread_cond_signal(&pool->finished);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static bool
start_thread(struct nb_pool *pool)
{
    struct worker *w = malloc(sizeof *w);

    if (w == NULL)
        return false;
    *w = (struct worker){ pool, pool->n_threads };
    if (nb_system_start_thread(&pool->threads[pool->n_threads - 1], thread_main, w) != 0) {
        free(w);
        return false;
    }
    pool->n_threads++;
    return true;
}

enum nb_status
nb_pool_new(struct nb_pool **out, unsigned threads, struct nb_error *err)
{
    struct nb_pool *pool = calloc(1, sizeof *pool);

    if (threads == 0)
        threads = nb_system_processors();
    if (threads > MAX_THREADS)
        threads = MAX_THREADS;
    if (pool == NULL || (pool->threads = calloc(threads, sizeof *pool->threads)) == NULL) {
        free(pool);
        return nb_fail_memory(err);
    }
    pool->n_threads = 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->finished, NULL);
    while (pool->n_threads < threads && start_thread(pool))
        ; /* fewer will do */
    *out = pool;
    return NB_OK;
}

unsigned
nb_pool_threads(const struct nb_pool *pool)
{
    return pool->n_threads;
}

/* Sets up a job and wakes the threads. */
static void
begin(struct nb_pool *pool, nb_task *task, void *context, size_t tasks)
{
    pthread_mutex_lock(&pool->lock);
    pool->task = task;
    pool->context = context;
    pool->tasks = tasks;
    pool->status = NB_OK;
    pool->working = pool->n_threads - 1;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->failing, false);
    pool->job++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
}

/* Waits for the threads; with WATCH looks in between. The lock is held. */
static void
wait_for_threads(struct nb_pool *pool, const struct nb_pool_watch *watch)
{
    while (pool->working > 0) {
        struct timespec until;

        if (watch == NULL) {
            pthread_cond_wait(&pool->finished, &pool->lock);
            continue;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += WATCH_NANOSECONDS;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&pool->finished, &pool->lock, &until);
        pthread_mutex_unlock(&pool->lock);
        look(pool, watch);
        pthread_mutex_lock(&pool->lock);
    }
}

static enum nb_status
end(struct nb_pool *pool, const struct nb_pool_watch *watch, struct nb_error *err)
{
    enum nb_status status;

    pthread_mutex_lock(&pool->lock);
    wait_for_threads(pool, watch);
    status = pool->status;
    if (status != NB_OK && err != NULL)
        *err = pool->error;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

/* A task alone is done by the caller: waking the others would take longer than many tasks do. */
static enum nb_status
run_alone(struct nb_pool *pool, nb_task *task, void *context, struct nb_error *err)
{
    pool->status = NB_OK;
    if (pool->watch != NULL)
        look_if_due(pool);
    if (pool->status == NB_OK)
        pool->status = task(context, 0, 0, &pool->error);
    if (pool->status != NB_OK && err != NULL)
        *err = pool->error;
    return pool->status;
}

enum nb_status
nb_pool_run(struct nb_pool *pool, nb_task *task, void *context, size_t tasks, struct nb_error *err)
{
    if (tasks == 1)
        return run_alone(pool, task, context, err);
    begin(pool, task, context, tasks);
    work(pool, 0, pool->watch != NULL);
    return end(pool, NULL, err);
}

void
nb_pool_watch(struct nb_pool *pool, const struct nb_pool_watch *watch)
{
    pool->watch = watch;
    pool->looked = nb_seconds();
}

/* The thread that works in the caller's place while the caller watches. */
static void *
stand_in_main(void *argument)
{
    struct nb_pool *pool = argument;

    work(pool, 0, false);
    pthread_mutex_lock(&pool->lock);
    if (--pool->working == 0)
        pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

enum nb_status
nb_pool_run_watched(struct nb_pool *pool, nb_task *task, void *context, size_t tasks, const struct nb_pool_watch *watch,
                    struct nb_error *err)
{
    pthread_t stand_in;
    enum nb_status status;

    if (watch->look != NULL)
        watch->look(watch->context); /* nothing is done yet; also if all is done before the first wait ends */
    begin(pool, task, context, tasks);
    pthread_mutex_lock(&pool->lock);
    pool->working++; /* before it can be done */
    pthread_mutex_unlock(&pool->lock);
    stop_if_asked(pool, watch);
    if (nb_system_start_thread(&stand_in, stand_in_main, pool) != 0) { /* then nobody watches */
        pthread_mutex_lock(&pool->lock);
        pool->working--;
        pthread_mutex_unlock(&pool->lock);
        work(pool, 0, false);
        return end(pool, NULL, err);
    }
    status = end(pool, watch, err);
    pthread_join(stand_in, NULL);
    return status;
}

void
nb_pool_free(struct nb_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 1; i < pool->n_threads; i++)
        pthread_join(pool->threads[i - 1], NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}
