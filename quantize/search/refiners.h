/* The functions of one tier that refine blocks: defined in refine_sweep.c, used by refine.c. */
#ifndef NB_REFINERS_H
#define NB_REFINERS_H

#include "formats/elements/tier.h"
#include "quantize/search/parts.h"
#include "quantize/search/refine.h"

#include <stdint.h>

#define NB_TILE NB_REFINE_ROWS
#define NB_STRIDE_COLUMNS 256u /* columns whose gradients are kept up to date at once: a super-block */

#define NB_PANEL 32u /* columns whose gradients are updated after each change: a group, or two */

/* One float for each row of a tile. */
typedef float nb_lane[NB_TILE];

/* Rows that are refined side by side; the arrays have one entry for each column, group or block. */
struct nb_tile {
    const struct nb_refine *refine;
    const struct nb_parts_type *parts;
    nb_lane *g;           /* the gradient: (target - w) H */
    nb_lane *w;           /* the rows as the blocks decode */
    nb_lane *level;       /* of each element */
    nb_lane *scale, *min; /* integers, per group */
    nb_lane *d, *dmin;    /* per block */
    nb_lane *change;      /* of w, in the current stride */
    nb_lane *room;        /* 4 strides: for sums, or the entries of a codebook */
    size_t changed;       /* codes, in the current sweep */
};

/* One sweep over all columns. */
typedef void nb_sweep_fn(struct nb_tile *tile);
/* New codes for the scales that blocks have, found from the first column to the last; ERROR is the target less w, and stays that. */
typedef void nb_feed_fn(struct nb_tile *tile, nb_lane *error);

#ifdef NB_TIER
nb_sweep_fn NB_TIERED(nb_refine_sweep);
nb_feed_fn NB_TIERED(nb_refine_feed);
#endif

#endif
