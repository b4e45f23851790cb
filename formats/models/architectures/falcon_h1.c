/*
 * falcon-h1: each layer has attention and a Mamba 2 part side by side. Source: llama.cpp v0.5.0,
 * src/models/falcon-h1.cpp.
 */
#include "formats/models/architectures/recurrent.h"

/* The norm of the feed-forward part is called without ".weight". */
static const struct nb_arch_tensor tensors[] = {
    EMBEDDINGS,
    ROPE_FREQS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_norm", { "embedding" }, NB_REQUIRED, NULL },
    MAMBA2(NULL, NB_OPTIONAL, NB_OPTIONAL),
    ATTENTION_WHEN(NULL),
    O_BIAS,
    GATED_MLP,
    GATED_MLP_BIASES,
};

static const enum nb_hparam demanded[] = { DEMANDED_BY_MAMBA, NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_SSM_GROUPS };

static const struct nb_arch_block blocks[] = {
    { .kind = "mamba2", .beside = "1" },
    { .kind = "attention" },
    { .kind = "dense" },
};

const struct nb_arch nb_arch_falcon_h1 = {
    ARCH("falcon-h1", tensors, demanded), RUNS(blocks), .rope = NB_ROPE_HALVES
};
