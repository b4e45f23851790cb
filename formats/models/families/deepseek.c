/*
 * DeepSeek 1 to 3.2, and models with the same layers: Kimi K2, Youtu, GLM-4.7-Flash, GLM-5. Names and keys:
 * llama.cpp's conversion/deepseek.py and glm.py; defaults: the configuration classes of transformers 4.57.
 */
#include "formats/models/config_defaults.h"
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* --- tensors ---------------------------------------------------------------------------------------------- */

#define MIXTURE     \
    GATED_MLP,      \
    EXPERTS,        \
    SHARED_EXPERTS, \
    ROUTER_BIAS

static const struct nb_map_row deepseek_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(NEIGHBOURS),
    QKV_BIASES(NEIGHBOURS),
    GATED_MLP,
    EXPERTS,
    SHARED_EXPERTS,
};

/* The rows of a head in kv_b_proj: the part of the key that is not rotated, then the value. */
#define UNROTATED "key_length_mla - rope_dims"
#define MLA                                                                                                     \
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", PLAIN },                                          \
    { LAYER "self_attn.q_a_proj.weight", BLOCK "attn_q_a.weight", PLAIN },                                      \
    { LAYER "self_attn.q_a_layernorm.weight", BLOCK "attn_q_a_norm.weight", PLAIN },                            \
    { LAYER "self_attn.q_b_proj.weight", BLOCK "attn_q_b.weight", PLAIN },                                      \
    COMPRESSED
#define COMPRESSED                                                                                              \
    { LAYER "self_attn.kv_a_proj_with_mqa.weight", BLOCK "attn_kv_a_mqa.weight", PLAIN },                       \
    { LAYER "self_attn.kv_a_layernorm.weight", BLOCK "attn_kv_a_norm.weight", PLAIN },                          \
    { LAYER "self_attn.kv_b_proj.weight", BLOCK "attn_k_b.weight",                                              \
      { { NB_MAP_CUT_GROUPS, { "heads", "0", UNROTATED } }, { NB_MAP_TRANSPOSE, { NULL } } } },                 \
    { LAYER "self_attn.kv_b_proj.weight", BLOCK "attn_v_b.weight",                                              \
      { { NB_MAP_CUT_GROUPS, { "heads", UNROTATED, "value_length_mla" } } } },                                  \
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", PLAIN }

static const struct nb_map_row mla_tensors[] = { EMBEDDINGS, NORMS, MLA, MIXTURE, MLX_KEYS_AND_VALUES };
static const struct nb_map_row mla_nextn_tensors[] = { EMBEDDINGS, NORMS, MLA, MIXTURE, NEXTN, MLX_KEYS_AND_VALUES };
static const struct nb_map_row indexed_tensors[] = {
    EMBEDDINGS,
    NORMS,
    { LAYER "self_attn.q_a_proj.weight", BLOCK "attn_q_a.weight", PLAIN },
    { LAYER "self_attn.q_a_layernorm.weight", BLOCK "attn_q_a_norm.weight", PLAIN },
    { LAYER "self_attn.q_b_proj.weight", BLOCK "attn_q_b.weight", PLAIN },
    COMPRESSED,
    { LAYER "self_attn.indexer.k_norm.weight", BLOCK "indexer.k_norm.weight", PLAIN },
    { LAYER "self_attn.indexer.k_norm.bias", BLOCK "indexer.k_norm.bias", PLAIN },
    { LAYER "self_attn.indexer.weights_proj.weight", BLOCK "indexer.proj.weight", PLAIN },
    { LAYER "self_attn.indexer.wk.weight", BLOCK "indexer.attn_k.weight", PLAIN },
    { LAYER "self_attn.indexer.wq_b.weight", BLOCK "indexer.attn_q_b.weight", PLAIN },
    MIXTURE,
    NEXTN,
    MLX_KEYS_AND_VALUES,
};

/* --- config.json ------------------------------------------------------------------------------------------ */

static const struct nb_config_row deepseek_config[] = {
    CONFIG_SIZES("heads"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_CONTEXT, "max_position_embeddings", "2048" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" },
    CONFIG_ROPE_BASE("10000"),
    { NB_HP_EXPERTS, "n_routed_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", NULL },
    { NB_HP_EXPERT_GATING, "scoring_func", "" },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "", "1" },
    { NB_HP_ROPE_SCALING, "", "none" },
};

/*
 * With compressed keys and values all heads share one: the key is what they are made from and the rotated part. The
 * lengths of a head are those "of MLA". qk_nope_head_dim lacks the rotated part, which is added.
 */
#define CONFIG_MLA                                                          \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },                            \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                               \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },                      \
    { NB_HP_HEADS, "num_attention_heads", NULL },                           \
    { NB_HP_KV_HEADS, "", "1" },                                            \
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },                     \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" },                          \
    CONFIG_ROPE_BASE(""),                                                   \
    { NB_HP_Q_LORA_RANK, "q_lora_rank", "" },                               \
    { NB_HP_KV_LORA_RANK, "kv_lora_rank", "512" },                          \
    { NB_HP_ROPE_DIMS, "qk_rope_head_dim", NULL },                          \
    { NB_HP_KEY_LENGTH_MLA, "qk_nope_head_dim", NULL },                     \
    { NB_HP_KEY_LENGTH_MLA, "", "key_length_mla + rope_dims" },             \
    { NB_HP_VALUE_LENGTH_MLA, "v_head_dim", NULL },                         \
    { NB_HP_KEY_LENGTH, "", "kv_lora_rank + rope_dims" },                   \
    { NB_HP_VALUE_LENGTH, "", "kv_lora_rank" },                             \
    { NB_HP_EXPERT_GATING, "scoring_func", "" },                            \
    { NB_HP_EXPERTS, "n_routed_experts", "" },                              \
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "" },                      \
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "feed_forward" }, \
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", "0" },                      \
    { NB_HP_LEADING_DENSE, "first_k_dense_replace", "(experts == 0) * layers" }, \
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", "" },            \
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", "" },                    \
    { NB_HP_EXPERT_GROUPS, "n_group", "" },                                 \
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" }

static const struct nb_config_row mla_config[] = { CONFIG_MLA };
static const struct nb_config_row nextn_config[] = { CONFIG_MLA, CONFIG_NEXTN };
static const struct nb_config_row indexed_config[] = {
    CONFIG_MLA,
    CONFIG_NEXTN,
    { NB_HP_INDEXER_HEADS, "index_n_heads", NULL },
    { NB_HP_INDEXER_KEY_LENGTH, "index_head_dim", NULL },
    { NB_HP_INDEXER_TOP_K, "index_topk", NULL },
};

/* Entries of training, and those that say what the architecture always does. */
#define COMMON_RULES                                                          \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                     \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },   \
    { "moe_layer_freq", NB_CONFIG_ONLY, "1", NULL },                          \
    { "aux_loss_alpha", NB_CONFIG_IGNORED, NULL, NULL },                      \
    { "seq_aux", NB_CONFIG_IGNORED, NULL, NULL },                             \
    { "ep_size", NB_CONFIG_IGNORED, NULL, NULL }

static const struct nb_config_rule deepseek_rules[] = {
    COMMON_RULES,
    { "norm_topk_prob", NB_CONFIG_NOTED, "false", "but llama.cpp runs this architecture without it" },
    { "rope.factor", NB_CONFIG_NOTED, "1", "but the reference converter writes no rotary scaling for this class" },
};

#define MLA_RULES                                                             \
    COMMON_RULES,                                                             \
    { "num_key_value_heads", NB_CONFIG_IGNORED, NULL, NULL }, /* as many as heads */ \
    { "head_dim", NB_CONFIG_IGNORED, NULL, NULL },                            \
    { "qk_head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* the sum of two others */ \
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },                            \
    { "rope_interleave", NB_CONFIG_ONLY, "true", NULL },                      \
    { "rope.mscale", NB_CONFIG_IGNORED, NULL, NULL }, /* counts with the next */ \
    { "rope.mscale_all_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* write_yarn_log_multiplier */ \
    { "num_nextn_predict_layers", NB_CONFIG_IGNORED, NULL, NULL }

static const struct nb_config_rule deepseek2_rules[] = {
    MLA_RULES,
    { "topk_method", NB_CONFIG_NOTED, "greedy|noaux_tc", "but llama.cpp looks at all groups of experts" },
};
static const struct nb_config_rule mla_rules[] = {
    MLA_RULES,
    { "topk_method", NB_CONFIG_ONLY, "noaux_tc", NULL },
    { "indexer_rope_interleave", NB_CONFIG_IGNORED, NULL, NULL },
};

/* --- keys ------------------------------------------------------------------------------------------------- */

/*
 * The lengths of keys and values stand where the base class writes a head_dim if there is one, else with the other
 * keys of MLA; the classes of transformers add a head_dim.
 */
static enum nb_status
write_lengths_as_head_dim(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    const char *arch = c->family->arch->name;
    enum nb_status status;

    if (!json_is_number(nb_config_find(c->config, "head_dim")) && !nb_config_has_class(c->config))
        return NB_OK;
    status = nb_hparam_write(c->hp, NB_HP_KEY_LENGTH, arch, meta, err);
    return status == NB_OK ? nb_hparam_write(c->hp, NB_HP_VALUE_LENGTH, arch, meta, err) : status;
}

/* A tenth of mscale_all_dim: deepseek2.cpp divides by 0.1f again. */
static enum nb_status
write_yarn_log_multiplier(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *all = json_object_get(nb_config_rope(c->config), "mscale_all_dim");
    char key[128];

    if (all == NULL || json_is_null(all))
        return NB_OK;
    if (!json_is_number(all) || fabs(json_number_value(all)) > (double)FLT_MAX)
        return nb_fail(err, NB_INPUT, "config.json: mscale_all_dim of its rotary scaling is no 32-bit float");
    nb_hparam_key(NB_HP_YARN_LOG_MULTIPLIER, c->family->arch->name, key);
    nb_meta_set_f32(meta, key, (float)(0.1 * json_number_value(all)));
    return nb_meta_status(meta, err);
}

static const struct nb_key_row deepseek_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_ROPE_SCALING),
    KEY(NB_HP_LEADING_DENSE),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERTS_SHARED),
};

#define MLA_KEYS                                     \
    BASE_SIZES,                                      \
    BASE_EXPERTS,                                    \
    WRITE(write_lengths_as_head_dim), \
    WRITE(nb_write_file_type),        \
    KEY(NB_HP_LEADING_DENSE),                        \
    KEY(NB_HP_VOCAB),                                \
    KEY(NB_HP_Q_LORA_RANK),                          \
    KEY(NB_HP_KV_LORA_RANK),                         \
    KEY(NB_HP_KEY_LENGTH),                           \
    KEY(NB_HP_VALUE_LENGTH),                         \
    KEY(NB_HP_KEY_LENGTH_MLA),                       \
    KEY(NB_HP_VALUE_LENGTH_MLA),                     \
    KEY(NB_HP_EXPERT_FEED_FORWARD),                  \
    KEY(NB_HP_EXPERTS_SHARED),                       \
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),                 \
    KEY_IF_SET(NB_HP_EXPERT_WEIGHTS_NORM),           \
    KEY(NB_HP_ROPE_DIMS),                            \
    WRITE(write_yarn_log_multiplier)

static const struct nb_key_row mla_keys[] = { MLA_KEYS };
static const struct nb_key_row nextn_keys[] = { MLA_KEYS, KEY_IF_SET(NB_HP_NEXTN_LAYERS) };
static const struct nb_key_row indexed_keys[] = {
    MLA_KEYS, KEY(NB_HP_NEXTN_LAYERS), KEY(NB_HP_INDEXER_HEADS), KEY(NB_HP_INDEXER_KEY_LENGTH), KEY(NB_HP_INDEXER_TOP_K),
};

/* --- the way back ----------------------------------------------------------------------------------------- */

/* The two entries of YaRN of which GGUF has a tenth of one; both are the same in published models. */
static bool
restore_yarn(const struct nb_restoration *r)
{
    const double all = nb_hp(r->said, NB_HP_YARN_LOG_MULTIPLIER) * 10;

    return !nb_hp_has(r->said, NB_HP_YARN_LOG_MULTIPLIER) ||
           (nb_restore_float(r, "rope_scaling.mscale", all) && nb_restore_float(r, "rope_scaling.mscale_all_dim", all));
}

/* Entries of the classes that no key says: there are as many heads of keys as of queries. */
static enum nb_status
restore_mla(const struct nb_restoration *r, const char *method, struct nb_error *err)
{
    const bool has_experts = nb_hp(r->hp, NB_HP_EXPERTS) > 0;

    if (!restore_yarn(r) || !nb_restore_number(r, "num_key_value_heads", nb_hp(r->hp, NB_HP_HEADS)) ||
        (nb_hp(r->hp, NB_HP_Q_LORA_RANK) == 0 && !nb_restore(r, "q_lora_rank", json_null())) ||
        (has_experts && !nb_restore_text(r, "topk_method", method)) ||
        (has_experts && !nb_restore_flag(r, "norm_topk_prob", nb_hp(r->hp, NB_HP_EXPERT_WEIGHTS_NORM) != 0)))
        return nb_fail_memory(err);
    return NB_OK;
}

static enum nb_status
refuse(const char *what, struct nb_error *err)
{
    return nb_fail(err, NB_UNSUPPORTED, "%s", what);
}

/* The router's function tells the classes apart that share an architecture, and whether there is a router. */
#define SOFTMAX 1
#define SIGMOID 2

static enum nb_status
restore_deepseek2(const struct nb_restoration *r, struct nb_error *err)
{
    if (nb_hp(r->hp, NB_HP_EXPERTS) == 0 || nb_hp(r->hp, NB_HP_EXPERT_GATING) == SIGMOID)
        return refuse("a DeepseekV2ForCausalLM has a router that is a softmax", err);
    return restore_mla(r, nb_hp(r->hp, NB_HP_EXPERT_GROUPS) > 1 ? "group_limited_greedy" : "greedy", err);
}

/* The same layers with GLM's vocabulary are of other classes. */
static bool
is_of_glm(const struct nb_restoration *r)
{
    const char *pre = nb_meta_get_string(r->meta, "tokenizer.ggml.pre");

    return pre != NULL && strcmp(pre, "glm4") == 0;
}

static enum nb_status
restore_sigmoid(const struct nb_restoration *r, struct nb_error *err)
{
    if (nb_hp(r->hp, NB_HP_EXPERTS) == 0 || nb_hp(r->hp, NB_HP_EXPERT_GATING) == SOFTMAX)
        return refuse("a DeepseekV3ForCausalLM has a router of sigmoids", err);
    return restore_mla(r, "noaux_tc", err);
}

static enum nb_status
restore_deepseek3(const struct nb_restoration *r, struct nb_error *err)
{
    return is_of_glm(r) ? refuse("a DeepseekV3ForCausalLM has another vocabulary than GLM's", err)
                        : restore_sigmoid(r, err);
}

static enum nb_status
restore_youtu(const struct nb_restoration *r, struct nb_error *err)
{
    return nb_hp(r->hp, NB_HP_EXPERTS) > 0 ? refuse("a YoutuForCausalLM has no experts", err)
                                           : restore_mla(r, "noaux_tc", err);
}

/* --- families --------------------------------------------------------------------------------------------- */

static const char *const deepseek_classes[] = { "DeepseekForCausalLM", NULL };
static const char *const deepseek2_classes[] = { "DeepseekV2ForCausalLM", NULL };
static const char *const deepseek3_classes[] = { "DeepseekV3ForCausalLM", "KimiVLForConditionalGeneration", "KimiK25ForConditionalGeneration", NULL };
static const char *const youtu_classes[] = { "YoutuForCausalLM", "YoutuVLForConditionalGeneration", NULL };
static const char *const deepseek32_classes[] = { "DeepseekV32ForCausalLM", NULL };
static const char *const glm_lite_classes[] = { "Glm4MoeLiteForCausalLM", NULL };
static const char *const glm_dsa_classes[] = { "GlmMoeDsaForCausalLM", NULL };

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };
#define OF_ALL .ignored_suffixes = ignored, .skips_tied_output = true
#define WITHOUT_NEXTN .extra_layers = "model.layers."
#define OF_GLM .tokenizer = { .named = nb_glm_tokens }

const struct nb_family nb_family_deepseek = {
    .model_type = "deepseek",
    FAMILY(deepseek_classes, nb_arch_deepseek, deepseek_config, deepseek_rules, deepseek_keys, deepseek_tensors),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_deepseek
};
const struct nb_family nb_family_deepseek2 = {
    .model_type = "deepseek_v2",
    .restore = restore_deepseek2,
    FAMILY(deepseek2_classes, nb_arch_deepseek2, mla_config, deepseek2_rules, mla_keys, mla_tensors), OF_ALL,
    WITHOUT_NEXTN, .mlx = &nb_mlx_deepseek_v2
};
const struct nb_family nb_family_deepseek3 = {
    .model_type = "deepseek_v3",
    .restore = restore_deepseek3,
    FAMILY(deepseek3_classes, nb_arch_deepseek2, mla_config, mla_rules, mla_keys, mla_tensors), OF_ALL,
    WITHOUT_NEXTN, .mlx = &nb_mlx_deepseek_v3
};
const struct nb_family nb_family_youtu = {
    .model_type = "youtu",
    .restore = restore_youtu,
    FAMILY(youtu_classes, nb_arch_deepseek2, mla_config, mla_rules, mla_keys, mla_tensors), OF_ALL, WITHOUT_NEXTN
};
const struct nb_family nb_family_deepseek32 = {
    .model_type = "deepseek_v32",
    .restore = restore_sigmoid,
    FAMILY(deepseek32_classes, nb_arch_deepseek32, indexed_config, mla_rules, indexed_keys, indexed_tensors), OF_ALL, .mlx = &nb_mlx_deepseek_v3
};
const struct nb_family nb_family_glm4moelite = {
    .model_type = "glm4_moe_lite",
    .restore = restore_sigmoid,
    FAMILY(glm_lite_classes, nb_arch_deepseek2, nextn_config, mla_rules, nextn_keys, mla_nextn_tensors), OF_ALL, OF_GLM, .mlx = &nb_mlx_deepseek_v3
};
const struct nb_family nb_family_glm_dsa = {
    .model_type = "glm_moe_dsa",
    .restore = restore_sigmoid,
    FAMILY(glm_dsa_classes, nb_arch_glm_dsa, indexed_config, mla_rules, indexed_keys, indexed_tensors), OF_ALL, OF_GLM, .mlx = &nb_mlx_deepseek_v3
};
