/* Matrices that a checkpoint has in MXFP4, as arrays of MLX: the same bytes, but for which rows they are. */
#ifndef NB_MLX_PACKED_H
#define NB_MLX_PACKED_H

#include "formats/base/arena.h"
#include "formats/models/view.h"

/*
 * A view of bytes of STORED, BLOCKS (experts x rows x groups x 16, of U8) or SCALES (experts x rows x groups): of each
 * expert the rows FIRST, FIRST + N, ... False if STORED has not this form, or if out of memory (the arena is then
 * exhausted). The view gets its name from the caller.
 */
bool nb_mlx_packed_view(struct nb_view *view, const struct nb_store *store, const struct nb_tensor *stored,
                        bool is_blocks, uint64_t first, uint64_t n, struct nb_arena *arena);

#endif
