/* muse-glimmer: the text part of Muse Glimmer. Source: llama.cpp v0.5.0, src/models/muse-glimmer.cpp. */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor tensors[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { "output.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    { BLOCK "attn_gate.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, NULL },
    GATED_MLP,
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
};

static const enum nb_hparam demanded[] = { DEMANDED, NB_HP_SLIDING_WINDOW, NB_HP_LOGIT_SCALE };

static const struct nb_arch_block blocks[] = { BLOCKS_WITH_NORMS_BEHIND };

const struct nb_arch nb_arch_muse_glimmer = {
    ARCH("muse-glimmer", tensors, demanded), RUNS(blocks), .rope = NB_ROPE_NEIGHBOURS, .window = { .period = 4 },
    .attention = { .rotates = "slides" }, .norms_embeddings = true, .epsilon_after = 1e-8,
};
