/* The KL divergence of two predictions, given as logits. */
#ifndef NB_DIVERGENCE_H
#define NB_DIVERGENCE_H

#include <stddef.h>

/* What is needed of one row of logits. */
struct nb_log_sum {
    float max;
    size_t top; /* the likeliest token */
    double sum; /* of exp(logit - max) */
    double log; /* ln of the sum of exp(logit): not finite if a logit is NaN or infinite */
};

struct nb_log_sum nb_log_sum_of(const float *logits, size_t n);
/*
 * KL divergence of q from the base p, in nats: the sum of p (ln p - ln q), computed as the mean under p of the difference
 * of the logits, plus the difference of the log-sums. Equal logits give exactly 0.
 */
double nb_divergence(const float *p, const struct nb_log_sum *of_p, const float *q, const struct nb_log_sum *of_q,
                     size_t n);

#endif
