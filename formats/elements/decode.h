/*
 * Stored elements of any type to floats, by the fastest decoders that this CPU can run, and
 * whether stored elements are sound. Every tier gives the same floats.
 */
#ifndef NB_DECODE_H
#define NB_DECODE_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>

bool nb_can_decode(enum nb_type type);
/* COUNT elements, a multiple of the block, to floats. Only for types with nb_can_decode. */
void nb_decode(enum nb_type type, const void *from, size_t count, float *out);

/*
 * The index of the first of COUNT elements that is NaN or infinite, or COUNT.
 * For a block type that is one whose scale is. Elements of other types are
 * never that.
 */
size_t nb_find_nonfinite(enum nb_type type, const void *from, size_t count);

/*
 * The index of the first of COUNT elements whose block has a code that nothing writes, or COUNT:
 * a scale of NVFP4 with a sign or the code of NaN, and the fourth value of a trit in TQ2_0.
 * The codes of all other types are all in use.
 */
size_t nb_find_bad_code(enum nb_type type, const void *from, size_t count);

#endif
