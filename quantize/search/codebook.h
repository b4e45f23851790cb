/*
 * The codebooks of the IQ types, with search tables: for every point that
 * rounding can produce, its index if it is an entry, otherwise the entries near
 * it (candidates).
 */
#ifndef NB_CODEBOOK_H
#define NB_CODEBOOK_H

#include <stdint.h>

enum nb_codebook_id {
    NB_CODEBOOK_IQ2_XXS,
    NB_CODEBOOK_IQ2_XS,
    NB_CODEBOOK_IQ2_S,
    NB_CODEBOOK_IQ1,
    NB_CODEBOOK_IQ3_XXS,
    NB_CODEBOOK_IQ3_S,
    NB_CODEBOOKS,
};

/* Candidate lists are padded to a multiple of this by repeating their first code. */
#define NB_CANDIDATES 16

/* A point's list: low bits: its length, 0 if the point is an entry; high bits: its position in nb_codebook.codes. */
#define NB_LIST_BITS 12
#define NB_LIST_LENGTH(list) ((list) & ((1u << NB_LIST_BITS) - 1))
#define NB_LIST_AT(list) ((list) >> NB_LIST_BITS)

/*
 * A code has BITS bits for each of DIMENSIONS levels, the first in the lowest
 * bits. The number of a point has its levels as digits in base LEVELS, the
 * first as the lowest digit.
 */
struct nb_codebook {
    int dimensions, levels, bits;
    int size;
    int rings;               /* candidates are the entries at the RINGS smallest distances */
    const uint16_t *entries; /* codes */
    uint32_t *lists;         /* for every point */
    uint16_t *indices;       /* for every point that is an entry: its index */
    uint16_t *codes;         /* codes of the candidates */
    uint32_t n_codes;
};

/* A codebook with its search tables, which the first call computes. Any thread may call. */
const struct nb_codebook *nb_codebook_ready(enum nb_codebook_id id);

/* The number of the point whose code is CODE. */
static inline uint32_t
nb_point_of_code(const struct nb_codebook *book, uint32_t code)
{
    uint32_t point = 0;

    for (int i = book->dimensions - 1; i >= 0; i--)
        point = point * (uint32_t)book->levels + (code >> (book->bits * i) & ((1u << book->bits) - 1));
    return point;
}

#endif
