/*
 * gpt2, starcoder, gptneox, bloom, mpt, falcon: LayerNorm, one matrix for queries, keys and values, no gate.
 * Source: llama.cpp v0.5.0, src/models, one file each.
 */
#include "formats/models/architectures/rows.h"

#define QKV "(heads + 2 * kv_heads) * key_length"

#define MATRICES                                                                                \
    { BLOCK "attn_qkv.weight", { "embedding", QKV }, NB_REQUIRED, NULL },                       \
    { BLOCK "attn_output.weight", { "embedding", "embedding" }, NB_REQUIRED, NULL },            \
    UP_AND_DOWN
#define BIASES(presence)                                                                        \
    { BLOCK "attn_qkv.bias", { QKV }, presence, NULL },                                         \
    { BLOCK "attn_output.bias", { "embedding" }, presence, NULL },                              \
    { BLOCK "ffn_up.bias", { "feed_forward" }, presence, NULL },                                \
    { BLOCK "ffn_down.bias", { "embedding" }, presence, NULL }
#define POSITIONS(presence) { "position_embd.weight", { "embedding", "context" }, presence, NULL }

static const struct nb_arch_tensor gpt2[] = {
    EMBEDDINGS, POSITIONS(NB_REQUIRED), NORMS, NORM_BIASES, MATRICES, BIASES(NB_REQUIRED),
};

static const struct nb_arch_tensor gptneox[] = { EMBEDDINGS, NORMS, NORM_BIASES, MATRICES, BIASES(NB_REQUIRED) };

static const struct nb_arch_tensor bloom[] = {
    EMBEDDINGS,
    { "token_embd_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "token_embd_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    NORMS,
    NORM_BIASES,
    MATRICES,
    BIASES(NB_REQUIRED),
};

static const struct nb_arch_tensor mpt[] = {
    EMBEDDINGS,
    POSITIONS(NB_OPTIONAL),
    NORMS,
    { "output_norm.bias", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_norm.bias", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "ffn_norm.bias", { "embedding" }, NB_OPTIONAL, NULL },
    MATRICES,
    BIASES(NB_OPTIONAL),
    { BLOCK "attn_q_norm.weight", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_q_norm.bias", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_k_norm.weight", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_k_norm.bias", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "ffn_act.scales", { "feed_forward" }, NB_OPTIONAL, NULL },
};

static const struct nb_arch_tensor falcon[] = {
    EMBEDDINGS,
    { "output_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.bias", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm_2.weight", { "embedding" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_norm_2.bias", { "embedding" }, NB_OPTIONAL, NULL },
    MATRICES,
};

static const enum nb_hparam demanded[] = { DEMANDED_WITH_LAYER_NORM };
static const enum nb_hparam demanded_of_neox[] = { DEMANDED_WITH_LAYER_NORM, NB_HP_PARALLEL_RESIDUAL };

static const struct nb_arch_block blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block neox_blocks[] = {
    { .kind = "attention", .beside = "parallel_residual" },
    { .kind = "dense" },
};
/* Both parts of a layer read the same; large models have a norm for each of them. */
static const struct nb_arch_block falcon_blocks[] = {
    { .kind = "attention", .norm = "attn_norm_2|attn_norm", .beside = "1" },
    { .kind = "dense", .norm = "attn_norm" },
};
static const struct nb_arch_default defaults_of_bloom[] = { { NB_HP_MAX_ALIBI_BIAS, "8" } };
#define NOT_ROTARY .attention = { .rotates = "0" }

const struct nb_arch nb_arch_gpt2 = { ARCH("gpt2", gpt2, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU, NOT_ROTARY };
const struct nb_arch nb_arch_starcoder = { ARCH("starcoder", gpt2, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU, NOT_ROTARY };
const struct nb_arch nb_arch_gptneox = { ARCH("gptneox", gptneox, demanded_of_neox), RUNS(neox_blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU_EXACT, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_bloom = { ARCH("bloom", bloom, demanded), RUNS(blocks), ASSUMES(defaults_of_bloom), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU, NOT_ROTARY };
const struct nb_arch nb_arch_mpt = { ARCH("mpt", mpt, demanded), RUNS(blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU_EXACT, NOT_ROTARY };
const struct nb_arch nb_arch_falcon = { ARCH("falcon", falcon, demanded), RUNS(falcon_blocks), .norm = NB_NORM_LAYER, .activation = NB_ACTIVATION_GELU_EXACT, .rope = NB_ROPE_HALVES };
