/* Whether a model fits into a machine's memory when llama.cpp runs it, and how many of its layers fit on a GPU. */
#ifndef NB_MEMORY_FIT_H
#define NB_MEMORY_FIT_H

#include "cli/model_shape.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>
#include <stdint.h>

/* What is asked: tokens (0: the usual number of measure_cache), the type of keys and values, bytes that there are. */
struct memory_question {
    uint64_t context;
    enum nb_type cache_type;
    uint64_t ram, vram; /* RAM 0: unknown; VRAM 0: no GPU */
    bool is_own_ram;    /* RAM is this machine's */
};

struct memory_fit {
    bool known;                                   /* the size of the cache is; else only WEIGHTS is set */
    bool is_exact;                                /* else BUFFERS is a little off */
    bool has_state;                               /* some layers keep a state besides, whose size is not known */
    uint64_t context, window, layers, sliding;    /* as in struct cache_size: of the layers that have a cache */
    uint64_t weights, cache, state, buffers, sum; /* bytes: where one processor does all; the sum of the four */
    uint64_t gpu_layers, all_gpu_layers; /* what -ngl is to be; what it is where all fit: one more than layers */
    uint64_t ram, vram;                  /* bytes that are taken of each */
    bool fits;                           /* in RAM, with what is on the GPU not counted there */
};

/*
 * For one sequence and the defaults of llama.cpp v0.5.0. Layers are put on the GPU as its -ngl does: the
 * last ones, after the output (src/llama-model.cpp). Not counted: the program, the driver of the GPU, other
 * programs, and weights that are loaded twice because the CPU wants them in another order.
 */
void fit_memory(const struct model_shape *shape, const struct nb_metadata *meta, const struct memory_question *question,
                struct memory_fit *out);

#endif
