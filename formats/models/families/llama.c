/*
 * Llama and what shares its structure. Names and keys: llama.cpp's
 * conversion/llama.py and gguf-py's constants; defaults: the configuration
 * classes of transformers 4.57.
 */
#include "formats/models/family.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define LAYER "model.layers.%u."
#define BLOCK "blk.%u."

static const struct nb_family_tensor tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", NB_SIDE_VOCAB, NB_SIDE_EMBEDDING, NB_EMBEDDING_TABLE, 0 },
    { "model.norm.weight", "output_norm.weight", NB_SIDE_EMBEDDING, NB_SIDE_NONE, NB_ALWAYS, 0 },
    { "lm_head.weight", "output.weight", NB_SIDE_VOCAB, NB_SIDE_EMBEDDING, NB_OUTPUT_TABLE, 0 },

    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", NB_SIDE_EMBEDDING, NB_SIDE_NONE, NB_ALWAYS, 0 },
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", NB_SIDE_Q, NB_SIDE_EMBEDDING, NB_ALWAYS,
      NB_ROWS_INTERLEAVE_HALVES },
    { LAYER "self_attn.q_proj.bias", BLOCK "attn_q.bias", NB_SIDE_Q, NB_SIDE_NONE, NB_MAYBE,
      NB_ROWS_INTERLEAVE_HALVES },
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", NB_SIDE_KV, NB_SIDE_EMBEDDING, NB_ALWAYS,
      NB_ROWS_INTERLEAVE_HALVES },
    { LAYER "self_attn.k_proj.bias", BLOCK "attn_k.bias", NB_SIDE_KV, NB_SIDE_NONE, NB_MAYBE,
      NB_ROWS_INTERLEAVE_HALVES },
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", NB_SIDE_KV, NB_SIDE_EMBEDDING, NB_ALWAYS, 0 },
    { LAYER "self_attn.v_proj.bias", BLOCK "attn_v.bias", NB_SIDE_KV, NB_SIDE_NONE, NB_MAYBE, 0 },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", NB_SIDE_EMBEDDING, NB_SIDE_Q, NB_ALWAYS, 0 },
    { LAYER "self_attn.o_proj.bias", BLOCK "attn_output.bias", NB_SIDE_EMBEDDING, NB_SIDE_NONE, NB_MAYBE, 0 },
    { LAYER "post_attention_layernorm.weight", BLOCK "ffn_norm.weight", NB_SIDE_EMBEDDING, NB_SIDE_NONE, NB_ALWAYS,
      0 },
    { LAYER "mlp.gate_proj.weight", BLOCK "ffn_gate.weight", NB_SIDE_FEED_FORWARD, NB_SIDE_EMBEDDING, NB_ALWAYS, 0 },
    { LAYER "mlp.gate_proj.bias", BLOCK "ffn_gate.bias", NB_SIDE_FEED_FORWARD, NB_SIDE_NONE, NB_MAYBE, 0 },
    { LAYER "mlp.up_proj.weight", BLOCK "ffn_up.weight", NB_SIDE_FEED_FORWARD, NB_SIDE_EMBEDDING, NB_ALWAYS, 0 },
    { LAYER "mlp.up_proj.bias", BLOCK "ffn_up.bias", NB_SIDE_FEED_FORWARD, NB_SIDE_NONE, NB_MAYBE, 0 },
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", NB_SIDE_EMBEDDING, NB_SIDE_FEED_FORWARD, NB_ALWAYS, 0 },
    { LAYER "mlp.down_proj.bias", BLOCK "ffn_down.bias", NB_SIDE_EMBEDDING, NB_SIDE_NONE, NB_MAYBE, 0 },
};

static const char *const ignored[] = { ".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias", NULL };

#define COMMON_HPARAMS                                                                   \
    { NB_HP_LAYERS, "num_hidden_layers", true, NB_REQUIRED, 0 },                         \
    { NB_HP_EMBEDDING, "hidden_size", true, NB_REQUIRED, 0 },                            \
    { NB_HP_FEED_FORWARD, "intermediate_size", true, NB_REQUIRED, 0 },                   \
    { NB_HP_HEADS, "num_attention_heads", true, NB_REQUIRED, 0 },                        \
    { NB_HP_HEAD_DIM, "head_dim", true, NB_EMBEDDING_PER_HEAD, 0 },                      \
    { NB_HP_VOCAB, "vocab_size", true, NB_CONSTANT, 32000 },                             \
    { NB_HP_ROPE_THETA, "rope_theta", false, NB_CONSTANT, 10000 },                       \
    { NB_HP_RMS_EPS, "rms_norm_eps", false, NB_CONSTANT, 1e-6 }

static const struct nb_family_hparam llama_hparams[] = {
    COMMON_HPARAMS,
    { NB_HP_CONTEXT, "max_position_embeddings", true, NB_CONSTANT, 2048 },
    { NB_HP_KV_HEADS, "num_key_value_heads", true, NB_SAME_AS_HEADS, 0 },
};

static const struct nb_family_hparam mistral_hparams[] = {
    COMMON_HPARAMS,
    { NB_HP_CONTEXT, "max_position_embeddings", true, NB_CONSTANT, 131072 },
    { NB_HP_KV_HEADS, "num_key_value_heads", true, NB_CONSTANT, 8 },
};

/* Only the Llama class derives a head dimension of its own, which then counts as given. */
#define KEYS(head_dim_kind)                                                 \
    { NB_KEY_U32, "block_count", NB_HP_LAYERS },                            \
    { NB_KEY_U32, "context_length", NB_HP_CONTEXT },                        \
    { NB_KEY_U32, "embedding_length", NB_HP_EMBEDDING },                    \
    { NB_KEY_U32, "feed_forward_length", NB_HP_FEED_FORWARD },              \
    { NB_KEY_U32, "attention.head_count", NB_HP_HEADS },                    \
    { NB_KEY_U32, "attention.head_count_kv", NB_HP_KV_HEADS },              \
    { NB_KEY_ROPE_SCALING, NULL, 0 },                                       \
    { NB_KEY_F32, "rope.freq_base", NB_HP_ROPE_THETA },                     \
    { NB_KEY_F32, "attention.layer_norm_rms_epsilon", NB_HP_RMS_EPS },      \
    { head_dim_kind, "attention.key_length", NB_HP_HEAD_DIM },              \
    { head_dim_kind, "attention.value_length", NB_HP_HEAD_DIM },            \
    { NB_KEY_FILE_TYPE, NULL, 0 },                                          \
    { NB_KEY_U32, "vocab_size", NB_HP_VOCAB },                              \
    { NB_KEY_U32, "rope.dimension_count", NB_HP_HEAD_DIM }

static const struct nb_family_key llama_keys[] = { KEYS(NB_KEY_U32) };
static const struct nb_family_key mistral_keys[] = { KEYS(NB_KEY_U32_IF_GIVEN) };

static const char *const llama_classes[] = { "LlamaForCausalLM", "LLaMAForCausalLM", NULL };
static const char *const mistral_classes[] = { "MistralForCausalLM", NULL };

const struct nb_family nb_family_llama = {
    .classes = llama_classes,
    .arch = "llama",
    .hparams = llama_hparams,
    .n_hparams = COUNT(llama_hparams),
    .keys = llama_keys,
    .n_keys = COUNT(llama_keys),
    .tensors = tensors,
    .n_tensors = COUNT(tensors),
    .ignored = ignored,
    .can_scale_rope_llama3 = true,
    .norm = NB_NORM_RMS,
    .activation = NB_ACTIVATION_SILU,
    .rope = NB_ROPE_NEIGHBOURS,
};

const struct nb_family nb_family_mistral = {
    .classes = mistral_classes,
    .arch = "llama",
    .hparams = mistral_hparams,
    .n_hparams = COUNT(mistral_hparams),
    .keys = mistral_keys,
    .n_keys = COUNT(mistral_keys),
    .tensors = tensors,
    .n_tensors = COUNT(tensors),
    .ignored = ignored,
    .can_scale_rope_llama3 = true,
    .norm = NB_NORM_RMS,
    .activation = NB_ACTIVATION_SILU,
    .rope = NB_ROPE_NEIGHBOURS,
};
