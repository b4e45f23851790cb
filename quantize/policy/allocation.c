#include "quantize/policy/allocation.h"

#include <stdlib.h>

static int
by_bytes(const void *a, const void *b)
{
    const struct nb_candidate *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return x->cost < y->cost ? -1 : x->cost > y->cost;
}

/* How much less cost each byte brings from candidate A to B, which has more bytes. */
static double
steepness(const struct nb_candidate *a, const struct nb_candidate *b)
{
    return (a->cost - b->cost) / (double)(b->bytes - a->bytes);
}

/* Leaves the candidates on the lower convex hull, by bytes: each costs less than the one before, and ever less steeply. */
static void
keep_hull(struct nb_allocated *t)
{
    size_t n = 0;

    qsort(t->candidate, t->n, sizeof *t->candidate, by_bytes);
    for (size_t i = 0; i < t->n; i++) {
        const struct nb_candidate c = t->candidate[i];

        if (n > 0 && c.cost >= t->candidate[n - 1].cost)
            continue;
        while (n > 1 && steepness(&t->candidate[n - 2], &t->candidate[n - 1]) <= steepness(&t->candidate[n - 1], &c))
            n--;
        t->candidate[n++] = c;
    }
    t->n = n;
    t->chosen = 0;
}

static uint64_t
step_bytes(const struct nb_allocated *t)
{
    return t->candidate[t->chosen + 1].bytes - t->candidate[t->chosen].bytes;
}

/* The tensor whose next step is the steepest of those of at most ROOM bytes; NULL: none. The first of equal ones. */
static struct nb_allocated *
steepest(struct nb_allocated *tensors, size_t count, uint64_t room)
{
    struct nb_allocated *best = NULL;
    double best_steepness = 0;

    for (size_t i = 0; i < count; i++) {
        struct nb_allocated *t = &tensors[i];
        double s;

        if (t->chosen + 1 >= t->n || step_bytes(t) > room)
            continue;
        s = steepness(&t->candidate[t->chosen], &t->candidate[t->chosen + 1]);
        if (best == NULL || s > best_steepness) {
            best = t;
            best_steepness = s;
        }
    }
    return best;
}

uint64_t
nb_allocated_bytes(const struct nb_allocated *tensors, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += tensors[i].candidate[tensors[i].chosen].bytes;
    return sum;
}

double
nb_allocated_cost(const struct nb_allocated *tensors, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += tensors[i].candidate[tensors[i].chosen].cost;
    return sum;
}

bool
nb_allocate_bytes(struct nb_allocated *tensors, size_t count, uint64_t budget)
{
    struct nb_allocated *next;
    uint64_t bytes;

    for (size_t i = 0; i < count; i++)
        keep_hull(&tensors[i]);
    bytes = nb_allocated_bytes(tensors, count);
    if (bytes > budget)
        return false;
    while ((next = steepest(tensors, count, budget - bytes)) != NULL) {
        bytes += step_bytes(next);
        next->chosen++;
    }
    return true;
}

bool
nb_allocate_cost(struct nb_allocated *tensors, size_t count, double cost)
{
    struct nb_allocated *next;

    for (size_t i = 0; i < count; i++)
        keep_hull(&tensors[i]);
    while (!(nb_allocated_cost(tensors, count) <= cost)) {
        next = steepest(tensors, count, UINT64_MAX);
        if (next == NULL)
            return false;
        next->chosen++;
    }
    return true;
}
