/* deci: Llama with layers of different shapes, or without one of their parts. Source: llama.cpp v0.5.0, src/models/deci.cpp. */
#include "formats/models/architectures/rows.h"

#define ATTENDS "kv_heads > 0"
#define FEEDS "feed_forward > 0"

static const struct nb_arch_tensor deci[] = {
    EMBEDDINGS,
    ROPE_FACTORS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, "heads > 0" },
    { BLOCK "attn_q.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, ATTENDS },
    { BLOCK "attn_q.bias", { "heads * key_length" }, NB_OPTIONAL, ATTENDS },
    { BLOCK "attn_k.weight", { "embedding", "kv_heads * key_length" }, NB_REQUIRED, ATTENDS },
    { BLOCK "attn_k.bias", { "kv_heads * key_length" }, NB_OPTIONAL, ATTENDS },
    { BLOCK "attn_v.weight", { "embedding", "kv_heads * value_length" }, NB_REQUIRED, ATTENDS },
    { BLOCK "attn_v.bias", { "kv_heads * value_length" }, NB_OPTIONAL, ATTENDS },
    { BLOCK "attn_output.weight", { "heads * value_length", "embedding" }, NB_REQUIRED, "heads > 0" },
    O_BIAS,
    { BLOCK "ffn_norm.weight", { "embedding" }, NB_REQUIRED, FEEDS },
    { BLOCK "ffn_gate.weight", { "embedding", "feed_forward" }, NB_REQUIRED, FEEDS },
    { BLOCK "ffn_up.weight", { "embedding", "feed_forward" }, NB_REQUIRED, FEEDS },
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, FEEDS },
    GATED_MLP_BIASES,
};

static const enum nb_hparam demanded[] = { DEMANDED };

static const struct nb_arch_block blocks[] = {
    { .kind = "attention", .when = ATTENDS },
    { .kind = "linear", .when = "heads > 0 && kv_heads == 0" },
    { .kind = "dense", .when = FEEDS },
};

const struct nb_arch nb_arch_deci = { ARCH("deci", deci, demanded), RUNS(blocks), .rope = NB_ROPE_NEIGHBOURS };
