/* Products with the matrices of a model: out = in * matrix^T, with CBLAS, on panels of decoded rows. */
#ifndef NB_PRODUCT_H
#define NB_PRODUCT_H

#include "formats/base/pool.h"
#include "verify/run/kept.h"
#include "verify/run/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Buffers in which the threads of a pool decode panels of matrices. */
struct nb_panels {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_view_reader *readers; /* one per thread */
    float **floats;
    size_t size;   /* floats per thread */
    uint64_t keep; /* bytes of the model's matrices that may stay in memory; 0: none */
    bool rounds;   /* inputs, as llama.cpp does for the type of each matrix (activations.h) */
    float *rounded;
    size_t rounded_size; /* floats */
    struct nb_kept kept;
};

/* Prepares the panels for the matrices of MODEL. Memory of a previous model is reused if it is large enough. */
enum nb_status nb_panels_for(struct nb_panels *panels, const struct nb_model *model, struct nb_pool *pool,
                             struct nb_error *err) NB_MUST_CHECK;
void nb_panels_free(struct nb_panels *panels);

#define NB_MAX_PRODUCTS 4 /* with the same input */

/*
 * OUT (N x the matrix's rows) becomes the product plus the bias; with ADD, this is added to OUT. For
 * stacked experts the matrix is that of EXPERT.
 */
struct nb_product {
    const struct nb_linear *matrix;
    uint32_t expert;
    float *out;
    bool add;
};

/*
 * COUNT products (at most NB_MAX_PRODUCTS) of one input: N rows with one float per column of the
 * matrices. The division of the work, and so the results, do not depend on the number of threads.
 */
enum nb_status nb_multiply(struct nb_panels *panels, const float *in, size_t n, const struct nb_product *product,
                           size_t count, struct nb_error *err) NB_MUST_CHECK;

#endif
