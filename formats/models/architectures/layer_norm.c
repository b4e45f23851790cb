/*
 * Architectures with LayerNorm, whose norms have biases: orion, command-r, cohere2, nemotron, starcoder2,
 * stablelm, phi2, phimoe, jais2. Source: llama.cpp v0.5.0, src/models, one file each.
 */
#include "formats/models/architectures/rows.h"

#define MLP_BIASES(presence)                                            \
    { BLOCK "ffn_up.bias", { "feed_forward" }, presence, NULL },        \
    { BLOCK "ffn_down.bias", { "embedding" }, presence, NULL }
#define BIAS_OF_O { BLOCK "attn_output.bias", { "embedding" }, NB_REQUIRED, NULL }
#define NORMS_WITH_BIASES EMBEDDINGS, NORMS, NORM_BIASES, ATTENTION

static const struct nb_arch_tensor orion[] = { NORMS_WITH_BIASES, GATED_MLP, QKV_BIASES(NB_OPTIONAL) };

static const struct nb_arch_tensor nemotron[] = {
    NORMS_WITH_BIASES, QKV_BIASES(NB_OPTIONAL), O_BIAS, UP_AND_DOWN, MLP_BIASES(NB_OPTIONAL),
};

static const struct nb_arch_tensor starcoder2[] = {
    NORMS_WITH_BIASES, QKV_BIASES(NB_OPTIONAL), BIAS_OF_O, UP_AND_DOWN, MLP_BIASES(NB_REQUIRED),
};

/* The output is the embedding; attention and feed-forward part share a norm. Q and k are normed in large models. */
#define COHERE                                                                               \
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },                                       \
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },                                               \
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },                                           \
    ATTENTION,                                                                                                  \
    GATED_MLP

static const struct nb_arch_tensor command_r[] = {
    COHERE,
    QKV_BIASES(NB_OPTIONAL),
    { BLOCK "attn_q_norm.weight", { "key_length", "heads" }, NB_REQUIRED, "layers >= 64" },
    { BLOCK "attn_k_norm.weight", { "key_length", "kv_heads" }, NB_REQUIRED, "layers >= 64" },
};

static const struct nb_arch_tensor cohere2[] = { COHERE, QKV_BIASES(NB_OPTIONAL) };

/* Models with norms of q and k have a parallel residual and no norm before the feed-forward part. */
static const struct nb_arch_tensor stablelm[] = {
    EMBEDDINGS,
    { "output_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_norm.weight", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "ffn_norm.bias", { "embedding" }, NB_OPTIONAL, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    { BLOCK "attn_q_norm.weight", { "key_length", "heads" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_k_norm.weight", { "key_length", "kv_heads" }, NB_OPTIONAL, NULL },
    GATED_MLP,
};

static const struct nb_arch_tensor phi2[] = {
    EMBEDDINGS,
    { "output.bias", { "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    BIAS_OF_O,
    UP_AND_DOWN,
    MLP_BIASES(NB_REQUIRED),
};

static const struct nb_arch_tensor phimoe[] = {
    NORMS_WITH_BIASES,
    { "output.bias", { "vocab" }, NB_REQUIRED, NULL },
    { "rope_factors_long.weight", { "key_length // 2" }, NB_OPTIONAL, NULL },
    { "rope_factors_short.weight", { "key_length // 2" }, NB_OPTIONAL, NULL },
    QKV_BIASES(NB_OPTIONAL),
    BIAS_OF_O,
    EXPERTS("feed_forward"),
};

static const enum nb_hparam demanded[] = { DEMANDED_WITH_LAYER_NORM };
static const enum nb_hparam demanded_of_cohere2[] = { DEMANDED_WITH_LAYER_NORM, NB_HP_SLIDING_WINDOW,
                                                      NB_HP_LOGIT_SCALE };
static const enum nb_hparam demanded_of_phimoe[] = { DEMANDED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };

static const struct nb_arch_block blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block sparse_blocks[] = { SPARSE_BLOCKS };
static const struct nb_arch_default defaults_of_phimoe[] = { { NB_HP_EXPERT_GATING, "5" } }; /* SparseMixer */
/* Both parts of a layer read the same, after one norm. */
static const struct nb_arch_block parallel_blocks[] = {
    { .kind = "attention", .beside = "1" },
    { .kind = "dense", .norm = "attn_norm" },
};
static const struct nb_arch_block stablelm_blocks[] = {
    { .kind = "attention", .beside = "parallel_residual" },
    { .kind = "dense", .norm = "ffn_norm|attn_norm" },
};

const struct nb_arch nb_arch_orion = { ARCH("orion", orion, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_command_r = { ARCH("command-r", command_r, demanded), RUNS(parallel_blocks), .norm = NB_NORM_LAYER, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_cohere2 = {
    ARCH("cohere2", cohere2, demanded_of_cohere2), RUNS(parallel_blocks), .norm = NB_NORM_LAYER, .rope = NB_ROPE_NEIGHBOURS,
    .window = { .period = 4 }, .attention = { .rotates = "slides" },
};
const struct nb_arch nb_arch_nemotron = { ARCH("nemotron", nemotron, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_RELU_SQUARED, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_starcoder2 = { ARCH("starcoder2", starcoder2, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_stablelm = { ARCH("stablelm", stablelm, demanded), RUNS(stablelm_blocks), .norm = NB_NORM_LAYER, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_phi2 = { ARCH("phi2", phi2, demanded), RUNS(parallel_blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_phimoe = { ARCH("phimoe", phimoe, demanded_of_phimoe), RUNS(sparse_blocks), ASSUMES(defaults_of_phimoe), .norm = NB_NORM_LAYER, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_jais2 = { ARCH("jais2", starcoder2, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_RELU_SQUARED, .rope = NB_ROPE_HALVES };
