/*
 * Mixtures of Hunyuan (A13B, Hy3) and ERNIE 4.5. Names and keys: llama.cpp's conversion/hunyuan.py and ernie.py;
 * defaults: the configuration classes of transformers 4.57, which does not know Hy3.
 */
#include "formats/models/families/rows.h"

#define SHARED_MLP                                                                    \
    { LAYER "mlp.shared_mlp.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN }, \
    { LAYER "mlp.shared_mlp.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },    \
    { LAYER "mlp.shared_mlp.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN }

static const struct nb_map_row hunyuan_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.query_layernorm.weight", BLOCK "attn_q_norm.weight", PLAIN },
    { LAYER "self_attn.key_layernorm.weight", BLOCK "attn_k_norm.weight", PLAIN },
    { LAYER "mlp.gate.wg.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    EXPERTS_DOWN_FIRST,
    SHARED_MLP,
};

/* Checkpoints of transformers' class and Tencent's own differ in the names of router and shared expert. */
static const struct nb_map_row hy_v3_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    { LAYER "mlp.router.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.gate.wg.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.expert_bias", BLOCK "exp_probs_b", PLAIN },
    EXPERTS_DOWN_FIRST,
    SHARED_MLP,
    SHARED_EXPERTS,
    { LAYER "final_layernorm.weight", BLOCK "nextn.shared_head_norm.weight", PLAIN },
    NEXTN,
};

static const struct nb_map_row ernie_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.o_proj.bias", BLOCK "attn_output.bias", PLAIN },
    GATED_MLP,
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.moe_statics.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN },
    EXPERTS_UP_FIRST,
    SHARED_EXPERTS,
};
/* Layers that predict further tokens. */
static const char *const ernie_ignored[] = { "model.mtp_block.", "model.mtp_emb_norm.", "model.mtp_hidden_norm.",
                                             "model.mtp_linear_proj.", NULL };

/* --- config.json ------------------------------------------------------------------------------------------ */

/* Some entries have a number for each layer, which must all be the same. */
static const struct nb_config_row hunyuan_config[] = {
    CONFIG_BASE("heads", "2048", "10000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    CONFIG_RMS_EPSILON("1e-5"),
    { NB_HP_EXPERTS, "num_local_experts|num_experts", "1" },
    { NB_HP_SHARED_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size.0|moe_intermediate_size", NULL },
    { NB_HP_EXPERTS_USED, "moe_topk.0|moe_topk", "1" },
    { NB_HP_EXPERTS_SHARED, "num_shared_expert.0|num_shared_expert", NULL },
};

static enum nb_status
derive_hunyuan(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    static const char *const lists[] = { "moe_intermediate_size", "moe_topk", "num_shared_expert" };

    for (size_t k = 0; k < COUNT(lists); k++) {
        json_t *list = nb_config_find(config, lists[k]), *number;
        size_t i;

        json_array_foreach(list, i, number)
            if (json_number_value(number) != json_number_value(json_array_get(list, 0)))
                return nb_fail(err, NB_UNSUPPORTED, "%s: %s differs between layers, for which GGUF has no place", name,
                               lists[k]);
    }
    return nb_grow_rope_base(config, 1000, name, hp, err);
}

static const struct nb_config_row hy_v3_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    CONFIG_NEXTN,
    { NB_HP_CONTEXT, "max_position_embeddings", "" },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    CONFIG_ROPE_BASE(""),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_EXPERTS_SHARED, "num_shared_experts", "1" },
    { NB_HP_SHARED_FEED_FORWARD, "", "expert_feed_forward * experts_shared" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "route_norm", "1" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "router_scaling_factor", "1" },
    { NB_HP_EXPERT_GATING, "scoring_func|score_function|score_func", "2" }, /* sigmoid */
};

/* The size of the shared expert is computed as in the reference, though a head count is no part of it. */
static const struct nb_config_row ernie_config[] = {
    CONFIG_BASE("4", "131072", "500000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    CONFIG_RMS_EPSILON("1e-5"),
    { NB_HP_EXPERTS, "moe_num_experts", "64" },
    { NB_HP_EXPERTS_USED, "moe_k", "6" },
    { NB_HP_MOE_INTERLEAVE, "moe_layer_interval", "1" },
    { NB_HP_LEADING_DENSE, "moe_layer_start_index", "1" },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "1536" },
    { NB_HP_EXPERTS_SHARED, "moe_num_shared_experts", "2" },
    { NB_HP_SHARED_FEED_FORWARD, "", "(experts_shared > 0) * (feed_forward // kv_heads)" },
};

#define SILU { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL }

static const struct nb_config_rule hunyuan_rules[] = {
    SILU,
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "use_cla", NB_CONFIG_ONLY, "false", NULL },
    { "use_mla", NB_CONFIG_ONLY, "false", NULL },
    { "use_mixed_mlp_moe", NB_CONFIG_ONLY, "true", NULL }, /* a shared expert */
    { "norm_topk_prob", NB_CONFIG_ONLY, "true", NULL },
    { "moe_layer_num_skipped", NB_CONFIG_ONLY, "0", NULL },
    { "rope.alpha", NB_CONFIG_IGNORED, NULL, NULL }, /* nb_grow_rope_base */
    { "rope.mscale", NB_CONFIG_IGNORED, NULL, NULL }, /* not used by the model */
    { "rope.mscale_all_dim", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_drop_tokens", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_random_routing_dropped_token", NB_CONFIG_IGNORED, NULL, NULL },
    { "capacity_factor", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule hy_v3_rules[] = {
    SILU,
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "moe_router_use_sigmoid", NB_CONFIG_ONLY, "true", NULL },
    { "moe_router_enable_expert_bias", NB_CONFIG_IGNORED, NULL, NULL }, /* as the tensors are stored */
    { "first_k_dense_replace", NB_CONFIG_IGNORED, NULL, NULL },         /* likewise */
    { "expert_hidden_dim", NB_CONFIG_IGNORED, NULL, NULL },             /* moe_intermediate_size */
};

static const struct nb_config_rule ernie_rules[] = {
    SILU,
    { "use_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "moe_layer_interval", NB_CONFIG_ONLY, "1", NULL },
    { "moe_layer_end_index", NB_CONFIG_IGNORED, NULL, NULL }, /* a layer without experts would be missed */
    { "moe_norm_min", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_use_aux_free", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_gate", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_capacity", NB_CONFIG_IGNORED, NULL, NULL },
    { "num_nextn_predict_layers", NB_CONFIG_IGNORED, NULL, NULL },
};

/* --- keys ------------------------------------------------------------------------------------------------- */

static const struct nb_key_row hunyuan_keys[] = {
    BASE_SIZES,
    KEY(NB_HP_EXPERTS),
    BASE_ROUTING,
    BASE_END(KEY_IF_GIVEN),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_USED),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_ROPE_SCALING),
    KEY(NB_HP_ROPE_FACTOR),
    KEY(NB_HP_ROPE_CONTEXT),
};
static const struct nb_key_row hy_v3_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_GATING),
    KEY_IF_SET(NB_HP_NEXTN_LAYERS),
};
static const struct nb_key_row ernie_keys[] = {
    BASE_SIZES,
    BASE_ROUTING,
    BASE_END(KEY_IF_GIVEN),
    KEY(NB_HP_EXPERTS),
    KEY(NB_HP_EXPERTS_USED),
    KEY(NB_HP_MOE_INTERLEAVE),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY_IF_SET(NB_HP_SHARED_FEED_FORWARD),
};

/* --- families --------------------------------------------------------------------------------------------- */

static const char *const hunyuan_classes[] = { "HunYuanMoEV1ForCausalLM", NULL };
static const char *const hy_v3_classes[] = { "HYV3ForCausalLM", NULL };
static const char *const ernie_classes[] = { "Ernie4_5_MoeForCausalLM", NULL };

const struct nb_family nb_family_hunyuan_moe = {
    .model_type = "hunyuan_v1_moe",
    FAMILY(hunyuan_classes, nb_arch_hunyuan_moe, hunyuan_config, hunyuan_rules, hunyuan_keys, hunyuan_tensors),
    .derive = derive_hunyuan,
    .skips_tied_output = true,
    .tokenizer = { .bos_token = 127959 }, /* <|bos|>: config.json has another one */
};
const struct nb_family nb_family_hy_v3 = {
    .model_type = "hy_v3",
    FAMILY(hy_v3_classes, nb_arch_hy_v3, hy_v3_config, hy_v3_rules, hy_v3_keys, hy_v3_tensors)
};
const struct nb_family nb_family_ernie4_5_moe = {
    .model_type = "ernie4_5_moe",
    FAMILY(ernie_classes, nb_arch_ernie4_5_moe, ernie_config, ernie_rules, ernie_keys, ernie_tensors),
    .ignored_prefixes = ernie_ignored,
    .tokenizer = { .space_prefix = NB_PREFIX_LAST },
};
