/*
 * gemma, gemma2, gemma3: the text parts of Gemma 1 to 3. Source: llama.cpp v0.5.0, src/models/gemma.cpp,
 * gemma2.cpp, gemma3.cpp and llama-model.cpp.
 */
#include "formats/models/architectures/rows.h"

/* Gemma's heads may be wider than the embedding divided by their number; keys and values are of one length. */
#define POST_NORMS                                                              \
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL }, \
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL }

#define TIED_EMBEDDINGS                                                      \
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },    \
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL }

static const struct nb_arch_tensor gemma[] = {
    TIED_EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP,
};

static const struct nb_arch_tensor gemma2[] = {
    TIED_EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP,
    POST_NORMS,
};

static const struct nb_arch_tensor gemma3[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP,
    POST_NORMS,
    Q_K_NORMS("key_length", "key_length"),
};

static const enum nb_hparam demanded[] = { DEMANDED };

/* llama.cpp loads such files, but its graph cannot be built. */
static const struct nb_arch_rule rules[] = {
    { "rope_dims <= key_length", "gemma3.rope.dimension_count is larger than the length of a head's key" },
    { "value_length == key_length", "gemma3.attention.value_length is not the length of a head's key" },
};

static const struct nb_arch_block blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block blocks_with_norms_behind[] = { BLOCKS_WITH_NORMS_BEHIND };

/* The largest models have another scale than the rest. */
#define SCALE_UNLESS(largest) "((layers == " largest ") * embedding / heads + (layers != " largest ") * key_length) ^ -0.5"
#define EMBEDDING_SCALED { NB_HP_EMBEDDING_SCALE, "embedding ^ 0.5" }
static const struct nb_arch_default defaults[] = { EMBEDDING_SCALED };
static const struct nb_arch_default defaults2[] = { EMBEDDING_SCALED, { NB_HP_ATTENTION_SCALE, SCALE_UNLESS("46") } };
static const struct nb_arch_default defaults3[] = {
    EMBEDDING_SCALED, { NB_HP_ATTENTION_SCALE, SCALE_UNLESS("62") }, { NB_HP_ROPE_BASE_SWA, "10000" },
};

const struct nb_arch nb_arch_gemma = {
    ARCH("gemma", gemma, demanded), RUNS(blocks), ASSUMES(defaults),
    .activation = NB_ACTIVATION_GELU, .rope = NB_ROPE_HALVES,
};
const struct nb_arch nb_arch_gemma2 = {
    ARCH("gemma2", gemma2, demanded),
    RUNS(blocks_with_norms_behind),
    ASSUMES(defaults2),
    .activation = NB_ACTIVATION_GELU,
    .rope = NB_ROPE_HALVES,
    .window = { .period = 2, .window = 4096 },
};
const struct nb_arch nb_arch_gemma3 = {
    ARCH("gemma3", gemma3, demanded),
    RUNS(blocks_with_norms_behind),
    ASSUMES(defaults3),
    .activation = NB_ACTIVATION_GELU,
    .attention = { .sliding_unscaled = true },
    .rules = rules,
    .n_rules = COUNT(rules),
    .rope = NB_ROPE_HALVES,
    .window = { .period = 6 },
};
