/*
 * gemma3: the text part of Gemma 3. nibble checks such files and knows their memory use, but neither
 * converts nor runs them. Source: llama.cpp v0.5.0, src/models/gemma3.cpp and llama-model.cpp.
 */
#include "formats/models/architecture.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct nb_arch_tensor tensors[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_TIED, NULL },

    { "blk.%l.attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_q.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_k.weight", { "embedding", "kv_heads * key_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_v.weight", { "embedding", "kv_heads * value_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_output.weight", { "heads * key_length", "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_q_norm.weight", { "key_length" }, NB_REQUIRED, NULL },
    { "blk.%l.attn_k_norm.weight", { "key_length" }, NB_REQUIRED, NULL },

    { "blk.%l.ffn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.ffn_gate.weight", { "embedding", "feed_forward" }, NB_REQUIRED, NULL },
    { "blk.%l.ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, NULL },
    { "blk.%l.ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, NULL },
    { "blk.%l.post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
};

static const enum nb_hparam demanded[] = { NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_RMS_EPSILON };

/* llama.cpp loads such files, but its graph cannot be built. */
static const struct nb_arch_rule rules[] = {
    { "rope_dims <= key_length", "gemma3.rope.dimension_count is larger than the length of a head's key" },
    { "value_length == key_length", "gemma3.attention.value_length is not the length of a head's key" },
};

const struct nb_arch nb_arch_gemma3 = {
    .name = "gemma3",
    .demanded = demanded,
    .n_demanded = COUNT(demanded),
    .rules = rules,
    .n_rules = COUNT(rules),
    .tensors = tensors,
    .n_tensors = COUNT(tensors),
    .norm = NB_NORM_RMS,
    .rope = NB_ROPE_HALVES,
    .window = { .period = 6 },
};
