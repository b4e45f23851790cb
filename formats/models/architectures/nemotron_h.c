/*
 * nemotron_h, nemotron_h_moe: each layer is a Mamba 2, an attention or a feed-forward part. Source: llama.cpp
 * v0.5.0, src/models/nemotron-h.cpp.
 */
#include "formats/models/architectures/recurrent.h"

#define STATE_LAYER "kv_heads == 0 && feed_forward == 0"
#define FEED_FORWARD_LAYER "feed_forward > 0"
#define LATENT_LAYER "feed_forward > 0 && expert_latent > 0"

#define PARTS                                                                     \
    EMBEDDINGS,                                                                   \
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },             \
    MAMBA2(STATE_LAYER, NB_OPTIONAL, NB_REQUIRED),                                \
    ATTENTION_WHEN(ATTENTION_LAYER),                                              \
    { BLOCK "attn_output.bias", { "embedding" }, NB_OPTIONAL, ATTENTION_LAYER }

static const struct nb_arch_tensor dense[] = {
    PARTS,
    { BLOCK "ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    { BLOCK "ffn_up.bias", { "feed_forward" }, NB_OPTIONAL, FEED_FORWARD_LAYER },
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    { BLOCK "ffn_down.bias", { "embedding" }, NB_OPTIONAL, FEED_FORWARD_LAYER },
};

/* What experts see may be shorter than an embedding; without expert_feed_forward, older files divide by the number used. */
#define SEEN "expert_latent + (expert_latent == 0) * embedding"
#define SIZE "expert_feed_forward + (expert_feed_forward == 0) * (feed_forward // experts_used)"

static const struct nb_arch_tensor mixture[] = {
    PARTS,
    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    ROUTER_BIAS_WHEN(NB_REQUIRED, FEED_FORWARD_LAYER),
    { BLOCK "ffn_latent_down.weight", { "embedding", "expert_latent" }, NB_OPTIONAL, LATENT_LAYER },
    { BLOCK "ffn_latent_up.weight", { "expert_latent", "embedding" }, NB_OPTIONAL, LATENT_LAYER },
    { BLOCK "ffn_up_exps.weight", { SEEN, SIZE, "experts" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    { BLOCK "ffn_down_exps.weight", { SIZE, SEEN, "experts" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    { BLOCK "ffn_up_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    { BLOCK "ffn_down_shexp.weight", { "shared_feed_forward", "embedding" }, NB_REQUIRED, FEED_FORWARD_LAYER },
    NEXTN,
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NEXTN_LAYER },
};

#define DEMANDED_HERE                                                                                        \
    NB_HP_SSM_CONV, NB_HP_SSM_INNER, NB_HP_SSM_STATE, NB_HP_SSM_RANK, NB_HP_SSM_GROUPS, NB_HP_FEED_FORWARD,  \
        NB_HP_HEADS, NB_HP_NORM_EPSILON
static const enum nb_hparam demanded[] = { DEMANDED_HERE };
static const enum nb_hparam demanded_of_mixtures[] = { DEMANDED_HERE, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };

static const struct nb_arch_block dense_blocks[] = {
    { .kind = "mamba2", .when = STATE_LAYER },
    { .kind = "attention", .when = ATTENTION_LAYER },
    { .kind = "dense", .when = FEED_FORWARD_LAYER, .norm = "attn_norm" },
};
static const struct nb_arch_block mixture_blocks[] = {
    { .kind = "mamba2", .when = STATE_LAYER },
    { .kind = "attention", .when = ATTENTION_LAYER },
    { .kind = "mixture", .when = FEED_FORWARD_LAYER, .norm = "attn_norm" },
};

static const struct nb_arch_default defaults[] = { { NB_HP_RMS_EPSILON, "norm_epsilon" } };
static const struct nb_arch_default defaults_of_mixtures[] = {
    { NB_HP_RMS_EPSILON, "norm_epsilon" },
    { NB_HP_EXPERT_GATING, "2" }, /* sigmoid */
};

#define WITHOUT_POSITIONS .attention = { .rotates = "0" }, .activation = NB_ACTIVATION_RELU_SQUARED

const struct nb_arch nb_arch_nemotron_h = {
    ARCH("nemotron_h", dense, demanded), RUNS(dense_blocks),
    ASSUMES(defaults), WITHOUT_POSITIONS
};
const struct nb_arch nb_arch_nemotron_h_moe = {
    ARCH("nemotron_h_moe", mixture, demanded_of_mixtures), RUNS(mixture_blocks),
    ASSUMES(defaults_of_mixtures), WITHOUT_POSITIONS
};
