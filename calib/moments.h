/*
 * Second moments of what goes into a matrix, summed over tokens: of the inputs in a model that is being quantized, and of
 * these with the inputs of the same tokens in the original model.
 */
#ifndef NB_MOMENTS_H
#define NB_MOMENTS_H

#include "formats/base/pool.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct nb_moments {
    size_t columns, rows;
    float *h; /* COLUMNS x COLUMNS: sum of x x', symmetric after nb_moments_finish */
    float *c; /* COLUMNS x COLUMNS: sum of o x', with the original inputs o; NULL: o is x */
    float *r; /* ROWS x COLUMNS: sum of e x', with what the product should add for each token; NULL: nothing */
    size_t tokens;
};

/* What is added: N tokens. */
struct nb_moments_input {
    size_t n;
    const float *x;       /* N x COLUMNS */
    const float *o;       /* the same of the original model; only with C */
    const float *e;       /* N x ROWS; only with R */
    const float *weights; /* of the tokens; NULL: 1 */
    float *room;          /* N x COLUMNS floats, if there are weights */
};

/* All zero. ROWS may be 0: no R. False if out of memory. */
bool nb_moments_new(struct nb_moments *moments, size_t columns, bool with_original, size_t rows);
void nb_moments_free(struct nb_moments *moments);
/* The sums do not depend on the number of threads. After nb_blas_load. */
enum nb_status nb_moments_add(struct nb_moments *moments, struct nb_pool *pool, const struct nb_moments_input *input,
                              struct nb_error *err) NB_MUST_CHECK;
void nb_moments_finish(struct nb_moments *moments);

#endif
