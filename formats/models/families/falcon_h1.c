/*
 * Falcon-H1: attention and Mamba 2 side by side; the factors of its config.json are multiplied into the weights.
 * Names and keys: llama.cpp's conversion/falcon_h1.py, which reads config.json as it is; the factors' default is 1
 * as in transformers.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/restore.h"

#define SCALED(entry) { { NB_MAP_SCALE_BY, { entry } } }
#define FFN LAYER "feed_forward."

/* The parts of in_proj: z, x, B, C, dt. */
#define IN_PARTS "ssm_inner,ssm_inner,ssm_groups * ssm_state,ssm_groups * ssm_state,ssm_rank"

static const struct nb_map_row tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", SCALED("embedding_multiplier") },
    { "model.final_layernorm.weight", "output_norm.weight", PLAIN },
    { "lm_head.weight", "output.weight", SCALED("lm_head_multiplier") },
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "pre_ff_layernorm.weight", BLOCK "ffn_norm", PLAIN },
    MAMBA2_STATE(LAYER "mamba."),
    { LAYER "mamba.in_proj.weight",
      BLOCK "ssm_in.weight",
      { { NB_MAP_SCALE_BY, { "ssm_in_multiplier" } }, { NB_MAP_SCALE_PARTS, { "ssm_multipliers", IN_PARTS } } } },
    { LAYER "mamba.out_proj.weight", BLOCK "ssm_out.weight", SCALED("ssm_out_multiplier") },
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", SCALED("attention_in_multiplier") },
    { LAYER "self_attn.k_proj.weight",
      BLOCK "attn_k.weight",
      { { NB_MAP_SCALE_BY, { "key_multiplier" } }, { NB_MAP_SCALE_BY, { "attention_in_multiplier" } } } },
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", SCALED("attention_in_multiplier") },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", SCALED("attention_out_multiplier") },
    { FFN "gate_proj.weight", BLOCK "ffn_gate.weight", SCALED("mlp_multipliers.0") },
    { FFN "up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { FFN "down_proj.weight", BLOCK "ffn_down.weight", SCALED("mlp_multipliers.1") },
};

/* ssm_inner is the expansion at first, and ssm_rank the length of a head. */
static const struct nb_config_row config_rows[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_VOCAB, "vocab_size", "" },
    { NB_HP_CONTEXT, "max_position_embeddings", "8192" },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    CONFIG_HEAD_DIM("embedding // heads"),
    CONFIG_ROPE_BASE("100000"),
    { NB_HP_RMS_EPSILON, "layer_norm_epsilon|rms_norm_eps", "1e-5" },
    { NB_HP_SSM_CONV, "conv_kernel|d_conv|mamba_conv_kernel|mamba_d_conv", "4" },
    { NB_HP_SSM_STATE, "state_size|d_state|mamba_state_size|mamba_d_state", "256" },
    { NB_HP_SSM_GROUPS, "n_groups|mamba_n_groups", "1" },
    { NB_HP_SSM_INNER, "mamba_expand|expand", "2" },
    { NB_HP_SSM_INNER, "mamba_d_ssm", "ssm_inner * embedding" },
    { NB_HP_SSM_RANK, "mamba_d_head", "64" },
    { NB_HP_SSM_RANK, "", "ssm_inner // ssm_rank" },
};

static const struct nb_config_rule rules[] = {
    RECURRENT_RULES,
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "projectors_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mamba_proj_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mamba_conv_bias", NB_CONFIG_BIASES, ".mamba.conv1d.bias", NULL },
    { "mamba_rms_norm", NB_CONFIG_BIASES, ".mamba.norm.weight", NULL },
    { "mamba_norm_before_gate", NB_CONFIG_NOTED, "false", "but llama.cpp runs the gate before the norm" },
    { "mamba_use_mlp", NB_CONFIG_ONLY, "true", NULL },
    { "mamba_n_heads", NB_CONFIG_IGNORED, NULL, NULL }, /* mamba_d_ssm // mamba_d_head */
    { "mlp_expansion_factor", NB_CONFIG_IGNORED, NULL, NULL },
    { "attn_layer_indices", NB_CONFIG_ONLY, "", NULL },
    { "embedding_multiplier", NB_CONFIG_IGNORED, NULL, NULL }, /* multiplied into the weights, as are the others */
    { "lm_head_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "key_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "attention_in_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "attention_out_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "ssm_in_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "ssm_out_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "ssm_multipliers", NB_CONFIG_IGNORED, NULL, NULL },
    { "mlp_multipliers", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row keys[] = {
    KEY(NB_HP_CONTEXT),     KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD), KEY(NB_HP_HEADS),
    KEY(NB_HP_LAYERS),      KEY(NB_HP_SSM_CONV),
    KEY(NB_HP_SSM_INNER),   KEY(NB_HP_SSM_STATE),
    KEY(NB_HP_SSM_RANK),    KEY(NB_HP_SSM_GROUPS),
    KEY(NB_HP_RMS_EPSILON), WRITE(nb_write_file_type),
    KEY(NB_HP_VOCAB),       KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_KEY_LENGTH),  KEY(NB_HP_VALUE_LENGTH),
    KEY(NB_HP_ROPE_BASE),
};

static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    return nb_restore_number(r, "mamba_n_heads", nb_hp(r->hp, NB_HP_SSM_RANK)) ? NB_OK : nb_fail_memory(err);
}

static const char *const classes[] = { "FalconH1ForCausalLM", NULL };

const struct nb_family nb_family_falcon_h1 = {
    .model_type = "falcon_h1",
    .restore = restore,
    FAMILY(classes, nb_arch_falcon_h1, config_rows, rules, keys, tensors)
};
