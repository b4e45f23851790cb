#include "verify/drift/weight_error.h"

#include "formats/elements/decode.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TILE 65536u /* weights, a multiple of every type's block and of NB_ERROR_BLOCK */

struct job {
    const struct nb_source *base, *other;
    const struct nb_view **sorted; /* the other's tensors, by name */
    struct nb_weight_error *errors;
    const struct nb_watch *watch;
    uint64_t total;
    atomic_ullong done; /* bytes of the base, read for the comparison of bytes or of values */
};

/* Sums over the pairs of weights so far. */
struct sums {
    double base, other, product, difference;
};

/* The buffers of one task: a tile of each tensor. */
struct tiles {
    float *a, *b;
    struct nb_view_reader reader, other_reader;
};

/* The other's tensor with the same name and shape, or NULL. */
static const struct nb_view *
same_tensor(const struct job *j, const struct nb_view *t)
{
    const struct nb_view *found = nb_views_find(j->sorted, j->other->n_tensors, t->name);

    return found != NULL && memcmp(found->ne, t->ne, sizeof t->ne) == 0 ? found : NULL;
}

/* Adds a tile of N weights that begins at weight FIRST of the tensor. */
static void
add_tile(const struct tiles *tiles, size_t n, uint64_t first, struct sums *sums, struct nb_weight_error *e)
{
    for (size_t start = 0; start < n; start += NB_ERROR_BLOCK) {
        const size_t end = start + NB_ERROR_BLOCK < n ? start + NB_ERROR_BLOCK : n;
        double own = 0, others = 0, product = 0, off = 0, relative;

        for (size_t i = start; i < end; i++) {
            const double a = (double)tiles->a[i], b = (double)tiles->b[i], d = a - b;

            own += a * a;
            others += b * b;
            product += a * b;
            off += d * d;
        }
        sums->base += own;
        sums->other += others;
        sums->product += product;
        sums->difference += off;
        relative = own > 0 ? sqrt(off / own) : 0;
        if (relative > e->worst_block) {
            e->worst_block = relative;
            e->worst_at = first + start;
        }
    }
}

static enum nb_status
read_both(const struct nb_weight_error *e, uint64_t at, uint64_t n, struct tiles *tiles, struct nb_error *err)
{
    enum nb_status status = nb_view_fetch(e->base, at, n, &tiles->reader, err);

    return status == NB_OK ? nb_view_fetch(e->other, at, n, &tiles->other_reader, err) : status;
}

static enum nb_status
compare_bytes(struct nb_weight_error *e, struct tiles *tiles, struct nb_error *err)
{
    const struct nb_type_info *info = nb_type_info(e->base->type);

    e->same_bytes = e->base->type == e->other->type && nb_view_is_stored(e->base) && nb_view_is_stored(e->other);
    for (uint64_t at = 0; at < e->base->elements && e->same_bytes; at += TILE) {
        const uint64_t left = e->base->elements - at, n = left < TILE ? left : TILE;
        enum nb_status status = read_both(e, at, n, tiles, err);

        if (status != NB_OK)
            return status;
        e->same_bytes = memcmp(tiles->reader.elements, tiles->other_reader.elements,
                               (size_t)(n / info->block * info->block_bytes)) == 0;
    }
    return NB_OK;
}

static enum nb_status
compare_values(struct nb_weight_error *e, struct tiles *tiles, struct nb_error *err)
{
    struct sums sums = { 0 };

    for (uint64_t at = 0; at < e->base->elements; at += TILE) {
        const uint64_t left = e->base->elements - at, n = left < TILE ? left : TILE;
        enum nb_status status = read_both(e, at, n, tiles, err);

        if (status != NB_OK)
            return status;
        nb_view_decode(e->base, &tiles->reader, 0, n, tiles->a);
        nb_view_decode(e->other, &tiles->other_reader, 0, n, tiles->b);
        add_tile(tiles, (size_t)n, at, &sums, e);
    }
    e->relative_rms = sums.base > 0 ? sqrt(sums.difference / sums.base) : 0;
    if (sums.base > 0 && sums.other > 0)
        e->cosine = fmin(1, sums.product / (sqrt(sums.base) * sqrt(sums.other)));
    else
        e->cosine = sums.base > 0 || sums.other > 0 ? 0 : 1;
    return NB_OK;
}

static enum nb_status
compare(struct nb_weight_error *e, struct tiles *tiles, struct nb_error *err)
{
    enum nb_status status = compare_bytes(e, tiles, err);

    e->cosine = 1;
    e->compared = nb_can_decode(e->base->type) && nb_can_decode(e->other->type);
    return status == NB_OK && !e->same_bytes && e->compared ? compare_values(e, tiles, err) : status;
}

static enum nb_status
compare_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct job *j = context;
    struct nb_weight_error *e = &j->errors[task];
    struct tiles tiles;
    enum nb_status status;

    (void)worker;
    *e = (struct nb_weight_error){ .base = &j->base->tensors[task] };
    e->other = same_tensor(j, e->base);
    if (e->other == NULL) {
        atomic_fetch_add_explicit(&j->done, e->base->bytes, memory_order_relaxed);
        return NB_OK;
    }
    tiles = (struct tiles){ .a = malloc(TILE * sizeof(float)), .b = malloc(TILE * sizeof(float)) };
    status = tiles.a == NULL || tiles.b == NULL ? nb_fail_memory(err) : compare(e, &tiles, err);
    atomic_fetch_add_explicit(&j->done, e->base->bytes, memory_order_relaxed);
    free(tiles.a);
    free(tiles.b);
    nb_view_reader_free(&tiles.reader);
    nb_view_reader_free(&tiles.other_reader);
    return status;
}

static void
look(void *context)
{
    struct job *j = context;

    if (j->watch->progress != NULL)
        j->watch->progress(j->watch->context, atomic_load_explicit(&j->done, memory_order_relaxed), j->total);
}

enum nb_status
nb_weight_errors(const struct nb_source *base, const struct nb_source *other, struct nb_pool *pool,
                 const struct nb_watch *watch, struct nb_weight_error *errors, struct nb_error *err)
{
    struct job j = { base, other, nb_views_by_name(other->tensors, other->n_tensors), errors, .watch = watch };
    const struct nb_pool_watch pool_watch = { look, &j, watch->stop };
    enum nb_status status;

    if (j.sorted == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < base->n_tensors; i++)
        j.total += base->tensors[i].bytes;
    status = nb_pool_run_watched(pool, compare_task, &j, base->n_tensors, &pool_watch, err);
    free(j.sorted);
    return status;
}
