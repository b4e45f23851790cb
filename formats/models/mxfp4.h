/* MXFP4 as gpt-oss's checkpoints have it, read as GGUF's blocks: the same bits in another order. */
#ifndef NB_MXFP4_VIEW_H
#define NB_MXFP4_VIEW_H

#include "formats/models/view.h"

/*
 * Makes VIEW, whose only piece is the blocks (U8, rows of blocks of 16 bytes), one of type MXFP4: its rows are
 * every N-th row from FIRST on. SCALES has one byte for each block. False if the shapes do not match.
 */
bool nb_view_mxfp4(struct nb_view *view, const struct nb_tensor *scales, uint64_t first, uint64_t n);

#endif
