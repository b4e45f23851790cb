/*
 * Llama and models with the same structure. Names and keys: llama.cpp's
 * conversion/llama.py and gguf-py's constants; defaults: the configuration
 * classes of transformers 4.57.
 */
#include "formats/models/family.h"
#include "formats/models/rope_scaling.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define LAYER "model.layers.%l."
#define BLOCK "blk.%l."
#define NEIGHBOURS { { NB_MAP_NEIGHBOURS, { "key_length" } } }

static const struct nb_map_row tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", { { 0 } } },
    { "model.norm.weight", "output_norm.weight", { { 0 } } },
    { "lm_head.weight", "output.weight", { { 0 } } },

    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", { { 0 } } },
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", NEIGHBOURS },
    { LAYER "self_attn.q_proj.bias", BLOCK "attn_q.bias", NEIGHBOURS },
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", NEIGHBOURS },
    { LAYER "self_attn.k_proj.bias", BLOCK "attn_k.bias", NEIGHBOURS },
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", { { 0 } } },
    { LAYER "self_attn.v_proj.bias", BLOCK "attn_v.bias", { { 0 } } },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", { { 0 } } },
    { LAYER "self_attn.o_proj.bias", BLOCK "attn_output.bias", { { 0 } } },
    { LAYER "post_attention_layernorm.weight", BLOCK "ffn_norm.weight", { { 0 } } },
    { LAYER "mlp.gate_proj.weight", BLOCK "ffn_gate.weight", { { 0 } } },
    { LAYER "mlp.gate_proj.bias", BLOCK "ffn_gate.bias", { { 0 } } },
    { LAYER "mlp.up_proj.weight", BLOCK "ffn_up.weight", { { 0 } } },
    { LAYER "mlp.up_proj.bias", BLOCK "ffn_up.bias", { { 0 } } },
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", { { 0 } } },
    { LAYER "mlp.down_proj.bias", BLOCK "ffn_down.bias", { { 0 } } },
};

static const char *const ignored[] = { ".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias", NULL };

#define COMMON_CONFIG                                            \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },                 \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                    \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },           \
    { NB_HP_HEADS, "num_attention_heads", NULL },                \
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },      \
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },    \
    { NB_HP_ROPE_DIMS, "head_dim", "embedding // heads" },       \
    { NB_HP_VOCAB, "vocab_size", "32000" },                      \
    { NB_HP_ROPE_BASE, "rope_theta", "10000" },                  \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" }

static const struct nb_config_row llama_config[] = {
    COMMON_CONFIG,
    { NB_HP_CONTEXT, "max_position_embeddings", "2048" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
};

static const struct nb_config_row mistral_config[] = {
    COMMON_CONFIG,
    { NB_HP_CONTEXT, "max_position_embeddings", "131072" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },
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

/* Only the Llama class computes a default head_dim itself, so that it counts as given. */
#define KEYS(head_dim_kind)                                 \
    { NB_KEY_HPARAM, NB_HP_LAYERS, NULL },                  \
    { NB_KEY_HPARAM, NB_HP_CONTEXT, NULL },                 \
    { NB_KEY_HPARAM, NB_HP_EMBEDDING, NULL },               \
    { NB_KEY_HPARAM, NB_HP_FEED_FORWARD, NULL },            \
    { NB_KEY_HPARAM, NB_HP_HEADS, NULL },                   \
    { NB_KEY_HPARAM, NB_HP_KV_HEADS, NULL },                \
    { NB_KEY_WRITER, 0, nb_write_rope_scaling },            \
    { NB_KEY_HPARAM, NB_HP_ROPE_BASE, NULL },               \
    { NB_KEY_HPARAM, NB_HP_RMS_EPSILON, NULL },             \
    { head_dim_kind, NB_HP_KEY_LENGTH, NULL },              \
    { head_dim_kind, NB_HP_VALUE_LENGTH, NULL },            \
    { NB_KEY_WRITER, 0, nb_write_file_type },               \
    { NB_KEY_HPARAM, NB_HP_VOCAB, NULL },                   \
    { NB_KEY_HPARAM, NB_HP_ROPE_DIMS, NULL }

static const struct nb_key_row llama_keys[] = { KEYS(NB_KEY_HPARAM) };
static const struct nb_key_row mistral_keys[] = { KEYS(NB_KEY_IF_GIVEN) };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const llama_classes[] = { "LlamaForCausalLM", "LLaMAForCausalLM", NULL };
static const char *const mistral_classes[] = { "MistralForCausalLM", NULL };

#define LLAMA_FAMILY(class_list, config_rows, rule_rows, key_rows)                                            \
    {                                                                                                         \
        .classes = class_list, .arch = &nb_arch_llama, .config = config_rows, .n_config = COUNT(config_rows), \
        .rules = rule_rows, .n_rules = COUNT(rule_rows),                                                      \
        .keys = key_rows, .n_keys = COUNT(key_rows), .made = made, .n_made = COUNT(made), .to_gguf = tensors, \
        .n_to_gguf = COUNT(tensors), .ignored_suffixes = ignored                                              \
    }

const struct nb_family nb_family_llama = LLAMA_FAMILY(llama_classes, llama_config, llama_rules, llama_keys);
const struct nb_family nb_family_mistral = LLAMA_FAMILY(mistral_classes, mistral_config, mistral_rules, mistral_keys);
