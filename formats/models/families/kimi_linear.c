/*
 * Kimi Linear: compressed attention among layers of delta attention, and a mixture. Names and keys: llama.cpp's
 * conversion/kimi_linear.py, which reads config.json as it is.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <inttypes.h>
#include <math.h>

#define ATTN LAYER "self_attn."
#define MOE LAYER "block_sparse_moe."
#define UNROTATED "key_length_mla - rope_dims"

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    { ATTN "q_conv1d.weight", BLOCK "ssm_conv1d_q.weight", KERNELS },
    { ATTN "k_conv1d.weight", BLOCK "ssm_conv1d_k.weight", KERNELS },
    { ATTN "v_conv1d.weight", BLOCK "ssm_conv1d_v.weight", KERNELS },
    { ATTN "A_log", BLOCK "ssm_a", { { NB_MAP_SIDES, { "11n1" } }, { NB_MAP_NEGATE_EXP, { NULL } } } },
    { ATTN "dt_bias", BLOCK "ssm_dt.bias", PLAIN },
    { ATTN "b_proj.weight", BLOCK "ssm_beta.weight", PLAIN },
    { ATTN "f_a_proj.weight", BLOCK "ssm_f_a.weight", PLAIN },
    { ATTN "f_b_proj.weight", BLOCK "ssm_f_b.weight", PLAIN },
    { ATTN "g_a_proj.weight", BLOCK "ssm_g_a.weight", PLAIN },
    { ATTN "g_b_proj.weight", BLOCK "ssm_g_b.weight", PLAIN },
    { ATTN "o_norm.weight", BLOCK "ssm_norm.weight", PLAIN },
    { ATTN "q_a_proj.weight", BLOCK "attn_q_a.weight", PLAIN },
    { ATTN "q_a_layernorm.weight", BLOCK "attn_q_a_norm.weight", PLAIN },
    { ATTN "q_b_proj.weight", BLOCK "attn_q_b.weight", PLAIN },
    { ATTN "kv_a_layernorm.weight", BLOCK "attn_kv_a_norm.weight", PLAIN },
    { ATTN "kv_a_proj_with_mqa.weight", BLOCK "attn_kv_a_mqa.weight", PLAIN },
    { ATTN "kv_b_proj.weight",
      BLOCK "attn_k_b.weight",
      { { NB_MAP_CUT_GROUPS, { "heads", "0", UNROTATED } }, { NB_MAP_TRANSPOSE, { NULL } } } },
    { ATTN "kv_b_proj.weight",
      BLOCK "attn_v_b.weight",
      { { NB_MAP_CUT_GROUPS, { "heads", UNROTATED, "value_length_mla" } } } },
    GATED_MLP,
    { MOE "gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { MOE "gate.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN },
    { MOE "experts.%e.w1.weight", BLOCK "ffn_gate_exps.weight", PLAIN },
    { MOE "experts.%e.w2.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { MOE "experts.%e.w3.weight", BLOCK "ffn_up_exps.weight", PLAIN },
    { MOE "shared_experts.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { MOE "shared_experts.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { MOE "shared_experts.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
    MLX_KEYS_AND_VALUES,
};

/* What attention runs with is one head of compressed keys; key_length_mla is the unrotated part at first. */
static const struct nb_config_row config_rows[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "", "1" },
    { NB_HP_CONTEXT, "max_position_embeddings|model_max_length", NULL },
    { NB_HP_VOCAB, "vocab_size", "" },
    { NB_HP_ROPE_BASE, "rope_theta", "" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    { NB_HP_Q_LORA_RANK, "q_lora_rank", "" },
    { NB_HP_KV_LORA_RANK, "kv_lora_rank", NULL },
    { NB_HP_ROPE_DIMS, "qk_rope_head_dim", NULL },
    { NB_HP_KEY_LENGTH_MLA, "qk_nope_head_dim", NULL },
    { NB_HP_KEY_LENGTH_MLA, "", "key_length_mla + rope_dims" },
    { NB_HP_VALUE_LENGTH_MLA, "v_head_dim", NULL },
    { NB_HP_KEY_LENGTH, "head_dim", "1" },
    { NB_HP_VALUE_LENGTH, "head_dim", "value_length_mla" },
    { NB_HP_SSM_CONV, "linear_attn_config.short_conv_kernel_size", NULL },
    { NB_HP_KDA_HEAD, "linear_attn_config.head_dim", NULL },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok|num_experts_per_token", NULL },
    { NB_HP_EXPERT_GROUPS, "n_group", "" },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },
    { NB_HP_EXPERT_GATING, "moe_router_activation_func", "2" }, /* sigmoid */
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_EXPERTS_SHARED, "num_shared_experts", NULL },
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", NULL },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
};

static double
kv_heads(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    (void)hp;
    return nb_config_lists_layer(config, "linear_attn_config.full_attn_layers", 1, layer);
}

/* Each layer is in one of the two lists, if there are two. */
static enum nb_status
check_lists(json_t *config, const char *name, const struct nb_hparams *hp, struct nb_error *err)
{
    const uint64_t layers = (uint64_t)fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS);

    for (uint64_t i = 0; i < layers; i++) {
        const double linear = nb_config_lists_layer(config, "linear_attn_config.kda_layers", 1, i);

        if (isnan(linear) || linear + kv_heads(config, hp, i) == 1)
            continue;
        return nb_fail(err, NB_INPUT,
                       "%s: layer %" PRIu64 ", counted from 1, is in %s of kda_layers and full_attn_layers", name, i + 1,
                       linear != 0 ? "both" : "none");
    }
    return NB_OK;
}

/* A key is what is compressed and what is rotated; it stands where head_dim would be written if there is one. */
static enum nb_status
derive(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    enum nb_status status;

    nb_hp_set(hp, NB_HP_KEY_LENGTH, nb_hp(hp, NB_HP_KV_LORA_RANK) + nb_hp(hp, NB_HP_ROPE_DIMS),
              hp->value[NB_HP_KEY_LENGTH].given);
    status = nb_derive_each(config, name, NB_HP_KV_HEADS, kv_heads, hp, err);
    return status == NB_OK ? check_lists(config, name, hp, err) : status;
}

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "linear_attn_config", NB_CONFIG_IGNORED, NULL, NULL }, /* its lists are read by kv_heads */
    { "moe_router_activation_func", NB_CONFIG_ONLY, "sigmoid", NULL },
    { "moe_renormalize", NB_CONFIG_ONLY, "true", NULL },
    { "moe_layer_freq", NB_CONFIG_ONLY, "1", NULL },
    { "num_expert_group", NB_CONFIG_ONLY, "1", NULL },
    { "use_grouped_topk", NB_CONFIG_IGNORED, NULL, NULL }, /* there is one group */
    { "mla_use_nope", NB_CONFIG_ONLY, "true", NULL },
    { "num_key_value_heads", NB_CONFIG_IGNORED, NULL, NULL }, /* as many as there are heads */
    { "num_nextn_predict_layers", NB_CONFIG_ONLY, "0", NULL },
};

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_SSM_CONV),
    KEY(NB_HP_KDA_HEAD),
    KEY(NB_HP_Q_LORA_RANK),
    KEY(NB_HP_KV_LORA_RANK),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_KEY_LENGTH),
    KEY(NB_HP_KEY_LENGTH_MLA),
    KEY(NB_HP_VALUE_LENGTH_MLA),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_GATING), /* llama.cpp demands it, also where config.json takes it for granted */
};

/* Layers without key-value heads are of delta attention. The lists count layers from 1. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    const double heads = nb_hp(r->hp, NB_HP_HEADS);
    bool good = nb_restore_numbers(r, "linear_attn_config.full_attn_layers", NB_HP_KV_HEADS, true, 1) &&
                nb_restore_numbers(r, "linear_attn_config.kda_layers", NB_HP_KV_HEADS, false, 1) &&
                nb_restore_number(r, "linear_attn_config.num_heads", heads) &&
                nb_restore_number(r, "num_key_value_heads", heads);

    if (good && nb_hp_has(r->said, NB_HP_VALUE_LENGTH)) /* a key's is another, whatever head_dim is */
        good = nb_restore_number(r, "head_dim", nb_hp(r->said, NB_HP_VALUE_LENGTH));
    if (good && nb_hp(r->hp, NB_HP_Q_LORA_RANK) == 0)
        good = nb_restore(r, "q_lora_rank", json_null());
    return good ? NB_OK : nb_fail_memory(err);
}

static const char *const classes[] = { "KimiLinearForCausalLM", "KimiLinearModel", NULL };

const struct nb_family nb_family_kimi_linear = {
    .model_type = "kimi_linear",
    .restore = restore,
    FAMILY(classes, nb_arch_kimi_linear, config_rows, rules, keys, tensors), .derive = derive, .mlx = &nb_mlx_kimi_linear
};
