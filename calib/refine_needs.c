/* What a refinement takes, as far as it can be told before. */
#include "calib/refine_run.h"
#include "formats/base/blas.h"
#include "formats/base/checked.h"
#include "formats/base/clock.h"
#include "quantize/search/refine.h"

#include <stdlib.h>

#define SIZE 384u /* of the product by which this machine is timed */
#define ROUNDS 16u
#define FORWARD_PASSES 5 /* of each matrix: three in the original model, two in the quantized one */
#define SWEEPS 16        /* over codes, and what else is done once per row */

struct timing {
    float **room; /* of each task */
};

static enum nb_status
time_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct timing *t = context;
    float *a = t->room[task];

    (void)worker;
    (void)err;
    for (unsigned i = 0; i < ROUNDS; i++)
        nb_sgemm(&(struct nb_sgemm){ .m = SIZE,
                                     .n = SIZE,
                                     .k = SIZE,
                                     .alpha = 1,
                                     .a = a,
                                     .b = a + (size_t)SIZE * SIZE,
                                     .c = a + (size_t)2 * SIZE * SIZE,
                                     .a_row = SIZE,
                                     .b_row = SIZE,
                                     .c_row = SIZE });
    return NB_OK;
}

/* Products of all threads together: operations in a second. */
static enum nb_status
time_machine(unsigned threads, double *speed, struct nb_error *err)
{
    struct timing t = { NULL };
    struct nb_pool *pool;
    double started;
    unsigned tasks, made = 0;
    enum nb_status status = nb_pool_new(&pool, threads, err);

    if (status != NB_OK)
        return status;
    tasks = nb_pool_threads(pool);
    status = nb_blas_load(tasks, err);
    t.room = calloc(tasks, sizeof *t.room);
    for (; t.room != NULL && made < tasks && status == NB_OK; made++) {
        t.room[made] = nb_calloc((uint64_t)3 * SIZE * SIZE, sizeof(float));
        if (t.room[made] == NULL)
            status = nb_fail_memory(err);
    }
    if (status == NB_OK && t.room == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK) /* the first products take longer */
        status = nb_pool_run(pool, time_task, &t, tasks, err);
    started = nb_seconds();
    if (status == NB_OK)
        status = nb_pool_run(pool, time_task, &t, tasks, err);
    *speed = 2.0 * SIZE * SIZE * SIZE * ROUNDS * tasks / (nb_seconds() - started + 1e-6);
    for (unsigned i = 0; i < made; i++)
        free(t.room[i]);
    free(t.room);
    nb_pool_free(pool);
    return status;
}

/* The operations that matrix M takes with TOKENS tokens; *BYTES grows to what it needs at once. */
static double
operations(const struct nb_linear *m, double tokens, uint64_t *bytes)
{
    const double rows = (double)m->rows * (double)m->experts, columns = (double)m->columns;
    const uint64_t moments = (uint64_t)m->columns * m->columns * sizeof(float) * (m->experts > 1 ? 5 : 7);
    const uint64_t floats = (uint64_t)m->rows * m->columns * sizeof(float) * 4;

    *bytes = moments + floats > *bytes ? moments + floats : *bytes;
    /* A token goes through few experts, but each has moments of its own to be solved. */
    return FORWARD_PASSES * 2 * tokens * (double)m->rows * columns + 3 * tokens * columns * columns +
           SWEEPS * 2 * rows * columns * columns;
}

enum nb_status
nb_refine_needs(const struct nb_model *model, size_t count, const struct nb_refine_options *o, uint64_t *bytes,
                double *seconds, struct nb_error *err)
{
    const double tokens = (double)nb_refine_chunks(count, o) * o->chunk_tokens;
    const uint64_t streams = nb_refine_streams_bytes(model, count, o);
    uint64_t at_once = 0;
    double all = 0, speed = 1;
    enum nb_status status = time_machine(o->threads, &speed, err);

    for (const struct nb_linear *m = model->matrices; m != NULL; m = m->next)
        all += operations(m, tokens, &at_once);
    if (!nb_add_u64(o->scratch == NULL ? streams : 0, at_once, bytes))
        *bytes = UINT64_MAX;
    *seconds = status == NB_OK ? all / speed : 0;
    return status;
}
