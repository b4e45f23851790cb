/* Loads an importance matrix and, if it is good, does with it what the commands do. */
#ifndef NB_IMATRIX_USE_H
#define NB_IMATRIX_USE_H

#include "calib.h"

static inline void
use_imatrix(const char *path)
{
    struct nb_importance_stats stats;
    struct nb_sums sums = { 0 };
    struct nb_imatrix matrix, back;

    if (nb_imatrix_load(&matrix, path, NULL) != NB_OK)
        return;
    for (size_t i = 0; i < matrix.count; i++)
        nb_importance_stats(&matrix, &matrix.entries[i], &stats);
    if (nb_imatrix_check(&matrix, path, NULL) == NB_OK && nb_sums_merge(&sums, &matrix, path, NULL) == NB_OK &&
        nb_sums_merge(&sums, &matrix, path, NULL) == NB_OK && nb_sums_imatrix(&sums, &back, NULL) == NB_OK)
        nb_imatrix_free(&back);
    nb_sums_free(&sums);
    nb_imatrix_free(&matrix);
}

#endif
