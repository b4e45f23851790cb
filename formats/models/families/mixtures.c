/*
 * dots.llm1, MiniMax M2 and M3, Ling (Bailing), Trinity (AFMoE), DBRX: mixtures of experts. Names and keys: llama.cpp's
 * conversion/dots1.py, minimax.py, bailingmoe.py, afmoe.py and dbrx.py; defaults: the configuration classes of
 * transformers 4.57, where it has them.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

static const struct nb_map_row dots1_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    EXPERTS,
    SHARED_EXPERTS,
    ROUTER_BIAS,
};

static const struct nb_map_row minimax_m2_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    MIXTRAL_EXPERTS,
    { LAYER "block_sparse_moe.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN },
};

static const struct nb_map_row minimax_m3_tensors[] = {
    EMBEDDINGS_WITH(PLUS_ONE),
    NORMS_WITH(PLUS_ONE),
    ATTENTION(PLAIN),
    Q_K_NORMS_WITH(PLUS_ONE),
    { LAYER "self_attn.index_q_proj.weight", BLOCK "indexer.q_proj.weight", PLAIN },
    { LAYER "self_attn.index_k_proj.weight", BLOCK "indexer.k_proj.weight", PLAIN },
    { LAYER "self_attn.index_q_norm.weight", BLOCK "indexer.q_norm.weight", PLUS_ONE },
    { LAYER "self_attn.index_k_norm.weight", BLOCK "indexer.k_norm.weight", PLUS_ONE },
    GATED_MLP,
    MIXTRAL_EXPERTS,
    { LAYER "block_sparse_moe.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN },
    { LAYER "block_sparse_moe.shared_experts.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { LAYER "block_sparse_moe.shared_experts.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
    { LAYER "block_sparse_moe.shared_experts.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
};

#define LING_EMBEDDINGS                                          \
    { "model.word_embeddings.weight", "token_embd.weight", PLAIN }, \
    { "model.norm.weight", "output_norm.weight", PLAIN },        \
    { "lm_head.weight", "output.weight", PLAIN }
#define LING_QKV LAYER "attention.query_key_value.weight"

static const struct nb_map_row bailingmoe_tensors[] = {
    LING_EMBEDDINGS,
    NORMS,
    { LING_QKV, BLOCK "attn_q.weight",
      { { NB_MAP_CUT, { "0", "heads * key_length" } }, { NB_MAP_NEIGHBOURS, { "key_length" } } } },
    { LING_QKV, BLOCK "attn_k.weight",
      { { NB_MAP_CUT, { "heads * key_length", "kv_heads * key_length" } }, { NB_MAP_NEIGHBOURS, { "key_length" } } } },
    { LING_QKV, BLOCK "attn_v.weight",
      { { NB_MAP_CUT, { "(heads + kv_heads) * key_length", "kv_heads * key_length" } } } },
    { LAYER "attention.dense.weight", BLOCK "attn_output.weight", PLAIN },
    EXPERTS,
    SHARED_EXPERTS,
};

static const struct nb_map_row bailingmoe2_tensors[] = {
    LING_EMBEDDINGS,
    NORMS,
    { LING_QKV, BLOCK "attn_qkv.weight", PLAIN },
    { LAYER "attention.dense.weight", BLOCK "attn_output.weight", PLAIN },
    { LAYER "attention.query_layernorm.weight", BLOCK "attn_q_norm.weight", PLAIN },
    { LAYER "attention.key_layernorm.weight", BLOCK "attn_k_norm.weight", PLAIN },
    GATED_MLP,
    EXPERTS,
    { LAYER "mlp.gate.expert_bias", BLOCK "exp_probs_b.bias", PLAIN },
    SHARED_EXPERTS,
    NEXTN,
    { LAYER "final_layernorm.weight", BLOCK "layer_output_norm.weight", PLAIN },
};

static const struct nb_map_row afmoe_tensors[] = {
    EMBEDDINGS,
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "post_attention_layernorm.weight", BLOCK "post_attention_norm.weight", PLAIN },
    { LAYER "pre_mlp_layernorm.weight", BLOCK "ffn_norm.weight", PLAIN },
    { LAYER "post_mlp_layernorm.weight", BLOCK "post_ffw_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    Q_K_NORMS,
    { LAYER "self_attn.gate_proj.weight", BLOCK "attn_gate.weight", PLAIN },
    GATED_MLP,
    { LAYER "mlp.router.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "mlp.expert_bias", BLOCK "exp_probs_b.bias", PLAIN },
    EXPERTS_UP_FIRST,
    SHARED_EXPERTS,
};

/* The experts' matrices lie one below the other; those of w2 are stored as they are multiplied from the other side. */
#define DBRX "transformer.blocks.%l."
#define ALL_ROWS { { NB_MAP_CUT, { "0", "experts * feed_forward" } } }
static const struct nb_map_row dbrx_tensors[] = {
    { "transformer.wte.weight", "token_embd.weight", PLAIN },
    { "transformer.norm_f.weight", "output_norm.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    { DBRX "norm_attn_norm.norm_1.weight", BLOCK "attn_norm.weight", PLAIN },
    { DBRX "norm_attn_norm.norm_2.weight", BLOCK "attn_output_norm.weight", PLAIN },
    { DBRX "norm_attn_norm.attn.Wqkv.weight", BLOCK "attn_qkv.weight", PLAIN },
    { DBRX "norm_attn_norm.attn.out_proj.weight", BLOCK "attn_output.weight", PLAIN },
    { DBRX "ffn.router.layer.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { DBRX "ffn.experts.mlp.v1", BLOCK "ffn_up_exps.weight", ALL_ROWS },
    { DBRX "ffn.experts.mlp.w1", BLOCK "ffn_gate_exps.weight", ALL_ROWS },
    { DBRX "ffn.experts.mlp.w2", BLOCK "ffn_down_exps.weight",
      { { NB_MAP_CUT_GROUPS, { "experts", "0", "feed_forward" } }, { NB_MAP_TRANSPOSE, { NULL } } } },
};

/* --- config.json ------------------------------------------------------------------------------------------ */

static const struct nb_config_row dots1_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "32" },
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_CONTEXT, "max_position_embeddings", "2048" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" },
    CONFIG_ROPE_BASE("10000"),
    { NB_HP_EXPERTS, "n_routed_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "1408" },
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", "0" },
    { NB_HP_EXPERT_GROUPS, "n_group", "1" },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "1" },
    { NB_HP_EXPERT_GATING, "scoring_func", "" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", "1" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", "0" },
};

/* Of classes that transformers 4.57 does not know: the reference takes what config.json has. */
#define BARE_CONFIG                                            \
    CONFIG_SIZES("heads"),                                     \
    { NB_HP_CONTEXT, "max_position_embeddings", "" },          \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },               \
    CONFIG_ROPE_BASE(""),                                      \
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },    \
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },  \
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL }

static const struct nb_config_row minimax_m2_config[] = {
    BARE_CONFIG,
    { NB_HP_ROPE_DIMS, "rotary_dim", NULL },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_EXPERT_GATING, "scoring_func", "" },
};

#define SPARSE "sparse_attention_config."
static const struct nb_config_row minimax_m3_config[] = {
    BARE_CONFIG,
    { NB_HP_FEED_FORWARD, "dense_intermediate_size|intermediate_size", NULL },
    { NB_HP_ROPE_DIMS, "rotary_dim", NULL },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", NULL },
    { NB_HP_EXPERT_GATING, "scoring_func", "" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
    { NB_HP_EXPERT_WEIGHTS_NORM, "", "1" },
    { NB_HP_INDEXER_HEADS, SPARSE "sparse_num_index_heads", NULL },
    { NB_HP_INDEXER_KEY_LENGTH, SPARSE "sparse_index_dim", NULL },
    { NB_HP_INDEXER_TOP_K, SPARSE "sparse_topk_blocks", NULL },
    { NB_HP_INDEXER_BLOCK, SPARSE "sparse_block_size", NULL },
    { NB_HP_INDEXER_LOCAL, SPARSE "sparse_local_block", NULL },
};

#define LING_CONFIG                                                    \
    BARE_CONFIG,                                                       \
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },          \
    { NB_HP_EXPERTS_SHARED, "num_shared_experts", NULL },              \
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },      \
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", NULL },            \
    { NB_HP_EXPERT_GROUPS, "n_group", "" },                            \
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },                    \
    { NB_HP_EXPERT_GATING, "score_function|scoring_func", "" },        \
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", NULL }

static const struct nb_config_row bailingmoe_config[] = {
    LING_CONFIG,
    { NB_HP_ROPE_DIMS, "head_dim", "key_length" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "", "1" },
};

static const struct nb_config_row bailingmoe2_config[] = {
    LING_CONFIG,
    CONFIG_NEXTN,
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", "0.5" },
    { NB_HP_ROPE_DIMS, "", "key_length * rotary_factor // 1" },
    { NB_HP_SHARED_FEED_FORWARD, "moe_shared_expert_intermediate_size", "expert_feed_forward * experts_shared" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
};

static const struct nb_config_row afmoe_config[] = {
    BARE_CONFIG,
    { NB_HP_ROPE_DIMS, "head_dim", "key_length" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", NULL },
    { NB_HP_EXPERTS_SHARED, "num_shared_experts", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_LEADING_DENSE, "num_dense_layers", NULL },
    { NB_HP_EXPERT_GROUPS, "n_group", "" },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },
    { NB_HP_EXPERT_GATING, "score_func", "" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "route_norm", "" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "route_scale", "" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "" },
};

static const struct nb_config_row dbrx_config[] = {
    { NB_HP_LAYERS, "n_layers", "24" },
    { NB_HP_CONTEXT, "max_seq_len", "2048" },
    { NB_HP_EMBEDDING, "d_model", "2048" },
    { NB_HP_FEED_FORWARD, "ffn_config.ffn_hidden_size", "3584" },
    { NB_HP_HEADS, "n_heads", "16" },
    { NB_HP_KV_HEADS, "attn_config.kv_n_heads", "1" },
    { NB_HP_ROPE_BASE, "attn_config.rope_theta", "10000" },
    { NB_HP_CLAMP_KQV, "attn_config.clip_qkv", NULL },
    { NB_HP_EXPERTS, "ffn_config.moe_num_experts", "4" },
    { NB_HP_EXPERTS_USED, "ffn_config.moe_top_k", "1" },
    { NB_HP_NORM_EPSILON, "", "1e-5" }, /* torch's */
    { NB_HP_KEY_LENGTH, "", "embedding // heads" },
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" },
};

#define SILU { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL }
#define NO_WINDOWS                                                       \
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },           \
    { "use_sliding_window", NB_CONFIG_ONLY, "false", NULL },             \
    { "sliding_window", NB_CONFIG_IGNORED, NULL, NULL },                 \
    { "max_window_layers", NB_CONFIG_IGNORED, NULL, NULL }

static const struct nb_config_rule dots1_rules[] = {
    SILU,
    NO_WINDOWS,
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "moe_layer_freq", NB_CONFIG_ONLY, "1", NULL },
};

static const struct nb_config_rule minimax_m2_rules[] = {
    SILU,
    { "attn_type_list", NB_CONFIG_ONLY, "1", NULL },
    { "qk_norm_type", NB_CONFIG_ONLY, "per_layer", NULL },
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "use_routing_bias", NB_CONFIG_ONLY, "true", NULL },
    { "shared_intermediate_size", NB_CONFIG_ONLY, "0", NULL },
    { "partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL }, /* rotary_dim says the same */
    { "rope.partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL },
    { "use_mtp", NB_CONFIG_IGNORED, NULL, NULL }, /* layers that predict further tokens are not published */
    { "num_mtp_modules", NB_CONFIG_IGNORED, NULL, NULL },
    { "mtp_transformer_layers", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule minimax_m3_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish|swigluoai", NULL },
    { "qk_norm_type", NB_CONFIG_ONLY, "per_head", NULL },
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "use_gemma_norm", NB_CONFIG_ONLY, "true", NULL },
    { "use_routing_bias", NB_CONFIG_ONLY, "true", NULL },
    { "moe_layer_freq", NB_CONFIG_IGNORED, NULL, NULL }, /* read below */
    { "partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL }, /* rotary_dim says the same */
    { "rope.partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL },
    { "use_mtp", NB_CONFIG_IGNORED, NULL, NULL },
    { "num_mtp_modules", NB_CONFIG_IGNORED, NULL, NULL },
    { "mtp_transformer_layers", NB_CONFIG_IGNORED, NULL, NULL },
};

#define LING_RULES                                                       \
    SILU,                                                                \
    NO_WINDOWS,                                                          \
    { "use_bias", NB_CONFIG_ONLY, "false", NULL },                       \
    { "use_qkv_bias", NB_CONFIG_ONLY, "false", NULL },                   \
    { "use_rmsnorm", NB_CONFIG_ONLY, "true", NULL },                     \
    { "norm_head", NB_CONFIG_ONLY, "false", NULL },                      \
    { "norm_softmax", NB_CONFIG_ONLY, "false", NULL },                   \
    { "output_dropout", NB_CONFIG_IGNORED, NULL, NULL },                 \
    { "router_dtype", NB_CONFIG_IGNORED, NULL, NULL },                   \
    { "rotary_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* partial_rotary_factor says the same */ \
    { "multi_gate", NB_CONFIG_ONLY, "false", NULL }

static const struct nb_config_rule bailingmoe_rules[] = { LING_RULES };
static const struct nb_config_rule bailingmoe2_rules[] = {
    LING_RULES,
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "moe_router_enable_expert_bias", NB_CONFIG_IGNORED, NULL, NULL }, /* as the tensors are stored */
    { "mtp_loss_scaling_factor", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule afmoe_rules[] = {
    SILU,
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mup_enabled", NB_CONFIG_ONLY, "true", NULL }, /* afmoe.cpp always scales the embeddings */
    { "global_attn_every_n_layers", NB_CONFIG_ONLY, "4", NULL },
    { "layer_types", NB_CONFIG_IGNORED, NULL, NULL }, /* the same, spelled out */
    { "num_expert_groups", NB_CONFIG_ONLY, "1", NULL },
    { "num_limited_groups", NB_CONFIG_ONLY, "1", NULL },
    { "load_balance_coeff", NB_CONFIG_IGNORED, NULL, NULL },
    { "use_grouped_mm", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule dbrx_rules[] = {
    { "ffn_config.ffn_act_fn.name", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "tie_word_embeddings", NB_CONFIG_ONLY, "false", NULL },
    { "emb_pdrop", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
};

/* The layers from the first one with experts on must all have some. */
static enum nb_status
derive_minimax_m3(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *has_experts = nb_config_find(config, "moe_layer_freq");
    size_t dense = 0;

    if (json_array_size(has_experts) != (size_t)nb_hp(hp, NB_HP_LAYERS))
        return nb_fail(err, NB_INPUT, "%s: moe_layer_freq is not an array with one number for each layer", name);
    while (dense < json_array_size(has_experts) && json_number_value(json_array_get(has_experts, dense)) == 0)
        dense++;
    for (size_t i = dense; i < json_array_size(has_experts); i++)
        if (json_number_value(json_array_get(has_experts, i)) == 0)
            return nb_fail(err, NB_UNSUPPORTED,
                           "%s: by moe_layer_freq, layer %zu has no experts, though one before it has some: llama.cpp has "
                           "no place for such a model", name, i);
    nb_hp_set(hp, NB_HP_LEADING_DENSE, (double)dense, true);
    return NB_OK;
}

/* --- keys ------------------------------------------------------------------------------------------------- */

static const struct nb_key_row dots1_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),         KEY(NB_HP_EXPERT_FEED_FORWARD),  KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERTS_SHARED),       KEY(NB_HP_EXPERT_WEIGHTS_SCALE), KEY(NB_HP_EXPERT_WEIGHTS_NORM),
};
static const struct nb_key_row minimax_m2_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_EXPERT_FEED_FORWARD), KEY(NB_HP_ROPE_DIMS),
};
static const struct nb_key_row minimax_m3_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_INDEXER_HEADS),
    KEY(NB_HP_INDEXER_KEY_LENGTH),
    KEY(NB_HP_INDEXER_TOP_K),
    KEY(NB_HP_INDEXER_BLOCK),
    KEY(NB_HP_INDEXER_LOCAL),
    KEY(NB_HP_LEADING_DENSE),
};
static const struct nb_key_row bailingmoe_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
};
static const struct nb_key_row bailingmoe2_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_NEXTN_LAYERS),
};
static const struct nb_key_row afmoe_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_SLIDING_WINDOW),
};
static const struct nb_key_row dbrx_keys[] = {
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_ROPE_BASE),
    KEY(NB_HP_CLAMP_KQV),
    KEY(NB_HP_EXPERTS),
    KEY(NB_HP_EXPERTS_USED),
    KEY(NB_HP_NORM_EPSILON),
    WRITE(nb_write_file_type),
};

/* --- families --------------------------------------------------------------------------------------------- */

static const char *const dots1_classes[] = { "Dots1ForCausalLM", NULL };
static const char *const minimax_m2_classes[] = { "MiniMaxM2ForCausalLM", NULL };
static const char *const minimax_m3_classes[] = { "MiniMaxM3SparseForCausalLM", "MiniMaxM3SparseForConditionalGeneration",
                                                  NULL };
static const char *const bailingmoe_classes[] = { "BailingMoeForCausalLM", NULL };
static const char *const bailingmoe2_classes[] = { "BailingMoeV2ForCausalLM", NULL };
static const char *const afmoe_classes[] = { "AfmoeForCausalLM", NULL };
static const char *const dbrx_classes[] = { "DbrxForCausalLM", NULL };

const struct nb_family nb_family_dots1 = {
    .model_type = "dots1",
    FAMILY(dots1_classes, nb_arch_dots1, dots1_config, dots1_rules, dots1_keys, dots1_tensors), .mlx = &nb_mlx_dots1
};
const struct nb_family nb_family_minimax_m2 = {
    .model_type = "minimax_m2",
    FAMILY(minimax_m2_classes, nb_arch_minimax_m2, minimax_m2_config, minimax_m2_rules, minimax_m2_keys,
           minimax_m2_tensors), .mlx = &nb_mlx_minimax
};
const struct nb_family nb_family_minimax_m3 = {
    FAMILY(minimax_m3_classes, nb_arch_minimax_m3, minimax_m3_config, minimax_m3_rules, minimax_m3_keys,
           minimax_m3_tensors),
    .derive = derive_minimax_m3, .matrices_in_f32 = ".indexer."
};
const struct nb_family nb_family_bailingmoe = {
    .model_type = "bailing_moe",
    FAMILY(bailingmoe_classes, nb_arch_bailingmoe, bailingmoe_config, bailingmoe_rules, bailingmoe_keys,
           bailingmoe_tensors)
};
const struct nb_family nb_family_bailingmoe2 = {
    .model_type = "bailing_moe",
    FAMILY(bailingmoe2_classes, nb_arch_bailingmoe2, bailingmoe2_config, bailingmoe2_rules, bailingmoe2_keys,
           bailingmoe2_tensors), .mlx = &nb_mlx_bailing_moe
};
const struct nb_family nb_family_afmoe = {
    .model_type = "afmoe",
    FAMILY(afmoe_classes, nb_arch_afmoe, afmoe_config, afmoe_rules, afmoe_keys, afmoe_tensors),
    .tokenizer = { .space_prefix = NB_PREFIX_FIRST, .size_quirks = true }, .mlx = &nb_mlx_afmoe
};
const struct nb_family nb_family_dbrx = {
    FAMILY(dbrx_classes, nb_arch_dbrx, dbrx_config, dbrx_rules, dbrx_keys, dbrx_tensors), .no_matrix_in_f32 = true
};
