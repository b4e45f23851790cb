/* What an importance matrix looks like: llama-imatrix's --show-statistics, computed in double. */
#ifndef NB_IMPORTANCE_STATS_H
#define NB_IMPORTANCE_STATS_H

#include "formats/imatrix/imatrix.h"

/*
 * Of one entry, over the mean squares of its columns; experts that saw no token are
 * left out.
 */
struct nb_importance_stats {
    uint64_t columns;           /* of all experts that saw tokens */
    double sum, mean, deviation, min, max;
    double active;              /* share of columns above 1e-5 */
    double entropy;             /* of the columns' shares of the sum, in bits */
    double normalized_entropy;  /* over its largest possible value */
    double outliers;            /* share of columns more than one deviation above the mean */
    double similarity;          /* cosine to the same tensor one layer before; NaN where there is none */
};

void nb_importance_stats(const struct nb_imatrix *imatrix, const struct nb_imatrix_entry *entry,
                         struct nb_importance_stats *out);

#endif
