/* The parts of blocks of types with codebooks; used by parts.c. */
#ifndef NB_PARTS_GRIDS_H
#define NB_PARTS_GRIDS_H

#include "quantize/search/parts.h"

void nb_parts_unpack_grid(enum nb_type type, const struct nb_parts_type *parts_type, const void *block,
                          struct nb_parts *parts);
/* The magnitudes of each cell must be those of an entry, and the signs as the type has them. */
void nb_parts_pack_grid(enum nb_type type, const struct nb_parts_type *parts_type, const struct nb_parts *parts,
                        void *block);

#endif
