/* The tokens that logits make likely. */
#ifndef NB_RANKING_H
#define NB_RANKING_H

#include <stddef.h>
#include <stdint.h>

struct nb_ranked {
    int32_t id;
    float logit;
};

/*
 * The K largest of N logits, which must not contain NaN, to TOP: the largest first, and of equal ones the lower id. K is
 * from 1 to N.
 */
void nb_rank(const float *logits, size_t n, struct nb_ranked *top, size_t k);
/* ln of the sum of e^logit: a logit minus this is the logarithm of its probability. */
double nb_log_sum_exp(const float *logits, size_t n);

#endif
