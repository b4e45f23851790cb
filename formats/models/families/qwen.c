/*
 * Qwen 2 to 3, dense and mixtures. Names and keys: llama.cpp's conversion/qwen.py; defaults: the
 * configuration classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

static const struct nb_map_row qwen2_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    GATED_MLP,
};

/* KORMo: the layers of Qwen 2 without biases, with names of its own for the norms. */
static const struct nb_map_row kormo_tensors[] = {
    EMBEDDINGS,
    { LAYER "pre_attention_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "pre_mlp_layernorm.weight", BLOCK "ffn_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    GATED_MLP,
};

static const struct nb_map_row qwen3_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
};

static const struct nb_map_row qwen2moe_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    EXPERTS,
    { LAYER "mlp.shared_expert_gate.weight", BLOCK "ffn_gate_inp_shexp.weight", PLAIN },
    { LAYER "mlp.shared_expert.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { LAYER "mlp.shared_expert.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { LAYER "mlp.shared_expert.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
};

static const struct nb_map_row qwen3moe_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    EXPERTS,
};

#define CONFIG(kv_heads) CONFIG_BASE(kv_heads, "32768", "10000"), CONFIG_RMS_EPSILON("1e-6")

static const struct nb_config_row qwen2_config[] = {
    CONFIG("32"),
    CONFIG_HEAD_DIM("embedding // heads"),
};

static const struct nb_config_row qwen3_config[] = {
    CONFIG("32"),
    CONFIG_HEAD_DIM("128"),
};

static const struct nb_config_row qwen2moe_config[] = {
    CONFIG("16"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_EXPERTS, "num_experts", "60" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "4" },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "1408" },
    { NB_HP_SHARED_FEED_FORWARD, "shared_expert_intermediate_size", "5632" },
};

static const struct nb_config_row qwen3moe_config[] = {
    CONFIG("4"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_EXPERTS, "num_experts", "128" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "8" },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "768" },
};

/* Windows need use_sliding_window; llama.cpp has none for these architectures. */
#define RULES                                                         \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },             \
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },        \
    { "use_sliding_window", NB_CONFIG_NOTED, "false",                 \
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" }, \
    { "sliding_window", NB_CONFIG_IGNORED, NULL, NULL },              \
    { "max_window_layers", NB_CONFIG_IGNORED, NULL, NULL }

/* Qwen2 always has biases, whatever is said of them. */
static const struct nb_config_rule qwen2_rules[] = {
    RULES,
    { "attention_bias", NB_CONFIG_IGNORED, NULL, NULL },
};

#define BIASES(entry) { entry, NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL }
static const struct nb_config_rule qwen3_rules[] = { RULES, BIASES("attention_bias") };

/* Dense layers between those with experts have no place in these architectures; qwen2moe.cpp does not norm the weights of
   the experts, qwen3moe.cpp does. */
#define MIXTURE_RULES                                                 \
    RULES,                                                            \
    { "decoder_sparse_step", NB_CONFIG_ONLY, "1", NULL },             \
    { "mlp_only_layers", NB_CONFIG_ONLY, "", NULL }

static const struct nb_config_rule qwen2moe_rules[] = {
    MIXTURE_RULES,
    BIASES("qkv_bias"),
    { "norm_topk_prob", NB_CONFIG_NOTED, "false", "but llama.cpp runs this architecture without it" },
};

static const struct nb_config_rule qwen3moe_rules[] = {
    MIXTURE_RULES,
    BIASES("attention_bias"),
    { "norm_topk_prob", NB_CONFIG_NOTED, "true", "but llama.cpp runs this architecture with it" },
};

static const struct nb_key_row dense_keys[] = { BASE_KEYS(KEY_IF_GIVEN) };
static const struct nb_key_row mixture_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_SHARED_FEED_FORWARD),
};

static const char *const qwen2_classes[] = { "Qwen2ForCausalLM", "Qwen2AudioForConditionalGeneration", "AudioFlamingo3ForConditionalGeneration", "DotsOCRForCausalLM", NULL };
static const char *const kormo_classes[] = { "KORMoForCausalLM", NULL };
static const char *const qwen3_classes[] = { "Qwen3ForCausalLM", "StepVLForConditionalGeneration", NULL };
static const char *const qwen2moe_classes[] = { "Qwen2MoeForCausalLM", NULL };
static const char *const qwen3moe_classes[] = { "Qwen3MoeForCausalLM", NULL };

const struct nb_family nb_family_qwen2 = {
    FAMILY(qwen2_classes, nb_arch_qwen2, qwen2_config, qwen2_rules, dense_keys, qwen2_tensors), .mlx = &nb_mlx_llama
};
const struct nb_family nb_family_kormo = {
    FAMILY(kormo_classes, nb_arch_qwen2, qwen2_config, qwen2_rules, dense_keys, kormo_tensors)
};
const struct nb_family nb_family_qwen3 = {
    FAMILY(qwen3_classes, nb_arch_qwen3, qwen3_config, qwen3_rules, dense_keys, qwen3_tensors), .mlx = &nb_mlx_llama
};
const struct nb_family nb_family_qwen2moe = {
    FAMILY(qwen2moe_classes, nb_arch_qwen2moe, qwen2moe_config, qwen2moe_rules, mixture_keys, qwen2moe_tensors), .mlx = &nb_mlx_qwen2_moe
};
const struct nb_family nb_family_qwen3moe = {
    FAMILY(qwen3moe_classes, nb_arch_qwen3moe, qwen3moe_config, qwen3moe_rules, mixture_keys, qwen3moe_tensors), .mlx = &nb_mlx_qwen3_moe
};
