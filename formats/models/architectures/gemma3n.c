/* gemma3n: Gemma 3n's text part (AltUp, LAuReL, embeddings by layer). Source: llama.cpp v0.5.0, src/models/gemma3n.cpp. */
#include "formats/models/architectures/rows.h"

/* llama.cpp has four inputs of AltUp, embeddings by layer of 256 and a rank of 64 in code, not in keys. */
static const struct nb_arch_tensor tensors[] = {
    EMBEDDINGS,
    { "altup_proj.weight", { "embedding", "embedding", "3" }, NB_REQUIRED, NULL },
    { "altup_unembd_proj.weight", { "embedding", "embedding", "3" }, NB_REQUIRED, NULL },
    { "per_layer_token_embd.weight", { "256 * layers", "vocab" }, NB_REQUIRED, NULL },
    { "per_layer_model_proj.weight", { "embedding", "256 * layers" }, NB_REQUIRED, NULL },
    { "per_layer_proj_norm.weight", { "256" }, NB_REQUIRED, NULL },
    NORMS,
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP,
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_ffw_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "inp_gate.weight", { "embedding", "256" }, NB_REQUIRED, NULL },
    { BLOCK "proj.weight", { "256", "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "altup_correct_coef.weight", { "4", "4" }, NB_REQUIRED, NULL },
    { BLOCK "altup_correct_scale.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "altup_predict_coef.weight", { "4", "16" }, NB_REQUIRED, NULL },
    { BLOCK "altup_router.weight", { "embedding", "4" }, NB_REQUIRED, NULL },
    { BLOCK "altup_router_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "laurel_l.weight", { "embedding", "64" }, NB_REQUIRED, NULL },
    { BLOCK "laurel_r.weight", { "64", "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "laurel_post_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
};

static const enum nb_hparam demanded[] = { DEMANDED, NB_HP_SLIDING_WINDOW };

static const struct nb_arch_block blocks[] = {
    { .kind = "layer_inputs", .when = "layer == 0" },
    { .kind = "altup_start", .when = "layer == 0" },
    { .kind = "altup_predict" },
    { .kind = "attention", .norm_after = "post_attention_norm", .beside = "1" },
    { .kind = "laurel", .times = "0.5 ^ 0.5" },
    { .kind = "dense", .norm_after = "post_ffw_norm" },
    { .kind = "altup_correct" },
    { .kind = "altup_input" },
    { .kind = "altup_end", .when = "layer == layers - 1" },
};

static const struct nb_arch_default defaults[] = {
    { NB_HP_EMBEDDING_SCALE, "embedding ^ 0.5" },
    { NB_HP_ATTENTION_SCALE, "1" },
    { NB_HP_ROPE_BASE_SWA, "10000" },
};

const struct nb_arch nb_arch_gemma3n = {
    ARCH("gemma3n", tensors, demanded), RUNS(blocks), ASSUMES(defaults), .activation = NB_ACTIVATION_GELU,
    .rope = NB_ROPE_HALVES, .window = { .period = 5 }, .attention = { .norms_values = true },
};
