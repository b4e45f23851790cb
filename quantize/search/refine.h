/*
 * Finds better blocks for rows of a matrix whose inputs are known. Encoders minimize the error of each weight; what
 * counts is the error of the products with the inputs. With H the sum of the outer products of the inputs, the error of
 * a row w, if t would be best, is (t - w) H (t - w)'. From given blocks, codes and scales are changed one by one, each to
 * what is best given all others, until little changes (coordinate descent; Behdin et al. 2023, "QuantEase"). It may begin at
 * the codes of refine_feed.h instead.
 */
#ifndef NB_REFINE_H
#define NB_REFINE_H

#include "formats/base/status.h"
#include "quantize/search/encode.h"

#include <stdbool.h>
#include <stddef.h>

#define NB_REFINE_ROWS 64u /* at once */

struct nb_refine {
    const struct nb_encoding *encoding; /* for which nb_can_refine */
    size_t columns;
    const float *h;        /* COLUMNS x COLUMNS, symmetric, with a positive diagonal */
    const float *feedback; /* what nb_refine_feedback makes of it; NULL: descent begins at the codes that are given */
    unsigned sweeps;       /* over all columns, at most */
};

/*
 * FEEDBACK (N x N) becomes that of H: U and U' in one matrix, where H = U D U' and U has ones on its diagonal and zeros below
 * it. False if H is not positive definite. NB_SYSTEM as nb_cholesky.
 */
enum nb_status nb_refine_feedback(const float *h, size_t n, float *feedback, bool *definite,
                                  struct nb_error *err) NB_MUST_CHECK;

bool nb_can_refine(const struct nb_encoding *encoding);
/* Whether feedback is used: not by types with codebooks. */
bool nb_refine_feeds(const struct nb_encoding *encoding);
/* The memory that nb_refine_rows needs, in bytes. */
size_t nb_refine_memory(size_t columns);
/*
 * Changes BLOCKS, up to NB_REFINE_ROWS rows (parts_rows.h), for TARGET (ROWS x COLUMNS). The error does not grow. MEMORY is
 * aligned to 64 bytes. After nb_blas_load. Results differ a little between CPUs and BLAS libraries.
 */
void nb_refine_rows(const struct nb_refine *refine, const float *target, size_t rows, void *blocks, void *memory);

#endif
