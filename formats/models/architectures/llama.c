/*
 * llama: Llama, Mistral, Mixtral and other models with the same layers. Source: llama.cpp v0.5.0,
 * src/models/llama.cpp and llama-arch.cpp.
 */
#include "formats/models/architecture.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define DENSE "experts == 0"
#define MIXTURE "experts > 0"

static const struct nb_arch_tensor tensors[] = {
    { "rope_freqs.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL },
    { "rope_factors_long.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL },
    { "rope_factors_short.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL },
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_TIED, NULL },

    { "blk.%l.attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_q.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_q.bias", { "heads * key_length" }, NB_OPTIONAL, NULL },
    { "blk.%l.attn_k.weight", { "embedding", "kv_heads * key_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_k.bias", { "kv_heads * key_length" }, NB_OPTIONAL, NULL },
    { "blk.%l.attn_v.weight", { "embedding", "kv_heads * value_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_v.bias", { "kv_heads * value_length" }, NB_OPTIONAL, NULL },
    { "blk.%l.attn_output.weight", { "heads * value_length", "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_output.bias", { "embedding" }, NB_OPTIONAL, NULL },

    { "blk.%l.ffn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.ffn_gate.weight", { "embedding", "feed_forward" }, NB_REQUIRED, DENSE },
    { "blk.%l.ffn_gate.bias", { "feed_forward" }, NB_OPTIONAL, DENSE },
    { "blk.%l.ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, DENSE },
    { "blk.%l.ffn_up.bias", { "feed_forward" }, NB_OPTIONAL, DENSE },
    { "blk.%l.ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, DENSE },
    { "blk.%l.ffn_down.bias", { "embedding" }, NB_OPTIONAL, DENSE },

    { "blk.%l.ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, MIXTURE },
    { "blk.%l.ffn_gate_exps.weight", { "embedding", "feed_forward", "experts" }, NB_REQUIRED, MIXTURE },
    { "blk.%l.ffn_up_exps.weight", { "embedding", "feed_forward", "experts" }, NB_REQUIRED, MIXTURE },
    { "blk.%l.ffn_down_exps.weight", { "feed_forward", "embedding", "experts" }, NB_REQUIRED, MIXTURE },
};

static const struct nb_arch_block blocks[] = {
    { .kind = "attention" },
    { .kind = "dense", .when = DENSE },
    { .kind = "mixture", .when = MIXTURE },
};

static const enum nb_hparam demanded[] = { NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_RMS_EPSILON };

static const struct nb_arch_default defaults[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

/* Refused by llama.cpp's loader. */
static const struct nb_arch_rule rules[] = {
    { "rope_dims == key_length", "llama.rope.dimension_count is not the length of a head's key" },
};

const struct nb_arch nb_arch_llama = {
    .name = "llama",
    .demanded = demanded,
    .n_demanded = COUNT(demanded),
    .defaults = defaults,
    .n_defaults = COUNT(defaults),
    .rules = rules,
    .n_rules = COUNT(rules),
    .tensors = tensors,
    .n_tensors = COUNT(tensors),
    .blocks = blocks,
    .n_blocks = COUNT(blocks),
    .norm = NB_NORM_RMS,
    .activation = NB_ACTIVATION_SILU,
    .rope = NB_ROPE_NEIGHBOURS,
};
