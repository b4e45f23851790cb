#include "verify/drift/divergence.h"

#include "verify/run/vector_math.h"

#include <math.h>

struct nb_log_sum
nb_log_sum_of(const float *logits, size_t n)
{
    struct nb_log_sum s;

    s.max = nb_vector_math()->largest(logits, n, &s.top);
    s.sum = nb_vector_math()->sum_exp(logits, n, s.max);
    s.log = (double)s.max + log(s.sum);
    return s;
}

double
nb_divergence(const float *p, const struct nb_log_sum *of_p, const float *q, const struct nb_log_sum *of_q, size_t n)
{
    return nb_vector_math()->sum_exp_difference(p, q, n, of_p->max) / of_p->sum + of_q->log - of_p->log;
}
