/*
 * deepseek4: streams of hyper-connections, mixed by small networks; keys that are also the values, in a window and, in
 * most layers, compressed; an indexer that chooses among compressed ones; experts that in the first layers a table
 * chooses by the token. Source: llama.cpp v0.5.0, src/models/deepseek4.cpp.
 */
#include "formats/models/architectures/rows.h"

#define STREAMS "hyper_count * embedding"
#define MIXES "(2 + hyper_count) * hyper_count"
#define HYPER(name)                                                        \
    { BLOCK name "fn.weight", { STREAMS, MIXES }, NB_REQUIRED, NULL },     \
    { BLOCK name "base.weight", { MIXES }, NB_REQUIRED, NULL },            \
    { BLOCK name "scale.weight", { "3" }, NB_REQUIRED, NULL }

#define COMPRESSES "compress_ratios > 0"
/* Only where four keys become one are there so many that an indexer chooses; their windows overlap. */
#define CHOOSES "compress_ratios == 4"
#define COMPRESSOR(name, length, when)                                                          \
    { BLOCK name "_kv.weight", { "embedding", length }, NB_REQUIRED, when },                    \
    { BLOCK name "_gate.weight", { "embedding", length }, NB_REQUIRED, when },                  \
    { BLOCK name "_ape.weight", { length, "compress_ratios" }, NB_REQUIRED, when }

#define HASHED "layer < hash_layers"
#define SHARED "expert_feed_forward * experts_shared"

static const struct nb_arch_tensor tensors[] = {
    EMBEDDINGS,
    { "output_hc_fn.weight", { STREAMS, "hyper_count" }, NB_REQUIRED, NULL },
    { "output_hc_base.weight", { "hyper_count" }, NB_REQUIRED, NULL },
    { "output_hc_scale.weight", { "1" }, NB_REQUIRED, NULL },
    NORMS,
    HYPER("hc_attn_"),
    HYPER("hc_ffn_"),
    { BLOCK "attn_sinks.weight", { "heads" }, NB_REQUIRED, NULL },
    { BLOCK "attn_q_a.weight", { "embedding", "q_lora_rank" }, NB_REQUIRED, NULL },
    { BLOCK "attn_q_a_norm.weight", { "q_lora_rank" }, NB_REQUIRED, NULL },
    { BLOCK "attn_q_b.weight", { "q_lora_rank", "heads * key_length" }, NB_REQUIRED, NULL },
    { BLOCK "attn_kv.weight", { "embedding", "key_length" }, NB_REQUIRED, NULL },
    { BLOCK "attn_kv_a_norm.weight", { "key_length" }, NB_REQUIRED, NULL },
    { BLOCK "attn_output_a.weight", { "heads * key_length // output_groups", "output_rank * output_groups" },
      NB_REQUIRED, NULL },
    { BLOCK "attn_output_b.weight", { "output_groups * output_rank", "embedding" }, NB_REQUIRED, NULL },
    COMPRESSOR("attn_compressor", "(1 + (" CHOOSES ")) * key_length", COMPRESSES),
    { BLOCK "attn_compressor_norm.weight", { "key_length" }, NB_REQUIRED, COMPRESSES },
    COMPRESSOR("indexer_compressor", "2 * indexer_key_length", CHOOSES),
    { BLOCK "indexer_compressor_norm.weight", { "indexer_key_length" }, NB_REQUIRED, CHOOSES },
    { BLOCK "indexer.proj.weight", { "embedding", "indexer_heads" }, NB_REQUIRED, CHOOSES },
    { BLOCK "indexer.attn_q_b.weight", { "q_lora_rank", "indexer_heads * indexer_key_length" }, NB_REQUIRED, CHOOSES },
    EXPERTS("expert_feed_forward"),
    SHARED_EXPERTS_WHEN(SHARED, NULL),
    { BLOCK "ffn_gate_tid2eid.weight", { "experts_used", "vocab" }, NB_REQUIRED, HASHED },
    ROUTER_BIAS_WHEN(NB_REQUIRED, "layer >= hash_layers"),
    { BLOCK "exp_probs_b_vl.bias", { "experts" }, NB_OPTIONAL, NULL },
    NEXTN,
};

static const enum nb_hparam demanded[] = {
    NB_HP_HEADS,          NB_HP_RMS_EPSILON,   NB_HP_Q_LORA_RANK,          NB_HP_SLIDING_WINDOW,
    NB_HP_EXPERT_FEED_FORWARD, NB_HP_EXPERTS_SHARED, NB_HP_EXPERT_WEIGHTS_SCALE, NB_HP_EXPERT_WEIGHTS_NORM,
    NB_HP_EXPERT_GATING,  NB_HP_SWIGLU_CLAMP,  NB_HP_INDEXER_HEADS,        NB_HP_INDEXER_KEY_LENGTH,
    NB_HP_INDEXER_TOP_K,  NB_HP_OUTPUT_GROUPS, NB_HP_OUTPUT_RANK,          NB_HP_COMPRESS_RATIOS,
    NB_HP_COMPRESS_BASE,  NB_HP_HYPER_COUNT,   NB_HP_HYPER_ITERATIONS,     NB_HP_HYPER_EPSILON,
    NB_HP_HASH_LAYERS,
};

static const struct nb_arch_rule rules[] = {
    { "expert_gating == 4", "the function of its expert router is not the root of softplus, which llama.cpp demands" },
    { "heads * key_length % output_groups == 0", "its attention heads cannot be divided into so many groups" },
};

const struct nb_arch nb_arch_deepseek4 = { ARCH("deepseek4", tensors, demanded), RULES_OF(rules) };
