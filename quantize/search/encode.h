/* Encodes floats as elements of any type, with the current tier. Every tier gives the same bytes. */
#ifndef NB_ENCODE_H
#define NB_ENCODE_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Encodes ROWS x COLUMNS floats, row-major, to OUT, one plane of ROWS x COLUMNS elements after the
 * other. COLUMNS is a multiple of the block size. IMPORTANCE is NULL or has COLUMNS non-negative
 * weights for the errors of the columns.
 */
typedef void nb_encode_fn(const float *x, size_t rows, size_t columns, const float *importance, void *out);

/* How a tensor is encoded: as one array of blocks, or as a few arrays (planes). */
struct nb_encoding {
    const char *name;
    enum nb_type type; /* the element type; NB_TYPE_NONE for several planes without one */
    uint16_t block;    /* elements per block */
    uint8_t n_planes;
    uint16_t plane_bytes[NB_MAX_PLANES]; /* bytes per block in each plane */
    bool uses_importance;
    uint8_t bits;             /* of a code, for the encodings of mlx.h */
    enum nb_type computed_in; /* theirs too: the float type of the weights and of scales and biases */
    /* As nb_encode_fn, with this encoding as its first argument. NULL: elements of TYPE can only be copied. */
    void (*encode)(const struct nb_encoding *encoding, const float *x, size_t rows, size_t columns,
                   const float *importance, void *out);
    /* How many of the blocks at OUT, of COUNT elements X, are zero though X is not. NULL: it does not happen. */
    size_t (*count_lost)(const struct nb_encoding *encoding, const float *x, size_t count, const void *out);
};

bool nb_can_encode(enum nb_type type);
/* The encoding of TYPE; ENCODE is NULL for types that can only be copied. */
struct nb_encoding nb_encoding_of(enum nb_type type);

/*
 * Encodes ROWS x COLUMNS floats, row-major, as TYPE, which must satisfy
 * nb_can_encode. COLUMNS is a multiple of the block size. IMPORTANCE is NULL or
 * has COLUMNS non-negative weights for the errors of the columns; some types
 * ignore it. Types that need importance use x^2 as weights if it is NULL.
 * The bytes equal those of ggml_quantize_chunk in ggml 0.25.1's x86-64 build.
 */
void nb_encode(enum nb_type type, const float *x, size_t rows, size_t columns, const float *importance, void *out);

#endif
