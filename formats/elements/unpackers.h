/* The table of one tier's functions that unpack levels: defined in unpack_levels.c, used by unpack.c. */
#ifndef NB_UNPACKERS_H
#define NB_UNPACKERS_H

#include "formats/elements/tier.h"
#include "formats/elements/types.h"
#include "formats/elements/unpack.h"

typedef void nb_unpack_fn(const void *blocks, size_t count, int8_t *level, float *scale, float *min);

struct nb_unpackers {
    nb_unpack_fn *unpack[NB_TYPES]; /* NULL: there is none */
};

#ifdef NB_TIER
extern const struct nb_unpackers NB_TIERED(nb_unpackers);
#endif

#endif
