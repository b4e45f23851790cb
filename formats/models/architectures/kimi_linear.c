/*
 * kimi-linear: compressed attention among layers of delta attention. Source: llama.cpp v0.5.0,
 * src/models/kimi-linear.cpp.
 */
#include "formats/models/architectures/recurrent.h"

#define DELTA "kda_head * heads"
#define UNROTATED "key_length_mla - rope_dims"
#define COMPRESSED_Q "kv_heads > 0 && q_lora_rank > 0"
#define SHARED_SIZE "expert_feed_forward * experts_shared"

/* Delta attention, whose matrices for q, k and v are called as those of attention. */
#define DELTA_ATTENTION                                                                                   \
    { BLOCK "ssm_conv1d_q.weight", { "ssm_conv", "1", DELTA, "1" }, NB_REQUIRED, RECURRENT_LAYER },       \
    { BLOCK "ssm_conv1d_k.weight", { "ssm_conv", "1", DELTA, "1" }, NB_REQUIRED, RECURRENT_LAYER },       \
    { BLOCK "ssm_conv1d_v.weight", { "ssm_conv", "1", DELTA, "1" }, NB_REQUIRED, RECURRENT_LAYER },       \
    { BLOCK "attn_k.weight", { "embedding", DELTA }, NB_REQUIRED, RECURRENT_LAYER },                      \
    { BLOCK "attn_v.weight", { "embedding", DELTA }, NB_REQUIRED, RECURRENT_LAYER },                      \
    { BLOCK "ssm_f_a.weight", { "embedding", "kda_head" }, NB_REQUIRED, RECURRENT_LAYER },                \
    { BLOCK "ssm_f_b.weight", { "kda_head", DELTA }, NB_REQUIRED, RECURRENT_LAYER },                      \
    { BLOCK "ssm_beta.weight", { "embedding", "heads" }, NB_REQUIRED, RECURRENT_LAYER },                  \
    { BLOCK "ssm_a", { "1", "heads", "1", "1" }, NB_REQUIRED, RECURRENT_LAYER },                          \
    { BLOCK "ssm_dt.bias", { DELTA }, NB_REQUIRED, RECURRENT_LAYER },                                     \
    { BLOCK "ssm_g_a.weight", { "embedding", "kda_head" }, NB_REQUIRED, RECURRENT_LAYER },                \
    { BLOCK "ssm_g_b.weight", { "kda_head", DELTA }, NB_REQUIRED, RECURRENT_LAYER },                      \
    { BLOCK "ssm_norm.weight", { "kda_head" }, NB_REQUIRED, RECURRENT_LAYER }

/* Older files have attn_kv_b instead of its two parts. */
#define COMPRESSED_ATTENTION                                                                              \
    { BLOCK "attn_kv_a_norm.weight", { "kv_lora_rank" }, NB_REQUIRED, ATTENTION_LAYER },                  \
    { BLOCK "attn_kv_a_mqa.weight", { "embedding", "kv_lora_rank + rope_dims" }, NB_REQUIRED, ATTENTION_LAYER }, \
    { BLOCK "attn_kv_b.weight",                                                                           \
      { "kv_lora_rank", "heads * (" UNROTATED " + value_length_mla)" },                                   \
      NB_OPTIONAL,                                                                                        \
      ATTENTION_LAYER },                                                                                  \
    { BLOCK "attn_k_b.weight", { UNROTATED, "kv_lora_rank", "heads" }, NB_OPTIONAL, ATTENTION_LAYER },    \
    { BLOCK "attn_v_b.weight", { "kv_lora_rank", "value_length_mla", "heads" }, NB_OPTIONAL, ATTENTION_LAYER }, \
    { BLOCK "attn_q_a_norm.weight", { "q_lora_rank" }, NB_REQUIRED, COMPRESSED_Q },                       \
    { BLOCK "attn_q_a.weight", { "embedding", "q_lora_rank" }, NB_REQUIRED, COMPRESSED_Q },               \
    { BLOCK "attn_q_b.weight", { "q_lora_rank", "heads * key_length_mla" }, NB_REQUIRED, COMPRESSED_Q }

static const struct nb_arch_tensor tensors[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    NORMS,
    DELTA_ATTENTION,
    COMPRESSED_ATTENTION,
    { BLOCK "attn_q.weight",
      { "embedding", "heads * (kda_head * (kv_heads == 0) + key_length_mla * (kv_heads > 0))" },
      NB_REQUIRED,
      "kv_heads == 0 || q_lora_rank == 0" },
    { BLOCK "attn_output.weight",
      { "heads * (kda_head * (kv_heads == 0) + value_length_mla * (kv_heads > 0))", "embedding" },
      NB_REQUIRED,
      NULL },
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_REQUIRED, SPARSE_LAYER),
    { BLOCK "ffn_gate_shexp.weight", { "embedding", SHARED_SIZE }, NB_OPTIONAL, SHARING_LAYER },
    { BLOCK "ffn_up_shexp.weight", { "embedding", SHARED_SIZE }, NB_OPTIONAL, SHARING_LAYER },
    { BLOCK "ffn_down_shexp.weight", { SHARED_SIZE, "embedding" }, NB_OPTIONAL, SHARING_LAYER },
};

static const enum nb_hparam demanded[] = {
    DEMANDED,           NB_HP_KEY_LENGTH_MLA,      NB_HP_VALUE_LENGTH_MLA, NB_HP_KV_LORA_RANK,  NB_HP_SSM_CONV,
    NB_HP_KDA_HEAD,     NB_HP_EXPERT_FEED_FORWARD, NB_HP_EXPERTS_SHARED,   NB_HP_EXPERT_GATING,
};

static const struct nb_arch_block blocks[] = {
    { .kind = "kimi_delta", .when = RECURRENT_LAYER },
    { .kind = "mla", .when = ATTENTION_LAYER },
    { .kind = "dense", .when = DENSE_LAYER },
    { .kind = "mixture", .when = SPARSE_LAYER },
};
static const struct nb_arch_default defaults[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

const struct nb_arch nb_arch_kimi_linear = {
    ARCH("kimi-linear", tensors, demanded), RUNS(blocks), ASSUMES(defaults), .attention = { .rotates = "0" }
};
