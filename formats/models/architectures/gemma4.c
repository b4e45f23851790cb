/*
 * gemma4: the text part of Gemma 4, dense, with experts, and with embeddings by layer (E2B, E4B). Source:
 * llama.cpp v0.5.0, src/models/gemma4.cpp.
 */
#include "formats/models/architectures/rows.h"

#define SLIDES "sliding_pattern"
/* A head's length differs between the two kinds of layers. */
#define HEAD "(" SLIDES " * key_length_swa + (1 - " SLIDES ") * key_length)"
#define MIXTURE "experts > 0"
#define BY_LAYER "embedding_per_layer > 0"

static const struct nb_arch_tensor tensors[] = {
    EMBEDDINGS,
    { "rope_freqs.weight", { "key_length // 2" }, NB_REQUIRED, NULL },
    NORMS,
    { BLOCK "attn_q.weight", { "embedding", "heads * " HEAD }, NB_REQUIRED, NULL },
    /* Layers that use the keys of others may have none, and full layers may use their keys as values. */
    { BLOCK "attn_k.weight", { "embedding", "kv_heads * " HEAD }, NB_OPTIONAL, NULL },
    { BLOCK "attn_v.weight", { "embedding", "kv_heads * " HEAD }, NB_OPTIONAL, NULL },
    { BLOCK "attn_output.weight", { "heads * " HEAD, "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "attn_q_norm.weight", { HEAD }, NB_REQUIRED, NULL },
    { BLOCK "attn_k_norm.weight", { HEAD }, NB_OPTIONAL, NULL },
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "layer_output_scale.weight", { "1" }, NB_OPTIONAL, NULL },

    GATED_MLP,
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL },

    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_gate_inp.scale", { "embedding" }, NB_REQUIRED, MIXTURE },
    { BLOCK "pre_ffw_norm_2.weight", { "embedding" }, NB_REQUIRED, MIXTURE },
    { BLOCK "post_ffw_norm_1.weight", { "embedding" }, NB_REQUIRED, MIXTURE },
    { BLOCK "post_ffw_norm_2.weight", { "embedding" }, NB_REQUIRED, MIXTURE },
    /* Together, or each on its own. */
    { BLOCK "ffn_gate_up_exps.weight", { "embedding", "2 * expert_feed_forward", "experts" }, NB_OPTIONAL, MIXTURE },
    { BLOCK "ffn_gate_exps.weight", { "embedding", "expert_feed_forward", "experts" }, NB_OPTIONAL, MIXTURE },
    { BLOCK "ffn_up_exps.weight", { "embedding", "expert_feed_forward", "experts" }, NB_OPTIONAL, MIXTURE },
    { BLOCK "ffn_down_exps.weight", { "expert_feed_forward", "embedding", "experts" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_down_exps.scale", { "experts" }, NB_OPTIONAL, MIXTURE },

    { "per_layer_token_embd.weight", { "embedding_per_layer * layers", "vocab" }, NB_REQUIRED, BY_LAYER },
    { "per_layer_model_proj.weight", { "embedding", "embedding_per_layer * layers" }, NB_REQUIRED, BY_LAYER },
    { "per_layer_proj_norm.weight", { "embedding_per_layer" }, NB_REQUIRED, BY_LAYER },
    { BLOCK "inp_gate.weight", { "embedding", "embedding_per_layer" }, NB_REQUIRED, BY_LAYER },
    { BLOCK "proj.weight", { "embedding_per_layer", "embedding" }, NB_REQUIRED, BY_LAYER },
    { BLOCK "post_norm.weight", { "embedding" }, NB_REQUIRED, BY_LAYER },
};

static const enum nb_hparam demanded[] = {
    DEMANDED, NB_HP_SLIDING_PATTERN, NB_HP_SLIDING_WINDOW, NB_HP_EMBEDDING_PER_LAYER, NB_HP_KEY_LENGTH_SWA,
    NB_HP_VALUE_LENGTH_SWA,
};

/* Refused by llama.cpp's loader. */
static const struct nb_arch_rule rules[] = {
    { "key_length == value_length", "gemma4.attention.value_length is not the length of a head's key" },
    { "key_length_swa == value_length_swa", "gemma4.attention.value_length_swa is not the length of a head's key" },
};

/* The last block of a layer is followed by the layer's scale. */
static const struct nb_arch_block blocks[] = {
    { .kind = "layer_inputs", .when = BY_LAYER " && layer == 0" },
    { .kind = "attention", .norm_after = "post_attention_norm" },
    { .kind = "dense", .when = "experts > 0", .norm_after = "post_ffw_norm_1", .beside = "1" },
    { .kind = "mixture", .when = "experts > 0", .norm = "pre_ffw_norm_2", .norm_after = "post_ffw_norm_2",
      .norm_sum = "post_ffw_norm", .scale = "layer_output_scale" },
    { .kind = "dense", .when = "experts == 0 && embedding_per_layer > 0", .norm_after = "post_ffw_norm" },
    { .kind = "dense", .when = "experts == 0 && embedding_per_layer == 0", .norm_after = "post_ffw_norm",
      .scale = "layer_output_scale" },
    { .kind = "layer_input", .when = BY_LAYER, .norm_after = "post_norm", .scale = "layer_output_scale" },
};

static const struct nb_arch_default defaults[] = {
    { NB_HP_EMBEDDING_SCALE, "embedding ^ 0.5" },
    { NB_HP_ATTENTION_SCALE, "1" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "1" },
};

const struct nb_arch nb_arch_gemma4 = {
    ARCH("gemma4", tensors, demanded), RULES_OF(rules), RUNS(blocks), ASSUMES(defaults),
    .activation = NB_ACTIVATION_GELU, .rope = NB_ROPE_HALVES,
    .attention = { .norms_values = true, .keys_as_values = true, .sliding_unscaled = true },
};
