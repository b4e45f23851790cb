/* gpt-oss: mixtures with biases and attention sinks. Source: llama.cpp v0.5.0, src/models/openai-moe.cpp. */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor tensors[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    { BLOCK "attn_output.bias", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_sinks.weight", { "heads" }, NB_REQUIRED, NULL },
    EXPERTS("expert_feed_forward"),
    { BLOCK "ffn_gate_inp.bias", { "experts" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_gate_exps.bias", { "expert_feed_forward", "experts" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_up_exps.bias", { "expert_feed_forward", "experts" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_down_exps.bias", { "embedding", "experts" }, NB_REQUIRED, NULL },
};

static const enum nb_hparam demanded[] = { NB_HP_HEADS, NB_HP_RMS_EPSILON, NB_HP_EXPERTS, NB_HP_EXPERTS_USED,
                                           NB_HP_EXPERT_FEED_FORWARD, NB_HP_SLIDING_WINDOW };

static const struct nb_arch_block blocks[] = {
    { .kind = "attention" },
    { .kind = "mixture", .norm = "post_attention_norm" },
};
static const struct nb_arch_default defaults[] = { { NB_HP_EXPERT_GATING, "3" } };

const struct nb_arch nb_arch_gpt_oss = {
    ARCH("gpt-oss", tensors, demanded), RUNS(blocks), ASSUMES(defaults), .activation = NB_ACTIVATION_GPT_OSS,
    .attention = { .yarn_is_exact = true }, .rope = NB_ROPE_HALVES, .window = { .period = 2 },
};
