/*
 * Embeddings by layer (Gemma 3n): each token has a short vector for every layer. All of them are made before the first
 * layer, by the block "layer_inputs"; a layer brings its own into the stream through a gate.
 */
#ifndef NB_LAYER_INPUT_H
#define NB_LAYER_INPUT_H

#include "formats/base/status.h"
#include "verify/run/block.h"

#include <stddef.h>
#include <stdint.h>

struct nb_layer_input {
    struct nb_linear gate, projection;
    const struct nb_block *inputs; /* the block that has made all short vectors */
    size_t length, at;             /* of a short vector, and where this layer's stands in a token's row */
    size_t row;                    /* elements of all layers */
    enum nb_activation activation;
};

enum nb_status nb_load_layer_input(struct nb_loader *loader, struct nb_layer_input *out) NB_MUST_CHECK;
/* Takes memory for the gate. */
float *nb_layer_input_take(const struct nb_layer_input *input, struct nb_scratch *scratch);
/* Adds to OUT (tokens x embedding): projection * (f(gate * IN) * the layer's short vector). */
enum nb_status nb_layer_input_run(const struct nb_layer_input *input, float *gate, struct nb_run *run, const float *in,
                                  float *out, struct nb_error *err) NB_MUST_CHECK;

#endif
