/* Products with the matrices of a model: out = in * matrix^T, by CBLAS, over panels of decoded rows. */
#ifndef NB_PRODUCT_H
#define NB_PRODUCT_H

#include "formats/base/pool.h"
#include "verify/run/model.h"

#include <stdbool.h>
#include <stddef.h>

/* Memory for the threads of a pool to decode panels of a model's matrices in. */
struct nb_panels {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_view_reader *readers; /* for each thread */
    float **floats;
    size_t size;         /* floats of each */
};

/* Makes them panels for the matrices of MODEL. Memory that was for another model is kept if it will do. */
enum nb_status nb_panels_for(struct nb_panels *panels, const struct nb_model *model, struct nb_pool *pool,
                             struct nb_error *err) NB_MUST_CHECK;
void nb_panels_free(struct nb_panels *panels);

#define NB_MAX_PRODUCTS 4 /* of one input */

/*
 * OUT (N x the matrix's rows) becomes the product plus the bias; with ADD, plus what it was. Of stacked
 * experts it is the matrix of EXPERT.
 */
struct nb_product {
    const struct nb_linear *matrix;
    uint32_t expert;
    float *out;
    bool add;
};

/*
 * COUNT products (at most NB_MAX_PRODUCTS) of one input, N rows of as many floats as the matrices have
 * columns. How the work is cut does not depend on the number of threads, so neither do the results.
 */
enum nb_status nb_multiply(struct nb_panels *panels, const float *in, size_t n, const struct nb_product *product,
                           size_t count, struct nb_error *err) NB_MUST_CHECK;

#endif
