#include "formats/models/config_entries.h"

#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/models/expression.h"
#include "formats/models/family.h"
#include "formats/models/hparams.h"
#include "formats/models/multimodal.h"
#include "formats/models/rope_scaling.h"
#include "formats/safetensors/checkpoint.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* clang-format off */
/* Read elsewhere, for every family. */
static const char *const used[] = {
    "architectures", "text_config", "llm_config", "lm_config", "language_config", "thinker_config", "tie_word_embeddings", "quantization_config", "compression_config",
    "quantization", "rope_scaling", "rope_parameters", "rope_theta", "rope.rope_type", "rope.type", "rope.rope_theta",
    "rope.factor", "rope.low_freq_factor", "rope.high_freq_factor", "rope.attention_factor", "rope.attn_factor",
    "rope.extrapolation_factor", "rope.original_max_position_embeddings",
};

/*
 * Known not to change what a model computes: how it is trained, loaded and sampled from. From
 * transformers 4.57 and 5.24: PretrainedConfig, GenerationConfig and the classes' own configurations;
 * and what common tools add.
 */
static const char *const irrelevant[] = {
    /* what the checkpoint is */
    "_name_or_path", "name_or_path", "model_type", "transformers_version", "torch_dtype", "dtype", "_commit_hash",
    "tokenizer_class", "prefix", "vocab_size", "model_max_length", "max_sequence_length", "unsloth_version",
    "unsloth_fixed", "vision_config", "audio_config", "talker_config", "token2wav_config", "enable_audio_output", "enable_talker", "mm_tokens_per_image", "is_llama_config", "description", "license", "rope.finetuned", "transformers.js_config",
    /* training */
    "initializer_range", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "embedding_dropout", "residual_dropout", "ffn_dropout",
    "router_aux_loss_coef", "gradient_checkpointing", "use_bfloat16", "pretraining_tp", "tie_encoder_decoder",
    "tf_legacy_loss", "finetuning_task", "task_specific_params", "problem_type", "id2label", "label2id", "num_labels",
    /* how transformers runs it */
    "use_cache", "return_dict", "use_return_dict", "return_dict_in_generate", "torchscript", "output_attentions",
    "output_hidden_states", "output_router_logits", "output_scores", "output_logits", "chunk_size_feed_forward",
    "_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "_experts_implementation",
    "experts_implementation", "_flash_attn_2_enabled", "use_flash_attn", "is_decoder", "cache_implementation",
    "cross_attention_hidden_size", "tie_last_hidden_states", "base_model_tp_plan",
    /* sampling */
    "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens",
    "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty",
    "length_penalty", "max_length", "min_length", "max_new_tokens", "min_new_tokens", "min_p",
    "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule", "num_beam_groups", "num_beams",
    "num_return_sequences", "penalty_alpha", "remove_invalid_values", "repetition_penalty", "suppress_tokens",
    "target_lookbehind", "temperature", "top_k", "top_p", "typical_p",
};
/* clang-format on */

/* Lists with an element for each layer, besides those that families read as hyperparameters. */
static const char *const by_layer[] = {
    "layer_types",    "layers_block_type",    "mlp_layer_types", "moe_layer_freq",
    "attn_type_list", "hybrid_layer_pattern", "no_rope_layers",  "sliding_window_pattern",
};

/* Rules for every family; a family's own come first. */
static const struct nb_config_rule common[] = {
    { "is_causal", NB_CONFIG_ONLY, "true", NULL },
    { "is_encoder_decoder", NB_CONFIG_ONLY, "false", NULL },
    { "add_cross_attention", NB_CONFIG_ONLY, "false", NULL },
    { "per_layer_config", NB_CONFIG_ONLY, "", NULL },
    { "pruned_heads", NB_CONFIG_ONLY, "", NULL },
    { "partial_rotary_factor", NB_CONFIG_ONLY, "1", NULL },
    { "rope.partial_rotary_factor", NB_CONFIG_ONLY, "1", NULL },
    { "rope.truncate", NB_CONFIG_NOTED, "true", NULL },
    { "rope.beta_fast", NB_CONFIG_NOTED, "32", "but llama.cpp may run YaRN with 32" },
    { "rope.beta_slow", NB_CONFIG_NOTED, "1", "but llama.cpp may run YaRN with 1" },
    { "auto_map", NB_CONFIG_NOTED, "", "so the model may be run by code of its own, which is not looked at" },
};

/* An examination of one config.json. */
struct examination {
    struct nb_source *source;
    const struct nb_family *family;
    json_t *config;
    const char *file;
    char label[288];   /* of the entry in question, for messages */
    char unknown[256]; /* names of unknown entries, as far as there is room */
    size_t n_listed, n_unknown;
    struct nb_findings *findings;
    struct nb_error *err;
};

/* The entry NAME as it stands in the file: rotary parameters have one of two names there. */
static const char *
label_of(struct examination *x, const char *name)
{
    const bool scaling = json_object_size(json_object_get(x->config, "rope_scaling")) > 0;

    if (strncmp(name, "rope.", 5) != 0)
        return name;
    snprintf(x->label, sizeof x->label, "%s of %s", name + 5, scaling ? "rope_scaling" : "rope_parameters");
    return x->label;
}

/* Tells the user about an entry. */
static enum nb_status note(struct examination *x, const char *format, ...) NB_PRINTF(2, 3);

static enum nb_status
note(struct examination *x, const char *format, ...)
{
    char text[NB_ERROR_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (x->findings != NULL)
        return nb_found(x->findings, x->err, NB_BAD_CP_CONFIG_ENTRY, nb_in_file(x->file), "%s", text);
    nb_source_note(x->source, "%s: %s", nb_base_name(x->file), text);
    return NB_OK;
}

static bool
is_listed(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* The row of the family's table that reads the entry NAME, or an entry of the object NAME; NULL if none does. */
static const struct nb_config_row *
row_of(const struct nb_family *family, const char *name)
{
    const size_t n = strlen(name);

    for (size_t i = 0; i < family->n_config; i++) {
        for (const char *at = family->config[i].entries; *at != '\0'; at += strcspn(at, "|"), at += *at == '|')
            if (strncmp(at, name, n) == 0 && (at[n] == '\0' || at[n] == '|' || at[n] == '.' || at[n] == '='))
                return &family->config[i];
    }
    return NULL;
}

static const struct nb_config_rule *
find_rule(const struct nb_family *family, const char *name)
{
    for (size_t i = 0; i < family->n_rules; i++)
        if (strcmp(family->rules[i].entry, name) == 0)
            return &family->rules[i];
    for (size_t i = 0; i < COUNT(common); i++)
        if (strcmp(common[i].entry, name) == 0 &&
            row_of(family, strncmp(name, "rope.", 5) == 0 ? name + 5 : name) == NULL)
            return &common[i];
    return NULL;
}

/* Whether VALUE is as the N characters at TEXT say. */
static bool
is_value(json_t *value, const char *text, size_t n)
{
    const char *string = json_is_true(value) ? "true" : json_is_false(value) ? "false" : json_string_value(value);
    char *end;
    double number;

    if (string != NULL)
        return strlen(string) == n && memcmp(string, text, n) == 0;
    number = strtod(text, &end);
    return json_is_number(value) && end == text + n && json_number_value(value) == number;
}

/* Whether VALUE, or each element of it, is one of VALUES, or says nothing. */
static bool
is_one_of(json_t *value, const char *values)
{
    json_t *element;
    size_t i;

    json_array_foreach(value, i, element)
        if (!is_one_of(element, values))
            return false;
    if (json_is_null(value) || json_is_array(value) || (json_is_object(value) && json_object_size(value) == 0))
        return true;
    for (const char *at = values; *at != '\0'; at += *at == '|') {
        const size_t n = strcspn(at, "|");

        if (is_value(value, at, n))
            return true;
        at += n;
    }
    return false;
}

/* VALUE as JSON, cut to what a sentence can take. */
static void
value_text(json_t *value, char text[64])
{
    char *all;

    if (json_is_number(value)) { /* integers are reals by now */
        snprintf(text, 64, "%.9g", json_number_value(value));
        return;
    }
    all = nb_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    snprintf(text, 64, "%.*s%s", all != NULL && strlen(all) < 60 ? 60 : 56, all == NULL ? "?" : all,
             all != NULL && strlen(all) >= 60 ? " ..." : "");
    free(all);
}

static enum nb_status
refuse(struct examination *x, const char *name, json_t *value, const char *values)
{
    char text[64], wanted[64] = "";
    size_t at = 0;

    for (const char *p = values; *p != '\0' && at + 5 < sizeof wanted; p++)
        at += (size_t)snprintf(wanted + at, sizeof wanted - at, *p == '|' ? " or " : "%c", *p);
    value_text(value, text);
    if (*values == '\0')
        return nb_fail(x->err, NB_UNSUPPORTED, "%s: %s is %s, which cannot be converted for %s", x->file,
                       label_of(x, name), text, x->family->classes[0]);
    return nb_fail(x->err, NB_UNSUPPORTED, "%s: %s is %s, but only %s can be converted for %s", x->file,
                   label_of(x, name), text, wanted, x->family->classes[0]);
}

/* KINDS: of each layer, "full_attention" or one that slides. */
static enum nb_status
check_windows(struct examination *x, const char *name, json_t *kinds)
{
    const struct nb_window_rule *rule = &x->family->arch->window;
    json_t *kind;
    size_t i;

    json_array_foreach(kinds, i, kind)
        if ((strcmp(json_string_value(kind) != NULL ? json_string_value(kind) : "", "full_attention") != 0) !=
            (rule->period > 0 && nb_window_slides(rule, i)))
            return nb_fail(x->err, NB_UNSUPPORTED, "%s: %s makes layer %zu another kind than llama.cpp does for %s",
                           x->file, name, i, x->family->classes[0]);
    return NB_OK;
}

/* Whether VALUE is what an entry has that was written down without being used. */
static bool
says_nothing(json_t *value)
{
    return json_is_null(value) || json_is_false(value) || (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

/* Whether each element of the array VALUE, a number or a flag, is what EXPRESSION gives for its layer. */
static bool
is_by_layer(json_t *value, const char *expression)
{
    const struct nb_hparams none = { 0 };
    json_t *element;
    size_t i;

    json_array_foreach(value, i, element) {
        const double number = json_is_boolean(element) ? json_is_true(element) : json_number_value(element);

        if ((!json_is_boolean(element) && !json_is_number(element)) || number != nb_expression(expression, &none, i))
            return false;
    }
    return json_is_array(value) || says_nothing(value);
}

static enum nb_status
apply_rule(struct examination *x, const struct nb_config_rule *rule, const char *name, json_t *value)
{
    json_t *limit;
    char text[64];

    value_text(value, text);
    switch (rule->kind) {
    case NB_CONFIG_ONLY:
        return is_one_of(value, rule->values) ? NB_OK : refuse(x, name, value, rule->values);
    case NB_CONFIG_BY_LAYER:
        return is_by_layer(value, rule->values) ? NB_OK : refuse(x, name, value, "");
    case NB_CONFIG_NOTED:
        if (is_one_of(value, rule->values) || (*rule->values == '\0' && json_is_false(value)))
            return NB_OK;
        return note(x, "%s is %s, %s", label_of(x, name), text,
                    rule->why != NULL ? rule->why : "which GGUF has no place for");
    case NB_CONFIG_NOTED_BELOW:
        limit = nb_config_find(x->config, rule->values);
        if (!json_is_number(value) || (json_is_number(limit) && json_number_value(value) >= json_number_value(limit)))
            return NB_OK;
        return note(x, "%s is %s, %s", name, text, rule->why);
    case NB_CONFIG_NOTED_UNLIKE:
        limit = nb_config_find(x->config, rule->values);
        if (!json_is_number(value) || !json_is_number(limit) || json_number_value(value) == json_number_value(limit))
            return NB_OK;
        return note(x, "%s is %s, %s", name, text, rule->why);
    case NB_CONFIG_WINDOWS:
        return check_windows(x, name, value);
    default:
        return NB_OK;
    }
}

static void
list_unknown(struct examination *x, const char *entry)
{
    const char *name = label_of(x, entry);
    const size_t at = strlen(x->unknown), n = strlen(name);

    if (nb_is_name(name, n) && at + n + 3 < sizeof x->unknown) {
        snprintf(x->unknown + at, sizeof x->unknown - at, "%s%s", at > 0 ? ", " : "", name);
        x->n_listed++;
    }
    x->n_unknown++;
}

/* The number that config.json has for NAME, or 0. */
static double
number_of(const struct examination *x, const char *name)
{
    json_t *value = nb_config_find(x->config, name);

    return json_is_number(value) ? json_number_value(value) : 0;
}

/*
 * Lists by layer have an element for each, and may have one for each layer that predicts further tokens. llama.cpp does
 * not load a file whose lists have another length, and of a list that decides what is refused no element is too many.
 */
static enum nb_status
check_length(struct examination *x, const char *name, json_t *list)
{
    const struct nb_config_row *row = row_of(x->family, name);
    const double n = (double)json_array_size(list), layers = number_of(x, "num_hidden_layers");
    const double further = number_of(x, "num_nextn_predict_layers") + number_of(x, "mtp_num_hidden_layers");

    if (!json_is_array(list) || n == 0 || layers == 0 || n == layers || n == layers + further)
        return NB_OK;
    if (!is_listed(by_layer, COUNT(by_layer), name) &&
        (row == NULL || nb_hparam_info(row->hparam)->form != NB_HP_FORM_EACH))
        return NB_OK;
    return nb_fail(x->err, NB_INPUT, "%s: %s has %.0f elements, but the model has %.0f layers", x->file, name, n,
                   layers);
}

/* NAME begins with "rope." for the rotary parameters, where families list the name alone. */
static enum nb_status
examine_entry(struct examination *x, const char *name, json_t *value)
{
    const char *plain = strncmp(name, "rope.", 5) == 0 ? name + 5 : name;
    const struct nb_config_rule *rule = find_rule(x->family, name);
    const enum nb_status status = check_length(x, name, value);

    if (status != NB_OK)
        return status;
    if (rule != NULL)
        return apply_rule(x, rule, name, value);
    if (row_of(x->family, plain) == NULL && !is_listed(used, COUNT(used), name) &&
        !is_listed(irrelevant, COUNT(irrelevant), name) && !nb_ends_with(name, "_token_id") &&
        !nb_ends_with(name, "_token_ids") && !nb_ends_with(name, "_token_index") && !says_nothing(value))
        list_unknown(x, name);
    return NB_OK;
}

/* The entries of OBJECT; some models have rotary parameters for each kind of layer. */
static enum nb_status
examine_object(struct examination *x, json_t *object, const char *prefix, bool nested)
{
    enum nb_status status = NB_OK;
    json_t *value;
    const char *key;

    json_object_foreach(object, key, value) {
        char name[256];

        if (nested && json_is_object(value))
            status = examine_object(x, value, prefix, false);
        else if ((size_t)snprintf(name, sizeof name, "%s%s", prefix, key) < sizeof name)
            status = examine_entry(x, name, value);
        else
            x->n_unknown++;
        if (status != NB_OK)
            break;
    }
    return status;
}

/* --- two places that say the same ------------------------------------------------------------------------------- */

/* transformers' order (5.24, convert_rope_params_to_dict), which nb_config_rope and nb_config_find follow. */
static enum nb_status
examine_rope(struct examination *x, json_t *config)
{
    json_t *scaling = json_object_get(config, "rope_scaling"), *parameters = json_object_get(config, "rope_parameters");
    json_t *top = json_object_get(config, "rope_theta"), *rope = nb_config_rope(config);
    json_t *inner = json_object_get(rope, "rope_theta");
    const char *type = nb_rope_type(rope);
    enum nb_status status = NB_OK;

    if (!says_nothing(scaling) && scaling != NULL && !json_is_object(scaling))
        return refuse(x, "rope_scaling", scaling, "");
    if (!says_nothing(parameters) && parameters != NULL && !json_is_object(parameters))
        return refuse(x, "rope_parameters", parameters, "");
    if (json_object_size(scaling) > 0 && json_object_size(parameters) > 0 && !json_equal(scaling, parameters))
        status = note(x, "has rope_scaling and other rope_parameters: rope_scaling counts, as in transformers");
    if (status == NB_OK && json_is_number(top) && json_is_number(inner) &&
        json_number_value(top) != json_number_value(inner))
        status = note(x, "rope_theta is %g, but %g among the rotary parameters: %g counts, as in transformers",
                      json_number_value(top), json_number_value(inner), json_number_value(inner));
    if (status == NB_OK && type != NULL && strcmp(type, "dynamic") == 0)
        status = note(x, "its rotary scaling of type 'dynamic' begins beyond the context length, and GGUF has none "
                         "of this type: longer texts will suffer");
    return status;
}

/* --- weights that are quantized ---------------------------------------------------------------------------------- */

/* Whether a row of FAMILY reads the tensor NAME, or it is one that the family leaves out. */
static bool
is_known(const struct nb_family *family, const char *name)
{
    uint64_t layer, expert;

    for (const char *const *p = family->ignored_prefixes; p != NULL && *p != NULL; p++)
        if (strncmp(name, *p, strlen(*p)) == 0)
            return true;
    for (size_t i = 0; i < family->n_to_gguf; i++)
        if (nb_name_matches(family->to_gguf[i].from, name, &layer, &expert))
            return true;
    return false;
}

/*
 * Whether T, of a checkpoint of FAMILY, holds numbers as they are, neither codes nor what codes are scaled with; or is
 * known to be computed from such. Codes have no 64 bits.
 */
static bool
is_plain(const struct nb_family *family, const struct nb_tensor *t)
{
    static const char *const companions[] = { "_scale", "_scale_inv", "_scale_2", ".scales", ".absmax",    ".quant_map",
                                              ".SCB",   ".W_q",       ".qzeros",  ".g_idx",  "_zero_point" };

    if (t->packed != NULL)
        return true;
    for (size_t i = 0; i < COUNT(companions); i++)
        if (nb_ends_with(t->name, companions[i]) && !is_known(family, t->name))
            return false;
    return t->type == NB_I64 || t->type == NB_F64 || t->type == NB_F32 || t->type == NB_F16 || t->type == NB_BF16;
}

/* Whether the weights are quantized is decided by the tensors: merging or saving again leaves the entry behind. */
static enum nb_status
examine_quantization(struct examination *x)
{
    static const char *const names[] = { "quantization_config", "compression_config", "quantization" };
    bool plain = true, is_packed = false;

    for (size_t k = 0; k < x->source->store.count && plain; k++) {
        plain = is_plain(x->family, &x->source->store.tensors[k]);
        is_packed = is_packed || x->source->store.tensors[k].packed != NULL;
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        json_t *entry = json_object_get(x->config, names[i]);
        const char *method = json_string_value(json_object_get(entry, "quant_method"));
        enum nb_status status = NB_OK;

        if (method != NULL && x->family->packed_as != NULL && strcmp(method, x->family->packed_as) == 0)
            continue;
        if (!plain && json_object_size(entry) > 0)
            return nb_fail(x->err, NB_UNSUPPORTED,
                           "%s: the checkpoint is quantized already (%s%s%s); take the original one", x->file, names[i],
                           method != NULL ? ": " : "", method != NULL ? method : "");
        if (plain && !is_packed && json_object_size(entry) > 0)
            status = note(x, "has %s%s%s%s, but all weights are floats: they are taken as they are", names[i],
                          method != NULL ? " (" : "", method != NULL ? method : "", method != NULL ? ")" : "");
        if (status != NB_OK)
            return status;
    }
    return NB_OK;
}

/* --- biases ------------------------------------------------------------------------------------------------- */

static enum nb_status
examine_biases(struct examination *x, const struct nb_config_rule *rule)
{
    const bool wanted = json_is_true(nb_config_find(x->config, rule->entry));
    const struct nb_tensor *found = NULL;

    for (size_t i = 0; i < x->source->store.count && found == NULL; i++)
        if (nb_ends_with(x->source->store.tensors[i].name, rule->values) &&
            !nb_is_beyond_text(x->source->store.tensors[i].name))
            found = &x->source->store.tensors[i];
    if (wanted && found == NULL)
        return nb_fail(x->err, NB_INPUT, "%s: %s is true, but no tensor '*%s' is stored", x->file, rule->entry,
                       rule->values);
    if (!wanted && found != NULL)
        return note(x, "%s is not true, so that transformers does not use '%s'; it is written all the same",
                    rule->entry, found->name);
    return NB_OK;
}

/* Whether ENTRY is one of an object within the configuration. */
static bool
is_path(const char *entry)
{
    return strncmp(entry, "rope.", 5) != 0 && strchr(entry, '.') != NULL;
}

enum nb_status
nb_config_examine(struct nb_source *source, const struct nb_family *family, const char *name,
                  struct nb_findings *findings, struct nb_error *err)
{
    json_t *config = source->checkpoint->config, *text = json_object_get(config, "text_config");
    struct examination x = {
        .source = source, .family = family, .config = config, .file = name, .findings = findings, .err = err
    };
    char more[48] = "";
    enum nb_status status;

    status = examine_object(&x, text, "", false);
    if (status == NB_OK)
        status = examine_object(&x, config, "", false);
    if (status == NB_OK)
        status = examine_quantization(&x);
    if (status == NB_OK)
        status = examine_rope(&x, text != NULL && nb_config_rope(text) != NULL ? text : config);
    if (status == NB_OK)
        status = examine_object(&x, nb_config_rope(config), "rope.", true);
    for (size_t i = 0; i < family->n_rules && status == NB_OK; i++) {
        const struct nb_config_rule *rule = &family->rules[i];
        json_t *inner = is_path(rule->entry) ? nb_config_find(config, rule->entry) : NULL;

        if (rule->kind == NB_CONFIG_BIASES)
            status = examine_biases(&x, rule);
        else if (inner != NULL)
            status = apply_rule(&x, rule, rule->entry, inner);
    }
    if (status == NB_OK && x.n_unknown > x.n_listed)
        snprintf(more, sizeof more, " and %zu more", x.n_unknown - x.n_listed);
    if (status == NB_OK && x.n_unknown > 0)
        status = note(&x,
                      "has entries that are not known for a %s: %s%s; if one changes what the model computes, the "
                      "converted file does not have it",
                      family->classes[0], x.unknown, more);
    return status;
}
