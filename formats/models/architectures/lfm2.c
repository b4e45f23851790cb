/*
 * lfm2, lfm2moe: attention among short convolutions. Source: llama.cpp v0.5.0, src/models/lfm2.cpp and
 * lfm2moe.cpp.
 */
#include "formats/models/architectures/recurrent.h"

/* The norm of the output has the name of an embedding's. */
#define HYBRID                                                                                            \
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },                                 \
    { "token_embd_norm.weight", { "embedding" }, NB_REQUIRED, NULL },                                     \
    { "output.weight", { "embedding", "vocab" }, NB_TIED, NULL },                                         \
    NORMS,                                                                                                \
    ATTENTION_WHEN(ATTENTION_LAYER),                                                                      \
    { BLOCK "attn_q_norm.weight", { "key_length" }, NB_REQUIRED, ATTENTION_LAYER },                       \
    { BLOCK "attn_k_norm.weight", { "key_length" }, NB_REQUIRED, ATTENTION_LAYER },                       \
    { BLOCK "shortconv.conv.weight", { "shortconv_cache", "embedding" }, NB_REQUIRED, RECURRENT_LAYER },  \
    { BLOCK "shortconv.in_proj.weight", { "embedding", "3 * embedding" }, NB_REQUIRED, RECURRENT_LAYER }, \
    { BLOCK "shortconv.out_proj.weight", { "embedding", "embedding" }, NB_REQUIRED, RECURRENT_LAYER }

static const struct nb_arch_tensor lfm2[] = { HYBRID, GATED_MLP };
static const struct nb_arch_tensor lfm2moe[] = {
    HYBRID,
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_REQUIRED, SPARSE_LAYER),
};

#define DEMANDED_HERE DEMANDED, NB_HP_SHORTCONV_CACHE
static const enum nb_hparam demanded[] = { DEMANDED_HERE };
static const enum nb_hparam demanded_of_mixtures[] = {
    DEMANDED_HERE, NB_HP_EXPERTS, NB_HP_EXPERTS_USED, NB_HP_EXPERT_FEED_FORWARD, NB_HP_EXPERT_GATING,
};

#define MIXERS                                                          \
    { .kind = "short_convolution", .when = RECURRENT_LAYER },           \
    { .kind = "attention", .when = ATTENTION_LAYER }
static const struct nb_arch_block blocks[] = { MIXERS, { .kind = "dense" } };
static const struct nb_arch_block blocks_of_mixtures[] = {
    MIXERS,
    { .kind = "dense", .when = DENSE_LAYER },
    { .kind = "mixture", .when = SPARSE_LAYER },
};
static const struct nb_arch_default defaults[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

const struct nb_arch nb_arch_lfm2 = {
    ARCH("lfm2", lfm2, demanded), RUNS(blocks), .rope = NB_ROPE_HALVES
};
const struct nb_arch nb_arch_lfm2moe = {
    ARCH("lfm2moe", lfm2moe, demanded_of_mixtures),
    RUNS(blocks_of_mixtures),
    ASSUMES(defaults), .rope = NB_ROPE_HALVES
};
