/*
 * Mistral's models as Mistral publishes them: params.json and consolidated.safetensors. Names and keys: llama.cpp's
 * conversion/mistral.py; the default context: that of its MistralMoeModel. Queries and keys are stored as llama.cpp has
 * them, rotary pairs side by side.
 */
#include "formats/models/families/rows.h"

#define OWN "layers.%l."

static const struct nb_map_row tensors[] = {
    { "tok_embeddings.weight", "token_embd.weight", PLAIN },
    { "norm.weight", "output_norm.weight", PLAIN },
    { "output.weight", "output.weight", PLAIN },
    { OWN "attention_norm.weight", BLOCK "attn_norm.weight", PLAIN },
    { OWN "ffn_norm.weight", BLOCK "ffn_norm.weight", PLAIN },
    { OWN "attention.wq.weight", BLOCK "attn_q.weight", PLAIN },
    { OWN "attention.wk.weight", BLOCK "attn_k.weight", PLAIN },
    { OWN "attention.wv.weight", BLOCK "attn_v.weight", PLAIN },
    { OWN "attention.wo.weight", BLOCK "attn_output.weight", PLAIN },
    { OWN "feed_forward.w1.weight", BLOCK "ffn_gate.weight", PLAIN },
    { OWN "feed_forward.w2.weight", BLOCK "ffn_down.weight", PLAIN },
    { OWN "feed_forward.w3.weight", BLOCK "ffn_up.weight", PLAIN },
};

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "n_layers", NULL },
    { NB_HP_EMBEDDING, "dim", NULL },
    { NB_HP_FEED_FORWARD, "hidden_dim", NULL },
    { NB_HP_HEADS, "n_heads", NULL },
    { NB_HP_KV_HEADS, "n_kv_heads", "heads" },
    { NB_HP_CONTEXT, "max_position_embeddings|max_seq_len", "128000" },
    CONFIG_ROPE_BASE("10000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", NULL },
    { NB_HP_RMS_EPSILON, "norm_eps", NULL },
};

/* The longer contexts and experts of later models have no golden yet. */
static const struct nb_config_rule rules[] = {
    { "activation", NB_CONFIG_ONLY, "silu", NULL },
    { "causal", NB_CONFIG_ONLY, "true", NULL },
    { "model_type", NB_CONFIG_ONLY, "transformer", NULL },
    { "use_biases", NB_CONFIG_ONLY, "false", NULL },
    { "yarn", NB_CONFIG_ONLY, "", NULL },
    { "llama_4_scaling", NB_CONFIG_ONLY, "", NULL },
    { "moe", NB_CONFIG_ONLY, "", NULL },
    { "q_lora_rank", NB_CONFIG_ONLY, "", NULL },
    { "ragged_attention", NB_CONFIG_ONLY, "", NULL },
    { "sliding_window", NB_CONFIG_NOTED_BELOW, "max_position_embeddings",
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" },
    { "tied_embeddings", NB_CONFIG_IGNORED, NULL, NULL }, /* counts as tie_word_embeddings */
    { "vision_encoder", NB_CONFIG_IGNORED, NULL, NULL },  /* of what sees */
    { "multimodal", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

static const char *const of_what_sees[] = { "vision_encoder.", "vision_language_adapter.", "patch_merger.",
                                            "pre_mm_projector_norm.", NULL };
static const char *const classes[] = { "MistralParams", NULL };

const struct nb_family nb_family_mistral_params = {
    FAMILY(classes, nb_arch_llama, config, rules, keys, tensors),
    .ignored_prefixes = of_what_sees,
};
