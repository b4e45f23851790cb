/* RoPE scaling of config.json: the GGUF keys and the tensor that families write for it. */
#ifndef NB_ROPE_SCALING_H
#define NB_ROPE_SCALING_H

#include "formats/models/family.h"

/* The type of the rotary parameters ROPE: its rope_type, or its older name type; NULL if it has neither. */
const char *nb_rope_type(json_t *rope);

/*
 * Writes the keys of rotary scaling (linear, yarn; longrope's factors are tensors). llama3 has none, see nb_make_rope_freqs; nor has
 * dynamic, which changes nothing within the context length. Used in nb_key_row.
 */
enum nb_status nb_write_rope_scaling(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                     struct nb_error *err);
/*
 * Llama 3's divisors of the RoPE frequencies: key_length / 2 floats. Each step uses the precision of
 * the reference converter (torch floats mixed with Python doubles), so that the bytes are equal.
 * Used in nb_made_row.
 */
enum nb_status nb_make_rope_freqs(const struct nb_conversion *conversion, struct nb_arena *arena, const float **values,
                                  uint64_t *count, struct nb_error *err);
/* The same, in double precision, where layers with full attention rotate half of a head, and others all of it. */
enum nb_status nb_make_half_rope_freqs(const struct nb_conversion *conversion, struct nb_arena *arena,
                                       const float **values, uint64_t *count, struct nb_error *err);
/*
 * Longrope's divisors, for texts beyond and within the original context length: rope_dims / 2 floats of
 * long_factor and short_factor. Used in nb_made_row.
 */
enum nb_status nb_make_long_factors(const struct nb_conversion *conversion, struct nb_arena *arena,
                                    const float **values, uint64_t *count, struct nb_error *err);
enum nb_status nb_make_short_factors(const struct nb_conversion *conversion, struct nb_arena *arena,
                                     const float **values, uint64_t *count, struct nb_error *err);

/* A family's DERIVE: the sections of rotary positions (time, height, width, ...) are four, the last ones 0. */
enum nb_status nb_pad_rope_sections(json_t *config, const char *name, struct nb_hparams *hp,
                                    struct nb_error *err) NB_MUST_CHECK;

#endif
