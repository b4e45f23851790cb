#include "weight_error.h"

#include "codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE 65536u /* weights, a multiple of every type's block and of NB_ERROR_BLOCK */

struct job {
    const struct nb_source *base, *other;
    struct nb_weight_error *errors;
};

/* The memory of one task: two tiles, and one as it is stored. */
struct tiles {
    float *a, *b;
    void *raw;
};

static const struct nb_tensor *
same_tensor(const struct nb_source *source, const struct nb_tensor *t)
{
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_tensor *other = &source->tensors[i];

        if (strcmp(other->name, t->name) == 0)
            return memcmp(other->ne, t->ne, sizeof t->ne) == 0 ? other : NULL;
    }
    return NULL;
}

/* Adds a tile of N weights, of which the first is weight FIRST of the tensor. */
static void
add_tile(const struct tiles *tiles, size_t n, uint64_t first, double *squares, double *differences,
         struct nb_weight_error *e)
{
    for (size_t start = 0; start < n; start += NB_ERROR_BLOCK) {
        const size_t end = start + NB_ERROR_BLOCK < n ? start + NB_ERROR_BLOCK : n;
        double own = 0, off = 0, relative;

        for (size_t i = start; i < end; i++) {
            const double a = (double)tiles->a[i], d = a - (double)tiles->b[i];

            own += a * a;
            off += d * d;
        }
        *squares += own;
        *differences += off;
        relative = own > 0 ? sqrt(off / own) : 0;
        if (relative > e->worst_block) {
            e->worst_block = relative;
            e->worst_at = first + start;
        }
    }
}

static enum nb_status
compare(const struct job *j, struct nb_weight_error *e, const struct tiles *tiles, struct nb_error *err)
{
    double squares = 0, differences = 0;

    for (uint64_t at = 0; at < e->base->elements; at += TILE) {
        const uint64_t left = e->base->elements - at, n = left < TILE ? left : TILE;
        enum nb_status status = nb_source_read(j->base, e->base, at, n, tiles->raw, err);

        if (status != NB_OK)
            return status;
        nb_decode(e->base->type, tiles->raw, (size_t)n, tiles->a);
        status = nb_source_read(j->other, e->other, at, n, tiles->raw, err);
        if (status != NB_OK)
            return status;
        nb_decode(e->other->type, tiles->raw, (size_t)n, tiles->b);
        add_tile(tiles, (size_t)n, at, &squares, &differences, e);
    }
    e->relative_rms = squares > 0 ? sqrt(differences / squares) : 0;
    return NB_OK;
}

static enum nb_status
compare_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct job *j = context;
    struct nb_weight_error *e = &j->errors[task];
    struct tiles tiles;
    enum nb_status status;

    (void)worker;
    *e = (struct nb_weight_error){ .base = &j->base->tensors[task] };
    e->other = same_tensor(j->other, e->base);
    if (e->other == NULL || !nb_can_decode(e->base->type) || !nb_can_decode(e->other->type))
        return NB_OK;
    tiles = (struct tiles){ malloc(TILE * sizeof(float)), malloc(TILE * sizeof(float)), malloc(TILE * sizeof(double)) };
    status = tiles.a == NULL || tiles.b == NULL || tiles.raw == NULL ? nb_fail_memory(err)
                                                                     : compare(j, e, &tiles, err);
    free(tiles.a);
    free(tiles.b);
    free(tiles.raw);
    return status;
}

enum nb_status
nb_weight_errors(const struct nb_source *base, const struct nb_source *other, struct nb_pool *pool,
                 struct nb_weight_error *errors, struct nb_error *err)
{
    struct job j = { base, other, errors };

    return nb_pool_run(pool, compare_task, &j, base->n_tensors, err);
}
