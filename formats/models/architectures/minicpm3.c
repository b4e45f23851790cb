/* minicpm3: MiniCPM 3. Source: llama.cpp v0.5.0, src/models/minicpm3.cpp. */
#include "formats/models/architectures/rows.h"

static const struct nb_arch_tensor tensors[] = {
    EMBEDDINGS,
    ROPE_FACTORS,
    NORMS,
    { BLOCK "attn_q_a_norm.weight", { "q_lora_rank" }, NB_REQUIRED, NULL },
    { BLOCK "attn_kv_a_norm.weight", { "kv_lora_rank" }, NB_REQUIRED, NULL },
    { BLOCK "attn_q_a.weight", { "embedding", "q_lora_rank" }, NB_REQUIRED, NULL },
    { BLOCK "attn_q_b.weight", { "q_lora_rank", "heads * key_length" }, NB_REQUIRED, NULL },
    { BLOCK "attn_kv_a_mqa.weight", { "embedding", "kv_lora_rank + rope_dims" }, NB_REQUIRED, NULL },
    { BLOCK "attn_kv_b.weight", { "kv_lora_rank", "heads * (key_length - rope_dims + value_length)" }, NB_REQUIRED, NULL },
    { BLOCK "attn_output.weight", { "heads * value_length", "embedding" }, NB_REQUIRED, NULL },
    GATED_MLP,
};

static const enum nb_hparam demanded[] = { DEMANDED, NB_HP_Q_LORA_RANK, NB_HP_KV_LORA_RANK };

/* minicpm3.cpp has these in code. */
static const struct nb_arch_default defaults[] = {
    { NB_HP_EMBEDDING_SCALE, "12" },
    { NB_HP_RESIDUAL_SCALE, "1.4 / layers ^ 0.5" },
    { NB_HP_LOGIT_SCALE, "256 / embedding" },
};

static const struct nb_arch_block blocks[] = { { .kind = "mla" }, { .kind = "dense" } };

const struct nb_arch nb_arch_minicpm3 = {
    ARCH("minicpm3", tensors, demanded), ASSUMES(defaults), RUNS(blocks), .rope = NB_ROPE_HALVES,
};
