/*
 * Llama 4. Names and keys: llama.cpp's conversion/llama.py; defaults: the configuration class of
 * transformers 4.57. Its intermediate_size is that of an expert.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

#define COLUMNS_AS_ROWS { NB_MAP_TRANSPOSE, { NULL } }
#define EXPERT "expert_feed_forward"

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    { LAYER "feed_forward.gate_proj.weight", BLOCK "ffn_gate.weight", PLAIN },
    { LAYER "feed_forward.up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { LAYER "feed_forward.down_proj.weight", BLOCK "ffn_down.weight", PLAIN },
    { LAYER "feed_forward.router.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "feed_forward.experts.gate_up_proj", BLOCK "ffn_gate_exps.weight",
      { { NB_MAP_CUT_COLUMNS, { "0", EXPERT } }, COLUMNS_AS_ROWS } },
    { LAYER "feed_forward.experts.gate_up_proj", BLOCK "ffn_up_exps.weight",
      { { NB_MAP_CUT_COLUMNS, { EXPERT, EXPERT } }, COLUMNS_AS_ROWS } },
    { LAYER "feed_forward.experts.down_proj", BLOCK "ffn_down_exps.weight", { COLUMNS_AS_ROWS } },
    { LAYER "feed_forward.shared_expert.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { LAYER "feed_forward.shared_expert.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { LAYER "feed_forward.shared_expert.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
    MLX_STACKS(LAYER "feed_forward.experts."),
};

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", "48" },
    { NB_HP_EMBEDDING, "hidden_size", "5120" },
    { NB_HP_FEED_FORWARD, "intermediate_size_mlp", "16384" },
    { NB_HP_EXPERT_FEED_FORWARD, "intermediate_size", "8192" },
    { NB_HP_HEADS, "num_attention_heads", "40" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },
    CONFIG_HEAD_DIM("128"),
    { NB_HP_VOCAB, "vocab_size", "202048" },
    { NB_HP_CONTEXT, "max_position_embeddings", "131072" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-5" },
    CONFIG_ROPE_BASE("500000"),
    { NB_HP_EXPERTS, "num_local_experts", "16" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "1" },
    { NB_HP_MIXTURE_STEP, "interleave_moe_layer_step", "1" },
};

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "layer_types", NB_CONFIG_WINDOWS, "", NULL },
    { "no_rope_layers", NB_CONFIG_BY_LAYER, "(layer + 1) % 4 != 0", NULL },
    { "no_rope_layer_interval", NB_CONFIG_ONLY, "4", NULL },
    { "moe_layers", NB_CONFIG_IGNORED, NULL, NULL }, /* the tensors show it */
    { "attention_chunk_size", NB_CONFIG_NOTED, "8192", "but llama.cpp runs this architecture with chunks of 8192" },
    { "attn_temperature_tuning", NB_CONFIG_ONLY, "true|4", NULL },
    { "attn_scale", NB_CONFIG_ONLY, "0.1", NULL },
    { "floor_scale", NB_CONFIG_ONLY, "8192", NULL },
    { "use_qk_norm", NB_CONFIG_NOTED, "true", "and llama.cpp leaves this norm out only in models of 128 experts" },
    { "router_jitter_noise", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
};

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_MIXTURE_STEP),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
};

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const classes[] = { "Llama4ForConditionalGeneration", "Llama4ForCausalLM", NULL };

const struct nb_family nb_family_llama4 = {
    .model_type = "llama4_text",
    .model_class = "Llama4ForCausalLM",
    FAMILY(classes, nb_arch_llama4, config, rules, keys, tensors), .made = made, .n_made = COUNT(made), .mlx = &nb_mlx_llama4
};
