/* Rotary position embedding: pairs of a head's elements are turned by an angle that grows with the position. */
#ifndef NB_ROPE_H
#define NB_ROPE_H

#include "verify/run/model.h"

#include <stddef.h>

/*
 * Fills TABLE (POSITIONS x rope_dims) with the cosine and sine of each pair at
 * each position, as pairs.
 */
void nb_rope_table(const struct nb_model *model, size_t positions, float *table);
/* Turns the HEADS heads at X for the position whose row of the table is TURNS. */
void nb_rope_turn(const struct nb_model *model, const float *turns, float *x, size_t heads);

#endif
