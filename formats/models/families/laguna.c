/*
 * Laguna: mixtures whose attention has a gate for each head, or for each element of a head, and, in some models,
 * sliding layers with more heads. Names and keys: llama.cpp's conversion/laguna.py. transformers 4.57 does not know the
 * class, so that the reference takes config.json as it is.
 */
#include "formats/models/families/rows.h"

#include <math.h>
#include <string.h>

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    { LAYER "self_attn.g_proj.weight", BLOCK "attn_gate.weight", PLAIN },
    GATED_MLP,
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.experts.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN },
    EXPERTS_UP_FIRST,
    { LAYER "mlp.shared_expert.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { LAYER "mlp.shared_expert.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { LAYER "mlp.shared_expert.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
};

#define ROTATED "key_length * rotary_factor - key_length * rotary_factor % 1"
static const struct nb_config_row config[] = {
    CONFIG_SIZES("heads"),
    { NB_HP_CONTEXT, "max_position_embeddings", "" },
    CONFIG_ROPE_BASE(""),
    { NB_HP_ROPE_BASE_SWA, "rope_parameters.sliding_attention.rope_theta|swa_rope_theta|rope_local_base_freq", "" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    { NB_HP_KEY_LENGTH, "head_dim", NULL },
    { NB_HP_VALUE_LENGTH, "head_dim", NULL },
    { NB_HP_ROTARY_FACTOR, "rope_parameters.sliding_attention.partial_rotary_factor", "1" },
    { NB_HP_ROPE_DIMS_SWA, "", ROTATED },
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", "1" },
    { NB_HP_ROPE_DIMS, "", ROTATED },
    { NB_HP_VOCAB, "vocab_size", NULL },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_SHARED_FEED_FORWARD, "shared_expert_intermediate_size", NULL },
    { NB_HP_EXPERT_WEIGHTS_NORM, "", "1" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "moe_routed_scaling_factor", NULL },
    { NB_HP_EXPERT_GATING, "", "2" }, /* sigmoid */
};

static double
heads_of(json_t *from, const struct nb_hparams *hp, uint64_t layer)
{
    json_t *by_layer = nb_config_find(from, "num_attention_heads_per_layer");

    if (json_array_size(by_layer) == 0)
        return nb_hp_at(hp, NB_HP_HEADS, layer);
    if (json_array_size(by_layer) != (size_t)nb_hp(hp, NB_HP_LAYERS))
        return NAN;
    return json_number_value(json_array_get(by_layer, (size_t)layer));
}

/* A gate is one number for each head, or one for each element of it: "per_head" or "per_element", with _ or -. */
static double
gate_length(json_t *from, const struct nb_hparams *hp, uint64_t layer)
{
    json_t *types = nb_config_find(from, "gating_types"), *all = nb_config_find(from, "gating");
    const char *type = json_string_value(json_array_size(types) > 0 ? json_array_get(types, (size_t)layer) : all);

    if (json_array_size(types) == 0 && json_is_true(all))
        return 1;
    if (type == NULL || strncmp(type, "per", 3) != 0 || (type[3] != '-' && type[3] != '_'))
        return NAN;
    return strcmp(type + 4, "head") == 0 ? 1 : strcmp(type + 4, "element") == 0 ? nb_hp(hp, NB_HP_KEY_LENGTH) : NAN;
}

static enum nb_status
derive(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *pattern = nb_config_find(from, "layer_types"), *type;
    enum nb_status status = nb_derive_leading_dense(from, name, hp, err);
    size_t i;

    json_array_foreach(pattern, i, type) /* laguna.cpp's, which no key changes */
        if (nb_hp(hp, NB_HP_SLIDING_WINDOW) > 0 &&
            (json_is_string(type) && strcmp(json_string_value(type), "sliding_attention") == 0) != (i % 4 != 0))
            return nb_fail(err, NB_UNSUPPORTED, "%s: layer_types makes layer %zu another kind than llama.cpp does for "
                                                "LagunaForCausalLM", name, i);
    if (status == NB_OK)
        status = nb_derive_each(from, name, NB_HP_HEADS, heads_of, hp, err);
    return status == NB_OK ? nb_derive_each(from, name, NB_HP_GATE_LENGTH, gate_length, hp, err) : status;
}

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "num_attention_heads_per_layer", NB_CONFIG_IGNORED, NULL, NULL }, /* derive */
    { "gating_types", NB_CONFIG_IGNORED, NULL, NULL },
    { "gating", NB_CONFIG_IGNORED, NULL, NULL },
    { "layer_types", NB_CONFIG_IGNORED, NULL, NULL },
    { "mlp_layer_types", NB_CONFIG_IGNORED, NULL, NULL },
    { "norm_topk_prob", NB_CONFIG_ONLY, "true", NULL },
    { "moe_apply_router_weight_on_input", NB_CONFIG_ONLY, "false", NULL },
    { "moe_router_logit_softcapping", NB_CONFIG_ONLY, "0", NULL },
    { "decoder_sparse_step", NB_CONFIG_ONLY, "1", NULL },
    { "mlp_only_layers", NB_CONFIG_IGNORED, NULL, NULL }, /* mlp_layer_types */
    { "qkv_bias", NB_CONFIG_ONLY, "false", NULL },
    { "swa_attention_sink_enabled", NB_CONFIG_ONLY, "false", NULL },
    { "rope.partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL },
};

/* Only where the configuration has rotary parameters for sliding layers. */
static enum nb_status
write_rope_dims_swa(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    if (nb_config_find(c->config, "rope_parameters.sliding_attention") == NULL)
        return NB_OK;
    return nb_hparam_write(c->hp, NB_HP_ROPE_DIMS_SWA, c->family->arch->name, meta, err);
}

/* Of several end tokens, the first that is not BOS as well ends a turn. */
static enum nb_status
write_end_of_turn(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *ends = nb_config_find(c->config, "eos_token_id"), *bos = nb_config_find(c->config, "bos_token_id"), *end;
    size_t i;

    json_array_foreach(ends, i, end) {
        const double id = json_number_value(end);

        if (json_is_number(bos) && id == json_number_value(bos))
            continue;
        if (!(id >= 0) || id >= nb_hp(c->hp, NB_HP_VOCAB) || id != floor(id))
            return nb_fail(err, NB_INPUT, "config.json: eos_token_id has %g, which is no token", id);
        nb_meta_set_u32(meta, "tokenizer.ggml.eot_token_id", (uint32_t)id);
        break;
    }
    return nb_meta_status(meta, err);
}

static const struct nb_key_row keys[] = {
    BASE_SIZES,
    KEY(NB_HP_EXPERTS),
    KEY(NB_HP_EXPERTS_USED),
    BASE_END(KEY),
    KEY(NB_HP_VOCAB),
    KEY_IF_SET(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_GATING),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_ROPE_DIMS),
    WRITE(write_rope_dims_swa),
};

static const char *const classes[] = { "LagunaForCausalLM", NULL };

const struct nb_family nb_family_laguna = {
    FAMILY(classes, nb_arch_laguna, config, rules, keys, tensors),
    .derive = derive,
    .last = write_end_of_turn,
    .tokenizer = { .control = "</assistant>" },
};
