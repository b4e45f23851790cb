/*
 * The parts of blocks: codes, and scales and minimums that are integers times a step. An element is
 *     d * scale[group] * level(code) - dmin * min[group].
 * Types whose blocks have one scale have a single group, whose scale (and minimum) is 1.
 */
#ifndef NB_PARTS_H
#define NB_PARTS_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stdint.h>

#define NB_PARTS_ELEMENTS 256
#define NB_PARTS_GROUPS 16

struct nb_parts_type {
    uint16_t block, group;        /* elements of a block, and of a group */
    uint8_t codes;                /* codes are 0 to CODES - 1 */
    int8_t first;                 /* the level of code 0; that of code i is FIRST + i */
    const float *levels;          /* or these, ascending; NULL: as FIRST says */
    int16_t scale_low, scale_top; /* of the integers of a group */
    int16_t min_top;              /* its minimums are 0 to this; 0: the type has none */
};

struct nb_parts {
    uint8_t code[NB_PARTS_ELEMENTS];
    int16_t scale[NB_PARTS_GROUPS], min[NB_PARTS_GROUPS];
    float d, dmin; /* half floats */
};

/* NULL for types that do not consist of such parts. */
const struct nb_parts_type *nb_parts_type(enum nb_type type);
/* Takes one block apart, and puts it together again. */
void nb_parts_unpack(enum nb_type type, const void *block, struct nb_parts *parts);
void nb_parts_pack(enum nb_type type, const struct nb_parts *parts, void *block);

#endif
