/* Statistics of an importance matrix: those of llama-imatrix's --show-statistics, computed in double. */
#ifndef NB_IMPORTANCE_STATS_H
#define NB_IMPORTANCE_STATS_H

#include "formats/imatrix/imatrix.h"

/*
 * Statistics of one entry over the mean squares of its columns, without experts
 * that received no tokens.
 */
struct nb_importance_stats {
    uint64_t columns; /* of all experts that received tokens */
    double sum, mean, deviation, min, max;
    double active;             /* share of columns above 1e-5 */
    double entropy;            /* of the columns' shares of the sum, in bits */
    double normalized_entropy; /* entropy divided by its maximum */
    double outliers;           /* share of columns more than one standard deviation above the mean */
    double similarity;         /* cosine similarity to the same tensor of the previous layer; NaN if there is none */
};

void nb_importance_stats(const struct nb_imatrix *imatrix, const struct nb_imatrix_entry *entry,
                         struct nb_importance_stats *out);

#endif
