/* Causal attention with grouped queries. */
#ifndef NB_ATTENTION_H
#define NB_ATTENTION_H

#include "verify/run/model.h"

#include <stddef.h>

#define NB_ATTENTION_ROWS 128u /* queries that are worked on at once */

/*
 * Head HEAD of one chunk of TOKENS tokens. Q and OUT have rows of heads x head
 * dimension, K and V of key-value heads x head dimension. SCORES has room for
 * NB_ATTENTION_ROWS x TOKENS floats.
 */
void nb_attend(const struct nb_model *model, const float *q, const float *k, const float *v, size_t tokens,
               size_t head, float *scores, float *out);

#endif
