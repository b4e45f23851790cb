/* How far the weights of a model are from another's, the base's, tensor by tensor. */
#ifndef NB_WEIGHT_ERROR_H
#define NB_WEIGHT_ERROR_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/models/source.h"

#include <stdbool.h>

#define NB_ERROR_BLOCK 256u /* weights in the blocks of which the worst is told */

struct nb_weight_error {
    const struct nb_view *base, *other; /* OTHER is NULL where the model lacks the tensor, or it has another shape */
    double relative_rms;   /* root of the sum of squared differences over the sum of the base's squares */
    double worst_block;    /* the largest of that over blocks of 256 weights in the order of the file; of zeros: 0 */
    uint64_t worst_at;     /* its first weight */
    double cosine;         /* of the angle between the two; 1 where both are zero, 0 where one is */
    bool compared;         /* what is above holds; not of types that cannot be decoded */
    bool same_bytes;       /* of one type, and equal to the last bit */
};

/*
 * ERRORS has one entry for each tensor of BASE, in its order. NB_INPUT where a
 * file cannot be read.
 */
enum nb_status nb_weight_errors(const struct nb_source *base, const struct nb_source *other, struct nb_pool *pool,
                                struct nb_weight_error *errors, struct nb_error *err) NB_MUST_CHECK;

#endif
