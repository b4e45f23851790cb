/* The memory that llama.cpp takes for keys and values when it runs a model. */
#ifndef NB_CACHE_SIZE_H
#define NB_CACHE_SIZE_H

#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "formats/models/hparams.h"

#include <stdbool.h>
#include <stdint.h>

struct cache_size {
    bool known;       /* the keys that tell the size are there, and the cache is of a kind that is computed here */
    uint64_t context; /* tokens */
    uint64_t bytes;   /* of keys and values, and of an indexer's keys */
    uint64_t state;   /* bytes that recurrent layers keep, whatever CONTEXT and TYPE are */
    uint64_t window;  /* tokens that SLIDING layers look back and keep; 0: no layer slides a window */
    uint64_t layers, sliding;
    bool has_state;               /* some layers keep a state besides, of a size that is not known */
    uint64_t cells, window_cells; /* tokens that there is room for, in a full layer and in a sliding one */
    struct {
        uint64_t bytes; /* of all kinds */
        bool slides;
    } layer[NB_MAX_LAYERS];
};

/*
 * From a model's metadata, for one sequence of CONTEXT tokens (0: 4096, or what the model was trained for if that is
 * less), keys and values as TYPE, batches of 512 tokens; laid out as llama.cpp v0.5.0 does
 * (src/llama-kv-cache*.cpp).
 */
void measure_cache(const struct nb_metadata *meta, uint64_t context, enum nb_type type, struct cache_size *out);

#endif
