/* How likely a model finds the ends of sequences of tokens of any lengths. */
#ifndef NB_SEQUENCES_H
#define NB_SEQUENCES_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "verify/run/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_sequence {
    const int32_t *id; /* of the model's vocabulary */
    uint32_t length;
    uint32_t start, end; /* the tokens that are scored: from START, at least 1, up to but not including END */
    uint32_t
        alike; /* as many sequences from this one on, itself included, begin alike; 0: it begins like those before */
    uint32_t shared; /* with the tokens that all of these have */
    double score;    /* the mean of ln p of these */
};

/*
 * What sequences share is run once, but for a few tokens.
 * Sets SCORE of COUNT sequences; with ROUND with rounded activations (verify/run/activations.h). PROGRESS, which may be NULL,
 * is told how many are done.
 */
enum nb_status nb_score_sequences(const struct nb_model *model, struct nb_sequence *sequences, size_t count, bool round,
                                  struct nb_pool *pool, void (*progress)(void *context, size_t done), void *context,
                                  struct nb_error *err) NB_MUST_CHECK;

#endif
