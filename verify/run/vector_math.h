/*
 * The elementwise arithmetic of a forward pass and of comparing its results, over
 * the lanes of the chosen tier. Not exact to the bit between tiers: sums are in
 * another order.
 */
#ifndef NB_VECTOR_MATH_H
#define NB_VECTOR_MATH_H

#include <stddef.h>

struct nb_vector_math {
    /* x[i] = exp(x[i] - max) / sum, the sum over all of them. N may be any number from 1. */
    void (*softmax)(float *x, size_t n);
    /* gate[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)) */
    void (*swiglu)(float *gate, const float *up, size_t n);
    /* out[i] = x[i] / sqrt(mean of squares + epsilon) * weight[i]; returns the mean of squares, in double. */
    double (*rms_norm)(const float *x, const float *weight, size_t n, float epsilon, float *out);
    /* The largest of X, which must have no NaN; *AT is the first place that has it. */
    float (*largest)(const float *x, size_t n, size_t *at);
    /* Sum of exp(x[i] - max), in double. */
    double (*sum_exp)(const float *x, size_t n, float max);
    /* Sum of exp(x[i] - max) * (x[i] - y[i]), in double. */
    double (*sum_exp_difference)(const float *x, const float *y, size_t n, float max);
    /* sums[i] += the squares of x[i], x[i + stride], ... of ROWS rows, in their order, for i below COLUMNS. */
    void (*add_squares)(double *sums, const float *x, size_t rows, size_t stride, size_t columns);
};

/* Those of the tier that nb_tier() names. */
const struct nb_vector_math *nb_vector_math(void);

#endif
