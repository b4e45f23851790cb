/*
 * What a model predicts at one position of a text, in so few numbers that they can be saved: its likeliest tokens, and a
 * sample of the others.
 */
#ifndef NB_PREDICTION_H
#define NB_PREDICTION_H

#include <stddef.h>
#include <stdint.h>

/*
 * LISTED tokens in ascending order, then SAMPLED ones, which are drawn from all others by their probability, and so may
 * occur several times; REST is the probability of all others together. Others are left out without a sample where they
 * have less than NB_PREDICTION_REST.
 */
struct nb_prediction {
    float nll;   /* -ln of the true token's probability */
    int32_t top; /* the likeliest token */
    float rest;
    uint32_t listed, sampled;
    uint32_t *id; /* LISTED + SAMPLED, with room for nb_prediction_capacity */
    float *log_p; /* of each: ln of its probability */
};
#define NB_PREDICTION_REST 1e-5

/* Tokens of a prediction at most: as many as make a 20th of 16 bits for each of VOCAB tokens in a saved base, but at least 16. */
uint32_t nb_prediction_capacity(uint32_t vocab);

/* A token that may be listed. */
struct nb_candidate {
    float logit;
    uint32_t id;
};

/*
 * Makes OUT of the LOGITS of VOCAB tokens, whose exponentials have the sum exp(LOG_SUM); TRUTH is the true token. ROOM has
 * nb_prediction_capacity elements. SEED changes the sample; the same one always makes the same.
 */
void nb_predict(const float *logits, uint32_t vocab, double log_sum, int32_t truth, uint64_t seed,
                struct nb_candidate *room, struct nb_prediction *out);

/*
 * The KL divergence from P, in nats, of the prediction that has these LOGITS and LOG_SUM. What the tokens that are not
 * listed add to it is estimated from the sample: the error has a mean of 0, and the part of P's rest as its scale.
 */
double nb_prediction_kld(const struct nb_prediction *p, const float *logits, double log_sum);

#endif
