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
};

static const enum nb_hparam demanded[] = { DEMANDED };
static const enum nb_hparam demanded_of_olmo[] = { DEMANDED_WITH_LAYER_NORM };
static const enum nb_hparam demanded_of_mixtures[] = { DEMANDED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };

const struct nb_arch nb_arch_olmo = { ARCH("olmo", olmo, demanded_of_olmo), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_olmo2 = {
    ARCH("olmo2", olmo2, demanded), .rope = NB_ROPE_HALVES, .window = { .period = 4 }
};
const struct nb_arch nb_arch_olmoe = { ARCH("olmoe", olmoe, demanded_of_mixtures), .rope = NB_ROPE_HALVES };
/* llama.cpp uses the windows of models with 64 layers only. */
const struct nb_arch nb_arch_exaone4 = {
    ARCH("exaone4", exaone4, demanded), .rope = NB_ROPE_HALVES, .window = { .period = 4 }
};
