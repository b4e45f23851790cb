/* A table of the tensors of a model, layer by role: "blk.3.attn_q.weight" is in the row 3 and the column attn q. */
#ifndef NB_LAYER_MAP_H
#define NB_LAYER_MAP_H

#include "cli/print.h"

#include <stddef.h>

struct layer_map_cell {
    const char *name; /* of the tensor */
    const char *text; /* what is shown of it, in ASCII */
    enum cli_color color;
};

/*
 * Prints COUNT cells. Layers of a run with the same texts share a row ("3-7"); columns that do not fit into the terminal
 * follow in a table beneath; tensors outside of the layers have lines of their own.
 */
void layer_map_print(const struct layer_map_cell *cells, size_t count);

#endif
