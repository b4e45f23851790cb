/* llama4: the text part of Llama 4. Source: llama.cpp v0.5.0, src/models/llama4.cpp. */
#include "formats/models/architectures/rows.h"

#define MIXTURE "mixture_step > 0 && (layer + 1) % mixture_step == 0"
#define DENSE "mixture_step == 0 || (layer + 1) % mixture_step != 0"

static const struct nb_arch_tensor tensors[] = {
    { "rope_freqs.weight", { "rope_dims // 2" }, NB_OPTIONAL, NULL },
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    { BLOCK "ffn_gate.weight", { "embedding", "feed_forward" }, NB_REQUIRED, DENSE },
    { BLOCK "ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, DENSE },
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, DENSE },
    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_gate_exps.weight", { "embedding", "expert_feed_forward", "experts" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_up_exps.weight", { "embedding", "expert_feed_forward", "experts" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_down_exps.weight", { "expert_feed_forward", "embedding", "experts" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_gate_shexp.weight", { "embedding", "expert_feed_forward" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_up_shexp.weight", { "embedding", "expert_feed_forward" }, NB_REQUIRED, MIXTURE },
    { BLOCK "ffn_down_shexp.weight", { "expert_feed_forward", "embedding" }, NB_REQUIRED, MIXTURE },
};

static const enum nb_hparam demanded[] = { DEMANDED, NB_HP_EXPERTS, NB_HP_EXPERTS_USED, NB_HP_EXPERT_FEED_FORWARD,
                                           NB_HP_MIXTURE_STEP };

static const struct nb_arch_block blocks[] = {
    { .kind = "attention" },
    { .kind = "dense", .when = DENSE },
    { .kind = "mixture", .when = MIXTURE },
};

/* llama.cpp has these in code. */
static const struct nb_arch_default defaults[] = {
    { NB_HP_EXPERT_GATING, "2" },
    { NB_HP_TEMPERATURE_SCALE, "0.1" },
    { NB_HP_TEMPERATURE_LENGTH, "8192" },
};

/* Maverick, with 128 experts, has no norms of queries and keys. */
#define ROTATED "(layer + 1) % 4 != 0"
const struct nb_arch nb_arch_llama4 = {
    ARCH("llama4", tensors, demanded),
    RUNS(blocks),
    ASSUMES(defaults),
    .rope = NB_ROPE_NEIGHBOURS,
    .window = { .period = 4, .window = 8192 },
    .attention = { .rotates = ROTATED, .plain_norms = true, .plainly_normed = ROTATED " && experts != 128",
                   .norms_after_rotation = true, .chunked = true, .heats = "(layer + 1) % 4 == 0",
                   .temperature_offset = 1 },
    .weighs_expert_input = true,
};
