/*
 * The gated delta rule (Yang et al. 2024): the state of a head maps keys to values. For each token the state decays, the
 * value that it has for the token's key is corrected towards the token's value, and the query reads a result.
 */
#ifndef NB_DELTA_RULE_H
#define NB_DELTA_RULE_H

#include "formats/base/status.h"
#include "verify/run/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_delta_rule {
    uint32_t heads, key_heads; /* HEADS is a multiple of KEY_HEADS */
    uint32_t key_length, value_length;
    bool
        tiled; /* head h has the query and key h % key_heads; false: those of heads that follow one another are the same */
    bool by_key; /* each element of a key has its own decay; false: each head */

    /* Rows are tokens of the batch, Q_ROW elements apart and so on. */
    const float *q, *k, *v;
    size_t q_row, k_row, v_row;
    const float *decay; /* factors, tokens x heads, or x (heads * key_length) if BY_KEY */
    const float *beta;  /* tokens x heads: how far values are corrected, from 0 to 1 */
    float *out;         /* tokens x (heads * value_length) */
    float *states, *room;
};

/* Take the memory for STATES, which a chunk keeps for the tokens that continue it, and for ROOM. */
float *nb_delta_rule_states(const struct nb_delta_rule *rule, struct nb_scratch *state);
float *nb_delta_rule_room(const struct nb_delta_rule *rule, struct nb_scratch *scratch);
/* Fills OUT. Queries and keys are divided by their lengths, and queries also by the root of their size. */
enum nb_status nb_delta_rule(struct nb_run *run, const struct nb_delta_rule *rule, struct nb_error *err) NB_MUST_CHECK;

#endif
