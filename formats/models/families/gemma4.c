/*
 * Gemma 4, of all sizes. Names and keys: llama.cpp's conversion/gemma.py, which takes config.json as it
 * is: the classes of transformers 4.57 do not know this model.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NORM(from, to) { LAYER from ".weight", BLOCK to ".weight", PLAIN }

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORM("input_layernorm", "attn_norm"),
    NORM("post_attention_layernorm", "post_attention_norm"),
    NORM("pre_feedforward_layernorm", "ffn_norm"),
    NORM("post_feedforward_layernorm", "post_ffw_norm"),
    ATTENTION(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    { LAYER "layer_scalar", BLOCK "layer_output_scale.weight", PLAIN },

    NORM("pre_feedforward_layernorm_2", "pre_ffw_norm_2"),
    NORM("post_feedforward_layernorm_1", "post_ffw_norm_1"),
    NORM("post_feedforward_layernorm_2", "post_ffw_norm_2"),
    { LAYER "router.proj.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "router.scale", BLOCK "ffn_gate_inp.scale", PLAIN },
    { LAYER "router.per_expert_scale", BLOCK "ffn_down_exps.scale", PLAIN },
    { LAYER "experts.gate_up_proj", BLOCK "ffn_gate_up_exps.weight", PLAIN },
    { LAYER "experts.down_proj", BLOCK "ffn_down_exps.weight", PLAIN },

    { "model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight", PLAIN },
    { "model.per_layer_model_projection.weight", "per_layer_model_proj.weight", PLAIN },
    { "model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight", PLAIN },
    { LAYER "per_layer_input_gate.weight", BLOCK "inp_gate.weight", PLAIN },
    { LAYER "per_layer_projection.weight", BLOCK "proj.weight", PLAIN },
    NORM("post_per_layer_input_norm", "post_norm"),
    MLX_STACKS(LAYER "experts.switch_glu."),
};

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", NULL },
    { NB_HP_GLOBAL_KV_HEADS, "num_global_key_value_heads", "" },
    { NB_HP_KEY_LENGTH, "global_head_dim", "" },
    { NB_HP_VALUE_LENGTH, "global_head_dim", "" },
    { NB_HP_KEY_LENGTH_SWA, "head_dim", NULL },
    { NB_HP_VALUE_LENGTH_SWA, "head_dim", NULL },
    { NB_HP_ROPE_DIMS, "global_head_dim", "" },
    { NB_HP_ROPE_DIMS_SWA, "head_dim", NULL },
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    CONFIG_ROPE_BASE(NULL),
    { NB_HP_ROPE_BASE_SWA, "rope_parameters.sliding_attention.rope_theta", NULL },
    { NB_HP_FINAL_SOFTCAP, "final_logit_softcapping", "" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", NULL },
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", NULL },
    { NB_HP_SHARED_KV_LAYERS, "num_kv_shared_layers", NULL },
    { NB_HP_EMBEDDING_PER_LAYER, "hidden_size_per_layer_input", "0" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", "" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok|top_k_experts", "" },
    { NB_HP_EXPERT_FEED_FORWARD, "expert_intermediate_size|moe_intermediate_size", "" },
};

/* Sets HPARAMS, if they are absent, to the entry NAME that per_layer_config has for the first full layer with one. */
static void
take_of_full_layer(json_t *root, const char *name, const enum nb_hparam *hparams, size_t count, struct nb_hparams *hp)
{
    json_t *layers = nb_config_find(root, "per_layer_config"), *types = nb_config_find(root, "layer_types"), *own;
    const char *layer;

    if (nb_hp_has(hp, hparams[0]))
        return;
    json_object_foreach(layers, layer, own) {
        const char *type = json_string_value(json_array_get(types, strtoul(layer, NULL, 10)));
        const double number = json_number_value(json_object_get(own, name));

        if (type == NULL || strcmp(type, "full_attention") != 0 || !(number >= 1 && number <= NB_MAX_SIDE))
            continue;
        for (size_t i = 0; i < count; i++)
            nb_hp_set(hp, hparams[i], number, true);
        return;
    }
}

/* Counts that differ between the kinds of layers: key-value heads, and the feed-forward part where keys are shared. */
static enum nb_status
derive_counts(json_t *root, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const size_t layers = (size_t)nb_hp(hp, NB_HP_LAYERS), own = layers - (size_t)nb_hp(hp, NB_HP_SHARED_KV_LAYERS);
    double heads[NB_MAX_LAYERS], sizes[NB_MAX_LAYERS];
    enum nb_status status = NB_OK;

    if (layers > NB_MAX_LAYERS || own > layers)
        return nb_fail(err, NB_INPUT, "%s: num_hidden_layers or num_kv_shared_layers is more than any model has", name);
    for (size_t i = 0; i < layers; i++) {
        const bool slides = nb_hp_at(hp, NB_HP_SLIDING_PATTERN, i) != 0;

        heads[i] = nb_hp(hp, slides ? NB_HP_KV_HEADS : NB_HP_GLOBAL_KV_HEADS);
        sizes[i] = nb_hp(hp, NB_HP_FEED_FORWARD) * (i < own ? 1 : 2);
    }
    if (nb_hp_has(hp, NB_HP_GLOBAL_KV_HEADS))
        status = nb_hp_set_each(hp, NB_HP_KV_HEADS, heads, layers, true, err);
    if (status == NB_OK && json_is_true(nb_config_find(root, "use_double_wide_mlp")))
        status = nb_hp_set_each(hp, NB_HP_FEED_FORWARD, sizes, layers, true, err);
    return status;
}

/* What only layers that do not slide have, which stands under names of its own or by layer. */
static enum nb_status
derive(json_t *root, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    static const enum nb_hparam lengths[] = { NB_HP_KEY_LENGTH, NB_HP_VALUE_LENGTH, NB_HP_ROPE_DIMS };
    static const enum nb_hparam heads[] = { NB_HP_GLOBAL_KV_HEADS };

    take_of_full_layer(root, "head_dim", lengths, COUNT(lengths), hp);
    take_of_full_layer(root, "num_key_value_heads", heads, COUNT(heads), hp);
    if (!nb_hp_has(hp, NB_HP_KEY_LENGTH))
        return nb_fail(err, NB_INPUT, "%s: has no global_head_dim", name);
    return derive_counts(root, name, hp, err);
}

/*
 * The divisors of the full layers' frequencies: 1 for the part of a head that is rotated, and for the
 * rest so much that it stays as it is.
 */
static enum nb_status
make_rope_freqs(const struct nb_conversion *c, struct nb_arena *arena, const float **values, uint64_t *count,
                struct nb_error *err)
{
    const double length = nb_hp(c->hp, NB_HP_KEY_LENGTH);
    json_t *part = json_object_get(nb_config_rope(c->config), "partial_rotary_factor");
    const size_t half = (size_t)(length / 2);
    float *out = nb_arena_calloc(arena, half + 1, sizeof *out);

    if (out == NULL)
        return nb_fail_memory(err);
    if (!(json_number_value(part) > 0 && json_number_value(part) <= 1))
        return nb_fail(err, NB_INPUT, "config.json: full_attention of rope_parameters has no partial_rotary_factor");
    for (size_t i = 0; i < half; i++)
        out[i] = i < (size_t)(length * json_number_value(part) / 2) ? 1.0f : 1e30f;
    *values = out;
    *count = half;
    return NB_OK;
}

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_parameters", make_rope_freqs },
};

static const struct nb_config_rule rules[] = {
    { "hidden_activation", NB_CONFIG_ONLY, "gelu_pytorch_tanh", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "attention_k_eq_v", NB_CONFIG_IGNORED, NULL, NULL }, /* then full layers have no v_proj */
    { "enable_moe_block", NB_CONFIG_IGNORED, NULL, NULL }, /* then there are experts */
    { "use_double_wide_mlp", NB_CONFIG_IGNORED, NULL, NULL }, /* derive_counts */
    { "use_bidirectional_attention", NB_CONFIG_ONLY, "vision|false", NULL },
    { "vocab_size_per_layer_input", NB_CONFIG_IGNORED, NULL, NULL }, /* the rows that are stored */
    { "per_layer_config", NB_CONFIG_IGNORED, NULL, NULL }, /* derive */
    { "rope.rope_type", NB_CONFIG_ONLY, "proportional|default", NULL },
    { "rope.partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL }, /* make_rope_freqs */
};

#define SUPPRESSED "tokenizer.ggml.suppress_tokens"

/* Tokens that are never to be written, which generation_config.json lists. */
static enum nb_status
write_suppressed(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *file, *list, *id;
    int32_t *ids;
    size_t i;
    enum nb_status status = nb_checkpoint_json(c->checkpoint, "generation_config.json", &file, err);

    list = json_object_get(file, "suppress_tokens");
    ids = calloc(json_array_size(list) + 1, sizeof *ids);
    if (status == NB_OK && ids == NULL)
        status = nb_fail_memory(err);
    json_array_foreach(list, i, id) {
        const double number = json_number_value(id);

        if (status == NB_OK && (!json_is_number(id) || !(number >= 0) || number > INT32_MAX))
            status = nb_fail(err, NB_INPUT, "generation_config.json: suppress_tokens is not a list of tokens");
        else if (status == NB_OK)
            ids[i] = (int32_t)number;
    }
    if (status == NB_OK && json_array_size(list) > 0)
        nb_meta_set(meta, SUPPRESSED, NB_KV_ARRAY, NB_KV_I32, json_array_size(list), ids,
                    json_array_size(list) * sizeof *ids);
    free(ids);
    json_decref(file);
    return status == NB_OK ? nb_meta_status(meta, err) : status;
}

/* --- the way back ------------------------------------------------------------------------------------------- */

#define MAX_DIVISORS 4096

/* The part of a head that full layers rotate, of the divisors of their frequencies; 0 if there are none. */
static enum nb_status
rotated_part(const struct nb_restoration *r, double *part, struct nb_error *err)
{
    const struct nb_view *divisors = nb_restore_tensor(r, "rope_freqs.weight");
    struct nb_view_reader reader = { 0 };
    float values[MAX_DIVISORS];
    uint64_t n = 0;
    enum nb_status status;

    *part = 0;
    if (divisors == NULL || divisors->n_dims != 1 || divisors->elements > MAX_DIVISORS)
        return NB_OK;
    status = nb_view_rows(divisors, 0, 1, values, &reader, err);
    nb_view_reader_free(&reader);
    while (status == NB_OK && n < divisors->elements && values[n] == 1)
        n++;
    *part = (double)n / (double)divisors->elements;
    return status;
}

/* The value of HPARAM in the first layer that slides, or does not; OTHERWISE if there is none. */
static double
of_kind(const struct nb_restoration *r, enum nb_hparam hparam, bool slides, double otherwise)
{
    for (uint64_t i = 0; i < nb_restore_layers(r); i++)
        if ((nb_hp_at(r->hp, NB_HP_SLIDING_PATTERN, i) != 0) == slides)
            return nb_hp_at(r->hp, hparam, i);
    return otherwise;
}

/* Whether some layers have keys, but no values of their own. */
static bool
takes_keys_as_values(const struct nb_restoration *r)
{
    for (uint64_t i = 0; i < nb_restore_layers(r); i++) {
        char key[64], value[64];

        snprintf(key, sizeof key, "blk.%" PRIu64 ".attn_k.weight", i);
        snprintf(value, sizeof value, "blk.%" PRIu64 ".attn_v.weight", i);
        if (nb_restore_tensor(r, key) != NULL && nb_restore_tensor(r, value) == NULL)
            return true;
    }
    return false;
}

#define FULL "rope_parameters.full_attention."
#define SLIDING "rope_parameters.sliding_attention."

static bool
restore_rope(const struct nb_restoration *r, double part)
{
    return nb_restore_text(r, FULL "rope_type", "proportional") &&
           nb_restore_number(r, FULL "partial_rotary_factor", part) &&
           nb_restore_float(r, FULL "rope_theta", nb_hp(r->hp, NB_HP_ROPE_BASE)) &&
           nb_restore_text(r, SLIDING "rope_type", "default") &&
           nb_restore_float(r, SLIDING "rope_theta", nb_hp(r->hp, NB_HP_ROPE_BASE_SWA));
}

/* Counts that differ between layers are those of kinds of them. */
static bool
restore_counts(const struct nb_restoration *r)
{
    const double heads = of_kind(r, NB_HP_KV_HEADS, true, nb_hp(r->hp, NB_HP_KV_HEADS));
    bool good = nb_restore_number(r, "num_key_value_heads", heads) &&
                nb_restore_number(r, "intermediate_size", nb_hp_at(r->hp, NB_HP_FEED_FORWARD, 0)) &&
                nb_restore_flag(r, "use_double_wide_mlp", r->hp->value[NB_HP_FEED_FORWARD].each != NULL);

    if (r->hp->value[NB_HP_KV_HEADS].each != NULL)
        good = good && nb_restore_number(r, "num_global_key_value_heads", of_kind(r, NB_HP_KV_HEADS, false, heads));
    return good;
}

static enum nb_status
restore_all(const struct nb_restoration *r, struct nb_error *err)
{
    double part;
    const enum nb_status status = rotated_part(r, &part, err);

    if (status != NB_OK)
        return status;
    return restore_rope(r, part) && restore_counts(r) &&
                   nb_restore_flag(r, "attention_k_eq_v", takes_keys_as_values(r)) &&
                   nb_restore_flag(r, "enable_moe_block", nb_hp(r->hp, NB_HP_EXPERTS) > 0) &&
                   nb_restore_number(r, "vocab_size_per_layer_input", nb_hp(r->hp, NB_HP_VOCAB))
               ? NB_OK
               : nb_fail_memory(err);
}

/* Only the unified models list tokens that are never to be written. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    if (nb_meta_find(r->meta, SUPPRESSED) != NULL)
        return nb_fail(err, NB_UNSUPPORTED, "a Gemma4ForCausalLM suppresses no tokens");
    return restore_all(r, err);
}

static enum nb_status
restore_unified(const struct nb_restoration *r, struct nb_error *err)
{
    if (nb_meta_find(r->meta, SUPPRESSED) == NULL)
        return nb_fail(err, NB_UNSUPPORTED, "a Gemma4UnifiedForConditionalGeneration suppresses some tokens");
    return restore_all(r, err);
}

#define KEYS \
    KEY(NB_HP_LAYERS), \
    KEY(NB_HP_CONTEXT), \
    KEY(NB_HP_EMBEDDING), \
    KEY(NB_HP_FEED_FORWARD), \
    KEY(NB_HP_HEADS), \
    KEY(NB_HP_KV_HEADS), \
    KEY(NB_HP_ROPE_BASE), \
    KEY(NB_HP_ROPE_BASE_SWA), \
    KEY(NB_HP_RMS_EPSILON), \
    KEY(NB_HP_EXPERTS), \
    KEY(NB_HP_EXPERTS_USED), \
    KEY(NB_HP_KEY_LENGTH), \
    KEY(NB_HP_VALUE_LENGTH), \
    WRITE(nb_write_file_type), \
    KEY(NB_HP_FINAL_SOFTCAP), \
    KEY(NB_HP_SLIDING_WINDOW), \
    KEY(NB_HP_SHARED_KV_LAYERS), \
    KEY(NB_HP_EMBEDDING_PER_LAYER), \
    KEY(NB_HP_SLIDING_PATTERN), \
    KEY(NB_HP_KEY_LENGTH_SWA), \
    KEY(NB_HP_VALUE_LENGTH_SWA), \
    KEY(NB_HP_EXPERT_FEED_FORWARD), \
    KEY(NB_HP_ROPE_DIMS), \
    KEY(NB_HP_ROPE_DIMS_SWA)

static const struct nb_key_row keys[] = { KEYS };
static const struct nb_key_row unified_keys[] = { KEYS, WRITE(write_suppressed) };

static const char *const classes[] = {
    "Gemma4ForConditionalGeneration", "Gemma4ForCausalLM", NULL,
};
static const char *const unified_classes[] = { "Gemma4UnifiedForConditionalGeneration", NULL };

#define OF_BOTH                                              \
    .derive = derive, .made = made, .n_made = COUNT(made),   \
    .tokenizer = { .keeps_merges = true, .adds_bos = true, .no_space_prefix = true }, .mlx = &nb_mlx_gemma4

const struct nb_family nb_family_gemma4 = {
    .model_type = "gemma4_text",
    .model_class = "Gemma4ForCausalLM",
    .restore = restore,
    FAMILY(classes, nb_arch_gemma4, config, rules, keys, tensors), OF_BOTH
};
const struct nb_family nb_family_gemma4_unified = {
    .model_type = "gemma4_text",
    .restore = restore_unified,
    FAMILY(unified_classes, nb_arch_gemma4, config, rules, unified_keys, tensors), OF_BOTH
};
