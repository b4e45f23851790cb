/*
 * A thread pool that runs the tasks of one job at a time. Any thread may run
 * any task, so the result of a task must not depend on the thread.
 */
#ifndef NB_POOL_H
#define NB_POOL_H

#include "formats/base/status.h"

#include <signal.h>
#include <stddef.h>

struct nb_pool;

/* A task of a job; WORKER is the number of the thread, from 0. Any status but NB_OK ends the job. */
typedef enum nb_status nb_task(void *context, size_t task, unsigned worker, struct nb_error *err);

/* A pool of THREADS threads, including the caller's; fewer if they cannot be started. 0: one per core. At most 256. */
enum nb_status nb_pool_new(struct nb_pool **pool, unsigned threads, struct nb_error *err) NB_MUST_CHECK;
unsigned nb_pool_threads(const struct nb_pool *pool);
/*
 * Runs TASKS tasks and waits for them. If several fail, the error of the lowest
 * task number is reported, so that it does not depend on the threads.
 */
enum nb_status nb_pool_run(struct nb_pool *pool, nb_task *task, void *context, size_t tasks,
                           struct nb_error *err) NB_MUST_CHECK;

/* What the calling thread does ten times a second while the pool works. */
struct nb_pool_watch {
    void (*look)(void *context); /* may be NULL */
    void *context;
    const volatile sig_atomic_t *stop; /* not zero after a look ends the job with NB_INTERRUPTED; may be NULL */
};
/*
 * From now on WATCH, which must outlive the pool, holds for every nb_pool_run; NULL: none. The calling
 * thread looks between the tasks that it does, so this is for short tasks.
 */
void nb_pool_watch(struct nb_pool *pool, const struct nb_pool_watch *watch);
/* For tasks of any length: the calling thread only watches, and another works in its place. */
enum nb_status nb_pool_run_watched(struct nb_pool *pool, nb_task *task, void *context, size_t tasks,
                                   const struct nb_pool_watch *watch, struct nb_error *err) NB_MUST_CHECK;
void nb_pool_free(struct nb_pool *pool);

#endif
