/* The choice of the next token. */
#ifndef NB_SAMPLER_H
#define NB_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

struct nb_sampler {
    double temperature; /* 0: always the most likely token, of equal ones the lower id */
    uint64_t state;     /* of the random numbers: begins as the seed, and changes with each token */
};

/* The next random number, from 0 up to but not including 1. */
double nb_sample_fraction(struct nb_sampler *sampler);
/* The id of one of N tokens, with the probabilities that LOGITS divided by the temperature give. */
int32_t nb_sample(struct nb_sampler *sampler, const float *logits, size_t n);

#endif
