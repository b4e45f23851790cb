/*
 * Llama and models with the same structure. Names and keys: llama.cpp's
 * conversion/llama.py and gguf-py's constants; defaults: the configuration
 * classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

#define DENSE_ROWS                                                          \
    EMBEDDINGS,                                                             \
    NORMS,                                                                  \
    ATTENTION(NEIGHBOURS),                                                  \
    QKV_BIASES(NEIGHBOURS),                                                 \
    { LAYER "self_attn.o_proj.bias", BLOCK "attn_output.bias", PLAIN }

static const struct nb_map_row tensors[] = {
    DENSE_ROWS,
    GATED_MLP,
    { LAYER "mlp.gate_proj.bias", BLOCK "ffn_gate.bias", PLAIN },
    { LAYER "mlp.up_proj.bias", BLOCK "ffn_up.bias", PLAIN },
    { LAYER "mlp.down_proj.bias", BLOCK "ffn_down.bias", PLAIN },
};

static const struct nb_map_row mixtral_tensors[] = {
    DENSE_ROWS,
    MIXTRAL_EXPERTS,
};

static const char *const ignored[] = { ".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias", NULL };

/* Without the number of key-value heads, whose default differs. */
#define COMMON_CONFIG                                            \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },                 \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                    \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },           \
    { NB_HP_HEADS, "num_attention_heads", NULL },                \
    CONFIG_HEAD_DIM("embedding // heads"),                       \
    { NB_HP_VOCAB, "vocab_size", "32000" },                      \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" }

static const struct nb_config_row llama_config[] = {
    COMMON_CONFIG,
    CONFIG_ROPE_BASE("10000"),
    { NB_HP_CONTEXT, "max_position_embeddings", "2048" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
};

static const struct nb_config_row mistral_config[] = {
    COMMON_CONFIG,
    CONFIG_ROPE_BASE("10000"),
    { NB_HP_CONTEXT, "max_position_embeddings", "131072" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },
};

static const struct nb_config_row mixtral_config[] = {
    COMMON_CONFIG,
    CONFIG_ROPE_BASE("1000000"),
    { NB_HP_CONTEXT, "max_position_embeddings", "131072" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },
    { NB_HP_EXPERTS, "num_local_experts", "8" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "2" },
};

/* Entries that say what the forward pass of these classes does, but that GGUF's llama has no key for. */
#define COMMON_RULES                                                             \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                        \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },      \
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },                   \
    { "rope_interleaved", NB_CONFIG_ONLY, "false", NULL },                       \
    { "rope.mscale", NB_CONFIG_IGNORED, NULL, NULL }, /* counts with the next */ \
    { "rope.mscale_all_dim", NB_CONFIG_ONLY, "0", NULL },                        \
    { "max_window_layers", NB_CONFIG_IGNORED, NULL, NULL },                      \
    { "use_sliding_window", NB_CONFIG_IGNORED, NULL, NULL }

static const struct nb_config_rule llama_rules[] = {
    COMMON_RULES,
    { "mlp_bias", NB_CONFIG_BIASES, ".mlp.gate_proj.bias", NULL },
    { "sliding_window", NB_CONFIG_IGNORED, NULL, NULL }, /* the class has none */
};

static const struct nb_config_rule mistral_rules[] = {
    COMMON_RULES,
    { "sliding_window", NB_CONFIG_NOTED_BELOW, "max_position_embeddings",
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" },
};

static const struct nb_config_rule mixtral_rules[] = {
    COMMON_RULES,
    { "router_jitter_noise", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
    { "sliding_window", NB_CONFIG_NOTED_BELOW, "max_position_embeddings",
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" },
};

/* Only the Llama class computes a default head_dim itself, so that it counts as given. */
static const struct nb_key_row llama_keys[] = { BASE_KEYS(KEY), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };
static const struct nb_key_row mistral_keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const llama_classes[] = { "LlamaForCausalLM", "LLaMAForCausalLM", "IQuestCoderForCausalLM", "VLlama3ForCausalLM", "LlavaForConditionalGeneration", "VoxtralForConditionalGeneration", "JanusForConditionalGeneration", NULL };
static const char *const sarashina_classes[] = { "Sarashina2VisionForCausalLM", NULL };
static const char *const mistral_classes[] = { "MistralForCausalLM", NULL };
static const char *const mixtral_classes[] = { "MixtralForCausalLM", NULL };

#define OF_ALL .made = made, .n_made = COUNT(made), .ignored_suffixes = ignored, \
    .tokenizer = { .space_prefix = NB_PREFIX_FIRST, .size_quirks = true }

const struct nb_family nb_family_llama = {
    FAMILY(llama_classes, nb_arch_llama, llama_config, llama_rules, llama_keys, tensors), OF_ALL, .mlx = &nb_mlx_llama
};
/* Its text model, whose tensors begin with "llm."; what begins with "norm." is of the part that sees. */
static const char *const of_sight[] = { "norm.", NULL };
const struct nb_family nb_family_sarashina2_vision = {
    FAMILY(sarashina_classes, nb_arch_llama, llama_config, llama_rules, llama_keys, tensors), OF_ALL,
    .ignored_prefixes = of_sight
};
const struct nb_family nb_family_mistral = {
    FAMILY(mistral_classes, nb_arch_llama, mistral_config, mistral_rules, mistral_keys, tensors), OF_ALL, .mlx = &nb_mlx_llama
};
const struct nb_family nb_family_mixtral = {
    FAMILY(mixtral_classes, nb_arch_llama, mixtral_config, mixtral_rules, mistral_keys, mixtral_tensors), OF_ALL, .mlx = &nb_mlx_mixtral
};
