/*
 * config.json of the keys of a GGUF file: the family's rows, which say where a hyperparameter stands, read backwards. An
 * entry is written for every key of the file, and for what would otherwise get another value than llama.cpp gives it.
 */
#include "formats/base/text.h"
#include "formats/elements/types.h"
#include "formats/models/config_defaults.h"
#include "formats/models/expression.h"
#include "formats/models/reverse/work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ENTRY 64

/* --- values -------------------------------------------------------------------------------------------------- */

/* The double with the fewest digits that becomes the float NUMBER: 1e-05, not 9.999999747378752e-06. */
static double
shortest(double number)
{
    const float wanted = (float)number;
    char text[32];

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)wanted);
        if (strtof(text, NULL) == wanted)
            return strtod(text, NULL);
    }
    return number;
}

static json_t *
number_json(enum nb_hparam hparam, double number, bool flag)
{
    const enum nb_hparam_type type = nb_hparam_info(hparam)->type;
    const char *name = nb_config_number_name(hparam, number);

    if (name != NULL)
        return json_string(name);
    if (type == NB_HP_TYPE_BOOL || flag)
        return json_boolean(number != 0);
    return type == NB_HP_TYPE_F32 ? json_real(shortest(number)) : json_integer((json_int_t)number);
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

/* Sets entry NAME, or "a.b", of OBJECT to VALUE, which is released. */
static bool
set_entry(json_t *object, const char *name, json_t *value)
{
    const size_t n = strcspn(name, ".=");
    char key[MAX_ENTRY];
    json_t *inner;

    snprintf(key, sizeof key, "%.*s", (int)n, name);
    if (name[n] != '.')
        return json_object_set_new(object, key, value) == 0;
    inner = json_object_get(object, key);
    if (inner == NULL) {
        if (json_object_set_new(object, key, json_object()) != 0) {
            json_decref(value);
            return false;
        }
        inner = json_object_get(object, key);
    }
    return set_entry(inner, name + n + 1, value);
}

static bool
is_set(json_t *config, const char *entry)
{
    char name[MAX_ENTRY];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(entry, "="), entry);
    return nb_config_find(config, name) != NULL;
}

/* What a later row adds to ROW's number, as "layers + nextn_layers" does to that of "layers". */
static double
added_later(const struct nb_reversal *r, const struct nb_config_row *row)
{
    const struct nb_config_row *end = r->family->config + r->family->n_config;
    const char *name = nb_hparam_info(row->hparam)->name;
    const size_t n = strlen(name);

    for (const struct nb_config_row *later = row + 1; later < end; later++)
        if (later->hparam == row->hparam && *later->entries == '\0' && later->otherwise != NULL &&
            strncasecmp(later->otherwise, name, n) == 0 && strncmp(later->otherwise + n, " + ", 3) == 0)
            return nb_expression(later->otherwise + n + 3, &r->hp, 0);
    return 0;
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
    v.number -= added_later(r, row);
    return v;
}

static enum nb_status
set_row(struct nb_reversal *r, const struct nb_config_row *row, const struct nb_hparam_value *value, json_t *defaults)
{
    char entry[MAX_ENTRY];

    if (!value->present || !choose_entry(row->entries, defaults, entry) || is_set(r->config, entry) ||
        (strchr(entry, '=') != NULL && value->each == NULL))
        return NB_OK;
    return set_entry(r->config, entry, value_json(row->hparam, value, entry)) ? NB_OK : nb_fail_memory(r->err);
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
            good = set_entry(r->config, f->rules[i].entry, json_boolean(has_tensor(r, f->rules[i].values)));
    for (size_t i = 0; i < f->arch->n_tensors && good; i++)
        if (f->arch->tensors[i].presence == NB_TIED)
            good = set_entry(r->config, "tie_word_embeddings",
                             json_boolean(nb_reversal_find(r, f->arch->tensors[i].name) == NULL));
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

/* What llama.cpp runs without a key, where the class would do something else. */
static enum nb_status
set_known(struct nb_reversal *r, json_t *defaults)
{
    bool good = true;

    for (size_t i = 0; i < r->family->n_rules && good; i++) {
        const struct nb_config_rule *rule = &r->family->rules[i];
        json_t *usual = json_object_get(defaults, rule->entry);

        if ((rule->kind == NB_CONFIG_ONLY || rule->kind == NB_CONFIG_NOTED) && usual != NULL &&
            !nb_config_is_one_of(usual, rule->values) && !is_set(r->config, rule->entry))
            good = set_entry(r->config, rule->entry, first_value(rule->values));
    }
    return good ? NB_OK : nb_fail_memory(r->err);
}

static enum nb_status
set_token_ids(struct nb_reversal *r)
{
    static const struct {
        const char *entry, *key;
    } ids[] = {
        { "bos_token_id", "tokenizer.ggml.bos_token_id" },
        { "eos_token_id", "tokenizer.ggml.eos_token_id" },
        { "pad_token_id", "tokenizer.ggml.padding_token_id" },
        { "unk_token_id", "tokenizer.ggml.unknown_token_id" },
    };
    bool good = true;

    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && good; i++) {
        uint64_t id;

        if (nb_meta_get_u64(&r->gguf->meta, ids[i].key, &id) && !is_set(r->config, ids[i].entry))
            good = set_entry(r->config, ids[i].entry, json_integer((json_int_t)id));
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

enum nb_status
nb_reverse_config(struct nb_reversal *r)
{
    json_t *defaults = json_pack("{s:s}", "model_type", r->family->model_type);
    enum nb_status status = defaults == NULL ? nb_fail_memory(r->err) : nb_config_complete(defaults, r->err);

    r->config = json_pack("{s:[s], s:s, s:s}", "architectures", r->family->classes[0], "model_type",
                          r->family->model_type, "torch_dtype", dtype_of(r));
    if (status == NB_OK && r->config == NULL)
        status = nb_fail_memory(r->err);
    if (status == NB_OK)
        status = set_said(r, defaults);
    if (status == NB_OK)
        status = nb_reverse_rope_scaling(r);
    if (status == NB_OK && json_object_get(defaults, "rope_scaling") != NULL && nb_config_rope(r->config) == NULL)
        status = set_entry(r->config, "rope_scaling", json_null()) ? NB_OK : nb_fail_memory(r->err);
    if (status == NB_OK)
        status = set_flags(r);
    if (status == NB_OK)
        status = set_known(r, defaults);
    if (status == NB_OK)
        status = set_unlike(r, defaults);
    if (status == NB_OK)
        status = set_unlike(r, defaults); /* defaults may be those of others */
    json_decref(defaults);
    return status == NB_OK ? set_token_ids(r) : status;
}
