/*
 * config.json of the keys of a GGUF file: the family's rows, which say where a hyperparameter stands, read backwards. An
 * entry is written for every key of the file, and for what would otherwise get another value than llama.cpp gives it.
 */
#include "formats/base/text.h"
#include "formats/elements/types.h"
#include "formats/models/config_defaults.h"
#include "formats/models/expression.h"
#include "formats/models/restore.h"
#include "formats/models/reverse/work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ENTRY 64

/* --- values -------------------------------------------------------------------------------------------------- */

static json_t *
number_json(enum nb_hparam hparam, double number, bool flag)
{
    const enum nb_hparam_type type = nb_hparam_info(hparam)->type;
    const char *name = nb_config_number_name(hparam, number);

    if (name != NULL)
        return json_string(name);
    if (type == NB_HP_TYPE_BOOL || flag)
        return json_boolean(number != 0);
    return type == NB_HP_TYPE_F32 ? json_real(nb_shortest_double(number)) : json_integer((json_int_t)number);
}

/* VALUE as the entry that ENTRY, "name" or "name=text", has it; NULL if out of memory. */
static json_t *
value_json(enum nb_hparam hparam, const struct nb_hparam_value *value, const char *entry)
{
    const char *equals = strchr(entry, '=');
    json_t *array;

    if (value->text != NULL)
        return json_string(value->text);
    if (value->each == NULL)
        return number_json(hparam, value->number, value->flags);
    array = json_array();
    for (size_t i = 0; i < value->count; i++) {
        json_t *element = equals == NULL ? number_json(hparam, value->each[i], value->flags)
                                         : json_string(value->each[i] != 0 ? equals + 1 : "full_attention");

        if (json_array_append_new(array, element) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* --- entries ------------------------------------------------------------------------------------------------- */

/* Copies the alternative of ENTRIES that begins at AT; false if it is too long, or an element of an array. */
static bool
take_alternative(const char *at, char entry[MAX_ENTRY])
{
    const size_t n = strcspn(at, "|"), name = strcspn(at, "=|");

    if (n == 0 || n >= MAX_ENTRY)
        return false;
    memcpy(entry, at, n);
    entry[n] = '\0';
    return name < 2 || entry[name - 2] != '.' || entry[name - 1] < '0' || entry[name - 1] > '9';
}

/*
 * The one of the alternatives ENTRIES to write: the one for which the class has a default, or else the first that is an
 * entry of its own, or else the first. False if there is none.
 */
static bool
choose_entry(const char *entries, json_t *defaults, char entry[MAX_ENTRY])
{
    char one[MAX_ENTRY];
    int best = 0;

    for (const char *at = entries; *at != '\0'; at += *at == '|') {
        if (take_alternative(at, one)) {
            const bool known = json_object_get(defaults, one) != NULL, plain = strchr(one, '.') == NULL;
            const int rank = known ? 3 : plain ? 2 : 1;

            if (rank > best) {
                best = rank;
                memcpy(entry, one, sizeof one);
            }
        }
        at += strcspn(at, "|");
    }
    return best > 0;
}

/* Whether one of the alternatives ENTRIES is set. */
static bool
is_set(json_t *config, const char *entries)
{
    char name[MAX_ENTRY];

    for (const char *at = entries; *at != '\0'; at += *at == '|') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "=|"), at);
        if (nb_config_find(config, name) != NULL)
            return true;
        at += strcspn(at, "|");
    }
    return false;
}

/* Splits FORMULA, "A SIGN B", of which NAME is the first or the last, and computes the other side; NaN if it is none. */
static double
other_side(const struct nb_reversal *r, const char *formula, const char *sign, const char *name, bool is_first)
{
    const size_t n = strlen(name), length = strlen(formula), s = strlen(sign);
    char side[MAX_ENTRY];

    if (length <= n + s)
        return NAN;
    if (is_first && strncasecmp(formula, name, n) == 0 && strncmp(formula + n, sign, s) == 0)
        return nb_expression(formula + n + s, &r->hp, 0);
    if (is_first || strcasecmp(formula + length - n, name) != 0 || strncmp(formula + length - n - s, sign, s) != 0)
        return NAN;
    snprintf(side, sizeof side, "%.*s", (int)(length - n - s), formula);
    return nb_expression(side, &r->hp, 0);
}

/* The number of NAME of which FORMULA, of a later row, makes NUMBER: "name + y", "name * y" and "y // name" are known. */
static double
undo_formula(const struct nb_reversal *r, const char *formula, const char *name, double number)
{
    double side = other_side(r, formula, " + ", name, true);

    if (!isnan(side))
        return number - side;
    side = other_side(r, formula, " * ", name, true);
    if (!isnan(side) && side != 0)
        return number / side;
    side = other_side(r, formula, " // ", name, false);
    return isnan(side) || number == 0 ? number : floor(side / number);
}

/* What ROW's number is before later rows compute with it, as "layers + nextn_layers" does with that of "layers". */
static double
before_later(const struct nb_reversal *r, const struct nb_config_row *row, double number)
{
    const char *name = nb_hparam_info(row->hparam)->name;

    for (const struct nb_config_row *later = r->family->config + r->family->n_config; --later > row;)
        if (later->hparam == row->hparam && later->otherwise != NULL)
            number = undo_formula(r, later->otherwise, name, number);
    return number;
}

/* What ROW's hyperparameter is in the file: SAID with what follows from other keys, or HP with llama.cpp's defaults. */
static struct nb_hparam_value
value_of(const struct nb_reversal *r, const struct nb_hparams *hp, const struct nb_config_row *row)
{
    struct nb_hparam_value v = hp->value[row->hparam];
    const double heads = nb_hp(&r->hp, NB_HP_HEADS), length = nb_hp(&r->hp, NB_HP_KEY_LENGTH);

    if (row->hparam == NB_HP_ROTARY_FACTOR && heads > 0 && length > 0)
        v = (struct nb_hparam_value){ .present = true, .number = nb_hp(&r->hp, NB_HP_ROPE_DIMS) / length };
    if (row->hparam == NB_HP_VOCAB && !v.present)
        v = r->hp.value[NB_HP_VOCAB];
    if (row->hparam == NB_HP_LAYERS && r->family->further_layers != NULL) /* they are stored apart */
        v.number -= nb_hp(&r->hp, NB_HP_NEXTN_LAYERS);
    if (v.each != NULL && r->family->further_layers != NULL && (double)v.count == nb_hp(&r->hp, NB_HP_LAYERS))
        v.count -= (size_t)nb_hp(&r->hp, NB_HP_NEXTN_LAYERS);
    v.number = before_later(r, row, v.number);
    return v;
}

static enum nb_status
set_row(struct nb_reversal *r, const struct nb_config_row *row, const struct nb_hparam_value *value, json_t *defaults)
{
    char entry[MAX_ENTRY];

    if (!value->present ||
        (value->each == NULL && nb_hparam_info(row->hparam)->type == NB_HP_TYPE_U32 &&
         value->number != floor(value->number)) ||
        !choose_entry(row->entries, defaults, entry) || is_set(r->config, row->entries) ||
        (strchr(entry, '=') != NULL && value->each == NULL))
        return NB_OK;
    return nb_restore_entry(r->config, entry, value_json(row->hparam, value, entry)) ? NB_OK : nb_fail_memory(r->err);
}

/* Whether an earlier row reads the same entries: a head's length is that of keys, of values, and of what is rotated. */
static bool
is_repeated(const struct nb_reversal *r, const struct nb_config_row *row)
{
    for (const struct nb_config_row *earlier = r->family->config; earlier < row; earlier++)
        if (strcmp(earlier->entries, row->entries) == 0)
            return true;
    return false;
}

/* What the file says, and what config.json must say. */
static enum nb_status
set_said(struct nb_reversal *r, json_t *defaults)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < r->family->n_config && status == NB_OK; i++) {
        const struct nb_config_row *row = &r->family->config[i];
        struct nb_hparam_value v = value_of(r, &r->said, row);

        if (is_repeated(r, row))
            continue;
        if (!v.present && row->otherwise == NULL)
            v = value_of(r, &r->hp, row);
        status = set_row(r, row, &v, defaults);
    }
    return status;
}

static bool
is_same(const struct nb_hparams *a, const struct nb_hparams *b, enum nb_hparam hparam, uint64_t layers)
{
    const struct nb_hparam_value *x = &a->value[hparam], *y = &b->value[hparam];

    if ((x->text == NULL) != (y->text == NULL) || (x->text != NULL && strcmp(x->text, y->text) != 0))
        return false;
    for (uint64_t i = 0; i < layers; i++)
        if ((float)nb_hp_at(a, hparam, i) != (float)nb_hp_at(b, hparam, i))
            return false;
    return true;
}

/* Adds the entries without which the class's default would be another value than llama.cpp's. */
static enum nb_status
set_unlike(struct nb_reversal *r, json_t *defaults)
{
    const uint64_t layers = (uint64_t)nb_hp(&r->hp, NB_HP_LAYERS);
    json_t *complete = json_deep_copy(r->config);
    struct nb_hparams hp = { 0 };
    enum nb_status status = complete == NULL ? nb_fail_memory(r->err) : nb_config_complete(complete, r->err);

    if (status == NB_OK)
        status = nb_family_hparams(r->family, complete, r->gguf->path, &hp, r->err);
    for (size_t i = 0; i < r->family->n_config && status == NB_OK; i++) {
        const struct nb_config_row *row = &r->family->config[i];
        const struct nb_hparam_value *found = &hp.value[row->hparam], v = value_of(r, &r->hp, row);

        if (v.present && (found->present || v.given) && !is_same(&r->hp, &hp, row->hparam, layers))
            status = set_row(r, row, &v, defaults);
    }
    nb_hparams_free(&hp);
    json_decref(complete);
    return status;
}

/* --- what no key says ---------------------------------------------------------------------------------------- */

/* Whether a tensor of the checkpoint has a name that ends with ENDING. */
static bool
has_tensor(const struct nb_reversal *r, const char *ending)
{
    for (size_t i = 0; i < r->n_stored; i++)
        if (nb_ends_with(r->stored[i].name, ending))
            return true;
    return false;
}

/* Flags of biases, by whether there are some; and whether the output matrix is the embedding. */
static enum nb_status
set_flags(struct nb_reversal *r)
{
    const struct nb_family *f = r->family;
    bool good = true;

    for (size_t i = 0; i < f->n_rules && good; i++)
        if (f->rules[i].kind == NB_CONFIG_BIASES && strchr(f->rules[i].entry, '.') == NULL)
            good = nb_restore_entry(r->config, f->rules[i].entry, json_boolean(has_tensor(r, f->rules[i].values)));
    for (size_t i = 0; i < f->arch->n_tensors && good; i++)
        if (f->arch->tensors[i].presence == NB_TIED)
            good = nb_restore_entry(r->config, "tie_word_embeddings",
                                    json_boolean(nb_reversal_find(r, f->arch->tensors[i].name) == NULL));
    return good ? NB_OK : nb_fail_memory(r->err);
}

/* How many parts "a,b,c" has. */
static size_t
count_parts(const char *heights)
{
    size_t n = 1;

    for (; *heights != '\0'; heights++)
        n += *heights == ',';
    return n;
}

/* The length of the list NAME is of, "list.0": one more than the largest index at which a row of the table reads it. */
static size_t
list_length(const struct nb_family *family, const char *name)
{
    const size_t n = strcspn(name, ".");
    size_t length = 0;

    for (size_t i = 0; i < family->n_to_gguf; i++)
        for (size_t k = 0; k < NB_MAP_OPS; k++) {
            const struct nb_map_op *op = &family->to_gguf[i].op[k];
            size_t index;

            if (op->kind != NB_MAP_SCALE_BY || strncmp(op->argument[0], name, n + 1) != 0)
                continue;
            index = strtoul(op->argument[0] + n + 1, NULL, 10);
            length = index + 1 > length ? index + 1 : length;
        }
    return length;
}

/* Sets the entry of a factor, or of a list of factors, to 1. */
static bool
set_factor(struct nb_reversal *r, const struct nb_map_op *op)
{
    const char *name = op->argument[0];
    const size_t count = op->kind == NB_MAP_SCALE_PARTS ? count_parts(op->argument[1])
                         : strchr(name, '.') != NULL    ? list_length(r->family, name)
                                                        : 0;
    json_t *array = count > 0 ? json_array() : NULL;
    char entry[MAX_ENTRY];
    bool good = count == 0 || array != NULL;

    snprintf(entry, sizeof entry, "%.*s", (int)strcspn(name, "."), name);
    for (size_t i = 0; i < count && good; i++)
        good = json_array_append_new(array, json_real(1)) == 0;
    if (good)
        return nb_restore_entry(r->config, entry, array == NULL ? json_real(1) : array);
    json_decref(array);
    return false;
}

/* Factors that have been multiplied into the weights. */
static enum nb_status
set_factors(struct nb_reversal *r)
{
    bool good = true;

    for (size_t i = 0; i < r->family->n_to_gguf && good; i++)
        for (size_t k = 0; k < NB_MAP_OPS && good; k++) {
            const struct nb_map_op *op = &r->family->to_gguf[i].op[k];

            if (op->kind == NB_MAP_SCALE_BY || op->kind == NB_MAP_SCALE_PARTS)
                good = set_factor(r, op);
        }
    return good ? NB_OK : nb_fail_memory(r->err);
}

/* The first of VALUES, which "|" separates. */
static json_t *
first_value(const char *values)
{
    const size_t n = strcspn(values, "|");
    char text[MAX_ENTRY], *end;
    double number;

    snprintf(text, sizeof text, "%.*s", (int)n, values);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return json_boolean(*text == 't');
    number = strtod(text, &end);
    if (*text == '\0')
        return json_null();
    return *end != '\0'              ? json_string(text)
           : number == floor(number) ? json_integer((json_int_t)number)
                                     : json_real(number);
}

/* Whether RULE says what an entry of a class must be of which no defaults are known. */
static bool
is_only_value(const struct nb_config_rule *rule)
{
    return rule->kind == NB_CONFIG_ONLY && *rule->values != '\0' && strchr(rule->entry, '.') == NULL &&
           strstr(rule->entry, "layer_types") == NULL && strstr(rule->entry, "pattern") == NULL;
}

/* What llama.cpp runs without a key, where the class would do something else, or it is not known what. */
static enum nb_status
set_known(struct nb_reversal *r, json_t *defaults)
{
    const bool is_unknown = json_object_size(defaults) == 1; /* of the model_type alone */
    bool good = true;

    for (size_t i = 0; i < r->family->n_rules && good; i++) {
        const struct nb_config_rule *rule = &r->family->rules[i];
        json_t *usual = json_object_get(defaults, rule->entry);

        if (is_unknown && is_only_value(rule) && !is_set(r->config, rule->entry))
            good = nb_restore_entry(r->config, rule->entry, first_value(rule->values));
        if ((rule->kind == NB_CONFIG_ONLY || rule->kind == NB_CONFIG_NOTED) && usual != NULL &&
            !nb_config_is_one_of(usual, rule->values) && !is_set(r->config, rule->entry))
            good = nb_restore_entry(r->config, rule->entry, first_value(rule->values));
    }
    return good ? NB_OK : nb_fail_memory(r->err);
}

/* How many tokens there are, also for classes whose rows take the rows of the embedding for it; and which are special. */
static enum nb_status
set_tokens(struct nb_reversal *r)
{
    static const struct {
        const char *entry, *key;
    } ids[] = {
        { "bos_token_id", "tokenizer.ggml.bos_token_id" },
        { "eos_token_id", "tokenizer.ggml.eos_token_id" },
        { "pad_token_id", "tokenizer.ggml.padding_token_id" },
        { "unk_token_id", "tokenizer.ggml.unknown_token_id" },
    };
    const double size = nb_hp(&r->hp, NB_HP_VOCAB);
    bool good = is_set(r->config, "vocab_size") || size < 1 ||
                nb_restore_entry(r->config, "vocab_size", json_integer((json_int_t)size));

    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && good; i++) {
        uint64_t id;

        if (nb_meta_get_u64(&r->gguf->meta, ids[i].key, &id) && !is_set(r->config, ids[i].entry))
            good = nb_restore_entry(r->config, ids[i].entry, json_integer((json_int_t)id));
    }
    return good ? NB_OK : nb_fail_memory(r->err);
}

/* The type that the weights had: floats stay what they are in the file. */
static const char *
dtype_of(const struct nb_reversal *r)
{
    const struct nb_view *embedding = nb_reversal_find(r, "token_embd.weight");
    const enum nb_type type = embedding == NULL ? NB_BF16 : embedding->type;

    return type == NB_F16 ? "float16" : type == NB_F32 ? "float32" : "bfloat16";
}

static enum nb_status
restore(struct nb_reversal *r)
{
    const struct nb_restoration all = { &r->said, &r->hp, r->sorted, r->gguf->n_tensors, &r->gguf->meta, r->config };

    return r->family->restore == NULL ? NB_OK : r->family->restore(&all, r->err);
}

/* Puts CONFIG into that of the wrapper, which has the class. What is set of the vision part moves out. */
static enum nb_status
wrap(struct nb_reversal *r)
{
    static const char *const outer[] = { "architectures", "torch_dtype", "tie_word_embeddings", "vision_config" };
    json_t *wrapper = json_pack("{s:s, s:O}", "model_type", r->family->wrapper, "text_config", r->config);
    bool good = wrapper != NULL;

    for (size_t i = 0; i < sizeof outer / sizeof outer[0] && good; i++) {
        json_t *value = json_object_get(r->config, outer[i]);

        good = value == NULL || json_object_set(wrapper, outer[i], value) == 0;
    }
    if (!good) {
        json_decref(wrapper);
        return nb_fail_memory(r->err);
    }
    (void)json_object_del(r->config, "architectures");
    (void)json_object_del(r->config, "vision_config");
    json_decref(r->config);
    r->config = wrapper;
    return NB_OK;
}

enum nb_status
nb_reverse_config(struct nb_reversal *r)
{
    const char *class = r->family->model_class == NULL ? r->family->classes[0] : r->family->model_class;
    json_t *defaults = json_pack("{s:s}", "model_type", r->family->model_type);
    enum nb_status status = defaults == NULL ? nb_fail_memory(r->err) : nb_config_complete(defaults, r->err);

    r->config = json_pack("{s:[s], s:s, s:s}", "architectures", class, "model_type", r->family->model_type,
                          "torch_dtype", dtype_of(r));
    if (status == NB_OK && r->config == NULL)
        status = nb_fail_memory(r->err);
    if (status == NB_OK)
        status = restore(r);
    if (status == NB_OK)
        status = set_factors(r);
    if (status == NB_OK)
        status = set_said(r, defaults);
    if (status == NB_OK)
        status = nb_reverse_rope_scaling(r);
    if (status == NB_OK && json_object_get(defaults, "rope_scaling") != NULL && nb_config_rope(r->config) == NULL)
        status = nb_restore_entry(r->config, "rope_scaling", json_null()) ? NB_OK : nb_fail_memory(r->err);
    if (status == NB_OK)
        status = set_flags(r);
    if (status == NB_OK)
        status = set_known(r, defaults);
    if (status == NB_OK)
        status = set_unlike(r, defaults);
    if (status == NB_OK)
        status = set_unlike(r, defaults); /* defaults may be those of others */
    json_decref(defaults);
    if (status == NB_OK)
        status = set_tokens(r);
    return status == NB_OK && r->family->wrapper != NULL ? wrap(r) : status;
}
