/*
 * Muse Glimmer. Names and keys: llama.cpp's conversion/muse_glimmer.py, which takes config.json as it is. The
 * norms of queries and keys have no weights; those that are written scale the queries.
 */
#include "formats/models/families/rows.h"

#define NORM(from, to) { LAYER from ".weight", BLOCK to ".weight", PLUS_ONE }

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORM("input_layernorm", "attn_norm"),
    NORM("post_attention_layernorm", "post_attention_norm"),
    NORM("pre_feedforward_layernorm", "ffn_norm"),
    NORM("post_feedforward_layernorm", "post_ffw_norm"),
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q_norm.weight", { { NB_MAP_FILL, { "qk_scale" } } } },
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_k_norm.weight", { { NB_MAP_FILL, { "1" } } } },
    ATTENTION(NEIGHBOURS),
    QKV_BIASES(NEIGHBOURS),
    { LAYER "self_attn.gate_proj.weight", BLOCK "attn_gate.weight", PLAIN },
    GATED_MLP,
};

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", NULL },
    { NB_HP_KEY_LENGTH, "head_dim", NULL },
    { NB_HP_VALUE_LENGTH, "head_dim", NULL },
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    CONFIG_ROPE_BASE(NULL),
    { NB_HP_FINAL_SOFTCAP, "final_logit_softcapping", NULL },
    { NB_HP_LOGIT_SCALE, "output_multiplier", NULL },
    { NB_HP_QK_SCALE, "qk_scale_factor", NULL },
    { NB_HP_SLIDING_WINDOW, "sliding_window", NULL },
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", NULL },
};

static const struct nb_config_rule rules[] = {
    { "hidden_activation", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
};

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_FINAL_SOFTCAP),
    KEY(NB_HP_LOGIT_SCALE),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_SLIDING_PATTERN),
};

static const char *const classes[] = { "MuseGlimmerForConditionalGeneration", NULL };

const struct nb_family nb_family_muse_glimmer = {
    FAMILY(classes, nb_arch_muse_glimmer, config, rules, keys, tensors), .tokenizer = { .last_eot = "<|eot|>" },
};
