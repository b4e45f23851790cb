#include "verify/say/ranking.h"

#include "verify/run/vector_math.h"

#include <math.h>
#include <stdlib.h>

/* Whether A comes before B. */
static int
compare(const void *left, const void *right)
{
    const struct nb_ranked *a = left, *b = right;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Lets the element AT sink in a heap of N whose root is the last of all. */
static void
sink(struct nb_ranked *heap, size_t n, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        const struct nb_ranked moved = heap[at];

        if (child + 1 < n && compare(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (compare(&moved, &heap[child]) >= 0)
            return;
        heap[at] = heap[child];
        heap[child] = moved;
    }
}

void
nb_rank(const float *logits, size_t n, struct nb_ranked *top, size_t k)
{
    for (size_t i = 0; i < k; i++)
        top[i] = (struct nb_ranked){ (int32_t)i, logits[i] };
    for (size_t i = k / 2; i-- > 0;)
        sink(top, k, i);
    for (size_t i = k; i < n; i++) {
        if (!(logits[i] > top[0].logit)) /* of equal ones the lower id is there already */
            continue;
        top[0] = (struct nb_ranked){ (int32_t)i, logits[i] };
        sink(top, k, 0);
    }
    qsort(top, k, sizeof *top, compare);
}

double
nb_log_sum_exp(const float *logits, size_t n)
{
    const float max = nb_vector_math()->largest(logits, n, NULL);

    return (double)max + log(nb_vector_math()->sum_exp(logits, n, max));
}
