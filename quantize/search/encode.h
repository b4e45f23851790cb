/* Floats to the elements of any type, by the fastest encoders that this CPU can run. Every tier gives the same bytes. */
#ifndef NB_ENCODE_H
#define NB_ENCODE_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * ROWS x COLUMNS floats, row-major, to blocks: OUT receives them plane by plane, each plane as long
 * as ROWS x COLUMNS elements make it. COLUMNS is a multiple of the block. IMPORTANCE is NULL or
 * COLUMNS weights for the errors of the columns, none negative.
 */
typedef void nb_encode_fn(const float *x, size_t rows, size_t columns, const float *importance, void *out);

/* How a tensor is written: into one array of blocks, or into a few that belong together. */
struct nb_encoding {
    const char *name;
    enum nb_type type; /* of an array; NB_TYPE_NONE where there are several planes of no type of their own */
    uint16_t block;    /* elements of a block */
    uint8_t n_planes;
    uint16_t plane_bytes[NB_MAX_PLANES]; /* bytes of a block in each plane */
    bool uses_importance;
    nb_encode_fn *encode;
};

bool nb_can_encode(enum nb_type type);
/* How elements of TYPE are written by the tier in use; ENCODE is NULL for types that can only be copied. */
struct nb_encoding nb_encoding_of(enum nb_type type);

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
