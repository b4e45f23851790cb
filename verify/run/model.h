/*
 * A source as a model that can be run: its hyperparameters, the blocks of its layers, and its small
 * tensors as floats. The matrices stay in the file.
 */
#ifndef NB_MODEL_H
#define NB_MODEL_H

#include "formats/base/status.h"
#include "formats/models/architecture.h"
#include "formats/models/hparams.h"
#include "formats/models/source.h"

#include <stddef.h>
#include <stdint.h>

/*
 * A matrix with, maybe, a bias for each row: out = matrix * in + bias. Or EXPERTS of them, stacked,
 * each of COLUMNS x ROWS.
 */
struct nb_linear {
    const char *name; /* of its tensor */
    const char *role; /* what the architecture calls it: a name with "%l" for the layer */
    uint64_t columns, rows, experts;
    const struct nb_view *weight;
    const float *bias; /* EXPERTS x ROWS; NULL: none */
    const struct nb_linear *next; /* of the model's matrices */
};

struct nb_norm {
    const float *weight;
    float epsilon;
};

struct nb_block_kind;

/* A part of a layer, ready to run. */
struct nb_block {
    const struct nb_block_kind *kind; /* block.h */
    uint32_t layer;
    void *data; /* what its kind keeps of it, in the model's arena */
};

struct nb_model {
    struct nb_arena arena;
    const struct nb_source *source;
    const struct nb_arch *arch;
    struct nb_hparams hp; /* VOCAB is the number of tokens in the source's vocabulary */
    struct nb_block *blocks; /* of all layers, in the order in which they are run */
    size_t n_blocks;
    const struct nb_linear *token_embedding, *output;
    struct nb_norm output_norm;
    struct nb_rope *ropes; /* rope.h; linked, each once */
    /*
     * Every matrix that something is multiplied by, linked, in the order of the pass; the last is
     * the output.
     */
    const struct nb_linear *matrices;
};

/* SOURCE must stay open as long as the model is used. */
enum nb_status nb_model_open(struct nb_model *model, const struct nb_source *source, struct nb_error *err)
    NB_MUST_CHECK;
/* The same, but the architecture is ARCH, whatever the source says. */
enum nb_status nb_model_open_as(struct nb_model *model, const struct nb_source *source, const struct nb_arch *arch,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_model_close(struct nb_model *model);

uint32_t nb_model_layers(const struct nb_model *model);
uint32_t nb_model_embedding(const struct nb_model *model); /* floats of a token's state */
uint32_t nb_model_vocab(const struct nb_model *model);     /* tokens */
/* The most floats that a row of any of its tensors has. */
size_t nb_model_longest_row(const struct nb_model *model);

/*
 * ROWS rows of WEIGHT from row FIRST on, as floats, by the memory of READER. NaN and infinity are
 * refused. Nothing else in this wing reads tensor data.
 */
enum nb_status nb_model_rows(const struct nb_model *model, const struct nb_view *weight, uint64_t first,
                             uint64_t rows, struct nb_view_reader *reader, float *out, struct nb_error *err)
    NB_MUST_CHECK;

/*
 * Sees what goes into a matrix product: TOKENS rows of as many floats as the matrices have columns,
 * the input of every one of the COUNT MATRICES (those that share it are passed together). Of
 * stacked experts it is expert EXPERT that has this input; of others EXPERT is 0. Called by one
 * thread at a time, in the order of the model.
 */
typedef enum nb_status nb_observe(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert,
                                  const float *input, size_t tokens, struct nb_error *err);

#endif
