/*
 * What the memory that a model takes to run follows from, read off its tensors: how long the results of
 * each layer's matrices are, and how many bytes its weights have.
 */
#ifndef NB_MODEL_SHAPE_H
#define NB_MODEL_SHAPE_H

#include "formats/models/hparams.h"
#include "formats/models/source.h"
#include "quantize/plan.h"

#include <stdbool.h>
#include <stdint.h>

/* A feed-forward network: elements that GATE, UP and their product have for a token; 0 if there is no such matrix. */
struct ffn_shape {
    uint64_t gate, up, down;
};

struct layer_shape {
    uint64_t q, k, v, qkv, attended; /* elements for a token: of the projections, and of what attention gives */
    uint64_t heads, rank;            /* of compressed attention: each head's query is one for what is compressed */
    struct ffn_shape ffn, expert, shared;
    uint64_t experts;
    bool attn_norm, ffn_norm, post_attn_norm, post_ffn_norm; /* whether it has these norms */
    uint64_t bytes, largest;                                 /* of all its weights; of its largest tensor */
};

struct model_shape {
    uint64_t layers, embedding, vocabulary;
    uint64_t experts_used, key_length; /* experts for a token; elements of a head's key */
    struct layer_shape layer[NB_MAX_LAYERS];
    uint64_t bytes;        /* of all tensors */
    uint64_t output_bytes; /* of output.weight, or of the token embedding in its place */
    bool is_tied;          /* there is no output.weight */
    bool has_means;        /* the norm before the output subtracts the mean: it is not computed in place */
    bool is_usual;         /* all tensors are those of a transformer whose computation is known here */
};

/* Of a model as it is, and of the one that PLAN would write. */
void shape_of_source(const struct nb_source *source, struct model_shape *out);
void shape_of_plan(const struct nb_plan *plan, struct model_shape *out);

#endif
