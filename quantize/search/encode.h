/* Floats to the elements of any type, by the fastest encoders that this CPU can run. Every tier gives the same bytes. */
#ifndef NB_ENCODE_H
#define NB_ENCODE_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>

bool nb_can_encode(enum nb_type type);

/*
 * ROWS x COLUMNS floats, row-major, to elements of TYPE. COLUMNS is a multiple
 * of the type's block. IMPORTANCE is NULL or COLUMNS weights for the errors of
 * the columns, none negative; types whose search has no use for it ignore it.
 * Types that need it weigh by x^2 without.
 * Only for types with nb_can_encode. The bytes are those of ggml 0.25.1's
 * ggml_quantize_chunk as its x86-64 build computes them.
 */
void nb_encode(enum nb_type type, const float *x, size_t rows, size_t columns, const float *importance, void *out);

#endif
