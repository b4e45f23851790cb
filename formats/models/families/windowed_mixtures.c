/*
 * Mellum 2, K-EXAONE, Cohere's North, MiMo V2, Step 3.5: mixtures with sliding layers. Names and keys: llama.cpp's
 * conversion/mellum.py, exaone.py, command_r.py, mimo.py and step3.py. transformers 4.57 knows none of the classes,
 * so that the reference takes config.json as it is.
 */
#include "formats/models/families/rows.h"
#include "formats/models/restore.h"

#include <stdlib.h>
#include <string.h>

static const struct nb_map_row mellum_tensors[] = { EMBEDDINGS, NORMS, ATTENTION(PLAIN), Q_K_NORMS, EXPERTS };

static const struct nb_map_row exaone_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    EXPERTS,
    SHARED_EXPERTS,
    { LAYER "mlp.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN },
    ROUTER_BIAS,
    { LAYER "fc.weight", BLOCK "nextn.eh_proj.weight", PLAIN },
    { LAYER "pre_fc_norm_embedding.weight", BLOCK "nextn.enorm.weight", PLAIN },
    { LAYER "pre_fc_norm_hidden.weight", BLOCK "nextn.hnorm.weight", PLAIN },
    { LAYER "norm.weight", BLOCK "nextn.shared_head_norm.weight", PLAIN },
    NEXTN,
};

static const struct nb_map_row cohere_tensors[] = {
    EMBEDDINGS,
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    GATED_MLP,
    EXPERTS,
    SHARED_EXPERTS,
    NEXTN,
};

static const struct nb_map_row mimo_tensors[] = {
    EMBEDDINGS,
    NORMS,
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_qkv.weight", PLAIN },
    ATTENTION(PLAIN),
    { LAYER "self_attn.attention_sink_bias", BLOCK "attn_sinks.weight", PLAIN },
    GATED_MLP,
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    ROUTER_BIAS,
    EXPERTS_UP_FIRST,
    NEXTN,
    { LAYER "final_layernorm.weight", BLOCK "layer_output_norm.weight", PLAIN },
    { LAYER "pre_mlp_layernorm.weight", BLOCK "ffn_norm.weight", PLAIN }, /* of layers that predict further tokens */
};

static const struct nb_map_row step_tensors[] = {
    EMBEDDINGS_WITH(PLUS_ONE),
    NORMS_WITH(PLUS_ONE),
    ATTENTION(PLAIN),
    Q_K_NORMS_WITH(PLUS_ONE),
    { LAYER "self_attn.g_proj.weight", BLOCK "attn_gate.weight", PLAIN },
    GATED_MLP,
    { LAYER "moe.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "moe.router_bias", BLOCK "exp_probs_b.bias", PLAIN },
    { LAYER "moe.gate_proj.weight", BLOCK "ffn_gate_exps.weight", PLAIN },
    { LAYER "moe.up_proj.weight", BLOCK "ffn_up_exps.weight", PLAIN },
    { LAYER "moe.down_proj.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { LAYER "share_expert.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { LAYER "share_expert.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { LAYER "share_expert.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
    { LAYER "eh_proj.weight", BLOCK "nextn.eh_proj.weight", PLAIN },
    { LAYER "embed_tokens.weight", BLOCK "nextn.embed_tokens.weight", PLAIN },
    { LAYER "enorm.weight", BLOCK "nextn.enorm.weight", PLUS_ONE },
    { LAYER "hnorm.weight", BLOCK "nextn.hnorm.weight", PLUS_ONE },
    { LAYER "transformer.shared_head.output.weight", BLOCK "nextn.shared_head_head.weight", PLAIN },
    { LAYER "transformer.shared_head.norm.weight", BLOCK "nextn.shared_head_norm.weight", PLUS_ONE },
};

/* --- config.json ------------------------------------------------------------------------------------------ */

#define BARE_CONFIG                                            \
    CONFIG_SIZES("heads"),                                     \
    { NB_HP_CONTEXT, "max_position_embeddings", "" },          \
    CONFIG_ROPE_BASE(""),                                      \
    CONFIG_HEAD_DIM("embedding // heads")
#define CONFIG_WINDOWS                                         \
    { NB_HP_SLIDING_WINDOW, "sliding_window", NULL },          \
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", NULL }

static const struct nb_config_row mellum_config[] = {
    BARE_CONFIG,
    CONFIG_WINDOWS,
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    { NB_HP_ROPE_BASE_SWA, "rope_parameters.sliding_attention.rope_theta", "" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
};

static const struct nb_config_row exaone_config[] = {
    BARE_CONFIG,
    { NB_HP_VOCAB, "vocab_size", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "" },
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", "(layer + 1) % 4 != 0" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERTS_SHARED, "num_shared_experts", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_SHARED_FEED_FORWARD, "", "expert_feed_forward * experts_shared" },
    { NB_HP_EXPERT_GROUPS, "n_group", "" },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },
    { NB_HP_EXPERT_GATING, "scoring_func", "" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", NULL },
    { NB_HP_LEADING_DENSE, "first_k_dense_replace|first_last_k_dense_replace", "0" },
    { NB_HP_NEXTN_LAYERS, "", "0" },
    { NB_HP_ROPE_SCALING, "", "none" },
};

static const struct nb_config_row cohere_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    CONFIG_WINDOWS,
    CONFIG_NEXTN,
    { NB_HP_CONTEXT, "max_position_embeddings", "" },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "prefix_dense_intermediate_size|dense_intermediate_size|intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    CONFIG_ROPE_BASE(""),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "" },
    { NB_HP_NORM_EPSILON, "layer_norm_eps", "" },
    { NB_HP_LOGIT_SCALE, "logit_scale", NULL },
    { NB_HP_EXPERTS, "num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_EXPERT_GATING, "expert_selection_fn", "" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", "0" },
    { NB_HP_EXPERTS_SHARED, "num_shared_experts", "0" },
    { NB_HP_SHARED_FEED_FORWARD, "", "expert_feed_forward * experts_shared" },
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", "0" },
    { NB_HP_ROPE_SCALING, "", "none" },
};

static const struct nb_config_row mimo_config[] = {
    CONFIG_SIZES("heads"),
    { NB_HP_CONTEXT, "max_position_embeddings", "" },
    CONFIG_ROPE_BASE(""),
    { NB_HP_ROPE_BASE_SWA, "swa_rope_theta", "" },
    { NB_HP_KEY_LENGTH, "head_dim", NULL },
    { NB_HP_VALUE_LENGTH, "v_head_dim", NULL },
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", NULL },
    { NB_HP_ROPE_DIMS, "", "key_length * rotary_factor // 1" },
    { NB_HP_RMS_EPSILON, "layernorm_epsilon", "1e-5" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", NULL },
    { NB_HP_EXPERTS, "n_routed_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_EXPERT_GROUPS, "n_group", "" },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },
    { NB_HP_EXPERT_GATING, "scoring_func", "" },
    { NB_HP_VALUE_SCALE, "attention_value_scale", "" },
};

static const struct nb_config_row step_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    CONFIG_NEXTN,
    { NB_HP_CONTEXT, "max_position_embeddings", "" },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_attention_groups", NULL },
    { NB_HP_ROPE_BASE, "rope_theta.0|rope_theta", "" },
    { NB_HP_ROPE_BASE_SWA, "rope_theta.1", "" },
    { NB_HP_KEY_LENGTH, "head_dim", NULL },
    { NB_HP_VALUE_LENGTH, "head_dim", NULL },
    { NB_HP_ROPE_DIMS, "head_dim", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-5" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", NULL },
    { NB_HP_EXPERTS, "moe_num_experts", NULL },
    { NB_HP_EXPERTS_USED, "moe_top_k", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_SHARED_FEED_FORWARD, "share_expert_dim", NULL },
    { NB_HP_EXPERT_GATING, "moe_router_activation", "" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "moe_router_scaling_factor", "" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_expert_weight", "" },
    { NB_HP_MOE_EVERY, "moe_every_n_layer", "1" },
};

enum nb_status
nb_derive_leading_dense(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *types = nb_config_find(config, "mlp_layer_types"), *type;
    size_t dense = 0, i;

    if (!json_is_array(types))
        return NB_OK;
    json_array_foreach(types, i, type) {
        const bool is_dense = json_is_string(type) && strcmp(json_string_value(type), "dense") == 0;

        if (is_dense && dense < i)
            return nb_fail(err, NB_UNSUPPORTED,
                           "%s: by mlp_layer_types, layer %zu is dense, though one before it is not: llama.cpp has no "
                           "place for such a model", name, i);
        dense += is_dense;
    }
    nb_hp_set(hp, NB_HP_LEADING_DENSE, (double)dense, true);
    return NB_OK;
}

#define MIMO_NEXTN 3 /* layers that predict further tokens; config.json does not say how many */

/* Sliding layers have a number of key-value heads of their own; so have the layers that predict further tokens. */
static enum nb_status
derive_mimo(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *pattern = nb_config_find(config, "hybrid_layer_pattern");
    const double swa_heads = json_number_value(nb_config_find(config, "swa_num_key_value_heads"));
    const size_t layers = (size_t)nb_hp(hp, NB_HP_LAYERS);
    double slides[NB_MAX_LAYERS + MIMO_NEXTN], heads[NB_MAX_LAYERS + MIMO_NEXTN];
    enum nb_status status;

    if (layers > NB_MAX_LAYERS || json_array_size(pattern) != layers || !(swa_heads >= 1))
        return nb_fail(err, NB_INPUT, "%s: has no hybrid_layer_pattern with a number for each layer, or no "
                                      "swa_num_key_value_heads", name);
    for (size_t i = 0; i < layers + MIMO_NEXTN; i++) {
        slides[i] = i >= layers || json_number_value(json_array_get(pattern, i)) == 1;
        heads[i] = slides[i] != 0 ? swa_heads : nb_hp(hp, NB_HP_KV_HEADS);
    }
    status = nb_hp_set_each(hp, NB_HP_SLIDING_PATTERN, slides, layers + MIMO_NEXTN, true, err);
    return status == NB_OK ? nb_hp_set_each(hp, NB_HP_KV_HEADS, heads, layers + MIMO_NEXTN, true, err) : status;
}

/* The numbers of the array NAME for each of LAYERS layers, 0 where it has none or null. */
static enum nb_status
set_limits(json_t *config, const char *name, enum nb_hparam hparam, size_t layers, struct nb_hparams *hp,
           struct nb_error *err)
{
    json_t *limits = nb_config_find(config, name);
    double numbers[NB_MAX_LAYERS];

    if (!json_is_array(limits))
        return NB_OK;
    for (size_t i = 0; i < layers; i++)
        numbers[i] = json_number_value(json_array_get(limits, i));
    return nb_hp_set_each(hp, hparam, numbers, layers, true, err);
}

/* Sliding layers have numbers of heads of their own, and all of a head is rotated in them, else half. */
static enum nb_status
derive_step(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *types = nb_config_find(config, "layer_types"), *factors = nb_config_find(config, "partial_rotary_factors"),
           *heads_swa = nb_config_find(config, "attention_other_setting.num_attention_heads"),
           *kv_swa = nb_config_find(config, "attention_other_setting.num_attention_groups");
    const char *sparse = json_string_value(nb_config_find(config, "moe_layers_enum"));
    const size_t layers = (size_t)nb_hp(hp, NB_HP_LAYERS);
    double heads[NB_MAX_LAYERS], kv[NB_MAX_LAYERS], slides[NB_MAX_LAYERS];
    enum nb_status status;

    if (layers > NB_MAX_LAYERS)
        return nb_hparams_check(hp, name, err);
    for (size_t i = 0; i < layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        json_t *factor = json_array_get(factors, i);

        slides[i] = type != NULL && strcmp(type, "sliding_attention") == 0;
        if (json_is_number(factor) && json_number_value(factor) != (slides[i] != 0 ? 1 : 0.5))
            return nb_fail(err, NB_UNSUPPORTED, "%s: partial_rotary_factors of layer %zu is %g, which cannot be converted",
                           name, i, json_number_value(factor));
        heads[i] = slides[i] != 0 && json_is_number(heads_swa) ? json_number_value(heads_swa) : nb_hp(hp, NB_HP_HEADS);
        kv[i] = slides[i] != 0 && json_is_number(kv_swa) ? json_number_value(kv_swa) : nb_hp(hp, NB_HP_KV_HEADS);
    }
    nb_hp_set(hp, NB_HP_LEADING_DENSE, sparse != NULL ? strtod(sparse, NULL) : 0, true);
    status = nb_hp_set_each(hp, NB_HP_HEADS, heads, layers, true, err);
    if (status == NB_OK)
        status = nb_hp_set_each(hp, NB_HP_KV_HEADS, kv, layers, true, err);
    if (status == NB_OK)
        status = nb_hp_set_each(hp, NB_HP_SLIDING_PATTERN, slides, layers, true, err);
    hp->value[NB_HP_SLIDING_PATTERN].flags = true;
    if (status == NB_OK)
        status = set_limits(config, "swiglu_limits", NB_HP_SWIGLU_CLAMP, layers, hp, err);
    return status == NB_OK
               ? set_limits(config, "swiglu_limits_shared", NB_HP_SWIGLU_CLAMP_SHARED, layers, hp, err)
               : status;
}

#define SILU { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL }
#define NO_BIAS { "attention_bias", NB_CONFIG_ONLY, "false", NULL }

static const struct nb_config_rule mellum_rules[] = {
    SILU,
    NO_BIAS,
    { "use_sliding_window", NB_CONFIG_ONLY, "true", NULL },
    { "max_window_layers", NB_CONFIG_IGNORED, NULL, NULL },
    { "norm_topk_prob", NB_CONFIG_ONLY, "true", NULL },
    { "decoder_sparse_step", NB_CONFIG_ONLY, "1", NULL },
    { "mlp_only_layers", NB_CONFIG_ONLY, "", NULL },
};

static const struct nb_config_rule exaone_rules[] = {
    SILU,
    NO_BIAS,
    { "sliding_window_pattern", NB_CONFIG_ONLY, "LLLG|4", NULL },
    { "is_moe_layer", NB_CONFIG_IGNORED, NULL, NULL }, /* a wrong one shows in the tensors */
    { "mlp_layer_types", NB_CONFIG_IGNORED, NULL, NULL },
    { "topk_method", NB_CONFIG_ONLY, "noaux_tc", NULL },
    { "num_nextn_predict_layers", NB_CONFIG_IGNORED, NULL, NULL }, /* those that are stored count */
    { "mtp_share_layers", NB_CONFIG_ONLY, "false", NULL },
};

static const struct nb_config_rule cohere_rules[] = {
    SILU,
    { "attention_bias", NB_CONFIG_IGNORED, NULL, NULL }, /* biases must be 0 */
    { "shared_expert_combination_strategy", NB_CONFIG_ONLY, "average", NULL },
    { "mlp_layer_types", NB_CONFIG_IGNORED, NULL, NULL }, /* nb_derive_leading_dense */
    { "use_qk_norm", NB_CONFIG_ONLY, "false", NULL },
    { "use_parallel_block", NB_CONFIG_ONLY, "true", NULL },
    { "position_embedding_type", NB_CONFIG_ONLY, "rope_gptj", NULL },
};

static const struct nb_config_rule mimo_rules[] = {
    SILU,
    NO_BIAS,
    { "hybrid_layer_pattern", NB_CONFIG_IGNORED, NULL, NULL }, /* derive_mimo */
    { "swa_num_key_value_heads", NB_CONFIG_IGNORED, NULL, NULL },
    { "swa_head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* wrong ones show in the shapes */
    { "swa_v_head_dim", NB_CONFIG_IGNORED, NULL, NULL },
    { "swa_num_attention_heads", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_layer_freq", NB_CONFIG_IGNORED, NULL, NULL },
    { "hybrid_block_size", NB_CONFIG_IGNORED, NULL, NULL },
    { "sliding_window_size", NB_CONFIG_IGNORED, NULL, NULL }, /* sliding_window */
    { "attention_chunk_size", NB_CONFIG_IGNORED, NULL, NULL },
    { "topk_method", NB_CONFIG_ONLY, "noaux_tc", NULL },
    { "norm_topk_prob", NB_CONFIG_ONLY, "true", NULL },
    { "routed_scaling_factor", NB_CONFIG_ONLY, "1", NULL },
    { "n_shared_experts", NB_CONFIG_ONLY, "0", NULL },
    { "add_full_attention_sink_bias", NB_CONFIG_IGNORED, NULL, NULL }, /* as the tensors are stored */
    { "add_swa_attention_sink_bias", NB_CONFIG_IGNORED, NULL, NULL },
    { "attention_projection_layout", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule step_rules[] = {
    SILU,
    { "attention_other_setting", NB_CONFIG_IGNORED, NULL, NULL }, /* derive_step */
    { "layer_types", NB_CONFIG_IGNORED, NULL, NULL },
    { "partial_rotary_factors", NB_CONFIG_IGNORED, NULL, NULL },
    { "swiglu_limits", NB_CONFIG_IGNORED, NULL, NULL },
    { "swiglu_limits_shared", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_layers_enum", NB_CONFIG_IGNORED, NULL, NULL },
    { "use_moe", NB_CONFIG_ONLY, "true", NULL },
    { "use_moe_router_bias", NB_CONFIG_ONLY, "true", NULL },
    { "moe_router_activation", NB_CONFIG_ONLY, "sigmoid", NULL },
    { "need_fp32_gate", NB_CONFIG_IGNORED, NULL, NULL },
    { "use_head_wise_attn_gate", NB_CONFIG_ONLY, "true", NULL },
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "use_rope_layers", NB_CONFIG_ONLY, "", NULL },
    { "zero_centered", NB_CONFIG_ONLY, "true", NULL },
    { "sink", NB_CONFIG_ONLY, "false", NULL },
    { "max_seq_len", NB_CONFIG_IGNORED, NULL, NULL },
    { "yarn_only_types", NB_CONFIG_ONLY, "full_attention", NULL },
};

/* --- keys ------------------------------------------------------------------------------------------------- */

static const struct nb_key_row mellum_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_EXPERT_FEED_FORWARD), KEY(NB_HP_SLIDING_WINDOW), KEY(NB_HP_SLIDING_PATTERN),
};
static const struct nb_key_row exaone_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_SLIDING_WINDOW),
    WRITE(nb_write_window_pattern),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_NEXTN_LAYERS),
    KEY(NB_HP_ROPE_SCALING),
};
static const struct nb_key_row cohere_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_LOGIT_SCALE),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_SLIDING_PATTERN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY_IF_SET(NB_HP_EXPERTS_SHARED),
    KEY_IF_SET(NB_HP_SHARED_FEED_FORWARD),
    KEY_IF_SET(NB_HP_NEXTN_LAYERS),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_ROPE_SCALING),
};
/* The norms' epsilon has another name than the base class looks for. */
#define SIZES_WITHOUT_EPSILON                              \
    KEY(NB_HP_LAYERS),                                     \
    KEY(NB_HP_CONTEXT),                                    \
    KEY(NB_HP_EMBEDDING),                                  \
    KEY(NB_HP_FEED_FORWARD),                               \
    KEY(NB_HP_HEADS)
static const struct nb_key_row mimo_keys[] = {
    SIZES_WITHOUT_EPSILON,
    KEY(NB_HP_KV_HEADS),
    WRITE(nb_write_rope_scaling),
    KEY(NB_HP_ROPE_BASE),
    KEY(NB_HP_ROPE_BASE_SWA),
    BASE_EXPERTS,
    BASE_END(KEY),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_SLIDING_PATTERN),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_RMS_EPSILON),
    KEY(NB_HP_VALUE_SCALE),
    KEY(NB_HP_NEXTN_LAYERS),
};
/* Counts of key-value heads and experts have other names than the base class looks for. */
static const struct nb_key_row step_keys[] = {
    SIZES_WITHOUT_EPSILON,
    WRITE(nb_write_rope_scaling),
    KEY(NB_HP_ROPE_BASE),
    KEY(NB_HP_ROPE_BASE_SWA),
    KEY_IF_GIVEN(NB_HP_RMS_EPSILON),
    KEY(NB_HP_EXPERT_GATING),
    BASE_END(KEY),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_SLIDING_PATTERN),
    KEY(NB_HP_EXPERTS),
    KEY(NB_HP_EXPERTS_USED),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_MOE_EVERY),
    KEY(NB_HP_RMS_EPSILON),
    KEY(NB_HP_SWIGLU_CLAMP),
    KEY(NB_HP_SWIGLU_CLAMP_SHARED),
    KEY_IF_SET(NB_HP_NEXTN_LAYERS),
};

/* --- families --------------------------------------------------------------------------------------------- */

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const struct nb_made_row step_made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_half_rope_freqs },
};

/* --- the way back ----------------------------------------------------------------------------------------- */

static enum nb_status
restore_exaone(const struct nb_restoration *r, struct nb_error *err)
{
    return nb_restore_number(r, "num_nextn_predict_layers", nb_hp(r->hp, NB_HP_NEXTN_LAYERS)) ? NB_OK
                                                                                              : nb_fail_memory(err);
}

static const char *const mellum_classes[] = { "MellumForCausalLM", NULL };
static const char *const exaone_classes[] = { "ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM", NULL };
static const char *const biases[] = { ".bias", NULL };
static const char *const cohere_classes[] = { "Cohere2MoeForCausalLM", NULL };
static const char *const mimo_classes[] = { "MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM", NULL };
static const char *const step_classes[] = { "Step3p5ForCausalLM", "Step3p7ForConditionalGeneration", NULL };

const struct nb_family nb_family_mellum = {
    .model_type = "mellum",
    FAMILY(mellum_classes, nb_arch_mellum, mellum_config, mellum_rules, mellum_keys, mellum_tensors)
};
const struct nb_family nb_family_exaone_moe = {
    .model_type = "exaone_moe",
    .restore = restore_exaone,
    FAMILY(exaone_classes, nb_arch_exaone_moe, exaone_config, exaone_rules, exaone_keys, exaone_tensors),
    .further_layers = "mtp.",
    .made = made, .n_made = COUNT(made), .rope_factor = 16
};
const struct nb_family nb_family_cohere2moe = {
    .model_type = "cohere2_moe",
    FAMILY(cohere_classes, nb_arch_cohere2moe, cohere_config, cohere_rules, cohere_keys, cohere_tensors),
    .zero_suffixes = biases, .derive = nb_derive_leading_dense
};
const struct nb_family nb_family_mimo2 = {
    FAMILY(mimo_classes, nb_arch_mimo2, mimo_config, mimo_rules, mimo_keys, mimo_tensors),
    .further_layers = "model.mtp.", .derive = derive_mimo
};
const struct nb_family nb_family_step35 = {
    FAMILY(step_classes, nb_arch_step35, step_config, step_rules, step_keys, step_tensors), .derive = derive_step,
    .made = step_made, .n_made = COUNT(step_made)
};
