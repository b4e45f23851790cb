/*
 * qwen3next, qwen35, qwen35moe, qwen4exp: layers with linear attention (gated delta nets) and, one of each few, with
 * full attention, whose queries come with a gate. Further layers predict further tokens. Source: llama.cpp
 * v0.5.0, src/models/qwen3next.cpp, qwen35.cpp, qwen35moe.cpp and qwen4exp.cpp.
 */
#include "formats/models/architectures/rows.h"

#define LINEAR "recurrent_layers"
#define FULL "!recurrent_layers"
#define FURTHER "layer >= layers - nextn_layers"
#define KEYS "ssm_state * ssm_groups"
/* llama.cpp takes the values of linear attention to be as long as its keys. */
#define VALUES "ssm_state * ssm_rank"

#define LAYERS_OF_BOTH_KINDS                                                                       \
    EMBEDDINGS,                                                                                    \
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },                              \
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },                    \
    EITHER_ATTENTION,                                                                              \
    LAYERS_THAT_PREDICT_FURTHER_TOKENS
#define EITHER_ATTENTION                                                                           \
    { BLOCK "attn_q.weight", { "embedding", "2 * heads * key_length" }, NB_REQUIRED, FULL },       \
    { BLOCK "attn_k.weight", { "embedding", "kv_heads * key_length" }, NB_REQUIRED, FULL },        \
    { BLOCK "attn_v.weight", { "embedding", "kv_heads * value_length" }, NB_REQUIRED, FULL },      \
    { BLOCK "attn_q.bias", { "2 * heads * key_length" }, NB_OPTIONAL, FULL },                      \
    { BLOCK "attn_k.bias", { "kv_heads * key_length" }, NB_OPTIONAL, FULL },                       \
    { BLOCK "attn_v.bias", { "kv_heads * value_length" }, NB_OPTIONAL, FULL },                     \
    { BLOCK "attn_output.weight", { "heads * key_length", "embedding" }, NB_REQUIRED, FULL },      \
    { BLOCK "attn_q_norm.weight", { "key_length" }, NB_REQUIRED, FULL },                           \
    { BLOCK "attn_k_norm.weight", { "key_length" }, NB_REQUIRED, FULL },                           \
    { BLOCK "attn_qkv.weight", { "embedding", "2 * " KEYS " + " VALUES }, NB_OPTIONAL, LINEAR },   \
    { BLOCK "attn_gate.weight", { "embedding", VALUES }, NB_OPTIONAL, LINEAR },                    \
    { BLOCK "ssm_conv1d.weight", { "ssm_conv", "2 * " KEYS " + " VALUES }, NB_REQUIRED, LINEAR },  \
    { BLOCK "ssm_dt.bias", { "ssm_rank" }, NB_REQUIRED, LINEAR },                                  \
    { BLOCK "ssm_a", { "ssm_rank" }, NB_REQUIRED, LINEAR },                                        \
    { BLOCK "ssm_norm.weight", { "ssm_state" }, NB_REQUIRED, LINEAR },                             \
    { BLOCK "ssm_out.weight", { VALUES, "embedding" }, NB_REQUIRED, LINEAR }
#define LAYERS_THAT_PREDICT_FURTHER_TOKENS                                                         \
    { BLOCK "nextn.eh_proj.weight", { "2 * embedding", "embedding" }, NB_REQUIRED, FURTHER },      \
    { BLOCK "nextn.enorm.weight", { "embedding" }, NB_REQUIRED, FURTHER },                         \
    { BLOCK "nextn.hnorm.weight", { "embedding" }, NB_REQUIRED, FURTHER },                         \
    { BLOCK "nextn.embed_tokens.weight", { "embedding", "vocab" }, NB_OPTIONAL, FURTHER },         \
    { BLOCK "nextn.shared_head_head.weight", { "embedding", "vocab" }, NB_OPTIONAL, FURTHER },     \
    { BLOCK "nextn.shared_head_norm.weight", { "embedding" }, NB_OPTIONAL, FURTHER }

#define SEPARATE_GATES                                                                       \
    { BLOCK "ssm_alpha.weight", { "embedding", "ssm_rank" }, NB_REQUIRED, LINEAR },          \
    { BLOCK "ssm_beta.weight", { "embedding", "ssm_rank" }, NB_REQUIRED, LINEAR }

/* The matrices of the gate and of the up projection may be stored together. */
#define MIXTURE                                                                                                  \
    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, NULL },                              \
    { BLOCK "ffn_gate_up_exps.weight", { "embedding", "2 * expert_feed_forward", "experts" }, NB_OPTIONAL, NULL }, \
    { BLOCK "ffn_gate_exps.weight", { "embedding", "expert_feed_forward", "experts" }, NB_OPTIONAL, NULL },      \
    { BLOCK "ffn_up_exps.weight", { "embedding", "expert_feed_forward", "experts" }, NB_OPTIONAL, NULL },        \
    { BLOCK "ffn_down_exps.weight", { "expert_feed_forward", "embedding", "experts" }, NB_REQUIRED, NULL },      \
    { BLOCK "ffn_gate_inp_shexp.weight", { "embedding", "1" }, NB_REQUIRED, NULL },                              \
    { BLOCK "ffn_gate_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, NULL },                \
    { BLOCK "ffn_up_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, NULL },                  \
    { BLOCK "ffn_down_shexp.weight", { "shared_feed_forward", "embedding" }, NB_REQUIRED, NULL }

static const struct nb_arch_tensor qwen3next[] = {
    LAYERS_OF_BOTH_KINDS,
    MIXTURE,
    { BLOCK "ssm_ba.weight", { "embedding", "2 * ssm_rank" }, NB_REQUIRED, LINEAR },
    /* What older files have for attn_qkv and attn_gate. */
    { BLOCK "ssm_in.weight", { "embedding", "2 * " KEYS " + 2 * " VALUES }, NB_OPTIONAL, LINEAR },
};

static const struct nb_arch_tensor qwen35[] = { LAYERS_OF_BOTH_KINDS, GATED_MLP, SEPARATE_GATES };
static const struct nb_arch_tensor qwen35moe[] = { LAYERS_OF_BOTH_KINDS, MIXTURE, SEPARATE_GATES };

/* Hyper-connections: so many streams of what passes through the layers, mixed before each part of a layer. */
#define STREAMS "hyper_count * embedding"
#define HYPER(name)                                                                          \
    { name "norm.weight", { STREAMS }, NB_REQUIRED, NULL },                                  \
    { name "down.weight", { STREAMS, "hyper_rank" }, NB_REQUIRED, NULL },                    \
    { name "up.weight", { "hyper_rank", STREAMS }, NB_REQUIRED, NULL }
#define INJECTING(name) HYPER(name), { name "inject.weight", { STREAMS, "hyper_count" }, NB_REQUIRED, NULL }
#define INDEXER(name, ...) { BLOCK "indexer." name, { __VA_ARGS__ }, NB_REQUIRED, FULL }
/* One layer may have n-grams; how many rows their table has no key says. */
#define PLE(name, ...) { BLOCK "ple_" name, { __VA_ARGS__ }, NB_REQUIRED, "ple_layers" }
#define WITH_PLE "any(ple_layers)"

static const struct nb_arch_tensor qwen4exp[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_TIED, NULL },
    HYPER("output_hc_"),
    INJECTING(BLOCK "hc_attn_"),
    INJECTING(BLOCK "hc_ffn_"),
    EITHER_ATTENTION,
    SEPARATE_GATES,
    MIXTURE,
    INDEXER("q_proj.weight", "embedding", "indexer_heads * indexer_key_length"),
    INDEXER("k_proj.weight", "embedding", "indexer_key_length"),
    INDEXER("q_norm.weight", "indexer_key_length"),
    INDEXER("k_norm.weight", "indexer_key_length"),
    PLE("key.weight", "embedding", STREAMS),
    PLE("value.weight", "embedding", "embedding"),
    PLE("norm_key.weight", STREAMS),
    PLE("norm_query.weight", STREAMS),
    PLE("norm_conv.weight", STREAMS),
    PLE("conv1d.weight", "ple_conv", STREAMS),
    { "per_layer_token_embd.weight", { "embedding_per_layer", "?ple_rows" }, NB_REQUIRED, WITH_PLE },
};

#define LINEAR_KEYS NB_HP_HEADS, NB_HP_RMS_EPSILON, NB_HP_SSM_CONV, NB_HP_SSM_INNER, NB_HP_SSM_STATE, NB_HP_SSM_RANK, \
                    NB_HP_SSM_GROUPS

static const enum nb_hparam demanded_of_next[] = { LINEAR_KEYS, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };
static const enum nb_hparam demanded[] = { LINEAR_KEYS, NB_HP_ROPE_SECTIONS, NB_HP_FEED_FORWARD };
static const enum nb_hparam demanded_of_mixtures[] = { LINEAR_KEYS, NB_HP_ROPE_SECTIONS, NB_HP_EXPERTS,
                                                       NB_HP_EXPERTS_USED };

static const enum nb_hparam demanded_of_exp[] = { LINEAR_KEYS,          NB_HP_ROPE_SECTIONS, NB_HP_EXPERTS,
                                                  NB_HP_EXPERTS_USED,   NB_HP_HYPER_COUNT,   NB_HP_HYPER_RANK,
                                                  NB_HP_INDEXER_HEADS,  NB_HP_INDEXER_KEY_LENGTH,
                                                  NB_HP_INDEXER_TOP_K };

static const struct nb_arch_default defaults[] = {
    { NB_HP_FULL_INTERVAL, "4" },
    { NB_HP_RECURRENT_LAYERS, "layer < layers - nextn_layers && (layer + 1) % full_interval != 0" },
    { NB_HP_EXPERT_FEED_FORWARD, "feed_forward // experts_used" },
    { NB_HP_SHARED_FEED_FORWARD, "feed_forward" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "1" },
};
static const struct nb_arch_block dense_blocks[] = {
    { .kind = "delta_net", .when = LINEAR },
    { .kind = "attention", .when = FULL },
    { .kind = "dense", .norm = "post_attention_norm" },
};
static const struct nb_arch_block mixture_blocks[] = {
    { .kind = "delta_net", .when = LINEAR },
    { .kind = "attention", .when = FULL },
    { .kind = "mixture", .norm = "post_attention_norm" },
};

#define ALIKE                                                                                        \
    ASSUMES(defaults), .rope = NB_ROPE_HALVES,                     \
    .attention = { .gate_in_queries = true }

/* The value heads of Qwen 3.5 are in another order in GGUF than in checkpoints, that of Qwen3-Next are not. */
const struct nb_arch nb_arch_qwen3next = { ARCH("qwen3next", qwen3next, demanded_of_next), ALIKE, RUNS(mixture_blocks) };
const struct nb_arch nb_arch_qwen35 = {
    ARCH("qwen35", qwen35, demanded), ALIKE, RUNS(dense_blocks), .tiles_key_heads = true
};
const struct nb_arch nb_arch_qwen35moe = {
    ARCH("qwen35moe", qwen35moe, demanded_of_mixtures), ALIKE, RUNS(mixture_blocks), .tiles_key_heads = true
};

/* What makes hashes of n-grams: numbers to multiply with, one for each token of an n-gram, and for each hash where its rows
   begin, and how many it has. */
#define PLE_HASHES "(ple_ngram - 1) * ple_heads"
static const struct nb_arch_key keys_of_exp[] = {
    { "ple.ngram_size", NB_KV_U32, NULL, WITH_PLE },
    { "ple.heads_per_ngram", NB_KV_U32, NULL, WITH_PLE },
    { "ple.conv_kernel", NB_KV_U32, NULL, WITH_PLE },
    { "ple.eos_token_id", NB_KV_U32, NULL, WITH_PLE },
    { "embedding_length_per_layer_input", NB_KV_U32, NULL, WITH_PLE },
    { "ple.layer_multipliers", NB_KV_U64, "ple_ngram", WITH_PLE },
    { "ple.head_offsets", NB_KV_U64, PLE_HASHES, WITH_PLE },
    { "ple.head_vocab_sizes", NB_KV_U64, PLE_HASHES, WITH_PLE },
};
static const struct nb_arch_rule rules_of_exp[] = {
    { "hyper_count > 1", "has not two hyper-connections or more, which llama.cpp demands" },
    { "!" WITH_PLE " || (ple_ngram > 1 && ple_heads > 0 && ple_conv > 0)", "its n-grams have no length, hash or convolution" },
};
const struct nb_arch nb_arch_qwen4exp = {
    ARCH("qwen4exp", qwen4exp, demanded_of_exp), ALIKE, WITH_KEYS(keys_of_exp), RULES_OF(rules_of_exp)
};
