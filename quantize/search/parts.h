/*
 * The parts of blocks: codes, and scales and minimums that are integers times a step. An element is
 *     d * scale[group] * level(code) - dmin * min[group].
 * Types whose blocks have one scale have a single group, whose scale (and minimum) is 1. Types with codebooks have signed
 * levels, of which only some are found together.
 */
#ifndef NB_PARTS_H
#define NB_PARTS_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_PARTS_ELEMENTS 256
#define NB_PARTS_GROUPS 16

struct nb_parts_type {
    uint16_t block, group;        /* elements of a block, and of a group */
    uint16_t codes;               /* codes are 0 to CODES - 1 */
    int8_t first;                 /* the level of code 0; that of code i is FIRST + i */
    const float *levels;          /* or these, ascending; NULL: as FIRST says */
    int16_t scale_low, scale_top; /* of the integers of a group */
    int16_t scale_step;           /* from one integer to the next: 2 where all are odd */
    int16_t min_top;              /* its minimums are 0 to this; 0: the type has none */
    enum nb_type step;            /* in which D and DMIN are stored: F16, BF16, F32, or those of parts_fp4.h */
    /*
     * Types with codebooks (parts_grids.c): CELL elements have the magnitudes of an entry, of BITS bits each, and signs of
     * their own. A code is the number of a magnitude, with NB_NEGATIVE for the sign. 0: the type has none.
     */
    uint8_t cell, bits;
    bool even_signs; /* of each eight elements an even number is negative */
    float unit;      /* d is the stored half float times this */
    const uint16_t *entries;
    uint16_t n_entries;
};

#define NB_NEGATIVE 128

/* The level of a code. */
static inline float
nb_parts_level(const struct nb_parts_type *t, uint8_t code)
{
    if (t->cell > 0)
        return code & NB_NEGATIVE ? -t->levels[code & ~NB_NEGATIVE] : t->levels[code];
    return t->levels == NULL ? (float)(t->first + code) : t->levels[code];
}

struct nb_parts {
    uint8_t code[NB_PARTS_ELEMENTS];
    int16_t scale[NB_PARTS_GROUPS], min[NB_PARTS_GROUPS];
    float d, dmin; /* as STEP can hold them; D times the type's unit, if it has one */
};

/* NULL for types that do not consist of such parts. */
const struct nb_parts_type *nb_parts_type(enum nb_type type);
/* Takes one block apart, and puts it together again. */
void nb_parts_unpack(enum nb_type type, const void *block, struct nb_parts *parts);
void nb_parts_pack(enum nb_type type, const struct nb_parts *parts, void *block);

#endif
