/*
 * The text models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL. Names and keys: llama.cpp's conversion/qwenvl.py
 * and qwen3vl.py; defaults: the configuration classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

static const struct nb_map_row qwen2vl_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    GATED_MLP,
};

static const struct nb_map_row qwen3vl_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
};

/* The experts are stored together, with their inputs as rows; or one by one. */
static const struct nb_map_row qwen3vlmoe_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    Q_K_NORMS,
    { LAYER "mlp.experts.down_proj", BLOCK "ffn_down_exps.weight", { { NB_MAP_TRANSPOSE, { NULL } } } },
    { LAYER "mlp.experts.gate_up_proj", BLOCK "ffn_gate_exps.weight",
      { { NB_MAP_CUT_COLUMNS, { "0", "expert_feed_forward" } }, { NB_MAP_TRANSPOSE, { NULL } } } },
    { LAYER "mlp.experts.gate_up_proj", BLOCK "ffn_up_exps.weight",
      { { NB_MAP_CUT_COLUMNS, { "expert_feed_forward", "expert_feed_forward" } }, { NB_MAP_TRANSPOSE, { NULL } } } },
    EXPERTS,
};

#define CONFIG(layers, embedding, feed_forward, heads, kv_heads, context, epsilon, theta)  \
    { NB_HP_LAYERS, "num_hidden_layers", layers },                                         \
    { NB_HP_EMBEDDING, "hidden_size", embedding },                                         \
    { NB_HP_FEED_FORWARD, "intermediate_size", feed_forward },                             \
    { NB_HP_HEADS, "num_attention_heads", heads },                                         \
    { NB_HP_KV_HEADS, "num_key_value_heads", kv_heads },                                   \
    { NB_HP_CONTEXT, "max_position_embeddings", context },                                 \
    { NB_HP_RMS_EPSILON, "rms_norm_eps", epsilon },                                        \
    { NB_HP_ROPE_SECTIONS, "mrope_section", NULL },                                        \
    CONFIG_ROPE_BASE(theta)

static const struct nb_config_row qwen2vl_config[] = {
    CONFIG("80", "8192", "29568", "64", "8", "32768", "1e-5", "1000000"),
    CONFIG_HEAD_DIM("embedding // heads"),
};

static const struct nb_config_row qwen3vl_config[] = {
    CONFIG("32", "4096", "22016", "32", "32", "128000", "1e-6", "5000000"),
    CONFIG_HEAD_DIM("128"),
};

static const struct nb_config_row qwen3vlmoe_config[] = {
    CONFIG("24", "2048", "5632", "16", "16", "128000", "1e-6", "5000000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_EXPERTS, "num_experts", "60" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "4" },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", "1408" },
};

/* How many layers take part of the image in: the length of a list of the vision part, [8, 16, 24] if there is none. */
static enum nb_status
derive_deepstack(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *indexes = json_object_get(json_object_get(config, "vision_config"), "deepstack_visual_indexes");

    if (json_array_size(indexes) > NB_MAX_LAYERS)
        return nb_fail(err, NB_INPUT, "%s: deepstack_visual_indexes has more entries than any model has layers", name);
    nb_hp_set(hp, NB_HP_DEEPSTACK_LAYERS, json_is_array(indexes) ? (double)json_array_size(indexes) : 3, false);
    return nb_pad_rope_sections(config, name, hp, err);
}

/* The layers of the vision part are not in the file, only how many of them are taken in. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    const uint64_t count = (uint64_t)nb_hp(r->hp, NB_HP_DEEPSTACK_LAYERS), usual = 3, step = count == usual ? 8 : 1;
    json_t *indexes = json_array();
    bool good = indexes != NULL;

    for (uint64_t i = 1; i <= count && good; i++)
        good = json_array_append_new(indexes, json_integer((json_int_t)i * (json_int_t)step)) == 0;
    if (!good)
        json_decref(indexes);
    good = good && nb_restore(r, "vision_config.deepstack_visual_indexes", indexes) &&
           nb_restore_number(r, "vision_config.out_hidden_size", nb_hp(r->hp, NB_HP_EMBEDDING)) &&
           nb_restore_text(r, "rope_scaling.rope_type", "default") &&
           nb_restore_sections(r, "rope_scaling.mrope_section") &&
           nb_restore_flag(r, "rope_scaling.mrope_interleaved", true);
    return good ? NB_OK : nb_fail_memory(err);
}

#define RULES                                                             \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                 \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL }

static const struct nb_config_rule qwen2vl_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },
    { "use_sliding_window", NB_CONFIG_ONLY, "false", NULL },
    { "sliding_window", NB_CONFIG_IGNORED, NULL, NULL },
    { "max_window_layers", NB_CONFIG_IGNORED, NULL, NULL },
};
static const struct nb_config_rule qwen3vl_rules[] = {
    RULES,
    { "rope.mrope_interleaved", NB_CONFIG_ONLY, "true", NULL },
};
static const struct nb_config_rule qwen3vlmoe_rules[] = {
    RULES,
    { "rope.mrope_interleaved", NB_CONFIG_ONLY, "true", NULL },
    { "decoder_sparse_step", NB_CONFIG_ONLY, "1", NULL },
    { "mlp_only_layers", NB_CONFIG_ONLY, "", NULL },
    { "norm_topk_prob", NB_CONFIG_NOTED, "true", "but llama.cpp runs this architecture with it" },
};

static const struct nb_key_row qwen2vl_keys[] = { BASE_KEYS(KEY_IF_GIVEN) };
static const struct nb_key_row qwen3vl_keys[] = { BASE_KEYS(KEY), KEY(NB_HP_DEEPSTACK_LAYERS) };
static const struct nb_key_row qwen3vlmoe_keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_DEEPSTACK_LAYERS),
};

static const char *const qwen2vl_classes[] = {
    "Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen2VLModel", "Qwen2_5OmniModel", NULL,
};
static const char *const qwen3vl_classes[] = { "Qwen3VLForConditionalGeneration", NULL };
static const char *const qwen3vlmoe_classes[] = { "Qwen3VLMoeForConditionalGeneration", NULL };

const struct nb_family nb_family_qwen2vl = {
    FAMILY(qwen2vl_classes, nb_arch_qwen2vl, qwen2vl_config, qwen2vl_rules, qwen2vl_keys, qwen2vl_tensors),
    .derive = nb_pad_rope_sections,
};
const struct nb_family nb_family_qwen3vl = {
    .model_type = "qwen3_vl_text",
    .wrapper = "qwen3_vl",
    .restore = restore,
    FAMILY(qwen3vl_classes, nb_arch_qwen3vl, qwen3vl_config, qwen3vl_rules, qwen3vl_keys, qwen3vl_tensors),
    .derive = derive_deepstack, .mlx = &nb_mlx_llama
};
const struct nb_family nb_family_qwen3vlmoe = {
    .model_type = "qwen3_vl_moe_text",
    .wrapper = "qwen3_vl_moe",
    .restore = restore,
    FAMILY(qwen3vlmoe_classes, nb_arch_qwen3vlmoe, qwen3vlmoe_config, qwen3vlmoe_rules, qwen3vlmoe_keys,
           qwen3vlmoe_tensors),
    .derive = derive_deepstack,
};
