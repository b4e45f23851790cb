/*
 * olmo, olmo2, olmoe and exaone4: no norms with weights at all, norms behind the blocks, norms of all
 * heads together. Source: llama.cpp v0.5.0, src/models/olmo.cpp, olmo2.cpp, olmoe.cpp and exaone4.cpp.
 */
#include "formats/models/architectures/rows.h"

#define NORMS_BEHIND                                                                \
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },     \
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL }

static const struct nb_arch_tensor olmo[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_TIED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP,
};

static const struct nb_arch_tensor olmo2[] = {
    EMBEDDINGS,
    NORMS_BEHIND,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("heads * key_length", "kv_heads * key_length"),
    GATED_MLP,
};

static const struct nb_arch_tensor olmoe[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("heads * key_length", "kv_heads * key_length"),
    EXPERTS("feed_forward"),
};

static const struct nb_arch_tensor exaone4[] = {
    EMBEDDINGS,
    ROPE_FREQS,
    NORMS_BEHIND,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP,
    NEXTN,
};

static const enum nb_hparam demanded[] = { DEMANDED };
static const enum nb_hparam demanded_of_olmo[] = { DEMANDED_WITH_LAYER_NORM };
static const enum nb_hparam demanded_of_mixtures[] = { DEMANDED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };

static const struct nb_arch_block dense_blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block blocks_with_norms_behind[] = { BLOCKS_WITH_NORMS_BEHIND };
static const struct nb_arch_block sparse_blocks[] = { SPARSE_BLOCKS };

const struct nb_arch nb_arch_olmo = { ARCH("olmo", olmo, demanded_of_olmo), RUNS(dense_blocks), .norm = NB_NORM_LAYER, .plain_norms = true, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_olmo2 = {
    ARCH("olmo2", olmo2, demanded), RUNS(blocks_with_norms_behind), .rope = NB_ROPE_HALVES, .window = { .period = 4 },
    .attention = { .sliding_unscaled = true },
};
const struct nb_arch nb_arch_olmoe = { ARCH("olmoe", olmoe, demanded_of_mixtures), RUNS(sparse_blocks), .rope = NB_ROPE_HALVES };
/* llama.cpp uses the windows of models with 64 layers only. */
const struct nb_arch nb_arch_exaone4 = {
    ARCH("exaone4", exaone4, demanded), RUNS(blocks_with_norms_behind), .rope = NB_ROPE_HALVES, .window = { .period = 4 },
    .attention = { .rotates = "slides || sliding_window == 0" },
};
