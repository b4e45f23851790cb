/*
 * Granite with sliding layers, dense and with experts. Names and keys: llama.cpp's conversion/granite.py.
 * transformers 4.57 does not know the classes, so that the reference takes config.json as it is.
 */
#include "formats/models/families/rows.h"
#include "formats/models/restore.h"

#include <math.h>

#define DENSE                                                                 \
    EMBEDDINGS,                                                               \
    NORMS,                                                                    \
    ATTENTION(NEIGHBOURS),                                                    \
    QKV_BIASES(NEIGHBOURS),                                                   \
    O_BIAS,                                                                   \
    { LAYER "self_attn.sinks", BLOCK "attn_sinks.weight", PLAIN },            \
    GATED_MLP,                                                                \
    GATED_MLP_BIASES

static const struct nb_map_row dense_tensors[] = { DENSE };

/* The matrices of gate and up projection stay in one. */
static const struct nb_map_row mixture_tensors[] = {
    DENSE,
    { LAYER "block_sparse_moe.router.layer.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "block_sparse_moe.router.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "block_sparse_moe.input_linear.weight", BLOCK "ffn_gate_up_exps.weight", PLAIN },
    { LAYER "block_sparse_moe.output_linear.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { LAYER "block_sparse_moe.experts.gate_up_proj", BLOCK "ffn_gate_up_exps.weight", PLAIN },
    { LAYER "block_sparse_moe.experts.down_proj", BLOCK "ffn_down_exps.weight", PLAIN },
    { LAYER "shared_mlp.input_linear.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { LAYER "shared_mlp.output_linear.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
};

#define CONFIG                                                                      \
    CONFIG_SIZES("heads"),                                                          \
    { NB_HP_CONTEXT, "max_position_embeddings", "" },                               \
    CONFIG_ROPE_BASE(""),                                                           \
    CONFIG_NO_HEAD_DIM,                                                             \
    { NB_HP_ROPE_DIMS, "", "embedding // heads" },                                  \
    { NB_HP_VOCAB, "vocab_size", NULL },                                            \
    CONFIG_RMS_EPSILON(NULL),                                                       \
    { NB_HP_ATTENTION_SCALE, "attention_multiplier", "" },                          \
    { NB_HP_EMBEDDING_SCALE, "embedding_multiplier", "" },                          \
    { NB_HP_RESIDUAL_SCALE, "residual_multiplier", "" },                            \
    { NB_HP_LOGIT_SCALE, "logits_scaling", NULL },                                  \
    { NB_HP_SLIDING_WINDOW, "sliding_window", "128" },                              \
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", "layer % 4 != 0" }

static const struct nb_config_row dense_config[] = { CONFIG };
static const struct nb_config_row mixture_config[] = {
    CONFIG,
    { NB_HP_EXPERTS, "num_local_experts", "" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "" },
    { NB_HP_SHARED_FEED_FORWARD, "shared_intermediate_size", "" },
};

static double
rotates(json_t *from, const struct nb_hparams *hp, uint64_t layer)
{
    json_t *list = nb_config_find(from, "no_rope_layers"), *one = json_array_get(list, (size_t)layer);

    if (json_array_size(list) != (size_t)nb_hp(hp, NB_HP_LAYERS) || (!json_is_number(one) && !json_is_boolean(one)))
        return NAN;
    return json_is_true(one) || json_number_value(one) != 0;
}

/* no_rope_layers has 1 where a layer rotates. */
static enum nb_status
derive(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    hp->value[NB_HP_SLIDING_PATTERN].flags = true;
    if (json_array_size(nb_config_find(from, "no_rope_layers")) > 0) {
        status = nb_derive_each(from, name, NB_HP_ROPE_PATTERN, rotates, hp, err);
        hp->value[NB_HP_ROPE_PATTERN].flags = true;
    }
    return status;
}

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_BIASES, ".mlp.gate_proj.bias", NULL },
    { "head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* a wrong one shows in the shapes */
    { "no_rope_layers", NB_CONFIG_IGNORED, NULL, NULL }, /* derive */
    { "position_embedding_type", NB_CONFIG_ONLY, "rope", NULL },
};

#define KEYS                                          \
    BASE_SIZES,                                       \
    KEY_IF_SET(NB_HP_EXPERTS),                        \
    KEY_IF_SET(NB_HP_EXPERTS_USED),                   \
    WRITE(nb_write_file_type),                        \
    KEY(NB_HP_VOCAB),                                 \
    KEY(NB_HP_ROPE_DIMS),                             \
    KEY_IF_SET(NB_HP_ATTENTION_SCALE),                \
    KEY_IF_SET(NB_HP_EMBEDDING_SCALE),                \
    KEY_IF_SET(NB_HP_RESIDUAL_SCALE),                 \
    KEY_IF_SET(NB_HP_LOGIT_SCALE),                    \
    KEY(NB_HP_SLIDING_WINDOW),                        \
    KEY(NB_HP_SLIDING_PATTERN),                       \
    KEY(NB_HP_ROPE_PATTERN)

static const struct nb_key_row keys[] = { KEYS, KEY_IF_SET(NB_HP_SHARED_FEED_FORWARD) };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    return !nb_hp_has(r->said, NB_HP_ROPE_PATTERN) || nb_restore_each(r, "no_rope_layers", NB_HP_ROPE_PATTERN)
               ? NB_OK
               : nb_fail_memory(err);
}

static const char *const dense_classes[] = { "GraniteSWAForCausalLM", NULL };
static const char *const mixture_classes[] = { "GraniteMoeSWAForCausalLM", NULL };

#define OF_LLAMA                                                              \
    .derive = derive, .made = made, .n_made = COUNT(made), .ignored_suffixes = ignored, \
    .tokenizer = { .space_prefix = NB_PREFIX_FIRST, .size_quirks = true }

const struct nb_family nb_family_granite_swa = {
    .model_type = "granite_swa",
    .restore = restore,
    FAMILY(dense_classes, nb_arch_granite_swa, dense_config, rules, keys, dense_tensors), OF_LLAMA
};
const struct nb_family nb_family_granite_moe_swa = {
    .model_type = "granitemoe_swa",
    .restore = restore,
    FAMILY(mixture_classes, nb_arch_granite_swa, mixture_config, rules, keys, mixture_tensors), OF_LLAMA
};
