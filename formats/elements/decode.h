/*
 * Decodes elements of any type to floats, with the current tier, and checks the stored values.
 * Every tier gives the same floats.
 */
#ifndef NB_DECODE_H
#define NB_DECODE_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>

bool nb_can_decode(enum nb_type type);
/* Decodes COUNT elements, a multiple of the block size. Only for types with nb_can_decode. */
void nb_decode(enum nb_type type, const void *from, size_t count, float *out);

/*
 * The index of the first of COUNT elements that is NaN or infinite, or COUNT.
 * For block types, the first element of a block with such a scale. Other types
 * cannot have any.
 */
size_t nb_find_nonfinite(enum nb_type type, const void *from, size_t count);

/*
 * The index of the first of COUNT elements whose block has an invalid code, or COUNT: in NVFP4 a
 * scale that is negative or NaN, in TQ2_0 the unused fourth value of a trit. In all other types every
 * code is valid.
 */
size_t nb_find_bad_code(enum nb_type type, const void *from, size_t count);

#endif
