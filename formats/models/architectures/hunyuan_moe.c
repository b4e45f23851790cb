/*
 * hunyuan-moe, hy_v3, ernie4_5-moe. Source: llama.cpp v0.5.0, src/models/hunyuan-moe.cpp, hy-v3.cpp and ernie4-5.cpp.
 */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor hunyuan_moe[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    EXPERTS("feed_forward"),
    SHARED_EXPERT(NULL),
};

/* No key says which layers have experts. */
#define EITHER(name, ...) { BLOCK name, { __VA_ARGS__ }, NB_OPTIONAL, NULL }
static const struct nb_arch_tensor hy_v3[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    EITHER("ffn_gate.weight", "embedding", "feed_forward"),
    EITHER("ffn_up.weight", "embedding", "feed_forward"),
    EITHER("ffn_down.weight", "feed_forward", "embedding"),
    EITHER("ffn_gate_inp.weight", "embedding", "experts"),
    EITHER("exp_probs_b", "experts"),
    EITHER("ffn_gate_exps.weight", "embedding", "expert_feed_forward", "experts"),
    EITHER("ffn_up_exps.weight", "embedding", "expert_feed_forward", "experts"),
    EITHER("ffn_down_exps.weight", "expert_feed_forward", "embedding", "experts"),
    EITHER("ffn_gate_shexp.weight", "embedding", "shared_feed_forward"),
    EITHER("ffn_up_shexp.weight", "embedding", "shared_feed_forward"),
    EITHER("ffn_down_shexp.weight", "shared_feed_forward", "embedding"),
    NEXTN,
};

static const struct nb_arch_tensor ernie4_5_moe[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    O_BIAS,
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    /* The checkpoints have it as a matrix of one row. */
    { BLOCK "exp_probs_b.bias", { "experts", "1" }, NB_OPTIONAL, SPARSE_LAYER },
    SHARED_EXPERT("layer >= leading_dense && shared_feed_forward > 0"),
};

#define MIXTURE DEMANDED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED, NB_HP_EXPERT_FEED_FORWARD
static const enum nb_hparam demanded[] = { MIXTURE };
static const enum nb_hparam demanded_of_ernie[] = { MIXTURE, NB_HP_MOE_INTERLEAVE };

static const struct nb_arch_block blocks[] = { SPARSE_BLOCKS };
static const struct nb_arch_block dense_then_sparse[] = { DENSE_THEN_SPARSE_BLOCKS };
static const struct nb_arch_block dense_or_sparse[] = {
    { .kind = "attention" },
    { .kind = "dense", .has = "ffn_up.weight" },
    { .kind = "mixture", .has = "ffn_gate_inp.weight" },
};
static const struct nb_arch_default defaults_of_hy[] = { { NB_HP_SHARED_FEED_FORWARD, "expert_feed_forward" } };
static const struct nb_arch_default shares_are_normalized[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

const struct nb_arch nb_arch_hunyuan_moe = { ARCH("hunyuan-moe", hunyuan_moe, demanded), RUNS(blocks), ASSUMES(shares_are_normalized),
                                             .attention = { .norms_after_rotation = true }, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_hy_v3 = { ARCH("hy_v3", hy_v3, demanded), RUNS(dense_or_sparse), ASSUMES(defaults_of_hy), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_ernie4_5_moe = { ARCH("ernie4_5-moe", ernie4_5_moe, demanded_of_ernie), RUNS(dense_then_sparse), ASSUMES(shares_are_normalized),
                                              .rope = NB_ROPE_NEIGHBOURS };
