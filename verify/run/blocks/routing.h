/* The choice of experts: from a router's scores to the share of each expert in a token's result. */
#ifndef NB_ROUTING_H
#define NB_ROUTING_H

#include "formats/base/status.h"
#include "verify/run/load.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The values of "expert_gating_func", as in llama.cpp. */
enum nb_gating {
    NB_GATING_SOFTMAX = 1,         /* over all experts; then the highest are chosen */
    NB_GATING_SIGMOID = 2,         /* of each expert's score */
    NB_GATING_SOFTMAX_OF_USED = 3, /* the highest scores are chosen; then softmax over these */
    NB_GATING_SPARSE_MIXER =
        5, /* one after the other, each by a softmax over those that are nearly as high; no file has it */
    NB_GATING_SQRT_SOFTPLUS = 4, /* sqrt(ln(1 + e^score)) of each expert's score */
};

struct nb_routing {
    enum nb_gating gating;
    uint32_t experts, used;
    uint32_t groups, groups_used; /* only experts of the best groups are chosen; 1: all are one group */
    const float *bias;            /* added to what the choice is made by, not to the shares; NULL: none */
    bool normalizes;              /* shares are divided by their sum */
    double scale;                 /* of the shares */
};

/* From the layer's hyperparameters and its tensor "blk.%l.exp_probs_b.bias". */
enum nb_status nb_load_routing(const struct nb_loader *loader, struct nb_routing *out) NB_MUST_CHECK;
/* Bytes of the buffer that nb_route needs. */
size_t nb_route_room(const struct nb_routing *routing);
/* SCORES, one of each expert, become the shares, 0 for experts that were not chosen. */
void nb_route(const struct nb_routing *routing, float *scores, void *room);

#endif
