/*
 * Elementwise arithmetic for the forward pass and for comparing its results, with
 * the vector width of the current tier. Tiers differ in the last bits, because
 * the order of sums differs.
 */
#ifndef NB_VECTOR_MATH_H
#define NB_VECTOR_MATH_H

#include "formats/models/architecture.h"

#include <stddef.h>

struct nb_vector_math {
    /* x[i] = exp(x[i] - max) / sum of all exp(x[i] - max). N is at least 1. */
    void (*softmax)(float *x, size_t n);
    /*
     * out[i] = f(x[i]) * up[i]; UP may be NULL, for factors of 1. F is one of those activations that have no parameters.
     */
    void (*activate)(enum nb_activation f, const float *x, const float *up, size_t n, float *out);
    /* x[i] = x[i] / (1 + exp(-gate[i])) */
    void (*apply_gate)(float *x, const float *gate, size_t n);
    /* x[i] = cap * tanh(x[i] / cap) */
    void (*soft_cap)(float *x, size_t n, float cap);
    /*
     * out[i] = x[i] / sqrt(mean of squares + epsilon) * weight[i]; returns the mean of squares, in double. WEIGHT may be
     * NULL, for ones.
     */
    double (*rms_norm)(const float *x, const float *weight, size_t n, float epsilon, float *out);
    /* The same without the mean of x and with a BIAS, which may be NULL; returns the variance. OUT may be X in both. */
    double (*layer_norm)(const float *x, const float *weight, const float *bias, size_t n, float epsilon, float *out);
    /* The sum of x[i] * y[i]. */
    float (*dot)(const float *x, const float *y, size_t n);
    /* The maximum of X, which must not contain NaN; *AT is its first index. */
    float (*largest)(const float *x, size_t n, size_t *at);
    /* Sum of exp(x[i] - max), in double. */
    double (*sum_exp)(const float *x, size_t n, float max);
    /* Sum of exp(x[i] - max) * (x[i] - y[i]), in double. */
    double (*sum_exp_difference)(const float *x, const float *y, size_t n, float max);
    /* sums[i] += x[i]^2, x[i + stride]^2, ... over ROWS rows, in this order, for i below COLUMNS. */
    void (*add_squares)(double *sums, const float *x, size_t rows, size_t stride, size_t columns);
    /*
     * A step of a linear recurrence with a matrix as its state, ROWS x COLUMNS: each row becomes decay[row] times itself
     * plus write[row] times VALUE (COLUMNS); then OUT (COLUMNS) += read[row] times the row. DECAY may be NULL, for ones,
     * WRITE for zeros.
     */
    void (*recur)(float *state, size_t rows, size_t columns, const float *decay, const float *write, const float *value,
                  const float *read, float *out);
    /*
     * The same where each element decays by its own factor, exp(rate * time[column]). Rows of STATE and RATES are STRIDE
     * elements apart.
     */
    void (*recur_selectively)(float *state, size_t rows, size_t columns, size_t stride, const float *rates,
                              const float *time, const float *write, const float *value, const float *read, float *out);
};

/* The functions of the current tier (see nb_tier). */
const struct nb_vector_math *nb_vector_math(void);

#endif
