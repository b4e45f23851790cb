/* How much of a model a text reached. */
#ifndef NB_COVERAGE_H
#define NB_COVERAGE_H

#include "calib/sums.h"

struct nb_coverage {
    uint64_t tokens;              /* of the entry that received most */
    size_t entries, empty;        /* EMPTY received no token at all */
    size_t experts, idle_experts; /* of mixtures */
    size_t columns, zero_columns; /* of entries and experts that received tokens */
};

struct nb_coverage nb_coverage(const struct nb_sums *sums);
/* Columns of ENTRY that stayed zero, of the experts that received tokens. */
uint64_t nb_coverage_zeros(const struct nb_sums_entry *entry);

#endif
