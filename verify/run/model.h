/*
 * A model that can be run, made from a source: its hyperparameters, the blocks of its layers, and its
 * small tensors as floats. The matrices stay in the file.
 */
#ifndef NB_MODEL_H
#define NB_MODEL_H

#include "formats/base/status.h"
#include "formats/models/architecture.h"
#include "formats/models/hparams.h"
#include "formats/models/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A matrix with an optional bias per row: out = matrix * in + bias. Or EXPERTS stacked matrices, each
 * COLUMNS x ROWS.
 */
struct nb_linear {
    const char *name; /* name of the tensor */
    const char *role; /* name in the architecture, with "%l" for the layer */
    size_t columns, rows, experts;
    const struct nb_view *weight;
    const float *bias;            /* EXPERTS x ROWS; NULL: none */
    const float *scale;           /* of the product before the bias: one for each expert; NULL: 1 */
    const struct nb_linear *next; /* in the model's list of matrices */
};

struct nb_norm {
    enum nb_norm_kind kind;
    const float *weight, *bias; /* NULL: ones, zeros */
    size_t length, rows;        /* of the weights: ROWS vectors of LENGTH */
    float epsilon;
};

struct nb_block_kind;

/* A loaded part of a layer. */
struct nb_block {
    const struct nb_block_kind *kind; /* block.h */
    uint32_t layer;
    const struct nb_norm *norm, *norm_after; /* of its input and of its result; NULL: none */
    const struct nb_norm *norm_sum;          /* of its result with that of the block beside which it is; NULL: none */
    bool beside;                             /* its result is added after the next block has read the stream */
    bool lends;                              /* later blocks read its state, which therefore lasts through all layers */
    bool changes_lent;                       /* it changes what an earlier block lends */
    float times;                             /* factor of the stream after it */
    void *data;                              /* data of its kind, in the model's arena */
};

struct nb_model {
    struct nb_arena arena;
    const struct nb_source *source;
    const struct nb_arch *arch;
    struct nb_hparams hp;    /* VOCAB is the number of tokens in the source's vocabulary */
    struct nb_block *blocks; /* of all layers, in execution order */
    size_t n_blocks;
    const struct nb_linear *token_embedding, *output;
    const struct nb_linear *positions;    /* an embedding for each position; NULL: none */
    const struct nb_norm *embedding_norm; /* NULL: none */
    const struct nb_norm *output_norm;
    struct nb_rope *ropes; /* rope.h; a linked list of distinct ones */
    /*
     * A linked list of all matrices that are used in products, in execution order; the last is the
     * output.
     */
    const struct nb_linear *matrices;
    /* REPLACEMENT is read in the place of REPLACED (nb_model_view): to see what one tensor does. NULL: nothing. */
    const struct nb_view *replaced, *replacement;
};

/* WEIGHT, or what stands in its place. */
static inline const struct nb_view *
nb_model_view(const struct nb_model *model, const struct nb_view *weight)
{
    return weight == model->replaced ? model->replacement : weight;
}

/* SOURCE must stay open while the model is used. */
enum nb_status nb_model_open(struct nb_model *model, const struct nb_source *source,
                             struct nb_error *err) NB_MUST_CHECK;
/* The same with the architecture ARCH instead of the source's. */
enum nb_status nb_model_open_as(struct nb_model *model, const struct nb_source *source, const struct nb_arch *arch,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_model_close(struct nb_model *model);

/* Layers that are run: those that predict further tokens are not. */
uint32_t nb_model_layers(const struct nb_model *model);
uint32_t nb_model_embedding(const struct nb_model *model); /* floats per token state */
uint32_t nb_model_vocab(const struct nb_model *model);     /* tokens */
/* The largest row length of its tensors, in floats. */
size_t nb_model_longest_row(const struct nb_model *model);

/*
 * Reads ROWS rows of WEIGHT from row FIRST on into READER, from which nb_view_decode makes floats of them. NaN and infinity
 * are an error. Nothing else in this wing reads tensor data.
 */
enum nb_status nb_model_fetch(const struct nb_model *model, const struct nb_view *weight, uint64_t first, uint64_t rows,
                              struct nb_view_reader *reader, struct nb_error *err) NB_MUST_CHECK;
/* The same, and makes the floats. */
enum nb_status nb_model_rows(const struct nb_model *model, const struct nb_view *weight, uint64_t first, uint64_t rows,
                             struct nb_view_reader *reader, float *out, struct nb_error *err) NB_MUST_CHECK;

/*
 * Called before each matrix product with its input: TOKENS rows with one float per column of the
 * matrices. COUNT is the number of MATRICES that share this input. EXPERT is the expert of stacked
 * matrices, 0 for others. Called by one thread at a time, in execution order.
 */
typedef enum nb_status nb_observe(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert,
                                  const float *input, size_t tokens, struct nb_error *err);
/*
 * Called with the shares of attention that ROWS queries of one head of a chunk pay to N positions, from FIRST on: rows are
 * ROW floats apart. Called by many threads at once, but not for the same head of a chunk.
 */
typedef void nb_observe_shares(void *context, size_t chunk, size_t head, const float *shares, size_t rows, size_t row,
                               size_t first, size_t n);

#endif
