/*
 * A source as a model that can be run: its hyperparameters, its tensors by what
 * they are for, and the small vectors among them as floats. The matrices stay in
 * the file.
 */
#ifndef NB_MODEL_H
#define NB_MODEL_H

#include "formats/base/status.h"
#include "formats/models/architecture.h"
#include "formats/models/source.h"

#include <stdint.h>

/*
 * A matrix with, maybe, a bias for each row: out = matrix * in + bias. Of stacked
 * experts it is one, from row FIRST of the stack on.
 */
struct nb_linear {
    const struct nb_view *weight;
    const float *bias; /* NULL: none */
    uint64_t first, rows;
};

struct nb_layer {
    const float *attn_norm, *ffn_norm;
    struct nb_linear q, k, v, attn_output;
    struct nb_linear router;         /* of a mixture of experts: a score for each */
    struct nb_linear gate, up, down; /* of a mixture: of its first expert */
};

struct nb_model {
    struct nb_arena arena;
    const struct nb_source *source;
    const struct nb_arch *arch;
    uint32_t experts, experts_used; /* 0: no mixture */
    uint32_t layers, embedding, feed_forward, heads, kv_heads, head_dim, vocab, context;
    float rms_epsilon;
    struct nb_layer *layer;
    const struct nb_view *token_embedding;
    const float *output_norm;
    struct nb_linear output;
    uint32_t rope_dims;       /* of each head, that turn; even */
    double *rope_frequencies; /* radians a position, for each of rope_dims / 2 pairs */
    double rope_magnitude;    /* what the turned elements are multiplied with */
};

/* SOURCE must stay open as long as the model is used. */
enum nb_status nb_model_open(struct nb_model *model, const struct nb_source *source, struct nb_error *err)
    NB_MUST_CHECK;
void nb_model_close(struct nb_model *model);

/*
 * ROWS rows of MATRIX from row FIRST on, as floats, by the memory of READER. NaN and infinity are
 * refused.
 */
enum nb_status nb_model_rows(const struct nb_model *model, const struct nb_view *matrix, uint64_t first,
                             uint64_t rows, struct nb_view_reader *reader, float *out, struct nb_error *err)
    NB_MUST_CHECK;

#endif
