/* Tensors that most architectures have, with the dimensions that most give them. */
#ifndef NB_ARCHITECTURE_ROWS_H
#define NB_ARCHITECTURE_ROWS_H

#include "formats/models/architecture.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define BLOCK "blk.%l."

#define EMBEDDINGS                                                          \
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },   \
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },           \
    { "output.weight", { "embedding", "vocab" }, NB_TIED, NULL }

#define NORMS                                                               \
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },       \
    { BLOCK "ffn_norm.weight", { "embedding" }, NB_REQUIRED, NULL }

#define ATTENTION                                                                                   \
    { BLOCK "attn_q.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, NULL },            \
    { BLOCK "attn_k.weight", { "embedding", "kv_heads * key_length" }, NB_REQUIRED, NULL },         \
    { BLOCK "attn_v.weight", { "embedding", "kv_heads * value_length" }, NB_REQUIRED, NULL },       \
    { BLOCK "attn_output.weight", { "heads * value_length", "embedding" }, NB_REQUIRED, NULL }
#define QKV_BIASES(presence)                                                 \
    { BLOCK "attn_q.bias", { "heads * key_length" }, presence, NULL },       \
    { BLOCK "attn_k.bias", { "kv_heads * key_length" }, presence, NULL },    \
    { BLOCK "attn_v.bias", { "kv_heads * value_length" }, presence, NULL }
/* LENGTH is that of a head, or of all heads together. */
#define Q_K_NORMS(q_length, k_length)                                        \
    { BLOCK "attn_q_norm.weight", { q_length }, NB_REQUIRED, NULL },         \
    { BLOCK "attn_k_norm.weight", { k_length }, NB_REQUIRED, NULL }

#define O_BIAS { BLOCK "attn_output.bias", { "embedding" }, NB_OPTIONAL, NULL }
/* The biases of EMBEDDINGS and NORMS in models with LayerNorm. */
#define NORM_BIASES                                                          \
    { "output_norm.bias", { "embedding" }, NB_REQUIRED, NULL },              \
    { BLOCK "attn_norm.bias", { "embedding" }, NB_REQUIRED, NULL },          \
    { BLOCK "ffn_norm.bias", { "embedding" }, NB_REQUIRED, NULL }
/* What the rotation of each pair is divided by: llama3's factors, or longrope's for long and short texts. */
#define ROPE_FREQS { "rope_freqs.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL }
#define ROPE_FACTORS                                                         \
    ROPE_FREQS,                                                              \
    { "rope_factors_long.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL }, \
    { "rope_factors_short.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL }

/* Optional biases of a gated feed-forward part. */
#define GATED_MLP_BIASES                                                     \
    { BLOCK "ffn_gate.bias", { "feed_forward" }, NB_OPTIONAL, NULL },        \
    { BLOCK "ffn_up.bias", { "feed_forward" }, NB_OPTIONAL, NULL },          \
    { BLOCK "ffn_down.bias", { "embedding" }, NB_OPTIONAL, NULL }
/* Of a part without a gate. */
#define UP_AND_DOWN                                                                   \
    { BLOCK "ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, NULL },    \
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, NULL }
#define GATED_MLP GATED_MLP_WHEN(NULL)
#define GATED_MLP_WHEN(when)                                                               \
    { BLOCK "ffn_gate.weight", { "embedding", "feed_forward" }, NB_REQUIRED, when },       \
    { BLOCK "ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, when },         \
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, when }

/* The dimensions of a shared expert. */
#define SHARED_EXPERT(when)                                                                              \
    { BLOCK "ffn_gate_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, when },        \
    { BLOCK "ffn_up_shexp.weight", { "embedding", "shared_feed_forward" }, NB_REQUIRED, when },          \
    { BLOCK "ffn_down_shexp.weight", { "shared_feed_forward", "embedding" }, NB_REQUIRED, when }

/* SIZE is that of one expert. */
#define EXPERTS(size) EXPERTS_WHEN(size, NULL)
#define EXPERTS_WHEN(size, when)                                                                 \
    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, when },              \
    { BLOCK "ffn_gate_exps.weight", { "embedding", size, "experts" }, NB_REQUIRED, when },       \
    { BLOCK "ffn_up_exps.weight", { "embedding", size, "experts" }, NB_REQUIRED, when },         \
    { BLOCK "ffn_down_exps.weight", { size, "embedding", "experts" }, NB_REQUIRED, when }
#define SHARED_EXPERTS_WHEN(size, when)                                                          \
    { BLOCK "ffn_gate_shexp.weight", { "embedding", size }, NB_REQUIRED, when },                 \
    { BLOCK "ffn_up_shexp.weight", { "embedding", size }, NB_REQUIRED, when },                   \
    { BLOCK "ffn_down_shexp.weight", { size, "embedding" }, NB_REQUIRED, when }
#define ROUTER_BIAS_WHEN(presence, when) { BLOCK "exp_probs_b.bias", { "experts" }, presence, when }

/* Layers with and without experts, and those with shared ones, where the first few have none. */
#define DENSE_LAYER "layer < leading_dense"
#define SPARSE_LAYER "layer >= leading_dense"
#define SHARING_LAYER "layer >= leading_dense && experts_shared > 0"

/* What the last layers have beside the tensors of any layer if they predict further tokens. */
#define NEXTN_LAYER "layer >= layers - nextn_layers"
#define NEXTN                                                                                      \
    { BLOCK "nextn.eh_proj.weight", { "2 * embedding", "embedding" }, NB_REQUIRED, NEXTN_LAYER },  \
    { BLOCK "nextn.embed_tokens.weight", { "embedding", "vocab" }, NB_OPTIONAL, NEXTN_LAYER },     \
    { BLOCK "nextn.enorm.weight", { "embedding" }, NB_REQUIRED, NEXTN_LAYER },                     \
    { BLOCK "nextn.hnorm.weight", { "embedding" }, NB_REQUIRED, NEXTN_LAYER },                     \
    { BLOCK "nextn.shared_head_head.weight", { "embedding", "vocab" }, NB_OPTIONAL, NEXTN_LAYER }, \
    { BLOCK "nextn.shared_head_norm.weight", { "embedding" }, NB_OPTIONAL, NEXTN_LAYER }

/* What llama.cpp demands of nearly all architectures beyond nb_arch_demanded. */
#define DEMANDED NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_RMS_EPSILON

#define DEMANDED_WITH_LAYER_NORM NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_NORM_EPSILON

/* --- what a layer computes ----------------------------------------------------------------------------------- */

#define DENSE_BLOCKS { .kind = "attention" }, { .kind = "dense" }
#define SPARSE_BLOCKS { .kind = "attention" }, { .kind = "mixture" }
/* The first layers have no experts. */
#define DENSE_THEN_SPARSE_BLOCKS \
    { .kind = "attention" }, { .kind = "dense", .when = DENSE_LAYER }, { .kind = "mixture", .when = SPARSE_LAYER }
/* Norms of the results; those of the inputs are applied where the table of tensors has them. */
#define BLOCKS_WITH_NORMS_BEHIND                                          \
    { .kind = "attention", .norm_after = "post_attention_norm" },         \
    { .kind = "dense", .norm_after = "post_ffw_norm" }

#define RUNS(block_rows) .blocks = block_rows, .n_blocks = COUNT(block_rows)
#define ASSUMES(default_rows) .defaults = default_rows, .n_defaults = COUNT(default_rows)
#define RULES_OF(rule_rows) .rules = rule_rows, .n_rules = COUNT(rule_rows)

#define WITH_KEYS(key_rows) .keys = key_rows, .n_keys = COUNT(key_rows)

#define ARCH(arch, tensor_rows, demanded_keys)                               \
    .name = arch, .tensors = tensor_rows, .n_tensors = COUNT(tensor_rows),   \
    .demanded = demanded_keys, .n_demanded = COUNT(demanded_keys)

#endif
