/* glm4moe: GLM-4.5 to 4.7 and Solar Open. Source: llama.cpp v0.5.0, src/models/glm4-moe.cpp. */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor tensors[] = {
    EMBEDDINGS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    { BLOCK "attn_q_norm.weight", { "key_length" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_k_norm.weight", { "key_length" }, NB_OPTIONAL, NULL },
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_REQUIRED, SPARSE_LAYER),
    SHARED_EXPERTS_WHEN("expert_feed_forward * experts_shared", SHARING_LAYER),
    NEXTN,
};

static const enum nb_hparam demanded[] = {
    DEMANDED, NB_HP_EXPERT_FEED_FORWARD, NB_HP_EXPERTS_SHARED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED,
};

static const struct nb_arch_block blocks[] = {
    { .kind = "attention" },
    { .kind = "dense", .when = DENSE_LAYER, .norm = "post_attention_norm" },
    { .kind = "mixture", .when = SPARSE_LAYER, .norm = "post_attention_norm" },
};
static const struct nb_arch_default defaults[] = { { NB_HP_EXPERT_GATING, "2" } };

const struct nb_arch nb_arch_glm4moe = { ARCH("glm4moe", tensors, demanded), RUNS(blocks), ASSUMES(defaults), .rope = NB_ROPE_HALVES };
