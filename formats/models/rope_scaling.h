/* Rotary scaling as config.json has it: the keys and the tensor that families write of it. */
#ifndef NB_ROPE_SCALING_H
#define NB_ROPE_SCALING_H

#include "formats/models/family.h"

/* Writes the keys of rope_scaling (linear, yarn); llama3 has none, see nb_make_rope_freqs. For nb_key_row. */
enum nb_status nb_write_rope_scaling(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                     struct nb_error *err);
/*
 * Llama 3's factors by which rotary frequencies are divided: key_length / 2 floats. Computed in the
 * precisions that the reference converter's mixture of torch floats and Python doubles has, so that
 * the bytes agree. For nb_made_row.
 */
enum nb_status nb_make_rope_freqs(const struct nb_conversion *conversion, struct nb_arena *arena, const float **values,
                                  uint64_t *count, struct nb_error *err);

#endif
