/* Products with the matrices of a model: out = in * matrix^T, by CBLAS, over panels of decoded rows. */
#ifndef NB_PRODUCT_H
#define NB_PRODUCT_H

#include "formats/base/pool.h"
#include "verify/run/model.h"

#include <stdbool.h>
#include <stddef.h>

/* Memory for the threads of POOL to decode panels of MODEL's matrices in. */
struct nb_panels {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_view_reader *readers; /* for each thread */
    float **floats;
};

enum nb_status nb_panels_new(struct nb_panels *panels, const struct nb_model *model, struct nb_pool *pool,
                             struct nb_error *err) NB_MUST_CHECK;
void nb_panels_free(struct nb_panels *panels);

/* OUT (N x the matrix's rows) becomes the product plus the bias; with ADD, plus what it was. */
struct nb_product {
    struct nb_linear matrix;
    float *out;
    bool add;
};

/*
 * COUNT products (at most 4) of one input, N rows of COLUMNS. How the work is cut
 * does not depend on the number of threads, so neither do the results.
 */
enum nb_status nb_multiply(struct nb_panels *panels, const float *in, size_t n, size_t columns,
                           const struct nb_product *product, size_t count, struct nb_error *err) NB_MUST_CHECK;

#endif
