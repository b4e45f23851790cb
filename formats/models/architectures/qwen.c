/*
 * qwen2, qwen2moe, qwen3, qwen3moe: dense models and mixtures of Qwen 2 to 3; qwen2vl, qwen3vl,
 * qwen3vlmoe: those that see. Source: llama.cpp v0.5.0, src/models/, the files of these names.
 */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor qwen2[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP,
    { "output.bias", { "vocab" }, NB_OPTIONAL, NULL },
};

static const struct nb_arch_tensor qwen3[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP,
};

static const struct nb_arch_tensor qwen2moe[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    EXPERTS("expert_feed_forward"),
    { BLOCK "ffn_gate_inp_shexp.weight", { "embedding", "1" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_gate_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_up_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_down_shexp.weight", { "shared_feed_forward", "embedding" }, NB_REQUIRED, NULL },
};

static const struct nb_arch_tensor qwen3moe[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    Q_K_NORMS("key_length", "key_length"),
    EXPERTS("expert_feed_forward"),
};

static const enum nb_hparam demanded[] = { DEMANDED };
static const enum nb_hparam demanded_to_see[] = { DEMANDED, NB_HP_ROPE_SECTIONS };
/* Their layers have no feed-forward network beside the experts. */
#define DEMANDED_OF_MIXTURES NB_HP_HEADS, NB_HP_RMS_EPSILON, NB_HP_EXPERTS, NB_HP_EXPERTS_USED
static const enum nb_hparam demanded_of_mixtures_that_see[] = { DEMANDED_OF_MIXTURES, NB_HP_ROPE_SECTIONS };
static const enum nb_hparam demanded_of_mixtures[] = { DEMANDED_OF_MIXTURES };

static const struct nb_arch_block dense_blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block sparse_blocks[] = { SPARSE_BLOCKS };
/* Shares add up to one in Qwen 3, not in Qwen 2. */
static const struct nb_arch_default defaults[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

const struct nb_arch nb_arch_qwen2 = { ARCH("qwen2", qwen2, demanded), RUNS(dense_blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_qwen3 = { ARCH("qwen3", qwen3, demanded), RUNS(dense_blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_qwen2moe = { ARCH("qwen2moe", qwen2moe, demanded_of_mixtures), RUNS(sparse_blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_qwen3moe = { ARCH("qwen3moe", qwen3moe, demanded_of_mixtures), RUNS(sparse_blocks), ASSUMES(defaults), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_qwen2vl = { ARCH("qwen2vl", qwen2, demanded_to_see), RUNS(dense_blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_qwen3vl = { ARCH("qwen3vl", qwen3, demanded_to_see), RUNS(dense_blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_qwen3vlmoe = {
    ARCH("qwen3vlmoe", qwen3moe, demanded_of_mixtures_that_see), RUNS(sparse_blocks), ASSUMES(defaults), .rope = NB_ROPE_HALVES
};
