/*
 * Mistral Small 3 and Ministral 3, also as the text part of models that see. Names and keys: llama.cpp's
 * conversion/mistral3.py; defaults: the configuration class of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <string.h>

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(NEIGHBOURS),
    QKV_BIASES(NEIGHBOURS),
    O_BIAS,
    GATED_MLP,
};

static const struct nb_config_row config[] = {
    CONFIG_BASE("8", "131072", "10000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", "32000" },
    CONFIG_RMS_EPSILON("1e-6"),
    { NB_HP_YARN_LOG_MULTIPLIER, "mscale_all_dim", "" },
    { NB_HP_TEMPERATURE_SCALE, "llama_4_scaling_beta", "" },
};

static const struct nb_config_rule rules[] = {
    { "projector_hidden_act", NB_CONFIG_IGNORED, NULL, NULL }, /* of what sees */
    { "multimodal_projector_bias", NB_CONFIG_IGNORED, NULL, NULL },
    { "spatial_merge_size", NB_CONFIG_IGNORED, NULL, NULL },
    { "vision_feature_layer", NB_CONFIG_IGNORED, NULL, NULL },
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },
    { "rope.mscale", NB_CONFIG_IGNORED, NULL, NULL }, /* counts with mscale_all_dim */
    { "rope.beta_fast", NB_CONFIG_IGNORED, NULL, NULL }, /* llama.cpp reads both of this architecture */
    { "rope.beta_slow", NB_CONFIG_IGNORED, NULL, NULL },
    { "sliding_window", NB_CONFIG_NOTED_BELOW, "max_position_embeddings",
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" },
};

/* Ministral 3's attention is scaled by how far a token stands from the start; earlier models have no such keys. */
static enum nb_status
write_ministral3(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    const char *type = json_string_value(nb_config_find(c->config, "model_type"));
    const char *rope = nb_rope_type(nb_config_rope(c->config)), *arch = c->family->arch->name;
    enum nb_status status;

    if (type == NULL || strcmp(type, "ministral3") != 0)
        return NB_OK;
    if (rope == NULL || strcmp(rope, "yarn") != 0)
        return nb_fail(err, NB_UNSUPPORTED, "config.json: a ministral3 needs rotary scaling of type 'yarn'");
    if (!nb_hp_has(c->hp, NB_HP_YARN_LOG_MULTIPLIER) || !nb_hp_has(c->hp, NB_HP_TEMPERATURE_SCALE))
        return nb_fail(err, NB_INPUT, "config.json: a ministral3 needs mscale_all_dim and llama_4_scaling_beta among "
                                      "its rotary parameters");
    status = nb_hparam_write(c->hp, NB_HP_YARN_LOG_MULTIPLIER, arch, meta, err);
    return status == NB_OK ? nb_hparam_write(c->hp, NB_HP_TEMPERATURE_SCALE, arch, meta, err) : status;
}

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS), WRITE(write_ministral3),
};

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

/* A file without the keys of Ministral 3 is of an earlier model, whose text part is a Mistral. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    const bool is_ministral3 = nb_hp_has(r->said, NB_HP_TEMPERATURE_SCALE);
    const double all = nb_hp(r->said, NB_HP_YARN_LOG_MULTIPLIER);
    bool good;

    if (is_ministral3)
        good = nb_restore_float(r, "rope_scaling.mscale", all) &&
               nb_restore_float(r, "rope_scaling.mscale_all_dim", all) &&
               nb_restore_float(r, "rope_scaling.rope_theta", nb_hp(r->hp, NB_HP_ROPE_BASE)) &&
               nb_restore_float(r, "rope_scaling.llama_4_scaling_beta", nb_hp(r->said, NB_HP_TEMPERATURE_SCALE));
    else
        good = nb_restore_text(r, "model_type", "mistral") && nb_restore(r, "sliding_window", json_null()) &&
               nb_restore(r, "architectures", json_pack("[s]", "Mistral3ForConditionalGeneration"));
    return good ? NB_OK : nb_fail_memory(err);
}

static const char *const classes[] = { "Mistral3ForConditionalGeneration", "Ministral3ForCausalLM", NULL };

const struct nb_family nb_family_mistral3 = {
    .model_type = "ministral3",
    .model_class = "Ministral3ForCausalLM",
    .restore = restore,
    FAMILY(classes, nb_arch_mistral3, config, rules, keys, tensors),
    .made = made,
    .n_made = COUNT(made),
    .tokenizer = { .space_prefix = NB_PREFIX_FIRST, .size_quirks = true }, .mlx = &nb_mlx_llama
};
