/*
 * mamba, mamba2: models without attention. Source: llama.cpp v0.5.0, src/models/mamba.cpp and mamba2.cpp.
 */
#include "formats/models/architectures/recurrent.h"

static const struct nb_arch_tensor mamba[] = {
    EMBEDDINGS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    MAMBA1(NULL),
};

static const struct nb_arch_tensor mamba2[] = {
    EMBEDDINGS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    MAMBA2(NULL, NB_REQUIRED, NB_REQUIRED),
};

static const enum nb_hparam demanded[] = { DEMANDED_BY_MAMBA };
static const enum nb_hparam demanded2[] = { DEMANDED_BY_MAMBA, NB_HP_SSM_GROUPS };

/* Refused by llama.cpp's loader. */
static const struct nb_arch_rule rules[] = {
    { "ssm_inner == 2 * embedding", "mamba.ssm.inner_size is not twice the embedding length" },
};

static const struct nb_arch_block mamba_blocks[] = { { .kind = "mamba" } };
static const struct nb_arch_block mamba2_blocks[] = { { .kind = "mamba2" } };

const struct nb_arch nb_arch_mamba = {
    ARCH("mamba", mamba, demanded), RULES_OF(rules),
    RUNS(mamba_blocks)
};
const struct nb_arch nb_arch_mamba2 = {
    ARCH("mamba2", mamba2, demanded2), RUNS(mamba2_blocks)
};
