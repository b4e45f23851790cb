/*
 * Qwen3-Next, Qwen3.5 and Qwen3.6. Names and keys: llama.cpp's conversion/qwen.py; defaults: transformers
 * 4.57's Qwen3NextConfig; the reference takes config.json of the others as it is. All norms but those of
 * linear attention multiply by one more than what is stored.
 */
#include "formats/models/families/qwen_linear.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#define ROWS                                                                                \
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },                            \
    { "lm_head.weight", "output.weight", PLAIN },                                           \
    { "model.norm.weight", "output_norm.weight", PLUS_ONE },                                \
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLUS_ONE },                 \
    { LAYER "post_attention_layernorm.weight", BLOCK "post_attention_norm.weight", PLUS_ONE }, \
    ATTENTION(PLAIN),                                                                       \
    QKV_BIASES(PLAIN),                                                                      \
    { LAYER "self_attn.q_norm.weight", BLOCK "attn_q_norm.weight", PLUS_ONE },              \
    { LAYER "self_attn.k_norm.weight", BLOCK "attn_k_norm.weight", PLUS_ONE },              \
    { LAYER "linear_attn.norm.weight", BLOCK "ssm_norm.weight", PLAIN },                    \
    { LAYER "fc.weight", BLOCK "nextn.eh_proj.weight", PLAIN },                             \
    { LAYER "pre_fc_norm_embedding.weight", BLOCK "nextn.enorm.weight", PLUS_ONE },         \
    { LAYER "pre_fc_norm_hidden.weight", BLOCK "nextn.hnorm.weight", PLUS_ONE },            \
    { LAYER "norm.weight", BLOCK "nextn.shared_head_norm.weight", PLUS_ONE }

/* Each key head's rows are stored together: its query, its key, the values that share it, their gates. */
#define PER_KEY "(ssm_inner // ssm_groups)"
static const struct nb_map_row next_tensors[] = {
    ROWS,
    MIXTURE_ROWS,
    { LAYER "linear_attn.in_proj_qkvz.weight", BLOCK "attn_qkv.weight",
      { { NB_MAP_CUT_GROUPS, { "ssm_groups", "0", "ssm_state" } },
        { NB_MAP_ALSO_GROUPS, { "ssm_groups", "ssm_state", "ssm_state" } },
        { NB_MAP_ALSO_GROUPS, { "ssm_groups", "2 * ssm_state", PER_KEY } } } },
    { LAYER "linear_attn.in_proj_qkvz.weight", BLOCK "attn_gate.weight",
      { { NB_MAP_CUT_GROUPS, { "ssm_groups", "2 * ssm_state + " PER_KEY, PER_KEY } } } },
    { LAYER "linear_attn.in_proj_ba.weight", BLOCK "ssm_ba.weight", PLAIN },
    { LAYER "linear_attn.conv1d.weight", BLOCK "ssm_conv1d.weight", KERNELS },
    { LAYER "linear_attn.A_log", BLOCK "ssm_a", { MINUS_EXP } },
    { LAYER "linear_attn.dt_bias", BLOCK "ssm_dt.bias", PLAIN },
    { LAYER "linear_attn.out_proj.weight", BLOCK "ssm_out.weight", PLAIN },
};

static const struct nb_map_row dense_tensors[] = { ROWS, GATED_MLP, LINEAR_ROWS };
static const struct nb_map_row mixture_tensors[] = { ROWS, MIXTURE_ROWS_TOGETHER, LINEAR_ROWS };

static const struct nb_config_row next_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", "48" },
    { NB_HP_EMBEDDING, "hidden_size", "2048" },
    { NB_HP_FEED_FORWARD, "intermediate_size", "5632" },
    { NB_HP_HEADS, "num_attention_heads", "16" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "2" },
    { NB_HP_KEY_LENGTH, "head_dim", "256" },
    { NB_HP_VALUE_LENGTH, "head_dim", "256" },
    { NB_HP_CONTEXT, "max_position_embeddings", "32768" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" },
    CONFIG_ROPE_BASE("10000"),
    { NB_HP_EXPERTS, "num_experts", "512" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "10" },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "512" },
    { NB_HP_SHARED_FEED_FORWARD, "shared_expert_intermediate_size", "512" },
    LINEAR_CONFIG("4", "16", "128", "32", "128"),
};

#define CONFIG(feed_forward)                                \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },            \
    { NB_HP_EMBEDDING, "hidden_size", NULL },               \
    { NB_HP_FEED_FORWARD, "intermediate_size", feed_forward }, \
    { NB_HP_HEADS, "num_attention_heads", NULL },           \
    { NB_HP_KV_HEADS, "num_key_value_heads", NULL },        \
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" }, \
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" }, \
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },     \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },            \
    CONFIG_ROPE_BASE(NULL),                                 \
    { NB_HP_ROPE_SECTIONS, "mrope_section", "" },           \
    LINEAR_CONFIG(NULL, NULL, NULL, NULL, NULL)

static const struct nb_config_row dense_config[] = { CONFIG(NULL) };
static const struct nb_config_row mixture_config[] = {
    CONFIG(""),
    { NB_HP_EXPERTS, "num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_SHARED_FEED_FORWARD, "shared_expert_intermediate_size", NULL },
};

#define RULES                                                                         \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                             \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },           \
    { "mlp_only_layers", NB_CONFIG_ONLY, "", NULL },                                  \
    { "decoder_sparse_step", NB_CONFIG_ONLY, "1", NULL },                             \
    { "norm_topk_prob", NB_CONFIG_NOTED, "true", "but llama.cpp runs this architecture with it" }, \
    { "use_sliding_window", NB_CONFIG_ONLY, "false", NULL }

static const struct nb_config_rule next_rules[] = { RULES };
static const struct nb_config_rule rules[] = {
    RULES,
    { "attn_output_gate", NB_CONFIG_ONLY, "true", NULL },
    { "rope.mrope_interleaved", NB_CONFIG_ONLY, "true", NULL },
    { "mamba_ssm_dtype", NB_CONFIG_IGNORED, NULL, NULL }, /* llama.cpp computes in F32 */
    { "mtp_num_hidden_layers", NB_CONFIG_IGNORED, NULL, NULL }, /* those that are stored are taken */
    { "mtp_use_dedicated_embeddings", NB_CONFIG_ONLY, "false", NULL },
};

/* Where config.json has no sections, those of every published model, as in the reference. */
enum nb_status
nb_write_usual_sections(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    static const int32_t usual[] = { 11, 11, 10, 0 };
    char key[128];

    if (nb_hp_has(c->hp, NB_HP_ROPE_SECTIONS))
        return NB_OK;
    nb_hparam_key(NB_HP_ROPE_SECTIONS, c->family->arch->name, key);
    nb_meta_set(meta, key, NB_KV_ARRAY, NB_KV_I32, COUNT(usual), (const void *)usual, sizeof usual);
    return nb_meta_status(meta, err);
}

static enum nb_status
restore_next(const struct nb_restoration *r, struct nb_error *err)
{
    const double rank = nb_hp(r->hp, NB_HP_SSM_RANK);

    return rank == 0 || nb_restore_number(r, "linear_value_head_dim", nb_hp(r->hp, NB_HP_SSM_INNER) / rank)
               ? NB_OK
               : nb_fail_memory(err);
}

/* All that is rotary stands together. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    const double length = nb_hp(r->hp, NB_HP_KEY_LENGTH), further = nb_hp(r->hp, NB_HP_NEXTN_LAYERS);
    const bool good = nb_restore_text(r, "rope_scaling.rope_type", "default") &&
                      nb_restore_sections(r, "rope_scaling.mrope_section") &&
                      nb_restore_flag(r, "rope_scaling.mrope_interleaved", true) &&
                      nb_restore_float(r, "rope_scaling.rope_theta", nb_hp(r->hp, NB_HP_ROPE_BASE)) &&
                      (length == 0 || nb_restore_float(r, "rope_scaling.partial_rotary_factor",
                                                       nb_hp(r->hp, NB_HP_ROPE_DIMS) / length)) &&
                      nb_restore_number(r, "mtp_num_hidden_layers", further);

    return good ? restore_next(r, err) : nb_fail_memory(err);
}

static const struct nb_key_row next_keys[] = { LINEAR_KEYS(KEY) };
static const struct nb_key_row keys[] = { LINEAR_KEYS(KEY_IF_GIVEN), WRITE(nb_write_usual_sections) };

static const char *const next_classes[] = { "Qwen3NextForCausalLM", NULL };
static const char *const dense_classes[] = { "Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM", NULL };
static const char *const mixture_classes[] = { "Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM", NULL };

const struct nb_family nb_family_qwen3next = {
    .model_type = "qwen3_next",
    .restore = restore_next,
    FAMILY(next_classes, nb_arch_qwen3next, next_config, next_rules, next_keys, next_tensors),
    .further_layers = "mtp.", .mlx = &nb_mlx_qwen3_next
};
const struct nb_family nb_family_qwen35 = {
    .model_type = "qwen3_5_text",
    .model_class = "Qwen3_5ForCausalLM",
    .restore = restore,
    FAMILY(dense_classes, nb_arch_qwen35, dense_config, rules, keys, dense_tensors),
    .derive = nb_pad_rope_sections,
    .further_layers = "mtp.", .mlx = &nb_mlx_qwen3_5
};
const struct nb_family nb_family_qwen35moe = {
    .model_type = "qwen3_5_moe_text",
    .model_class = "Qwen3_5MoeForCausalLM",
    .restore = restore,
    FAMILY(mixture_classes, nb_arch_qwen35moe, mixture_config, rules, keys, mixture_tensors),
    .derive = nb_pad_rope_sections,
    .further_layers = "mtp.", .mlx = &nb_mlx_qwen3_5_moe
};
