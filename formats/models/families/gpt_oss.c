/*
 * gpt-oss, with experts in MXFP4 or BF16. Names and keys: llama.cpp's conversion/gpt_oss.py; defaults: the
 * configuration class of transformers 4.57. The rows of the gate and of the up projection alternate.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

#define COLUMNS_AS_ROWS { NB_MAP_TRANSPOSE, { NULL } }

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "post_attention_layernorm.weight", BLOCK "post_attention_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.o_proj.bias", BLOCK "attn_output.bias", PLAIN },
    { LAYER "self_attn.sinks", BLOCK "attn_sinks.weight", PLAIN },
    { LAYER "mlp.router.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.router.bias", BLOCK "ffn_gate_inp.bias", PLAIN },

    { LAYER "mlp.experts.down_proj_blocks", BLOCK "ffn_down_exps.weight", { { NB_MAP_MXFP4, { "0", "1" } } } },
    { LAYER "mlp.experts.gate_up_proj_blocks", BLOCK "ffn_gate_exps.weight", { { NB_MAP_MXFP4, { "0", "2" } } } },
    { LAYER "mlp.experts.gate_up_proj_blocks", BLOCK "ffn_up_exps.weight", { { NB_MAP_MXFP4, { "1", "2" } } } },
    { LAYER "mlp.experts.down_proj", BLOCK "ffn_down_exps.weight", { COLUMNS_AS_ROWS } },
    { LAYER "mlp.experts.gate_up_proj", BLOCK "ffn_gate_exps.weight", { COLUMNS_AS_ROWS, { NB_MAP_EVERY, { "0", "2" } } } },
    { LAYER "mlp.experts.gate_up_proj", BLOCK "ffn_up_exps.weight", { COLUMNS_AS_ROWS, { NB_MAP_EVERY, { "1", "2" } } } },
    { LAYER "mlp.experts.down_proj_bias", BLOCK "ffn_down_exps.bias", PLAIN },
    { LAYER "mlp.experts.gate_up_proj_bias", BLOCK "ffn_gate_exps.bias", { { NB_MAP_EVERY_COLUMN, { "0", "2" } } } },
    { LAYER "mlp.experts.gate_up_proj_bias", BLOCK "ffn_up_exps.bias", { { NB_MAP_EVERY_COLUMN, { "1", "2" } } } },
    MLX_STACKS(LAYER "mlp.experts."),
    MLX_STACK_BIASES(LAYER "mlp.experts."),
};

/* They are read with their blocks. */
static const char *const ignored[] = { "_proj_scales", NULL };

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", "36" },
    { NB_HP_EMBEDDING, "hidden_size", "2880" },
    { NB_HP_FEED_FORWARD, "intermediate_size", "2880" },
    { NB_HP_EXPERT_FEED_FORWARD, "intermediate_size", "2880" },
    { NB_HP_HEADS, "num_attention_heads", "64" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },
    CONFIG_HEAD_DIM("64"),
    { NB_HP_CONTEXT, "max_position_embeddings", "131072" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-5" },
    CONFIG_ROPE_BASE("150000"),
    { NB_HP_SLIDING_WINDOW, "sliding_window", "128" },
    { NB_HP_EXPERTS, "num_local_experts", "128" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "4" },
};

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "layer_types", NB_CONFIG_WINDOWS, "", NULL },
    { "swiglu_limit", NB_CONFIG_ONLY, "7", NULL },
    { "experts_per_token", NB_CONFIG_NOTED_UNLIKE, "num_experts_per_tok", "but num_experts_per_tok another number, which counts" },
    { "initial_context_length", NB_CONFIG_IGNORED, NULL, NULL }, /* as in rope_scaling */
};

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
};

static const char *const classes[] = { "GptOssForCausalLM", NULL };

const struct nb_family nb_family_gpt_oss = {
    .model_type = "gpt_oss",
    FAMILY(classes, nb_arch_gpt_oss, config, rules, keys, tensors), .packed_as = "mxfp4", .ignored_suffixes = ignored, .mlx = &nb_mlx_gpt_oss
};
