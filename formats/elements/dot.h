/*
 * Products of stored rows with vectors of floats: elements are decoded in registers and multiplied at once. For products
 * with few vectors, where writing the decoded elements to memory would take most of the time.
 */
#ifndef NB_DOT_H
#define NB_DOT_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>

bool nb_can_dot(enum nb_type type);
/*
 * The sum of X[i] times what nb_decode makes of element i of COUNT, a multiple of the block size, with the current tier.
 * Tiers add in different orders. Only for types with nb_can_dot.
 */
float nb_dot(enum nb_type type, const void *from, size_t count, const float *x);

#endif
