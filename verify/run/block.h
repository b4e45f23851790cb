/*
 * Kinds of blocks, the parts that layers are made of. A kind is one file in blocks/ and one row in
 * blocks/blocks.def; nothing else knows it. Which blocks a layer has is said by its architecture.
 */
#ifndef NB_BLOCK_H
#define NB_BLOCK_H

#include "formats/base/status.h"
#include "verify/run/load.h"
#include "verify/run/model.h"
#include "verify/run/run.h"

struct nb_block_kind {
    const char *name; /* as architectures call it */
    /* Makes BLOCK->data, for the layer BLOCK->layer: sizes, small tensors, and where its matrices are. */
    enum nb_status (*load)(struct nb_loader *loader, struct nb_block *block);
    /* Takes all the memory that it needs to run, by nb_scratch_take. */
    void (*scratch)(const struct nb_block *block, struct nb_scratch *scratch);
    /*
     * Adds to the residual stream what it makes of it. Takes its memory from the scratch memory of
     * RUN, by the very calls that SCRATCH makes.
     */
    enum nb_status (*run)(const struct nb_block *block, struct nb_run *run, struct nb_error *err);
};

#define NB_BLOCK(identifier) extern const struct nb_block_kind nb_block_##identifier;
#include "verify/run/blocks/blocks.def"
#undef NB_BLOCK

/* NULL if there is none of that name. */
const struct nb_block_kind *nb_block_kind_by_name(const char *name);

#endif
