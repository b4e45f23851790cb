#include "calib/coverage.h"

#include <string.h>

/* Of the matrices that are stacked in one tensor: compressed attention has stacks of heads, of which each sees all tokens. */
static bool
are_experts(const struct nb_sums_entry *e)
{
    return e->experts > 1 && strstr(e->name, "exps.") != NULL;
}

uint64_t
nb_coverage_zeros(const struct nb_sums_entry *e)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < e->columns * e->experts; i++)
        n += e->tokens[i / e->columns] > 0 && e->squares[i] == 0;
    return n;
}

struct nb_coverage
nb_coverage(const struct nb_sums *sums)
{
    struct nb_coverage c = { .entries = sums->count };

    for (size_t i = 0; i < sums->count; i++) {
        const struct nb_sums_entry *e = &sums->entries[i];
        size_t idle = 0;

        for (uint64_t x = 0; x < e->experts; x++) {
            c.tokens = e->tokens[x] > c.tokens ? e->tokens[x] : c.tokens;
            idle += e->tokens[x] == 0;
        }
        c.empty += idle == e->experts;
        c.experts += are_experts(e) ? (size_t)e->experts : 0;
        c.idle_experts += are_experts(e) ? idle : 0;
        c.columns += (size_t)(e->columns * (e->experts - idle));
        c.zero_columns += (size_t)nb_coverage_zeros(e);
    }
    return c;
}
