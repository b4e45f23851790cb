/*
 * Granite 4 and Bamba: attention among Mamba 2 layers. Names and keys: llama.cpp's conversion/granite.py, which
 * reads config.json as it is, without the defaults of transformers. Granite 4 models whose layers all have
 * attention become models of Granite's older architectures.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <math.h>

#define HYBRID(norm, ffn_norm)                                                                        \
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },                                      \
    { norm, "output_norm.weight", PLAIN },                                                            \
    { "lm_head.weight", "output.weight", PLAIN },                                                     \
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },                              \
    { LAYER ffn_norm, BLOCK "ffn_norm.weight", PLAIN },                                               \
    MAMBA2(LAYER "mamba."),                                                                           \
    ATTENTION(NEIGHBOURS),                                                                            \
    QKV_BIASES(NEIGHBOURS),                                                                           \
    O_BIAS

static const struct nb_map_row bamba_tensors[] = {
    HYBRID("model.final_layernorm.weight", "pre_ff_layernorm.weight"),
    { LAYER "feed_forward.gate_proj.weight", BLOCK "ffn_gate.weight", PLAIN },
    { LAYER "feed_forward.up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { LAYER "feed_forward.down_proj.weight", BLOCK "ffn_down.weight", PLAIN },
};

/* The gate's and the up projection's rows are in one matrix. */
#define GATE(groups, rows) { { NB_MAP_CUT_GROUPS, { groups, "0", rows } } }
#define UP(groups, rows) { { NB_MAP_CUT_GROUPS, { groups, rows, rows } } }

/* Without experts, the shared one is the feed-forward part. */
#define DENSE_PART                                                                                    \
    { LAYER "shared_mlp.input_linear.weight", BLOCK "ffn_gate.weight", GATE("1", "feed_forward") },   \
    { LAYER "shared_mlp.input_linear.weight", BLOCK "ffn_up.weight", UP("1", "feed_forward") },       \
    { LAYER "shared_mlp.output_linear.weight", BLOCK "ffn_down.weight", PLAIN }
#define SPARSE_PART                                                                                   \
    { LAYER "block_sparse_moe.router.layer.weight", BLOCK "ffn_gate_inp.weight", PLAIN },             \
    { LAYER "block_sparse_moe.input_linear.weight",                                                   \
      BLOCK "ffn_gate_exps.weight",                                                                   \
      GATE("experts", "feed_forward") },                                                              \
    { LAYER "block_sparse_moe.input_linear.weight",                                                   \
      BLOCK "ffn_up_exps.weight",                                                                     \
      UP("experts", "feed_forward") },                                                                \
    { LAYER "block_sparse_moe.output_linear.weight", BLOCK "ffn_down_exps.weight", PLAIN },           \
    { LAYER "shared_mlp.input_linear.weight",                                                         \
      BLOCK "ffn_gate_shexp.weight",                                                                  \
      GATE("1", "shared_feed_forward") },                                                             \
    { LAYER "shared_mlp.input_linear.weight",                                                         \
      BLOCK "ffn_up_shexp.weight",                                                                    \
      UP("1", "shared_feed_forward") },                                                               \
    { LAYER "shared_mlp.output_linear.weight", BLOCK "ffn_down_shexp.weight", PLAIN }

static const struct nb_map_row granite_tensors[] = {
    HYBRID("model.norm.weight", "post_attention_layernorm.weight"),
    DENSE_PART,
    SPARSE_PART,
    MLX_STACKS(LAYER "block_sparse_moe.switch_mlp."),
};
static const struct nb_map_row dense_tensors[] = {
    EMBEDDINGS, NORMS, ATTENTION(NEIGHBOURS), QKV_BIASES(NEIGHBOURS), O_BIAS, DENSE_PART,
};
static const struct nb_map_row mixture_tensors[] = {
    EMBEDDINGS, NORMS, ATTENTION(NEIGHBOURS), QKV_BIASES(NEIGHBOURS), O_BIAS, SPARSE_PART,
};

/* ssm_inner is the expansion at first. An entry head_dim is not used; 0 as a scale is like none. */
#define CONFIG                                                                                        \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },                                                      \
    { NB_HP_VOCAB, "vocab_size", "" },                                                                \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                                                         \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },                                                \
    { NB_HP_HEADS, "num_attention_heads", NULL },                                                     \
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },                                               \
    { NB_HP_KEY_LENGTH, "", "embedding // heads" },                                                   \
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" },                                                 \
    { NB_HP_ROPE_DIMS, "attn_rotary_emb", "embedding // heads" },                                     \
    { NB_HP_ROPE_BASE, "rope_theta", "" },                                                            \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },                                                      \
    { NB_HP_SSM_CONV, "conv_kernel|d_conv|mamba_conv_kernel|mamba_d_conv", "4" },                     \
    { NB_HP_SSM_STATE, "state_size|d_state|ssm_state_size|mamba_state_size|mamba_d_state", "256" },   \
    { NB_HP_SSM_GROUPS, "n_groups|num_groups|mamba_n_groups|mamba_num_groups", "1" },                 \
    { NB_HP_SSM_INNER, "expand|mamba_expand", "2" },                                                  \
    { NB_HP_SSM_INNER, "", "ssm_inner * embedding" },                                                 \
    { NB_HP_SSM_RANK, "n_heads|num_heads|mamba_n_heads|mamba_num_heads", "128" }

static const struct nb_config_row bamba_config[] = {
    CONFIG,
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_ROPE_FINETUNED, "", "1" },
};

#define GRANITE_CONFIG                                                                                \
    CONFIG,                                                                                           \
    { NB_HP_ATTENTION_SCALE, "attention_multiplier", "" },                                            \
    { NB_HP_EMBEDDING_SCALE, "embedding_multiplier", "" },                                            \
    { NB_HP_RESIDUAL_SCALE, "residual_multiplier", "" },                                              \
    { NB_HP_LOGIT_SCALE, "logits_scaling", "" },                                                      \
    { NB_HP_EXPERTS, "num_local_experts", "" },                                                       \
    { NB_HP_EXPERTS_USED, "num_experts_per_tok|num_experts_per_token", "" },                          \
    { NB_HP_SHARED_FEED_FORWARD, "shared_intermediate_size", "" }

/* Models with recurrent layers have no positions, and so no longest text. */
static const struct nb_config_row granite_config[] = {
    GRANITE_CONFIG,
    { NB_HP_CONTEXT, "", "1048576" },
    { NB_HP_ROPE_FINETUNED, "", "0" },
};
static const struct nb_config_row attention_config[] = {
    GRANITE_CONFIG,
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_ROPE_FINETUNED, "", "1" },
};

/* 1 for layers with attention, 0 for recurrent ones: by name, by number, or one of a period. */
static double
has_attention(json_t *config, double layers, uint64_t layer)
{
    json_t *period = nb_config_find(config, "attn_layer_period"), *offset = nb_config_find(config, "attn_layer_offset");

    if (json_array_size(nb_config_find(config, "layer_types")) > 0)
        return nb_config_layer_is(config, "layer_types", "attention|full_attention", layer, (uint64_t)layers);
    if (json_array_size(nb_config_find(config, "attn_layer_indices")) > 0)
        return nb_config_lists_layer(config, "attn_layer_indices", 0, layer);
    if (!(json_number_value(period) >= 1) || !json_is_number(offset))
        return NAN;
    return fmod((double)layer, json_number_value(period)) == json_number_value(offset);
}

static double
kv_heads(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    return nb_hp(hp, NB_HP_KV_HEADS) * has_attention(config, nb_hp(hp, NB_HP_LAYERS), layer);
}

static enum nb_status
derive(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    return nb_derive_each(config, name, NB_HP_KV_HEADS, kv_heads, hp, err);
}

/* --- which architecture ------------------------------------------------------------------------------------ */

static bool
is_hybrid(json_t *config)
{
    const double layers = json_number_value(nb_config_find(config, "num_hidden_layers"));

    for (uint64_t i = 0; (double)i < layers && i < NB_MAX_LAYERS; i++)
        if (has_attention(config, layers, i) != 1)
            return true;
    return false;
}

static bool
is_mixture(json_t *config)
{
    return json_number_value(nb_config_find(config, "num_experts_per_tok")) > 0;
}

static bool
is_attention_only(json_t *config)
{
    return !is_hybrid(config) && !is_mixture(config);
}

static bool
is_attention_with_experts(json_t *config)
{
    return !is_hybrid(config) && is_mixture(config);
}

/* --- the families ------------------------------------------------------------------------------------------ */

/* Which layers have attention is read by has_attention. */
#define RULES                                                                                   \
    RECURRENT_RULES,                                                                            \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                                       \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },                     \
    /* transformers 5 has other names for both kinds. */                                        \
    { "layer_types", NB_CONFIG_ONLY, "attention|full_attention|mamba|linear_attention", NULL }, \
    { "attn_layer_indices", NB_CONFIG_IGNORED, NULL, NULL },                                    \
    { "attn_layer_period", NB_CONFIG_IGNORED, NULL, NULL },                                     \
    { "attn_layer_offset", NB_CONFIG_IGNORED, NULL, NULL },                                     \
    { "head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* a wrong one shows in the shapes */        \
    { "mamba_d_head", NB_CONFIG_IGNORED, NULL, NULL },                                          \
    { "mamba_proj_bias", NB_CONFIG_ONLY, "false", NULL }

static const struct nb_config_rule bamba_rules[] = {
    RULES,
    { "mamba_conv_bias", NB_CONFIG_BIASES, ".mamba.conv1d.bias", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL }, /* attn_rotary_emb counts */
    { "z_loss_coefficient", NB_CONFIG_IGNORED, NULL, NULL },
};

#define GRANITE_RULES                                                                                 \
    RULES,                                                                                            \
    { "normalization_function", NB_CONFIG_ONLY, "rmsnorm", NULL },                                    \
    { "init_method", NB_CONFIG_IGNORED, NULL, NULL }

static const struct nb_config_rule granite_rules[] = {
    GRANITE_RULES,
    { "mamba_conv_bias", NB_CONFIG_BIASES, ".mamba.conv1d.bias", NULL },
    { "position_embedding_type", NB_CONFIG_ONLY, "nope", NULL },
    { "max_position_embeddings", NB_CONFIG_IGNORED, NULL, NULL },
};
static const struct nb_config_rule attention_rules[] = {
    GRANITE_RULES,
    { "mamba_conv_bias", NB_CONFIG_IGNORED, NULL, NULL },
    { "position_embedding_type", NB_CONFIG_ONLY, "rope", NULL },
};

#define NO_KEY(hparam) { NB_KEY_IF_GIVEN, hparam, NULL }

static const struct nb_key_row keys[] = {
    BASE_KEYS(NO_KEY),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_ROPE_DIMS),
    KEY_IF_SET(NB_HP_ATTENTION_SCALE),
    KEY_IF_SET(NB_HP_EMBEDDING_SCALE),
    KEY_IF_SET(NB_HP_RESIDUAL_SCALE),
    KEY_IF_SET(NB_HP_LOGIT_SCALE),
    KEY_IF_SET(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_SSM_CONV),
    KEY(NB_HP_SSM_STATE),
    KEY(NB_HP_SSM_GROUPS),
    KEY(NB_HP_SSM_INNER),
    KEY(NB_HP_SSM_RANK),
    KEY(NB_HP_ROPE_FINETUNED),
};

/* What both have: the length of a recurrent head, and how many heads of keys the layers with attention have. */
static bool
restore_heads(const struct nb_restoration *r)
{
    const double rank = nb_hp(r->hp, NB_HP_SSM_RANK);

    return (rank == 0 || nb_restore_number(r, "mamba_d_head", nb_hp(r->hp, NB_HP_SSM_INNER) / rank)) &&
           nb_restore_number(r, "num_key_value_heads", nb_hp(r->hp, NB_HP_KV_HEADS));
}

static enum nb_status
restore_bamba(const struct nb_restoration *r, struct nb_error *err)
{
    return restore_heads(r) && nb_restore_numbers(r, "attn_layer_indices", NB_HP_KV_HEADS, true, 0)
               ? NB_OK
               : nb_fail_memory(err);
}

/* Without experts, the shared one has the size of the feed-forward part. */
static enum nb_status
restore_granite(const struct nb_restoration *r, struct nb_error *err)
{
    const bool has_experts = nb_hp(r->hp, NB_HP_EXPERTS) > 0;

    return restore_heads(r) && nb_restore_kinds(r, "layer_types", NB_HP_KV_HEADS, "attention", "mamba") &&
                   (has_experts || (nb_restore_number(r, "num_local_experts", 0) &&
                                    nb_restore_number(r, "num_experts_per_tok", 0)))
               ? NB_OK
               : nb_fail_memory(err);
}

static const char *const bamba_classes[] = { "BambaForCausalLM", NULL };
static const char *const granite_classes[] = { "GraniteMoeHybridForCausalLM", NULL };

const struct nb_family nb_family_bamba = {
    .model_type = "bamba",
    .restore = restore_bamba,
    FAMILY(bamba_classes, nb_arch_granitehybrid, bamba_config, bamba_rules, keys, bamba_tensors), .derive = derive
};
const struct nb_family nb_family_granite4_hybrid = {
    .model_type = "granitemoehybrid",
    .restore = restore_granite,
    FAMILY(granite_classes, nb_arch_granitehybrid, granite_config, granite_rules, keys, granite_tensors),
    .derive = derive, .is_for = is_hybrid, .mlx = &nb_mlx_granite_hybrid
};
const struct nb_family nb_family_granite4 = {
    FAMILY(granite_classes, nb_arch_granite, attention_config, attention_rules, keys, dense_tensors),
    .derive = derive, .is_for = is_attention_only, .mlx = &nb_mlx_granite_hybrid
};
const struct nb_family nb_family_granite4_moe = {
    FAMILY(granite_classes, nb_arch_granitemoe, attention_config, attention_rules, keys, mixture_tensors),
    .derive = derive, .is_for = is_attention_with_experts, .mlx = &nb_mlx_granite_hybrid
};
