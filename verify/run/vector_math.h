/*
 * Elementwise arithmetic for the forward pass and for comparing its results, with
 * the vector width of the current tier. Tiers differ in the last bits, because
 * the order of sums differs.
 */
#ifndef NB_VECTOR_MATH_H
#define NB_VECTOR_MATH_H

#include <stddef.h>

struct nb_vector_math {
    /* x[i] = exp(x[i] - max) / sum of all exp(x[i] - max). N is at least 1. */
    void (*softmax)(float *x, size_t n);
    /* gate[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)) */
    void (*swiglu)(float *gate, const float *up, size_t n);
    /* out[i] = x[i] / sqrt(mean of squares + epsilon) * weight[i]; returns the mean of squares, in double. */
    double (*rms_norm)(const float *x, const float *weight, size_t n, float epsilon, float *out);
    /* The maximum of X, which must not contain NaN; *AT is its first index. */
    float (*largest)(const float *x, size_t n, size_t *at);
    /* Sum of exp(x[i] - max), in double. */
    double (*sum_exp)(const float *x, size_t n, float max);
    /* Sum of exp(x[i] - max) * (x[i] - y[i]), in double. */
    double (*sum_exp_difference)(const float *x, const float *y, size_t n, float max);
    /* sums[i] += x[i]^2, x[i + stride]^2, ... over ROWS rows, in this order, for i below COLUMNS. */
    void (*add_squares)(double *sums, const float *x, size_t rows, size_t stride, size_t columns);
};

/* The functions of the current tier (see nb_tier). */
const struct nb_vector_math *nb_vector_math(void);

#endif
