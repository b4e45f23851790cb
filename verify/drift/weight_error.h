/* The difference between the weights of a model and its base, per tensor. */
#ifndef NB_WEIGHT_ERROR_H
#define NB_WEIGHT_ERROR_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/models/source.h"

#include <stdbool.h>

#define NB_ERROR_BLOCK 256u /* weights per block, for worst_block */

struct nb_weight_error {
    const struct nb_view *base, *other; /* OTHER is NULL if the model lacks the tensor or its shape differs */
    double relative_rms;                /* root of the sum of squared differences over the sum of the base's squares */
    double worst_block; /* the largest relative_rms of a block of 256 weights in file order; 0 for zeros */
    uint64_t worst_at;  /* the first weight of that block */
    double cosine;      /* cosine similarity; 1 if both are zero, 0 if one is */
    bool compared;      /* the values above are set; false for types that cannot be decoded */
    bool same_bytes;    /* same type and same bytes */
};

/*
 * ERRORS has one entry per tensor of BASE, in the same order. WATCH is told the bytes
 * of BASE. NB_INPUT if a file cannot be read.
 */
enum nb_status nb_weight_errors(const struct nb_source *base, const struct nb_source *other, struct nb_pool *pool,
                                const struct nb_watch *watch, struct nb_weight_error *errors,
                                struct nb_error *err) NB_MUST_CHECK;

#endif
