/* The tokens of a text at which a model is furthest from its base. */
#ifndef NB_WORST_TOKENS_H
#define NB_WORST_TOKENS_H

#include "verify/drift/drift.h"

#include <stddef.h>
#include <stdint.h>

struct nb_worst_token {
    size_t scored;   /* the index of its scores in nb_drift.score */
    size_t position; /* the index of the token itself in the ids that were measured */
    float kld;       /* in nats: the divergence of the two predictions of it */
};

/*
 * Fills WORST with at most COUNT tokens of MODEL (not the base), the largest divergence first; of equal ones the first in
 * the text. Tokens at which the two are equal are none of them. Returns how many there are.
 */
size_t nb_worst_tokens(const struct nb_drift *drift, size_t model, struct nb_worst_token *worst, size_t count);

#endif
