/*
 * BitNet b1.58, whose weights are -1, 0 and 1 times one number for each matrix. Names and keys: llama.cpp's
 * conversion/bitnet.py; defaults: the configuration class of transformers 4.57.
 */
#include "formats/models/families/rows.h"

#define TERNARY { { NB_MAP_TERNARY, { NULL } } }

static const struct nb_map_row tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    { "model.norm.weight", "output_norm.weight", PLAIN },
    NORMS,
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", TERNARY },
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", TERNARY },
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", TERNARY },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", TERNARY },
    { LAYER "self_attn.inner_attn_ln.weight", BLOCK "attn_sub_norm.weight", PLAIN },
    { LAYER "self_attn.attn_sub_norm.weight", BLOCK "attn_sub_norm.weight", PLAIN },
    { LAYER "mlp.gate_proj.weight", BLOCK "ffn_gate.weight", TERNARY },
    { LAYER "mlp.up_proj.weight", BLOCK "ffn_up.weight", TERNARY },
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", TERNARY },
    { LAYER "mlp.ffn_layernorm.weight", BLOCK "ffn_sub_norm.weight", PLAIN },
    { LAYER "mlp.ffn_sub_norm.weight", BLOCK "ffn_sub_norm.weight", PLAIN },
};

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };

static const struct nb_config_row config[] = {
    CONFIG_BASE("5", "2048", "500000"),
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROPE_DIMS, "", "key_length" },
    CONFIG_RMS_EPSILON("1e-5"),
    { NB_HP_ROPE_SCALING, "", "linear" },
    { NB_HP_ROPE_FACTOR, "", "1" },
};

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "rope_scaling", NB_CONFIG_ONLY, "", NULL },
    { "tie_word_embeddings", NB_CONFIG_ONLY, "true", NULL },
    { "weight_bits", NB_CONFIG_ONLY, "1", NULL },
    { "input_bits", NB_CONFIG_IGNORED, NULL, NULL }, /* how it is computed */
};

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_ROPE_SCALING), KEY(NB_HP_ROPE_FACTOR),
};

static const char *const classes[] = { "BitnetForCausalLM", "BitNetForCausalLM", NULL };

const struct nb_family nb_family_bitnet = {
    FAMILY(classes, nb_arch_bitnet, config, rules, keys, tensors), .ignored_suffixes = ignored
};
