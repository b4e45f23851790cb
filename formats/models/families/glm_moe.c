/*
 * GLM-4.5 to 4.7, Solar Open. Names and keys: llama.cpp's conversion/glm.py; defaults: the configuration
 * classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "post_attention_layernorm.weight", BLOCK "post_attention_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    EXPERTS,
    SHARED_EXPERTS,
    ROUTER_BIAS,
    NEXTN,
};

/* HEAD_DIM: not an entry of transformers' class, which divides. ROTATED: the part of a head that is rotated. */
#define CONFIG(context, kv_heads, epsilon, rotated)                \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },                   \
    CONFIG_NEXTN,                                                  \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                      \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },             \
    { NB_HP_HEADS, "num_attention_heads", NULL },                  \
    { NB_HP_KV_HEADS, "num_key_value_heads", kv_heads },           \
    { NB_HP_CONTEXT, "max_position_embeddings", context },         \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", epsilon },                \
    CONFIG_ROPE_BASE("10000"),                                     \
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },        \
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },      \
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", rotated },      \
    { NB_HP_ROPE_DIMS, "", "key_length * rotary_factor // 1" },     \
    { NB_HP_EXPERTS, "n_routed_experts", "128" },                  \
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "8" },            \
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "1408" }, \
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", "1" },             \
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", "1" },         \
    { NB_HP_EXPERT_GROUPS, "n_group", "1" },                       \
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "1" },               \
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", "1" },  \
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", "1" },          \
    { NB_HP_EXPERT_GATING, "", "2" } /* sigmoid */

static const struct nb_config_row glm_config[] = { CONFIG("131072", "8", "1e-5", "0.5") };
/* transformers 4.57 does not know Solar Open, whose configuration (5.24) has the defaults of GLM's and head_dim. */
static const struct nb_config_row solar_config[] = { CONFIG("131072", "8", "1e-5", "1") };

#define COMMON_RULES                                                          \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                     \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },   \
    { "scoring_func", NB_CONFIG_ONLY, "sigmoid", NULL },                      \
    { "topk_method", NB_CONFIG_ONLY, "noaux_tc", NULL },                      \
    { "use_qk_norm", NB_CONFIG_IGNORED, NULL, NULL }, /* as the tensors are stored */ \
    { "moe_layer_freq", NB_CONFIG_ONLY, "1", NULL }

static const struct nb_config_rule rules[] = { COMMON_RULES };

/* The experts' count and the router's function are written again by the class: they keep the place of the first time. */
static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERT_GATING),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_NEXTN_LAYERS),
};

const struct nb_named_token nb_glm_tokens[] = {
    { "tokenizer.ggml.bos_token_id", "[gMASK]" },
    { "tokenizer.ggml.eot_token_id", "<|user|>" },
    { "tokenizer.ggml.unknown_token_id", "<|endoftext|>" },
    { "tokenizer.ggml.eom_token_id", "<|observation|>" },
    { NULL, NULL },
};
static const struct nb_named_token solar_tokens[] = {
    { "tokenizer.ggml.eos_token_id", "<|endoftext|>" },
    { "tokenizer.ggml.eot_token_id", "<|endoftext|>" },
    { "tokenizer.ggml.unknown_token_id", "<unk>" },
    { "tokenizer.ggml.bos_token_id", "<|startoftext|>" },
    { NULL, NULL },
};

static const char *const glm_classes[] = { "Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration", NULL };
static const char *const solar_classes[] = { "SolarOpenForCausalLM", NULL };

const struct nb_family nb_family_glm4moe = {
    .model_type = "glm4_moe",
    FAMILY(glm_classes, nb_arch_glm4moe, glm_config, rules, keys, tensors), .tokenizer = { .named = nb_glm_tokens }, .mlx = &nb_mlx_glm4_moe
};
const struct nb_family nb_family_solar_open = {
    FAMILY(solar_classes, nb_arch_glm4moe, solar_config, rules, keys, tensors), .tokenizer = { .named = solar_tokens }
};
