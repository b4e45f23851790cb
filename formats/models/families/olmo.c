/*
 * OLMo, OLMo 2 and 3, OLMoE and EXAONE 4. Names and keys: llama.cpp's conversion/olmo.py and exaone.py;
 * defaults: the configuration classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/restore.h"
#include "formats/models/mlx_layout.h"

#define NORMS_BEHIND                                                                                \
    { LAYER "post_attention_layernorm.weight", BLOCK "post_attention_norm.weight", PLAIN },         \
    { LAYER "post_feedforward_layernorm.weight", BLOCK "post_ffw_norm.weight", PLAIN }

#define HEAD_LENGTHS                                              \
    { NB_HP_KEY_LENGTH, "", "embedding // heads" },               \
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" },             \
    { NB_HP_ROPE_DIMS, "", "embedding // heads" }

#define RULES                                                                 \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                     \
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL }

/* --- OLMo -------------------------------------------------------------------------------------------------- */

/* The norms have no weights, and a fixed epsilon. */
static const struct nb_map_row olmo_tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    ATTENTION(NEIGHBOURS),
    QKV_BIASES(PLAIN),
    GATED_MLP,
};

static const struct nb_config_row olmo_config[] = {
    CONFIG_BASE("heads", "2048", "10000"),
    HEAD_LENGTHS,
    { NB_HP_NORM_EPSILON, "", "1e-5" },
    { NB_HP_CLAMP_KQV, "clip_qkv", "" },
};

static const struct nb_config_rule olmo_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL }, /* the reference leaves their rows in another order */
};

static const struct nb_key_row olmo_keys[] = {
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    WRITE(nb_write_rope_scaling),
    KEY(NB_HP_ROPE_BASE),
    WRITE(nb_write_file_type),
    KEY(NB_HP_NORM_EPSILON),
    KEY(NB_HP_CLAMP_KQV),
};

static const char *const olmo_classes[] = { "OlmoForCausalLM", "OLMoForCausalLM", NULL };

const struct nb_family nb_family_olmo = {
    .model_type = "olmo",
    FAMILY(olmo_classes, nb_arch_olmo, olmo_config, olmo_rules, olmo_keys, olmo_tensors)
};

/* --- OLMo 2 and 3 ------------------------------------------------------------------------------------------ */

static const struct nb_map_row olmo2_tensors[] = {
    EMBEDDINGS,
    NORMS_BEHIND,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
};

static const struct nb_config_row olmo2_config[] = {
    CONFIG_BASE("heads", "2048", "10000"),
    HEAD_LENGTHS,
    CONFIG_RMS_EPSILON("1e-5"),
};

static const struct nb_config_row olmo3_config[] = {
    CONFIG_BASE("heads", "2048", "10000"),
    HEAD_LENGTHS,
    CONFIG_RMS_EPSILON("1e-5"),
    { NB_HP_SLIDING_WINDOW, "sliding_window", "4096" },
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", "(layer + 1) % 4 != 0" },
};

static const struct nb_config_rule olmo2_rules[] = { RULES };

static const struct nb_key_row base_keys[] = { BASE_KEYS(KEY_IF_GIVEN) };
static const struct nb_key_row olmo3_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_SLIDING_PATTERN),
};

static const char *const olmo2_classes[] = { "Olmo2ForCausalLM", NULL };
static const char *const olmo3_classes[] = { "Olmo3ForCausalLM", NULL };

const struct nb_family nb_family_olmo2 = {
    .model_type = "olmo2",
    FAMILY(olmo2_classes, nb_arch_olmo2, olmo2_config, olmo2_rules, base_keys, olmo2_tensors), .mlx = &nb_mlx_olmo2
};
const struct nb_family nb_family_olmo3 = {
    .model_type = "olmo3",
    FAMILY(olmo3_classes, nb_arch_olmo2, olmo3_config, olmo2_rules, olmo3_keys, olmo2_tensors)
};

/* --- OLMoE ------------------------------------------------------------------------------------------------- */

static const struct nb_map_row olmoe_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    EXPERTS,
};

/* Whatever config.json says, the reference writes an epsilon of 1e-5. */
static const struct nb_config_row olmoe_config[] = {
    CONFIG_BASE("heads", "4096", "10000"),
    HEAD_LENGTHS,
    { NB_HP_RMS_EPSILON, "", "1e-5" },
    { NB_HP_EXPERTS, "num_experts", "64" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "8" },
};

static const struct nb_config_rule olmoe_rules[] = {
    RULES,
    { "rms_norm_eps", NB_CONFIG_ONLY, "1e-5", NULL },
    { "clip_qkv", NB_CONFIG_ONLY, "", NULL },
    { "norm_topk_prob", NB_CONFIG_NOTED, "false", "but llama.cpp runs this architecture without it" },
};

static const char *const olmoe_classes[] = { "OlmoeForCausalLM", NULL };

const struct nb_family nb_family_olmoe = {
    .model_type = "olmoe",
    FAMILY(olmoe_classes, nb_arch_olmoe, olmoe_config, olmoe_rules, base_keys, olmoe_tensors), .mlx = &nb_mlx_olmoe
};

/* --- EXAONE 4 ---------------------------------------------------------------------------------------------- */

static const struct nb_map_row exaone4_tensors[] = {
    EMBEDDINGS,
    NORMS_BEHIND,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
};

/* EXAONE 4.5 has layers that predict further tokens, too: see nb_family.further_layers. */
#define MTP(from, to) { LAYER from ".weight", BLOCK "nextn." to ".weight", PLAIN }
static const struct nb_map_row exaone4_5_tensors[] = {
    EMBEDDINGS,
    NORMS_BEHIND,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    MTP("fc", "eh_proj"),
    MTP("pre_fc_norm_embedding", "enorm"),
    MTP("pre_fc_norm_hidden", "hnorm"),
    MTP("norm", "shared_head_norm"),
};

static const struct nb_config_row exaone4_config[] = {
    CONFIG_BASE("heads", "2048", "10000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", "102400" },
    CONFIG_RMS_EPSILON("1e-5"),
    { NB_HP_SLIDING_WINDOW, "sliding_window", "" },
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", "(layer + 1) % 4 != 0" },
};

/* The pattern is that of layer_types, which transformers makes of it. */
static const struct nb_config_rule exaone4_rules[] = {
    RULES,
    { "sliding_window_pattern", NB_CONFIG_ONLY, "LLLG|4", NULL },
};

static const struct nb_config_rule exaone4_5_rules[] = {
    RULES,
    { "sliding_window_pattern", NB_CONFIG_ONLY, "LLLG|4", NULL },
    { "num_nextn_predict_layers", NB_CONFIG_ONLY, "0|1", NULL }, /* more share one network */
    { "mtp_share_layers", NB_CONFIG_IGNORED, NULL, NULL },       /* one layer does not share */
};

enum nb_status
nb_write_window_pattern(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    return nb_hp_has(c->hp, NB_HP_SLIDING_WINDOW)
               ? nb_hparam_write(c->hp, NB_HP_SLIDING_PATTERN, c->family->arch->name, meta, err)
               : NB_OK;
}

static const struct nb_key_row exaone4_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_SLIDING_WINDOW),
    WRITE(nb_write_window_pattern),
};

static const struct nb_key_row exaone4_5_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_SLIDING_WINDOW),
    WRITE(nb_write_window_pattern),
    KEY_IF_SET(NB_HP_NEXTN_LAYERS),
};

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const exaone4_classes[] = { "Exaone4ForCausalLM", NULL };

const struct nb_family nb_family_exaone4 = {
    .model_type = "exaone4",
    FAMILY(exaone4_classes, nb_arch_exaone4, exaone4_config, exaone4_rules, exaone4_keys, exaone4_tensors),
    .made = made, .n_made = COUNT(made), .rope_factor = 16, .mlx = &nb_mlx_olmo2
};

/* --- EXAONE 4.5, whose classes transformers 4.57 does not know ------------------------------------------------ */

static bool
predicts_further(json_t *config)
{
    return json_number_value(nb_config_find(config, "num_nextn_predict_layers")) > 0;
}

static bool
predicts_one(json_t *config)
{
    return !predicts_further(config);
}

static enum nb_status
restore_further(const struct nb_restoration *r, struct nb_error *err)
{
    const double further = nb_hp(r->hp, NB_HP_NEXTN_LAYERS);

    if (further == 0)
        return nb_fail(err, NB_UNSUPPORTED, "an Exaone4_5_ForConditionalGeneration predicts further tokens");
    return nb_restore_number(r, "num_nextn_predict_layers", further) ? NB_OK : nb_fail_memory(err);
}

static const char *const exaone4_5_classes[] = { "Exaone4_5_ForConditionalGeneration", NULL };
static const char *const further[] = { "mtp.", NULL };

const struct nb_family nb_family_exaone4_5 = {
    .model_type = "exaone4_5_text",
    .wrapper = "exaone4_5",
    .restore = restore_further,
    FAMILY(exaone4_5_classes, nb_arch_exaone4, exaone4_config, exaone4_5_rules, exaone4_5_keys, exaone4_5_tensors),
    .is_for = predicts_further, .further_layers = "mtp.", .made = made, .n_made = COUNT(made), .rope_factor = 16
};
const struct nb_family nb_family_exaone4_5_alone = {
    FAMILY(exaone4_5_classes, nb_arch_exaone4, exaone4_config, exaone4_5_rules, exaone4_keys, exaone4_tensors),
    .is_for = predicts_one, .ignored_prefixes = further, .made = made, .n_made = COUNT(made), .rope_factor = 16
};
