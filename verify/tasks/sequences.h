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
    double score;        /* the mean of ln p of these */
};

/*
 * Sets SCORE of COUNT sequences; with ROUND with rounded activations (verify/run/activations.h). PROGRESS, which may be NULL,
 * is told how many are done.
 */
enum nb_status nb_score_sequences(const struct nb_model *model, struct nb_sequence *sequences, size_t count, bool round,
                                  struct nb_pool *pool, void (*progress)(void *context, size_t done), void *context,
                                  struct nb_error *err) NB_MUST_CHECK;

#endif
