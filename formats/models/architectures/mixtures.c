/*
 * dots1, minimax-m2, minimax-m3, bailingmoe, bailingmoe2, afmoe, dbrx: mixtures of experts. Source: llama.cpp v0.5.0,
 * src/models/dots1.cpp, minimax-m2.cpp, minimax-m3.cpp, bailingmoe.cpp, bailingmoe2.cpp, afmoe.cpp and dbrx.cpp.
 */
#include "formats/models/architectures/rows.h"

#define SHARED_SIZE "expert_feed_forward * experts_shared"
#define FUSED_QKV { BLOCK "attn_qkv.weight", { "embedding", "(heads + 2 * kv_heads) * key_length" }, NB_REQUIRED, NULL }
#define ATTENTION_OUTPUT { BLOCK "attn_output.weight", { "heads * key_length", "embedding" }, NB_REQUIRED, NULL }

static const struct nb_arch_tensor dots1[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_OPTIONAL, SPARSE_LAYER),
    SHARED_EXPERTS_WHEN(SHARED_SIZE, SHARING_LAYER),
};

static const struct nb_arch_tensor minimax_m2[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("heads * key_length", "kv_heads * key_length"),
    EXPERTS("feed_forward"),
    ROUTER_BIAS_WHEN(NB_REQUIRED, NULL),
};

static const struct nb_arch_tensor minimax_m3[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_REQUIRED, SPARSE_LAYER),
    SHARED_EXPERTS_WHEN(SHARED_SIZE, SHARING_LAYER),
    { BLOCK "indexer.q_proj.weight", { "embedding", "indexer_heads * indexer_key_length" }, NB_REQUIRED, SPARSE_LAYER },
    { BLOCK "indexer.k_proj.weight", { "embedding", "indexer_key_length" }, NB_REQUIRED, SPARSE_LAYER },
    { BLOCK "indexer.q_norm.weight", { "indexer_key_length" }, NB_REQUIRED, SPARSE_LAYER },
    { BLOCK "indexer.k_norm.weight", { "indexer_key_length" }, NB_REQUIRED, SPARSE_LAYER },
};

static const struct nb_arch_tensor bailingmoe[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    EXPERTS("expert_feed_forward"),
    SHARED_EXPERTS_WHEN(SHARED_SIZE, "experts_shared > 0"),
};

/* The size of the shared experts may be missing: it is then that of as many experts. */
#define SHARED_BY_KEY "shared_feed_forward + (shared_feed_forward == 0) * " SHARED_SIZE
static const struct nb_arch_tensor bailingmoe2[] = {
    EMBEDDINGS,
    NORMS,
    FUSED_QKV,
    ATTENTION_OUTPUT,
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_OPTIONAL, SPARSE_LAYER),
    SHARED_EXPERTS_WHEN(SHARED_BY_KEY, SPARSE_LAYER),
    NEXTN,
    { BLOCK "layer_output_norm.weight", { "embedding" }, NB_REQUIRED, NEXTN_LAYER },
};

static const struct nb_arch_tensor afmoe[] = {
    EMBEDDINGS,
    NORMS,
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    { BLOCK "attn_gate.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, NULL },
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_REQUIRED, SPARSE_LAYER),
    SHARED_EXPERTS_WHEN(SHARED_SIZE, SHARING_LAYER),
};

static const struct nb_arch_tensor dbrx[] = {
    EMBEDDINGS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    FUSED_QKV,
    ATTENTION_OUTPUT,
    EXPERTS("feed_forward"),
};

#define MIXTURE DEMANDED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED, NB_HP_EXPERT_FEED_FORWARD
static const enum nb_hparam demanded_alone[] = { MIXTURE };
static const enum nb_hparam demanded_with_shared[] = { MIXTURE, NB_HP_EXPERTS_SHARED };
static const enum nb_hparam demanded_of_m3[] = {
    MIXTURE,          NB_HP_EXPERTS_SHARED, NB_HP_EXPERT_GATING, NB_HP_INDEXER_HEADS, NB_HP_INDEXER_KEY_LENGTH,
    NB_HP_INDEXER_TOP_K, NB_HP_INDEXER_BLOCK,  NB_HP_INDEXER_LOCAL,
};
static const enum nb_hparam demanded_of_ling_1[] = { NB_HP_HEADS, NB_HP_RMS_EPSILON, NB_HP_EXPERTS, NB_HP_EXPERTS_USED,
                                                     NB_HP_EXPERT_FEED_FORWARD, NB_HP_EXPERTS_SHARED };
static const enum nb_hparam demanded_of_ling[] = { MIXTURE, NB_HP_EXPERTS_SHARED, NB_HP_EXPERT_GATING };
static const enum nb_hparam demanded_of_dbrx[] = {
    NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_NORM_EPSILON, NB_HP_CLAMP_KQV, NB_HP_EXPERTS, NB_HP_EXPERTS_USED,
};

static const struct nb_arch_block blocks[] = { SPARSE_BLOCKS };
static const struct nb_arch_block dense_then_sparse[] = { DENSE_THEN_SPARSE_BLOCKS };
static const struct nb_arch_block dbrx_blocks[] = {
    { .kind = "attention" },
    { .kind = "mixture", .norm = "attn_output_norm" },
};
static const struct nb_arch_default sigmoid_shares[] = { { NB_HP_EXPERT_GATING, "2" }, { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };
static const struct nb_arch_default shares_are_normalized[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

const struct nb_arch nb_arch_dots1 = { ARCH("dots1", dots1, demanded_with_shared), RUNS(dense_then_sparse), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_minimax_m2 = { ARCH("minimax-m2", minimax_m2, demanded_alone), RUNS(blocks), ASSUMES(sigmoid_shares), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_minimax_m3 = { ARCH("minimax-m3", minimax_m3, demanded_of_m3), RUNS(dense_then_sparse),
                                            ASSUMES(shares_are_normalized), .activation = NB_ACTIVATION_GPT_OSS,
                                            .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_bailingmoe = { ARCH("bailingmoe", bailingmoe, demanded_of_ling_1), RUNS(blocks),
                                            .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_bailingmoe2 = { ARCH("bailingmoe2", bailingmoe2, demanded_of_ling), RUNS(dense_then_sparse),
                                             .rope = NB_ROPE_HALVES };
static const struct nb_arch_block afmoe_blocks[] = {
    { .kind = "attention", .norm_after = "post_attention_norm" },
    { .kind = "dense", .when = DENSE_LAYER, .norm_after = "post_ffw_norm" },
    { .kind = "mixture", .when = SPARSE_LAYER, .norm_after = "post_ffw_norm" },
};
static const struct nb_arch_default afmoe_defaults[] = {
    { NB_HP_EMBEDDING_SCALE, "embedding ^ 0.5" },
    { NB_HP_EXPERT_GATING, "2" },
};
const struct nb_arch nb_arch_afmoe = { ARCH("afmoe", afmoe, demanded_with_shared), RUNS(afmoe_blocks), ASSUMES(afmoe_defaults),
                                       .rope = NB_ROPE_HALVES, .window = { .period = 4 },
                                       .attention = { .rotates = "slides" } };
const struct nb_arch nb_arch_dbrx = { ARCH("dbrx", dbrx, demanded_of_dbrx), RUNS(dbrx_blocks), ASSUMES(shares_are_normalized),
                                      .norm = NB_NORM_LAYER, .rope = NB_ROPE_HALVES };
