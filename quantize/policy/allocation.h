/*
 * Types for tensors by what they cost: the least total cost within so many bytes, or the fewest bytes within a cost.
 * Costs are estimates of the KL divergence that a tensor's type alone brings; for small ones they add up.
 */
#ifndef NB_ALLOCATION_H
#define NB_ALLOCATION_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MAX_CANDIDATES 16

struct nb_candidate {
    enum nb_type type;
    uint64_t bytes;
    double cost; /* finite */
};

struct nb_allocated {
    const char *name;
    struct nb_candidate candidate[NB_MAX_CANDIDATES]; /* in any order; at least one */
    size_t n;
    size_t chosen; /* result: index of a candidate */
};

/*
 * Steps from the smallest types along the lower convex hulls of bytes and costs, the steepest first, until the next step
 * would exceed BUDGET bytes; what is left goes to smaller steps that fit. False if even the smallest types exceed it.
 */
bool nb_allocate_bytes(struct nb_allocated *tensors, size_t count, uint64_t budget);
/* The same until the sum of costs is at most COST. False if even the best types cost more. */
bool nb_allocate_cost(struct nb_allocated *tensors, size_t count, double cost);

uint64_t nb_allocated_bytes(const struct nb_allocated *tensors, size_t count);
double nb_allocated_cost(const struct nb_allocated *tensors, size_t count);

#endif
