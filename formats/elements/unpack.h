/*
 * Blocks as levels and scales: for products with few vectors, where making floats of all elements would take most of the
 * time. An element is level * scale - min, with the scale and min of its group of 16.
 */
#ifndef NB_UNPACK_H
#define NB_UNPACK_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_LEVEL_GROUP 16u

struct nb_levels {
    int8_t *level; /* one for each element */
    float *scale;  /* one for each group; types with larger groups repeat it */
    float *min;    /* the same, only of types that nb_unpack_has_min says */
};

bool nb_can_unpack(enum nb_type type);
bool nb_unpack_has_min(enum nb_type type);
/* Unpacks COUNT elements, a multiple of the block size, with the current tier. Only for types with nb_can_unpack. */
void nb_unpack(enum nb_type type, const void *from, size_t count, const struct nb_levels *to);

#endif
