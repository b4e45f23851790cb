/* The memory that llama.cpp takes for intermediate results when it runs a model. */
#ifndef NB_COMPUTE_BUFFER_H
#define NB_COMPUTE_BUFFER_H

#include "cli/cache_size.h"
#include "cli/model_shape.h"
#include "formats/elements/types.h"

#include <stdbool.h>
#include <stdint.h>

#define COMPUTE_BATCH 512u /* llama.cpp's --ubatch-size: tokens that are computed together */

struct compute_size {
    uint64_t bytes;  /* where the model is computed: in the memory of the CPU, or of the GPU */
    uint64_t layers; /* what of that is in use at most before the output is computed */
    uint64_t host;   /* with a GPU: besides, in the memory of the CPU */
    uint64_t output; /* the results of one token, always in the memory of the CPU */
    bool is_exact;   /* the model is of the usual kind, and on the CPU: BYTES is what llama.cpp says */
};

/*
 * For a batch of 512 tokens, or as many as the cache has room for, of which all give logits; with flash
 * attention, as llama.cpp v0.5.0 reserves it (src/llama-context.cpp and src/llama-graph.cpp,
 * ggml/src/ggml-alloc.c) with the defaults of llama_context_default_params. CACHE, whose keys and values
 * have the type TYPE, tells the context. ON_GPU: all layers, or those that fit, are computed by one GPU.
 */
void measure_compute(const struct model_shape *shape, const struct cache_size *cache, enum nb_type type, bool on_gpu,
                     struct compute_size *out);

#endif
