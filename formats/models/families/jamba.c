/*
 * Jamba: Mamba layers, attention in one of a period, experts in one of another. Names and keys: llama.cpp's
 * conversion/jamba.py; defaults: the configuration class of transformers 4.57.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define FFN LAYER "feed_forward."

/* Some checkpoints store the one part of a layer without experts as its first expert. */
static const struct nb_map_row tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    { "model.final_layernorm.weight", "output_norm.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "pre_ff_layernorm.weight", BLOCK "ffn_norm.weight", PLAIN },
    MAMBA1(LAYER "mamba."),
    { LAYER "mamba.dt_layernorm.weight", BLOCK "ssm_dt_norm.weight", PLAIN },
    { LAYER "mamba.b_layernorm.weight", BLOCK "ssm_b_norm.weight", PLAIN },
    { LAYER "mamba.c_layernorm.weight", BLOCK "ssm_c_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    { FFN "gate_proj.weight", BLOCK "ffn_gate.weight", PLAIN },
    { FFN "up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { FFN "down_proj.weight", BLOCK "ffn_down.weight", PLAIN },
    { FFN "experts.0.gate_proj.weight", BLOCK "ffn_gate.weight", PLAIN },
    { FFN "experts.0.up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { FFN "experts.0.down_proj.weight", BLOCK "ffn_down.weight", PLAIN },
    { FFN "router.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { FFN "experts.%e.down_proj.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { FFN "experts.%e.gate_proj.weight", BLOCK "ffn_gate_exps.weight", PLAIN },
    { FFN "experts.%e.up_proj.weight", BLOCK "ffn_up_exps.weight", PLAIN },
};

/* ssm_inner is the expansion at first. */
static const struct nb_config_row config_rows[] = {
    { NB_HP_LAYERS, "num_hidden_layers", "32" },
    { NB_HP_EMBEDDING, "hidden_size", "4096" },
    { NB_HP_FEED_FORWARD, "intermediate_size", "14336" },
    { NB_HP_HEADS, "num_attention_heads", "32" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },
    { NB_HP_KEY_LENGTH, "", "embedding // heads" },
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" },
    { NB_HP_CONTEXT, "max_position_embeddings", "262144" },
    { NB_HP_VOCAB, "vocab_size", "65536" },
    { NB_HP_RMS_EPSILON, "layer_norm_epsilon|rms_norm_eps", "1e-6" },
    { NB_HP_SSM_CONV, "mamba_d_conv", "4" },
    { NB_HP_SSM_INNER, "mamba_expand", "2" },
    { NB_HP_SSM_INNER, "", "ssm_inner * embedding" },
    { NB_HP_SSM_STATE, "mamba_d_state", "16" },
    { NB_HP_SSM_RANK, "", "(embedding + 15) // 16" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", "16" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok|num_experts_per_token", "2" },
};

static double
entry(json_t *config, const char *name, double otherwise)
{
    json_t *value = nb_config_find(config, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* Whether LAYER is one of every PERIOD layers, from OFFSET on. */
static bool
is_due(uint64_t layer, double period, double offset)
{
    return (double)layer >= offset && period >= 1 && fmod((double)layer - offset, period) == 0;
}

static double
kv_heads(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    const double period = entry(config, "attn_layer_period", 8), offset = entry(config, "attn_layer_offset", 4);

    return is_due(layer, period, offset) ? nb_hp(hp, NB_HP_KV_HEADS) : 0;
}

/* 2: with experts, 1: without. */
static double
feed_forward_kind(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    const double period = entry(config, "expert_layer_period", 2), offset = entry(config, "expert_layer_offset", 1);

    return nb_hp(hp, NB_HP_EXPERTS) > 1 && is_due(layer, period, offset) ? 2 : 1;
}

static enum nb_status
derive(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const double rank = entry(config, "mamba_dt_rank", nb_hp(hp, NB_HP_SSM_RANK)); /* "auto" is as if absent */
    enum nb_status status;

    if (!(rank >= 1 && rank <= NB_MAX_SIDE))
        return nb_fail(err, NB_INPUT, "%s: mamba_dt_rank is %g, which is not a size that a model can have", name, rank);
    nb_hp_set(hp, NB_HP_SSM_RANK, rank, true);
    status = nb_derive_each(config, name, NB_HP_KV_HEADS, kv_heads, hp, err);
    return status == NB_OK ? nb_derive_each(config, name, NB_HP_FEED_FORWARD_KIND, feed_forward_kind, hp, err) : status;
}

static const struct nb_config_rule rules[] = {
    RECURRENT_RULES,
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attn_layer_period", NB_CONFIG_IGNORED, NULL, NULL }, /* read by derive, with the next four */
    { "attn_layer_offset", NB_CONFIG_IGNORED, NULL, NULL },
    { "expert_layer_period", NB_CONFIG_IGNORED, NULL, NULL },
    { "expert_layer_offset", NB_CONFIG_IGNORED, NULL, NULL },
    { "mamba_dt_rank", NB_CONFIG_IGNORED, NULL, NULL },
    { "mamba_conv_bias", NB_CONFIG_ONLY, "true", NULL },
    { "mamba_proj_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mamba_inner_layernorms", NB_CONFIG_ONLY, "true", NULL },
    { "sliding_window", NB_CONFIG_ONLY, "", NULL },
};

static const struct nb_key_row keys[] = {
    KEY(NB_HP_LAYERS),    KEY(NB_HP_CONTEXT),   KEY(NB_HP_EMBEDDING),    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),     KEY(NB_HP_KV_HEADS),  KEY(NB_HP_SSM_CONV),     KEY(NB_HP_SSM_INNER),
    KEY(NB_HP_SSM_STATE), KEY(NB_HP_SSM_RANK),  KEY(NB_HP_RMS_EPSILON),  KEY(NB_HP_EXPERTS),
    KEY(NB_HP_EXPERTS_USED), WRITE(nb_write_file_type),
};

/* Sets the period and the offset of a kind of layers, which IS lists by layer. False if they have none, or out of memory. */
static bool
restore_period(const struct nb_restoration *r, const char *period, const char *offset, const bool *is)
{
    uint64_t every, first;

    return nb_restore_period(is, nb_restore_layers(r), &every, &first) &&
           nb_restore_number(r, period, (double)every) && nb_restore_number(r, offset, (double)first);
}

static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    bool attends[NB_MAX_LAYERS], has_experts[NB_MAX_LAYERS];

    for (uint64_t i = 0; i < nb_restore_layers(r); i++) {
        char name[64];

        snprintf(name, sizeof name, "blk.%" PRIu64 ".ffn_gate_inp.weight", i);
        attends[i] = nb_hp_at(r->hp, NB_HP_KV_HEADS, i) > 0;
        has_experts[i] = nb_restore_tensor(r, name) != NULL;
    }
    if (!restore_period(r, "attn_layer_period", "attn_layer_offset", attends) ||
        !restore_period(r, "expert_layer_period", "expert_layer_offset", has_experts))
        return nb_fail(err, NB_UNSUPPORTED,
                       "layers with attention or experts are not one of every few, as in a JambaForCausalLM");
    return nb_restore_number(r, "mamba_dt_rank", nb_hp(r->hp, NB_HP_SSM_RANK)) &&
                   nb_restore_number(r, "num_key_value_heads", nb_hp(r->hp, NB_HP_KV_HEADS))
               ? NB_OK
               : nb_fail_memory(err);
}

static const char *const classes[] = { "JambaForCausalLM", NULL };

const struct nb_family nb_family_jamba = {
    .model_type = "jamba",
    .restore = restore,
    FAMILY(classes, nb_arch_jamba, config_rows, rules, keys, tensors), .derive = derive, .mlx = &nb_mlx_jamba
};
