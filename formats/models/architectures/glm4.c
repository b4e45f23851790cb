/* glm4, chatglm: GLM-4 before its mixtures. Source: llama.cpp v0.5.0, src/models/glm4.cpp and chatglm.cpp. */
#include "formats/models/architectures/rows.h"

/* The gate and the up projection are one matrix. */
#define ROWS                                                                                   \
    EMBEDDINGS,                                                                                \
    NORMS,                                                                                     \
    ATTENTION,                                                                                 \
    QKV_BIASES(NB_OPTIONAL),                                                                   \
    { BLOCK "ffn_up.weight", { "embedding", "2 * feed_forward" }, NB_REQUIRED, NULL },         \
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, NULL }

#define FURTHER "layer >= layers - nextn_layers"

static const struct nb_arch_tensor chatglm[] = { ROWS };
static const struct nb_arch_tensor glm4[] = {
    ROWS,
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "nextn.eh_proj.weight", { "2 * embedding", "embedding" }, NB_REQUIRED, FURTHER },
    { BLOCK "nextn.enorm.weight", { "embedding" }, NB_REQUIRED, FURTHER },
    { BLOCK "nextn.hnorm.weight", { "embedding" }, NB_REQUIRED, FURTHER },
    { BLOCK "nextn.embed_tokens.weight", { "embedding", "vocab" }, NB_OPTIONAL, FURTHER },
    { BLOCK "nextn.shared_head_head.weight", { "embedding", "vocab" }, NB_OPTIONAL, FURTHER },
    { BLOCK "nextn.shared_head_norm.weight", { "embedding" }, NB_OPTIONAL, FURTHER },
};

static const enum nb_hparam demanded[] = { DEMANDED };

static const struct nb_arch_block blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block blocks_with_norms_behind[] = { BLOCKS_WITH_NORMS_BEHIND };

const struct nb_arch nb_arch_chatglm = { ARCH("chatglm", chatglm, demanded), RUNS(blocks), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_glm4 = { ARCH("glm4", glm4, demanded), RUNS(blocks_with_norms_behind), .rope = NB_ROPE_NEIGHBOURS };
