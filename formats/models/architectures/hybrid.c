/*
 * granitehybrid, jamba: layers of attention among recurrent ones. Source: llama.cpp v0.5.0,
 * src/models/granite-hybrid.cpp and jamba.cpp.
 */
#include "formats/models/architectures/recurrent.h"

#define DENSE "experts == 0"
#define MIXTURE "experts > 0"
#define SHARING "experts > 0 && shared_feed_forward > 0"

static const struct nb_arch_tensor granitehybrid[] = {
    EMBEDDINGS,
    ROPE_FREQS,
    NORMS,
    MAMBA2(RECURRENT_LAYER, NB_OPTIONAL, NB_REQUIRED),
    ATTENTION_WHEN(ATTENTION_LAYER),
    { BLOCK "attn_output.bias", { "embedding" }, NB_OPTIONAL, ATTENTION_LAYER },
    EXPERTS_WHEN("feed_forward", MIXTURE),
    SHARED_EXPERT(SHARING),
    GATED_MLP_WHEN(DENSE),
    { BLOCK "ffn_gate.bias", { "feed_forward" }, NB_OPTIONAL, DENSE },
    { BLOCK "ffn_up.bias", { "feed_forward" }, NB_OPTIONAL, DENSE },
    { BLOCK "ffn_down.bias", { "embedding" }, NB_OPTIONAL, DENSE },
};

/* GGUF has no key for which layers have experts: feed_forward_kind is 1 or 2 only in a checkpoint's config.json. */
#define WITHOUT_EXPERTS "feed_forward_kind != 2"
#define WITH_EXPERTS "feed_forward_kind != 1"

static const struct nb_arch_tensor jamba[] = {
    EMBEDDINGS,
    NORMS,
    MAMBA1(RECURRENT_LAYER),
    { BLOCK "ssm_dt_norm.weight", { "ssm_rank" }, NB_REQUIRED, RECURRENT_LAYER },
    { BLOCK "ssm_b_norm.weight", { "ssm_state" }, NB_REQUIRED, RECURRENT_LAYER },
    { BLOCK "ssm_c_norm.weight", { "ssm_state" }, NB_REQUIRED, RECURRENT_LAYER },
    ATTENTION_WHEN(ATTENTION_LAYER),
    { BLOCK "ffn_gate.weight", { "embedding", "feed_forward" }, NB_OPTIONAL, WITHOUT_EXPERTS },
    { BLOCK "ffn_up.weight", { "embedding", "feed_forward" }, NB_OPTIONAL, WITHOUT_EXPERTS },
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_OPTIONAL, WITHOUT_EXPERTS },
    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_OPTIONAL, WITH_EXPERTS },
    { BLOCK "ffn_gate_exps.weight", { "embedding", "feed_forward", "experts" }, NB_OPTIONAL, WITH_EXPERTS },
    { BLOCK "ffn_up_exps.weight", { "embedding", "feed_forward", "experts" }, NB_OPTIONAL, WITH_EXPERTS },
    { BLOCK "ffn_down_exps.weight", { "feed_forward", "embedding", "experts" }, NB_OPTIONAL, WITH_EXPERTS },
};

static const enum nb_hparam demanded[] = { DEMANDED_BY_MAMBA, NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_SSM_GROUPS };
static const enum nb_hparam demanded_by_jamba[] = { DEMANDED_BY_MAMBA, NB_HP_FEED_FORWARD, NB_HP_HEADS };

/* Refused by llama.cpp's loader. */
#define TWICE_AS_WIDE(arch) { "ssm_inner == 2 * embedding", arch ".ssm.inner_size is not twice the embedding length" }
static const struct nb_arch_rule granite_rules[] = { TWICE_AS_WIDE("granitehybrid") };
static const struct nb_arch_rule jamba_rules[] = { TWICE_AS_WIDE("jamba") };

static const struct nb_arch_block granite_blocks[] = {
    { .kind = "mamba2", .when = RECURRENT_LAYER },
    { .kind = "attention", .when = ATTENTION_LAYER },
    { .kind = "dense", .when = DENSE },
    { .kind = "mixture", .when = MIXTURE },
};
static const struct nb_arch_block jamba_blocks[] = {
    { .kind = "mamba", .when = RECURRENT_LAYER },
    { .kind = "attention", .when = ATTENTION_LAYER },
    { .kind = "dense", .has = "ffn_up.weight" },
    { .kind = "mixture", .has = "ffn_gate_inp.weight" },
};

/* Bamba rotates a half of each head. The key for the use of rotary positions is a switch; shares are a softmax over the experts used. */
static const struct nb_arch_default granite_defaults[] = {
    { NB_HP_ROPE_FINETUNED, "1" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "1" },
};

const struct nb_arch nb_arch_granitehybrid = {
    ARCH("granitehybrid", granitehybrid, demanded),
    RULES_OF(granite_rules),
    RUNS(granite_blocks),
    ASSUMES(granite_defaults),
    .rope = NB_ROPE_INTERLEAVED, .attention = { .rotates = "rope_finetuned" }, .divides_logits = true
};
const struct nb_arch nb_arch_jamba = {
    ARCH("jamba", jamba, demanded_by_jamba), RULES_OF(jamba_rules),
    RUNS(jamba_blocks), .attention = { .rotates = "0" }
};
