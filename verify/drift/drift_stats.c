#include "verify/drift/drift_stats.h"

#include <math.h>
#include <stdlib.h>

const double nb_quantile_shares[NB_QUANTILES] = { 0,    0.001, 0.01, 0.05, 0.10,  0.25, 0.50,
                                                  0.75, 0.90,  0.95, 0.99, 0.999, 1 };

/* The mean of N values, computed from their sum and the sum of their squares. */
static struct nb_estimate
mean_of(double sum, double squares, double n)
{
    const double mean = sum / n, variance = squares / n - mean * mean;

    return (struct nb_estimate){ mean, variance > 0 ? sqrt(variance / (n - 1)) : 0 };
}

static int
ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

static void
quantiles(float *values, size_t n, double *out)
{
    qsort(values, n, sizeof *values, ascending);
    for (size_t i = 0; i < NB_QUANTILES; i++) {
        const double at = nb_quantile_shares[i] * (double)(n - 1);
        const size_t below = (size_t)at, above = below + 1 < n ? below + 1 : below;
        const double part = at - (double)below;

        out[i] = (1 - part) * (double)values[below] + part * (double)values[above];
    }
}

static double
change(const struct nb_score *score, const struct nb_score *base)
{
    return exp(-(double)score->nll) - exp(-(double)base->nll);
}

static void
perplexities(const struct nb_score *s, const struct nb_score *b, size_t scored, struct nb_drift_stats *out)
{
    double sum = 0, squares = 0, base_sum = 0, base_squares = 0, products = 0;
    double variance, base_variance, covariance; /* of the means */
    const double n = (double)scored;
    struct nb_estimate mean, base;

    for (size_t i = 0; i < scored; i++) {
        const double x = (double)s[i].nll, y = (double)b[i].nll;

        sum += x;
        squares += x * x;
        base_sum += y;
        base_squares += y * y;
        products += x * y;
    }
    mean = mean_of(sum, squares, n);
    base = mean_of(base_sum, base_squares, n);
    out->perplexity = (struct nb_estimate){ exp(mean.value), exp(mean.value) * mean.error };
    if (s == b) { /* gives exact results for the base itself */
        out->ratio.value = out->correlation = 1;
        return;
    }
    /* The same formula for all three, so that the error of the ratio is 0 for a model with the base's scores. */
    variance = (squares / n - mean.value * mean.value) / (n - 1);
    base_variance = (base_squares / n - base.value * base.value) / (n - 1);
    covariance = (products / n - mean.value * base.value) / (n - 1);
    out->ln_ratio.value = mean.value - base.value;
    out->ln_ratio.error = sqrt(fmax(0, variance + base_variance - 2 * covariance));
    out->ratio.value = exp(out->ln_ratio.value);
    out->ratio.error = out->ratio.value * out->ln_ratio.error;
    out->correlation = mean.error > 0 && base.error > 0 ? fmin(1, covariance / (mean.error * base.error)) : 1;
}

static void
divergences(const struct nb_score *s, const struct nb_score *b, size_t scored, float *values,
            struct nb_drift_stats *out)
{
    double sum = 0, squares = 0, same = 0;
    const double n = (double)scored;
    struct nb_estimate mean_square;

    for (size_t i = 0; i < scored; i++) {
        values[i] = s[i].kld;
        sum += (double)s[i].kld;
        squares += (double)s[i].kld * (double)s[i].kld;
        same += s[i].same_top;
    }
    out->kld = mean_of(sum, squares, n);
    quantiles(values, scored, out->kld_quantile);
    out->same_top.value = same / n;
    out->same_top.error = sqrt(out->same_top.value * (1 - out->same_top.value) / (n - 1));

    sum = squares = 0;
    double fourths = 0;
    for (size_t i = 0; i < scored; i++) {
        const double d = change(&s[i], &b[i]);

        values[i] = (float)d;
        sum += d;
        squares += d * d;
        fourths += d * d * d * d;
    }
    out->dp = mean_of(sum, squares, n);
    mean_square = mean_of(squares, fourths, n);
    out->rms_dp.value = sqrt(mean_square.value);
    out->rms_dp.error = out->rms_dp.value > 0 ? 0.5 / out->rms_dp.value * mean_square.error : 0;
    quantiles(values, scored, out->dp_quantile);
}

enum nb_status
nb_drift_stats(const struct nb_drift *drift, size_t model, size_t scored, struct nb_drift_stats *out,
               struct nb_error *err)
{
    float *values = malloc(scored * sizeof *values);

    if (values == NULL)
        return nb_fail_memory(err);
    *out = (struct nb_drift_stats){ .scored = scored };
    perplexities(drift->score[model], drift->score[0], scored, out);
    divergences(drift->score[model], drift->score[0], scored, values, out);
    free(values);
    return NB_OK;
}
