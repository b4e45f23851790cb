/*
 * Kinds of blocks, the parts of layers. A kind is one file in blocks/ and one row in
 * blocks/blocks.def. The architecture says which blocks a layer has.
 */
#ifndef NB_BLOCK_H
#define NB_BLOCK_H

#include "formats/base/status.h"
#include "verify/run/load.h"
#include "verify/run/model.h"
#include "verify/run/run.h"

struct nb_block_kind {
    const char *name; /* the name that architectures use */
    const char *norm; /* the usual name of the norm of its input, after "blk.%l."; NULL: none */
    bool sets_stream; /* changes RUN's stream itself, instead of adding to RUN's output */
    /* Makes BLOCK->data for the layer BLOCK->layer: sizes, small tensors, and the views of its matrices. */
    enum nb_status (*load)(struct nb_loader *loader, struct nb_block *block);
    /* Takes all memory for running with nb_scratch_take. */
    void (*scratch)(const struct nb_block *block, struct nb_scratch *scratch);
    /*
     * Takes what a chunk leaves for the tokens that continue it: keys and values, recurrent states. NULL: nothing. The
     * contents are undefined at the beginning of a chunk.
     */
    void (*state)(const struct nb_block *block, struct nb_scratch *state);
    /*
     * Runs the block on RUN's input and adds its result to RUN's output. Takes its memory from RUN's scratch
     * and state, with the same calls as SCRATCH and STATE.
     */
    enum nb_status (*run)(const struct nb_block *block, struct nb_run *run, struct nb_error *err);
};

#define NB_BLOCK(identifier) extern const struct nb_block_kind nb_block_##identifier;
#include "verify/run/blocks/blocks.def"
#undef NB_BLOCK

/* NULL if there is none with this name. */
const struct nb_block_kind *nb_block_kind_by_name(const char *name);

#endif
