/*
 * deepseek, deepseek2, deepseek32, glm-dsa: mixtures whose first layers are dense; all but the first
 * keep their keys and values compressed (MLA), and the last two choose the tokens to look at with an
 * indexer. Source: llama.cpp v0.5.0, src/models/deepseek.cpp, deepseek2.cpp, deepseek32.cpp and glm-dsa.cpp.
 */
#include "formats/models/architectures/rows.h"

/* Files from before the keys of MLA have the lengths of decompressed heads in the plain keys, and one matrix for both. */
#define IS_MLA "key_length_mla > 0 && value_length_mla > 0"
#define IS_WHOLE "key_length_mla == 0 || value_length_mla == 0"
#define HEAD_KEY "(key_length_mla + (key_length_mla == 0) * key_length)"
#define HEAD_VALUE "(value_length_mla + (value_length_mla == 0) * value_length)"

#define COMPRESSED                                                                                                \
    { BLOCK "attn_kv_a_norm.weight", { "kv_lora_rank" }, NB_REQUIRED, NULL },                                     \
    { BLOCK "attn_kv_a_mqa.weight", { "embedding", "kv_lora_rank + rope_dims" }, NB_REQUIRED, NULL },             \
    { BLOCK "attn_output.weight", { "heads * " HEAD_VALUE, "embedding" }, NB_REQUIRED, NULL }
/* Dimensions of each head. */
#define KEYS_AND_VALUES(when)                                                                                     \
    { BLOCK "attn_k_b.weight", { HEAD_KEY " - rope_dims", "kv_lora_rank", "heads" }, NB_REQUIRED, when },         \
    { BLOCK "attn_v_b.weight", { "kv_lora_rank", HEAD_VALUE, "heads" }, NB_REQUIRED, when }
#define QUERIES(when)                                                                                             \
    { BLOCK "attn_q_a_norm.weight", { "q_lora_rank" }, NB_REQUIRED, when },                                       \
    { BLOCK "attn_q_a.weight", { "embedding", "q_lora_rank" }, NB_REQUIRED, when },                               \
    { BLOCK "attn_q_b.weight", { "q_lora_rank", "heads * " HEAD_KEY }, NB_REQUIRED, when }

#define INDEXER(presence)                                                                                         \
    { BLOCK "indexer.k_norm.weight", { "indexer_key_length" }, presence, NULL },                                  \
    { BLOCK "indexer.k_norm.bias", { "indexer_key_length" }, presence, NULL },                                    \
    { BLOCK "indexer.proj.weight", { "embedding", "indexer_heads" }, presence, NULL },                            \
    { BLOCK "indexer.attn_k.weight", { "embedding", "indexer_key_length" }, presence, NULL },                     \
    { BLOCK "indexer.attn_q_b.weight", { "q_lora_rank", "indexer_heads * indexer_key_length" }, presence, NULL }

#define MIXTURE                                                                 \
    GATED_MLP_WHEN(DENSE_LAYER),                                                \
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),                          \
    SHARED_EXPERTS_WHEN("expert_feed_forward * experts_shared", SHARING_LAYER)

static const struct nb_arch_tensor deepseek[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    MIXTURE,
};

static const struct nb_arch_tensor deepseek2[] = {
    EMBEDDINGS,
    NORMS,
    QUERIES("q_lora_rank > 0"),
    { BLOCK "attn_q.weight", { "embedding", "heads * " HEAD_KEY }, NB_REQUIRED, "q_lora_rank == 0" },
    COMPRESSED,
    KEYS_AND_VALUES(IS_MLA),
    { BLOCK "attn_kv_b.weight", { "kv_lora_rank", "heads * (" HEAD_KEY " - rope_dims + " HEAD_VALUE ")" },
      NB_REQUIRED, IS_WHOLE },
    MIXTURE,
    ROUTER_BIAS_WHEN(NB_OPTIONAL, SPARSE_LAYER),
    NEXTN,
};

#define SPARSE_ATTENTION(indexer_presence)       \
    EMBEDDINGS,                                  \
    NORMS,                                       \
    QUERIES(NULL),                               \
    COMPRESSED,                                  \
    KEYS_AND_VALUES(NULL),                       \
    INDEXER(indexer_presence),                   \
    MIXTURE,                                     \
    ROUTER_BIAS_WHEN(NB_OPTIONAL, SPARSE_LAYER), \
    NEXTN

static const struct nb_arch_tensor deepseek32[] = { SPARSE_ATTENTION(NB_REQUIRED) };
/* Some layers use the selection of an earlier one. */
static const struct nb_arch_tensor glm_dsa[] = { SPARSE_ATTENTION(NB_OPTIONAL) };

#define DEMANDED_OF_MIXTURES DEMANDED, NB_HP_EXPERT_FEED_FORWARD, NB_HP_EXPERTS_SHARED
static const enum nb_hparam demanded[] = { DEMANDED_OF_MIXTURES };
static const enum nb_hparam demanded2[] = { DEMANDED_OF_MIXTURES, NB_HP_KV_LORA_RANK };
#define DEMANDED_OF_SPARSE                                                                            \
    DEMANDED_OF_MIXTURES, NB_HP_KV_LORA_RANK, NB_HP_Q_LORA_RANK, NB_HP_INDEXER_HEADS, NB_HP_INDEXER_KEY_LENGTH, \
        NB_HP_INDEXER_TOP_K, NB_HP_KEY_LENGTH_MLA, NB_HP_VALUE_LENGTH_MLA
static const enum nb_hparam demanded32[] = { DEMANDED_OF_SPARSE, NB_HP_EXPERT_GATING };
static const enum nb_hparam demanded_dsa[] = { DEMANDED_OF_SPARSE };

static const struct nb_arch_rule rules[] = {
    { HEAD_KEY " > rope_dims", "all dimensions of a head's key are rotated, which llama.cpp refuses for this architecture" },
};
#define RULES .rules = rules, .n_rules = COUNT(rules), .rope = NB_ROPE_NEIGHBOURS

const struct nb_arch nb_arch_deepseek = { ARCH("deepseek", deepseek, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_deepseek2 = { ARCH("deepseek2", deepseek2, demanded2), RULES };
const struct nb_arch nb_arch_deepseek32 = { ARCH("deepseek32", deepseek32, demanded32), RULES };
const struct nb_arch nb_arch_glm_dsa = { ARCH("glm-dsa", glm_dsa, demanded_dsa), RULES };
