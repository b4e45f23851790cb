/*
 * GLM-4 before its mixtures, GLM-4.1V, GLM-Edge. Names and keys: llama.cpp's conversion/glm.py and
 * chatglm.py; defaults: the configuration classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

#define ROWS                                                                 \
    EMBEDDINGS,                                                              \
    NORMS,                                                                   \
    { LAYER "mlp.gate_up_proj.weight", BLOCK "ffn_up.weight", PLAIN },       \
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", PLAIN }

#define POST_NORMS                                                                                   \
    { LAYER "post_self_attn_layernorm.weight", BLOCK "post_attention_norm.weight", PLAIN },          \
    { LAYER "post_mlp_layernorm.weight", BLOCK "post_ffw_norm.weight", PLAIN }

/* Positions in sections need the order of rows that has halves. */
#define HALVES { { NB_MAP_HALVES, { "key_length", "rope_dims" } } }

static const struct nb_map_row glm_tensors[] = { ROWS, ATTENTION(PLAIN), QKV_BIASES(PLAIN) };
static const struct nb_map_row glm4_tensors[] = { ROWS, ATTENTION(PLAIN), QKV_BIASES(PLAIN), POST_NORMS };
static const struct nb_map_row glm4v_tensors[] = { ROWS, ATTENTION(HALVES), QKV_BIASES(HALVES), POST_NORMS };

#define SIZES                                                      \
    { NB_HP_LAYERS, "num_hidden_layers", "40" },                   \
    { NB_HP_EMBEDDING, "hidden_size", "4096" },                    \
    { NB_HP_FEED_FORWARD, "intermediate_size", "13696" },          \
    { NB_HP_HEADS, "num_attention_heads", "32" },                  \
    { NB_HP_KV_HEADS, "num_key_value_heads", "2" },                \
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", "0.5" }
#define LENGTHS(otherwise)                                         \
    { NB_HP_KEY_LENGTH, "head_dim", otherwise },                   \
    { NB_HP_VALUE_LENGTH, "head_dim", otherwise }

/* The reference's class for GLM-Edge reads entries of ChatGLM's older code, and writes what it takes for absent ones. */
static const struct nb_config_row glm_config[] = {
    SIZES,
    LENGTHS("128"),
    { NB_HP_CONTEXT, "seq_length", "embedding" },
    { NB_HP_RMS_EPSILON, "layernorm_epsilon", "1e-5" },
    { NB_HP_ROPE_BASE, "", "10000" },
    { NB_HP_ROPE_DIMS, "", "embedding // heads * rotary_factor // 1" },
};

#define CONFIG(lengths, context, epsilon)                          \
    SIZES,                                                         \
    lengths,                                                       \
    { NB_HP_CONTEXT, "max_position_embeddings", context },         \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", epsilon },                \
    CONFIG_ROPE_BASE("10000"),                                     \
    { NB_HP_ROPE_DIMS, "", "key_length * rotary_factor // 1" }

static const struct nb_config_row glm4_config[] = { CONFIG(LENGTHS("128"), "131072", "0.00000015625") };
static const struct nb_config_row glm4v_config[] = {
    CONFIG(LENGTHS("embedding // heads"), "32768", "1e-5"),
    { NB_HP_ROPE_SECTIONS, "mrope_section", NULL },
};

#define COMMON_RULES                                                         \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                    \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL }

static const struct nb_config_rule glm_rules[] = {
    COMMON_RULES,
    { "rope_theta", NB_CONFIG_NOTED, "10000", "but 10000 is written, as by the reference" },
    { "rope_scaling", NB_CONFIG_ONLY, "", NULL },
    { "rms_norm_eps", NB_CONFIG_NOTED, "1e-5", "but 1e-5 is written, as by the reference" },
    { "max_position_embeddings", NB_CONFIG_IGNORED, NULL, NULL },
};
static const struct nb_config_rule rules[] = { COMMON_RULES };

static enum nb_status
write_no_bos(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    (void)c;
    nb_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", false);
    return nb_meta_status(meta, err);
}

static const struct nb_key_row glm_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_RMS_EPSILON),
    WRITE(nb_write_file_type),
    KEY(NB_HP_ROPE_DIMS),
    WRITE(write_no_bos),
    KEY(NB_HP_ROPE_BASE),
};
static const struct nb_key_row glm4_keys[] = { BASE_KEYS(KEY), KEY(NB_HP_ROPE_DIMS) };
static const struct nb_key_row glm4v_keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_ROPE_DIMS) };

static const struct nb_named_token glm_tokens[] = {
    { "tokenizer.ggml.eos_token_id", "<|endoftext|>" },
    { "tokenizer.ggml.eot_token_id", "<|user|>" },
    { "tokenizer.ggml.unknown_token_id", "<|endoftext|>" },
    { NULL, NULL },
};
static const struct nb_named_token glm4_tokens[] = {
    { "tokenizer.ggml.eos_token_id", "<|endoftext|>" },
    { "tokenizer.ggml.eot_token_id", "<|user|>" },
    { "tokenizer.ggml.unknown_token_id", "<|endoftext|>" },
    { "tokenizer.ggml.bos_token_id", "<|endoftext|>" },
    { NULL, NULL },
};

static const char *const glm_classes[] = { "GlmForCausalLM", NULL };
static const char *const glm4_classes[] = { "Glm4ForCausalLM", NULL };
static const char *const glm4v_classes[] = { "Glm4vForConditionalGeneration", NULL };

const struct nb_family nb_family_glm = {
    .model_type = "glm",
    FAMILY(glm_classes, nb_arch_chatglm, glm_config, glm_rules, glm_keys, glm_tensors),
    .tokenizer = { .named = glm_tokens },
};
const struct nb_family nb_family_glm4 = {
    .model_type = "glm4",
    FAMILY(glm4_classes, nb_arch_glm4, glm4_config, rules, glm4_keys, glm4_tensors),
    .tokenizer = { .named = glm4_tokens }, .mlx = &nb_mlx_glm4
};
const struct nb_family nb_family_glm4v = {
    .model_type = "glm4v_text",
    .wrapper = "glm4v",
    FAMILY(glm4v_classes, nb_arch_glm4, glm4v_config, rules, glm4v_keys, glm4v_tensors),
    .derive = nb_pad_rope_sections,
    .tokenizer = { .named = glm4_tokens },
};
