/* Better blocks for one matrix, from the moments of its inputs. */
#ifndef NB_REFINE_MATRIX_H
#define NB_REFINE_MATRIX_H

#include "calib/moments.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "quantize/search/encode.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The moments of a group of matrices with the same input, prepared for all of them: those that blocks are fitted to, and
 * those of held-out tokens, by which they are judged.
 */
struct nb_refine_inputs {
    const struct nb_moments *fit, *held;
    float *factor;   /* of the scaled and damped FIT->H */
    float *damped;   /* FIT->H as blocks are fitted to it */
    float *feedback; /* of that (quantize/search/refine.h), or NULL */
    float *scale;    /* of each column: one over the root of the diagonal; 0 for columns that are always zero */
};

/* FEEDS: for matrices of which nb_refine_feeds holds. */
enum nb_status nb_refine_prepare(struct nb_refine_inputs *inputs, const struct nb_moments *fit,
                                 const struct nb_moments *held, bool feeds, struct nb_error *err) NB_MUST_CHECK;
void nb_refine_inputs_free(struct nb_refine_inputs *inputs);

struct nb_refine_matrix {
    const struct nb_encoding *encoding;
    size_t rows, columns;
    const float *weights; /* ROWS x COLUMNS, the original ones */
    void *blocks;         /* rows (parts_rows.h) as the encoder made them; refined ones are put in their place */
};

/* What was found, in squared errors of the products with held-out inputs, summed. */
struct nb_refine_result {
    double before, after; /* of the given blocks, and of the refined ones */
    double shift, repair; /* how far the target follows the quantized inputs, and the error of earlier layers; 0 to 1 */
    bool taken;           /* the refined blocks are better, and now in BLOCKS; else these have not changed */
};

enum nb_status nb_refine_matrix(const struct nb_refine_inputs *inputs, const struct nb_refine_matrix *matrix,
                                struct nb_pool *pool, struct nb_refine_result *result,
                                struct nb_error *err) NB_MUST_CHECK;

#endif
