/* Statistics of a model's scores, as printed by llama-perplexity (tools/perplexity/perplexity.cpp). */
#ifndef NB_DRIFT_STATS_H
#define NB_DRIFT_STATS_H

#include "verify/drift/drift.h"

/* A mean, or a value derived from means, and its standard error. */
struct nb_estimate {
    double value, error;
};

/* The quantiles: shares of the tokens below a value; 0 is the minimum, 1 the maximum. */
#define NB_QUANTILES 13
extern const double nb_quantile_shares[NB_QUANTILES];
enum nb_quantile {
    NB_Q_MIN,
    NB_Q_001,
    NB_Q_01,
    NB_Q_05,
    NB_Q_10,
    NB_Q_25,
    NB_Q_50,
    NB_Q_75,
    NB_Q_90,
    NB_Q_95,
    NB_Q_99,
    NB_Q_999,
    NB_Q_MAX,
};

struct nb_drift_stats {
    size_t scored;
    struct nb_estimate perplexity;     /* exp of the mean of nll */
    struct nb_estimate ln_ratio;       /* ln(perplexity / base's perplexity) */
    struct nb_estimate ratio;          /* perplexity / base's perplexity */
    double correlation;                /* of both models' nll per token */
    struct nb_estimate kld;            /* nats per token */
    double kld_quantile[NB_QUANTILES]; /* with linear interpolation */
    struct nb_estimate dp, rms_dp;     /* change of the true token's probability, 0 to 1; its root mean square */
    double dp_quantile[NB_QUANTILES];
    struct nb_estimate same_top; /* share of tokens with the same most likely next token as the base */
};

/* Statistics of model MODEL over the first SCORED tokens (at least two). NB_SYSTEM if out of memory. */
enum nb_status nb_drift_stats(const struct nb_drift *drift, size_t model, size_t scored, struct nb_drift_stats *out,
                              struct nb_error *err) NB_MUST_CHECK;

#endif
