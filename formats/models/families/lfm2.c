/*
 * LFM2, dense and mixture. Names and keys: llama.cpp's conversion/lfm2.py; defaults: the configuration class of
 * transformers 4.57, which has none for the mixture.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <math.h>

#define HYBRID                                                                               \
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },                             \
    { "model.embedding_norm.weight", "token_embd_norm.weight", PLAIN },                      \
    { "lm_head.weight", "output.weight", PLAIN },                                            \
    { LAYER "operator_norm.weight", BLOCK "attn_norm.weight", PLAIN },                       \
    { LAYER "ffn_norm.weight", BLOCK "ffn_norm.weight", PLAIN },                             \
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", PLAIN },                       \
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", PLAIN },                       \
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", PLAIN },                       \
    { LAYER "self_attn.out_proj.weight", BLOCK "attn_output.weight", PLAIN },                \
    { LAYER "self_attn.q_layernorm.weight", BLOCK "attn_q_norm.weight", PLAIN },             \
    { LAYER "self_attn.k_layernorm.weight", BLOCK "attn_k_norm.weight", PLAIN },             \
    { LAYER "conv.conv.weight", BLOCK "shortconv.conv.weight", KERNELS },                      \
    { LAYER "conv.in_proj.weight", BLOCK "shortconv.in_proj.weight", PLAIN },                \
    { LAYER "conv.out_proj.weight", BLOCK "shortconv.out_proj.weight", PLAIN },              \
    { LAYER "feed_forward.w1.weight", BLOCK "ffn_gate.weight", PLAIN },                      \
    { LAYER "feed_forward.w2.weight", BLOCK "ffn_down.weight", PLAIN },                      \
    { LAYER "feed_forward.w3.weight", BLOCK "ffn_up.weight", PLAIN }

static const struct nb_map_row lfm2_tensors[] = { HYBRID };
static const struct nb_map_row lfm2moe_tensors[] = {
    HYBRID,
    { LAYER "feed_forward.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "feed_forward.expert_bias", BLOCK "exp_probs_b.bias", PLAIN },
    { LAYER "feed_forward.experts.%e.w1.weight", BLOCK "ffn_gate_exps.weight", PLAIN },
    { LAYER "feed_forward.experts.%e.w2.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { LAYER "feed_forward.experts.%e.w3.weight", BLOCK "ffn_up_exps.weight", PLAIN },
};

#define CONFIG                                                                               \
    { NB_HP_LAYERS, "num_hidden_layers", "32" },                                             \
    { NB_HP_EMBEDDING, "hidden_size", "2560" },                                              \
    { NB_HP_FEED_FORWARD, "block_ff_dim|intermediate_size", "12288" },                       \
    { NB_HP_HEADS, "num_attention_heads", "32" },                                            \
    { NB_HP_KV_HEADS, "num_key_value_heads", "8" },                                          \
    { NB_HP_CONTEXT, "max_position_embeddings", "128000" },                                  \
    { NB_HP_ROPE_BASE, "theta|rope_theta", "1000000" },                                      \
    CONFIG_HEAD_DIM("embedding // heads"),                                                   \
    { NB_HP_VOCAB, "vocab_size", "65536" },                                                  \
    { NB_HP_RMS_EPSILON, "norm_eps", "1e-5" },                                               \
    { NB_HP_SHORTCONV_CACHE, "conv_L_cache", "3" }

static const struct nb_config_row lfm2_config[] = { CONFIG };
static const struct nb_config_row lfm2moe_config[] = {
    CONFIG,
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_LEADING_DENSE, "num_dense_layers", NULL },
    { NB_HP_EXPERT_GATING, "", "2" }, /* sigmoid */
};

/* Layers of convolution have no key-value heads; without a list, all layers have attention. */
static double
kv_heads(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    const double heads = nb_hp(hp, NB_HP_KV_HEADS);
    json_t *types = nb_config_find(config, "layer_types"), *full = nb_config_find(config, "full_attn_idxs");

    if (types != NULL && !json_is_null(types))
        return heads * nb_config_layer_is(config, "layer_types", "full_attention", layer, (uint64_t)nb_hp(hp, NB_HP_LAYERS));
    return full == NULL || json_is_null(full) ? heads : heads * nb_config_lists_layer(config, "full_attn_idxs", 0, layer);
}

static double
number(json_t *config, const char *name, double otherwise)
{
    json_t *value = nb_config_find(config, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* Two thirds of the stated size, times a factor, up to a multiple, as the class computes it. */
static enum nb_status
adjust_feed_forward(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const double multiple = number(config, "block_multiple_of", 256), stated = nb_hp(hp, NB_HP_FEED_FORWARD);
    const double factor = number(config, "block_ffn_dim_multiplier", 1);
    const double size = ceil(floor(factor * floor(2 * stated / 3)) / multiple) * multiple;

    if (json_is_false(nb_config_find(config, "block_auto_adjust_ff_dim")))
        return NB_OK;
    if (!(multiple >= 1 && size >= 1 && size <= NB_MAX_SIDE))
        return nb_fail(err, NB_INPUT, "%s: block_multiple_of and block_ffn_dim_multiplier give no possible size", name);
    nb_hp_set(hp, NB_HP_FEED_FORWARD, size, true);
    return NB_OK;
}

static enum nb_status
derive_lfm2(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const enum nb_status status = adjust_feed_forward(config, name, hp, err);

    return status == NB_OK ? nb_derive_each(config, name, NB_HP_KV_HEADS, kv_heads, hp, err) : status;
}

static enum nb_status
derive_lfm2moe(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    return nb_derive_each(config, name, NB_HP_KV_HEADS, kv_heads, hp, err);
}

/* Layers without key-value heads are convolutions; the feed-forward part has the size that is said. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    return nb_restore_kinds(r, "layer_types", NB_HP_KV_HEADS, "full_attention", "conv") &&
                   nb_restore_number(r, "num_key_value_heads", nb_hp(r->hp, NB_HP_KV_HEADS)) &&
                   (nb_hp(r->hp, NB_HP_EXPERTS) > 0 || nb_restore_flag(r, "block_auto_adjust_ff_dim", false))
               ? NB_OK
               : nb_fail_memory(err);
}

#define RULES                                                                                \
    { "layer_types", NB_CONFIG_ONLY, "full_attention|conv", NULL }, /* read by kv_heads */   \
    { "full_attn_idxs", NB_CONFIG_IGNORED, NULL, NULL },                                     \
        { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL }, \
    { "conv_bias", NB_CONFIG_ONLY, "false", NULL },                                          \
    { "use_pos_enc", NB_CONFIG_ONLY, "true", NULL },                                         \
    { "tie_embedding", NB_CONFIG_IGNORED, NULL, NULL }

/* The other sizes repeat hidden_size, num_attention_heads and norm_eps. */
static const struct nb_config_rule lfm2_rules[] = {
    RULES,
    { "block_auto_adjust_ff_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* read by adjust_feed_forward, with the next two */
    { "block_ffn_dim_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "block_multiple_of", NB_CONFIG_IGNORED, NULL, NULL },
    { "block_use_swiglu", NB_CONFIG_ONLY, "true", NULL },
    { "block_dim", NB_CONFIG_IGNORED, NULL, NULL },
    { "block_norm_eps", NB_CONFIG_IGNORED, NULL, NULL },
    { "block_mlp_init_scale", NB_CONFIG_IGNORED, NULL, NULL },
    { "block_out_init_scale", NB_CONFIG_IGNORED, NULL, NULL },
    { "block_use_xavier_init", NB_CONFIG_IGNORED, NULL, NULL },
    { "conv_use_xavier_init", NB_CONFIG_IGNORED, NULL, NULL },
    { "conv_dim", NB_CONFIG_IGNORED, NULL, NULL },
    { "conv_dim_out", NB_CONFIG_IGNORED, NULL, NULL },
    { "num_heads", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule lfm2moe_rules[] = {
    RULES,
    { "norm_topk_prob", NB_CONFIG_NOTED, "true", "but llama.cpp runs this architecture with it" },
    { "use_expert_bias", NB_CONFIG_ONLY, "true", NULL },
    { "routed_scaling_factor", NB_CONFIG_ONLY, "1", NULL },
};

static const struct nb_key_row lfm2_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_SHORTCONV_CACHE),
};

static const struct nb_key_row lfm2moe_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),        KEY(NB_HP_EXPERT_FEED_FORWARD), KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERT_GATING),       KEY(NB_HP_VOCAB),               KEY(NB_HP_SHORTCONV_CACHE),
};

static const char *const lfm2_classes[] = { "Lfm2ForCausalLM", "LFM2ForCausalLM", NULL };
static const char *const lfm2moe_classes[] = { "Lfm2MoeForCausalLM", NULL };

const struct nb_family nb_family_lfm2 = {
    .model_type = "lfm2",
    .restore = restore,
    FAMILY(lfm2_classes, nb_arch_lfm2, lfm2_config, lfm2_rules, lfm2_keys, lfm2_tensors), .derive = derive_lfm2, .mlx = &nb_mlx_lfm2
};
const struct nb_family nb_family_lfm2moe = {
    .model_type = "lfm2_moe",
    .restore = restore,
    FAMILY(lfm2moe_classes, nb_arch_lfm2moe, lfm2moe_config, lfm2moe_rules, lfm2moe_keys, lfm2moe_tensors),
    .derive = derive_lfm2moe
};
