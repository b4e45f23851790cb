/*
 * Gemma 1 to 3. Names and keys: llama.cpp's conversion/gemma.py; defaults: the configuration classes
 * of transformers 4.57. The norms multiply by one more than what is stored.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

#define OWN_NORM(from, to) { LAYER from ".weight", BLOCK to ".weight", PLUS_ONE }

#define GEMMA_ROWS                                               \
    { "model.norm.weight", "output_norm.weight", PLUS_ONE },     \
    OWN_NORM("input_layernorm", "attn_norm"),                    \
    ATTENTION(PLAIN),                                            \
    QKV_BIASES(PLAIN),                                           \
    GATED_MLP

#define POST_NORM_ROWS                                                        \
    OWN_NORM("post_attention_layernorm", "post_attention_norm"),              \
    OWN_NORM("pre_feedforward_layernorm", "ffn_norm"),                        \
    OWN_NORM("post_feedforward_layernorm", "post_ffw_norm")

static const struct nb_map_row gemma_tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    GEMMA_ROWS,
    OWN_NORM("post_attention_layernorm", "ffn_norm"),
};

static const struct nb_map_row gemma2_tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    GEMMA_ROWS,
    POST_NORM_ROWS,
};

static const struct nb_map_row gemma3_tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", { { NB_MAP_FIT, { "vocab" } } } },
    { "lm_head.weight", "output.weight", PLAIN },
    GEMMA_ROWS,
    POST_NORM_ROWS,
    OWN_NORM("self_attn.q_norm", "attn_q_norm"),
    OWN_NORM("self_attn.k_norm", "attn_k_norm"),
};

/* The embedding is also the output; some tools store it twice. */
static const char *const ignored[] = { "lm_head.weight", ".rotary_emb.inv_freq", NULL };

#define CONFIG(layers, embedding, feed_forward, heads, kv_heads, vocab, context)  \
    { NB_HP_LAYERS, "num_hidden_layers", layers },                                \
    { NB_HP_EMBEDDING, "hidden_size", embedding },                                \
    { NB_HP_FEED_FORWARD, "intermediate_size", feed_forward },                    \
    { NB_HP_HEADS, "num_attention_heads", heads },                                \
    { NB_HP_KV_HEADS, "num_key_value_heads", kv_heads },                          \
    CONFIG_HEAD_DIM("256"),                                                       \
    { NB_HP_VOCAB, "vocab_size", vocab },                                         \
    { NB_HP_CONTEXT, "max_position_embeddings", context },                        \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" }

static const struct nb_config_row gemma_config[] = {
    CONFIG("28", "3072", "24576", "16", "16", "256000", "8192"),
    CONFIG_ROPE_BASE("10000"),
};

static const struct nb_config_row gemma2_config[] = {
    CONFIG("26", "2304", "9216", "8", "4", "256000", "8192"),
    CONFIG_ROPE_BASE("10000"),
    { NB_HP_ATTENTION_SOFTCAP, "attn_logit_softcapping", "50" },
    { NB_HP_FINAL_SOFTCAP, "final_logit_softcapping", "30" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "4096" },
};

static const struct nb_config_row gemma3_config[] = {
    CONFIG("26", "2304", "9216", "8", "4", "262208", "131072"),
    CONFIG_ROPE_BASE("1000000"),
    { NB_HP_ROPE_BASE_SWA, "rope_parameters.sliding_attention.rope_theta|rope_local_base_freq", "10000" },
    { NB_HP_FINAL_SOFTCAP, "final_logit_softcapping", "" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "4096" },
};

#define RULES                                                                   \
    { "hidden_act", NB_CONFIG_ONLY, "gelu|gelu_pytorch_tanh", NULL },           \
    { "hidden_activation", NB_CONFIG_ONLY, "gelu_pytorch_tanh", NULL },         \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL }

/* llama.cpp knows the larger model with another scale by its number of layers. */
#define POST_NORM_RULES                                                         \
    RULES,                                                                      \
    { "layer_types", NB_CONFIG_WINDOWS, "", NULL },                           \
    { "query_pre_attn_scalar", NB_CONFIG_NOTED_UNLIKE, "head_dim",              \
      "but head_dim another number: llama.cpp scales the attention by head_dim, except in the 27B models" }

static const struct nb_config_rule gemma_rules[] = {
    RULES,
    { "rope_scaling", NB_CONFIG_ONLY, "", NULL },
};
static const struct nb_config_rule gemma2_rules[] = {
    POST_NORM_RULES,
    { "rope_scaling", NB_CONFIG_ONLY, "", NULL },
    { "use_bidirectional_attention", NB_CONFIG_ONLY, "false", NULL },
};
static const struct nb_config_rule gemma3_rules[] = {
    POST_NORM_RULES,
    { "sliding_window_pattern", NB_CONFIG_ONLY, "6|1", NULL }, /* 1: no windows */
    { "_sliding_window_pattern", NB_CONFIG_ONLY, "6|1", NULL },
    { "attn_logit_softcapping", NB_CONFIG_ONLY, "", NULL },
    { "use_bidirectional_attention", NB_CONFIG_ONLY, "false", NULL },
};

#define SIZES_KEYS            \
    KEY(NB_HP_CONTEXT),       \
    KEY(NB_HP_EMBEDDING),     \
    KEY(NB_HP_LAYERS),        \
    KEY(NB_HP_FEED_FORWARD),  \
    KEY(NB_HP_HEADS),         \
    KEY(NB_HP_KV_HEADS),      \
    KEY(NB_HP_RMS_EPSILON),   \
    KEY(NB_HP_KEY_LENGTH),    \
    KEY(NB_HP_VALUE_LENGTH),  \
    WRITE(nb_write_file_type)

static const struct nb_key_row gemma_keys[] = { SIZES_KEYS };
static const struct nb_key_row gemma2_keys[] = {
    SIZES_KEYS,
    KEY(NB_HP_ATTENTION_SOFTCAP),
    KEY(NB_HP_FINAL_SOFTCAP),
    KEY(NB_HP_SLIDING_WINDOW),
};

/* Without windows there is no key for them. */
static enum nb_status
write_window(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    if (json_number_value(nb_config_find(c->config, "sliding_window_pattern")) == 1)
        return NB_OK;
    return nb_hparam_write(c->hp, NB_HP_SLIDING_WINDOW, c->family->arch->name, meta, err);
}

static const struct nb_key_row gemma3_keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_FINAL_SOFTCAP),
    WRITE(write_window),
};

static const char *const gemma_classes[] = { "GemmaForCausalLM", NULL };
static const char *const gemma2_classes[] = { "Gemma2ForCausalLM", NULL };
static const char *const gemma3_classes[] = { "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", NULL };

const struct nb_family nb_family_gemma = {
    .model_type = "gemma",
    FAMILY(gemma_classes, nb_arch_gemma, gemma_config, gemma_rules, gemma_keys, gemma_tensors),
    .ignored_suffixes = ignored,
    .tokenizer = { .no_space_prefix = true, .eot_token = 107 }, .mlx = &nb_mlx_llama
};
const struct nb_family nb_family_gemma2 = {
    .model_type = "gemma2",
    FAMILY(gemma2_classes, nb_arch_gemma2, gemma2_config, gemma2_rules, gemma2_keys, gemma2_tensors),
    .ignored_suffixes = ignored,
    .tokenizer = { .no_space_prefix = true }, .mlx = &nb_mlx_gemma2
};
const struct nb_family nb_family_gemma3 = {
    .model_type = "gemma3_text",
    FAMILY(gemma3_classes, nb_arch_gemma3, gemma3_config, gemma3_rules, gemma3_keys, gemma3_tensors),
    .tokenizer = { .no_space_prefix = true },
    .vocab_of_config = true, .mlx = &nb_mlx_gemma3
};
