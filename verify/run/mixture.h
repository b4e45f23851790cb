/*
 * A mixture of experts: each token goes through the few experts that a router
 * scores highest, and what they make of it is added up by their shares.
 */
#ifndef NB_MIXTURE_H
#define NB_MIXTURE_H

#include "verify/run/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_mixture {
    float *scores;     /* tokens x experts: the router's, then the shares, 0 for experts that were not chosen */
    float *in, *out;   /* of one expert: tokens x embedding */
    uint32_t *tokens;  /* that chose it */
    float *shares;     /* theirs of it */
    bool *kept;        /* experts that a token has chosen so far */
};

/* For up to TOKENS tokens; false when memory is out. */
bool nb_mixture_new(struct nb_mixture *mixture, const struct nb_model *model, size_t tokens);
void nb_mixture_free(struct nb_mixture *mixture);

/*
 * Softmax over all experts' scores, of which the highest are kept (of equals the
 * first) and made to add up to 1, as Mixtral does it.
 */
void nb_mixture_choose(struct nb_mixture *mixture, const struct nb_model *model, size_t tokens);
/* Brings the inputs of the tokens that chose EXPERT together in IN; returns how many there are. */
size_t nb_mixture_gather(struct nb_mixture *mixture, const struct nb_model *model, const float *inputs, size_t tokens,
                         uint32_t expert);
/* Adds their N outputs, by their shares, to their rows of X. */
void nb_mixture_scatter(const struct nb_mixture *mixture, const struct nb_model *model, size_t n, float *x);

#endif
