/*
 * mellum, exaone-moe, cohere2moe, mimo2, step35, laguna, granite_swa: mixtures with sliding layers. Source: llama.cpp v0.5.0,
 * src/models/mellum.cpp, exaone-moe.cpp, cohere2moe.cpp, mimo2.cpp, step35.cpp, laguna.cpp and granite-swa.cpp.
 */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor mellum[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    EXPERTS("expert_feed_forward"),
};

/* The layers that predict further tokens have no experts. */
#define WITH_EXPERTS "layer >= leading_dense && layer < layers - nextn_layers"
#define WITHOUT_EXPERTS "layer < leading_dense || layer >= layers - nextn_layers"
static const struct nb_arch_tensor exaone_moe[] = {
    EMBEDDINGS,
    ROPE_FREQS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP_WHEN(WITHOUT_EXPERTS),
    EXPERTS_WHEN("expert_feed_forward", WITH_EXPERTS),
    ROUTER_BIAS_WHEN(NB_OPTIONAL, WITH_EXPERTS),
    SHARED_EXPERT(WITH_EXPERTS),
    NEXTN,
};

static const struct nb_arch_tensor cohere2moe[] = {
    EMBEDDINGS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    SHARED_EXPERT(SHARING_LAYER),
    NEXTN,
};

/* No key says which layers have experts. */
#define EITHER(name, ...) { BLOCK name, { __VA_ARGS__ }, NB_OPTIONAL, NULL }
#define DENSE_OR_SPARSE                                                            \
    EITHER("ffn_gate.weight", "embedding", "feed_forward"),                        \
    EITHER("ffn_up.weight", "embedding", "feed_forward"),                          \
    EITHER("ffn_down.weight", "feed_forward", "embedding"),                        \
    EITHER("ffn_gate_inp.weight", "embedding", "experts"),                         \
    EITHER("exp_probs_b.bias", "experts"),                                         \
    EITHER("ffn_gate_exps.weight", "embedding", "expert_feed_forward", "experts"), \
    EITHER("ffn_up_exps.weight", "embedding", "expert_feed_forward", "experts"),   \
    EITHER("ffn_down_exps.weight", "expert_feed_forward", "embedding", "experts")

/* Files have the matrices for queries, keys and values in one piece or in three. */
#define QKV_ROWS "heads * key_length + kv_heads * (key_length + value_length)"
static const struct nb_arch_tensor mimo2[] = {
    EMBEDDINGS,
    NORMS,
    EITHER("attn_qkv.weight", "embedding", QKV_ROWS),
    EITHER("attn_q.weight", "embedding", "heads * key_length"),
    EITHER("attn_k.weight", "embedding", "kv_heads * key_length"),
    EITHER("attn_v.weight", "embedding", "kv_heads * value_length"),
    { BLOCK "attn_output.weight", { "heads * value_length", "embedding" }, NB_REQUIRED, NULL },
    EITHER("attn_sinks.weight", "heads"),
    DENSE_OR_SPARSE,
    NEXTN,
    { BLOCK "layer_output_norm.weight", { "embedding" }, NB_OPTIONAL, NEXTN_LAYER },
};

static const struct nb_arch_tensor step35[] = {
    EMBEDDINGS,
    ROPE_FACTORS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    EITHER("attn_q_norm.weight", "key_length"),
    EITHER("attn_k_norm.weight", "key_length"),
    EITHER("attn_gate.weight", "embedding", "heads"),
    DENSE_OR_SPARSE,
    EITHER("ffn_gate_shexp.weight", "embedding", "shared_feed_forward"),
    EITHER("ffn_up_shexp.weight", "embedding", "shared_feed_forward"),
    EITHER("ffn_down_shexp.weight", "shared_feed_forward", "embedding"),
    NEXTN,
};

/* How long a gate is no key says: that of each head has one number, or as many as the head. */
static const struct nb_arch_tensor laguna[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    { BLOCK "attn_gate.weight", { "embedding", "?heads * gate_length" }, NB_REQUIRED, NULL },
    GATED_MLP_WHEN(DENSE_LAYER),
    EXPERTS_WHEN("expert_feed_forward", SPARSE_LAYER),
    ROUTER_BIAS_WHEN(NB_REQUIRED, SPARSE_LAYER),
    SHARED_EXPERT(SPARSE_LAYER),
};

/* The matrices of gate and up projection are one, in a shared expert always. */
#define NO_EXPERTS "experts == 0"
#define ANY_EXPERTS "experts > 0"
#define SHARING "experts > 0 && shared_feed_forward > 0"
static const struct nb_arch_tensor granite_swa[] = {
    EMBEDDINGS,
    ROPE_FACTORS,
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    O_BIAS,
    { BLOCK "attn_sinks.weight", { "heads" }, NB_REQUIRED, NULL },
    GATED_MLP_WHEN(NO_EXPERTS),
    { BLOCK "ffn_gate.bias", { "feed_forward" }, NB_OPTIONAL, NO_EXPERTS },
    { BLOCK "ffn_up.bias", { "feed_forward" }, NB_OPTIONAL, NO_EXPERTS },
    { BLOCK "ffn_down.bias", { "embedding" }, NB_OPTIONAL, NO_EXPERTS },
    { BLOCK "ffn_gate_inp.weight", { "embedding", "experts" }, NB_REQUIRED, ANY_EXPERTS },
    { BLOCK "ffn_gate_up_exps.weight", { "embedding", "2 * feed_forward", "experts" }, NB_OPTIONAL, ANY_EXPERTS },
    { BLOCK "ffn_gate_exps.weight", { "embedding", "feed_forward", "experts" }, NB_OPTIONAL, ANY_EXPERTS },
    { BLOCK "ffn_up_exps.weight", { "embedding", "feed_forward", "experts" }, NB_OPTIONAL, ANY_EXPERTS },
    { BLOCK "ffn_down_exps.weight", { "feed_forward", "embedding", "experts" }, NB_REQUIRED, ANY_EXPERTS },
    { BLOCK "ffn_up_shexp.weight", { "embedding", "2 * shared_feed_forward" }, NB_REQUIRED, SHARING },
    { BLOCK "ffn_down_shexp.weight", { "shared_feed_forward", "embedding" }, NB_REQUIRED, SHARING },
};

#define MIXTURE NB_HP_FEED_FORWARD, NB_HP_HEADS, NB_HP_EXPERTS, NB_HP_EXPERTS_USED, NB_HP_EXPERT_FEED_FORWARD
static const enum nb_hparam demanded_of_mellum[] = { NB_HP_HEADS, NB_HP_EXPERTS, NB_HP_EXPERTS_USED,
                                                     NB_HP_EXPERT_FEED_FORWARD, NB_HP_RMS_EPSILON };
static const enum nb_hparam demanded_of_exaone[] = { MIXTURE, NB_HP_RMS_EPSILON, NB_HP_SLIDING_WINDOW,
                                                     NB_HP_EXPERT_GATING };
static const enum nb_hparam demanded_of_cohere[] = { MIXTURE, NB_HP_SLIDING_WINDOW, NB_HP_LOGIT_SCALE,
                                                     NB_HP_LEADING_DENSE };
static const enum nb_hparam demanded_of_laguna[] = { MIXTURE, NB_HP_RMS_EPSILON, NB_HP_LEADING_DENSE };
static const enum nb_hparam demanded_of_granite[] = { NB_HP_FEED_FORWARD,   NB_HP_HEADS,           NB_HP_RMS_EPSILON,
                                                      NB_HP_SLIDING_WINDOW, NB_HP_SLIDING_PATTERN, NB_HP_LOGIT_SCALE };
static const enum nb_hparam demanded_of_both[] = { MIXTURE, NB_HP_RMS_EPSILON, NB_HP_SLIDING_WINDOW,
                                                   NB_HP_SLIDING_PATTERN };

static const struct nb_arch_block mellum_blocks[] = { SPARSE_BLOCKS };
static const struct nb_arch_block exaone_blocks[] = {
    { .kind = "attention" },
    { .kind = "dense", .when = WITHOUT_EXPERTS },
    { .kind = "mixture", .when = WITH_EXPERTS },
};
static const struct nb_arch_block cohere_blocks[] = {
    { .kind = "attention", .beside = "1" },
    { .kind = "dense", .when = DENSE_LAYER, .norm = "attn_norm" },
    { .kind = "mixture", .when = SPARSE_LAYER, .norm = "attn_norm" },
};
static const struct nb_arch_block blocks_by_tensors[] = {
    { .kind = "attention" },
    { .kind = "dense", .has = "ffn_gate.weight" },
    { .kind = "mixture", .has = "ffn_gate_inp.weight" },
};

/* llama.cpp has these in code. */
static const struct nb_arch_default normed_shares[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };
static const struct nb_arch_default normed_sigmoids[] = { { NB_HP_EXPERT_GATING, "2" },
                                                          { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };
static const struct nb_arch_default sigmoids[] = { { NB_HP_EXPERT_GATING, "2" } };
static const struct nb_arch_default defaults_of_exaone[] = { { NB_HP_SHARED_FEED_FORWARD, "expert_feed_forward" } };
static const struct nb_arch_default defaults_of_cohere[] = {
    { NB_HP_EXPERT_GATING, "2" },
    { NB_HP_SHARED_FEED_FORWARD, "expert_feed_forward * experts_shared" },
};
static const struct nb_arch_rule rules_of_cohere[] = {
    { "norm_epsilon > 0 || rms_epsilon > 0", "its metadata lacks the epsilon of its norms, cohere2moe.attention.layer_norm_epsilon or "
                                             "cohere2moe.attention.layer_norm_rms_epsilon" },
};

/* The scaling of rotations is for layers that do not slide, which may have a base of their own. */
const struct nb_arch nb_arch_mellum = { ARCH("mellum", mellum, demanded_of_mellum), RUNS(mellum_blocks),
                                        ASSUMES(normed_shares), .rope = NB_ROPE_HALVES, .window = { .period = 4 },
                                        .attention = { .sliding_unscaled = true } };
const struct nb_arch nb_arch_exaone_moe = { ARCH("exaone-moe", exaone_moe, demanded_of_exaone), RUNS(exaone_blocks),
                                            ASSUMES(defaults_of_exaone),
                                            .rope = NB_ROPE_HALVES, .window = { .period = 4 },
                                            .attention = { .rotates = "slides || sliding_window == 0" } };
const struct nb_arch nb_arch_cohere2moe = { ARCH("cohere2moe", cohere2moe, demanded_of_cohere), RUNS(cohere_blocks),
                                            ASSUMES(defaults_of_cohere), RULES_OF(rules_of_cohere), .norm = NB_NORM_LAYER, .norm_may_be_rms = true,
                                            .rope = NB_ROPE_NEIGHBOURS,
                                            .window = { .period = 4, .first_is_full = true },
                                            .attention = { .rotates = "slides || layer < leading_dense" },
                                            .averages_shared = true };
/* The window of the model's own config does not count the token itself. */
const struct nb_arch nb_arch_mimo2 = { ARCH("mimo2", mimo2, demanded_of_both), RUNS(blocks_by_tensors),
                                       ASSUMES(normed_sigmoids), .rope = NB_ROPE_HALVES, .window = { .own = 1 } };
const struct nb_arch nb_arch_step35 = { ARCH("step35", step35, demanded_of_both), RUNS(blocks_by_tensors),
                                        ASSUMES(sigmoids), .rope = NB_ROPE_HALVES,
                                        .attention = { .rope_dims = "rope_dims // (2 - slides)",
                                                       .sliding_unscaled = true },
                                        .limits_activated = true };
static const struct nb_arch_default laguna_defaults[] = {
    { NB_HP_EXPERT_GATING, "2" },
    { NB_HP_SHARED_FEED_FORWARD, "expert_feed_forward" },
};
static const struct nb_arch_block laguna_blocks[] = { DENSE_THEN_SPARSE_BLOCKS };
const struct nb_arch nb_arch_laguna = { ARCH("laguna", laguna, demanded_of_laguna), RUNS(laguna_blocks),
                                        ASSUMES(laguna_defaults), .rope = NB_ROPE_HALVES,
                                        .window = { .period = 4, .first_is_full = true },
                                        .attention = { .gates_by_softplus = true, .sliding_unscaled = true } };
static const struct nb_arch_block granite_blocks[] = {
    { .kind = "attention" },
    { .kind = "dense", .when = NO_EXPERTS },
    { .kind = "mixture", .when = ANY_EXPERTS },
};
static const struct nb_arch_default granite_defaults[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" },
                                                           { NB_HP_ROPE_PATTERN, "1" } };
const struct nb_arch nb_arch_granite_swa = { ARCH("granite_swa", granite_swa, demanded_of_granite),
                                             RUNS(granite_blocks), ASSUMES(granite_defaults),
                                             .rope = NB_ROPE_NEIGHBOURS, .attention = { .rotates = "rope_pattern" },
                                             .divides_logits = true };
