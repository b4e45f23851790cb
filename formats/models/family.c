#include "formats/models/family.h"

#include "formats/models/expression.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct nb_family *const nb_families[] = {
#define NB_FAMILY(identifier) &nb_family_##identifier,
#include "formats/models/families/families.def"
#undef NB_FAMILY
    NULL,
};

const struct nb_family *
nb_family_by_class(const char *class, json_t *config)
{
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *c = (*f)->classes; *c != NULL; c++)
            if (strcmp(*c, class) == 0 && (config == NULL || (*f)->is_for == NULL || (*f)->is_for(config)))
                return *f;
    return NULL;
}

/* The number of pairs of neighbouring characters in A that are in B too. */
static unsigned
common_pairs(const char *a, const char *b)
{
    unsigned n = 0;

    for (; a[0] != '\0' && a[1] != '\0'; a++) {
        const char pair[] = { a[0], a[1], '\0' };

        n += strstr(b, pair) != NULL;
    }
    return n;
}

/* How like two names are, from 0 to 1; beginnings count most, for most names end alike. */
static double
likeness(const char *a, const char *b)
{
    size_t same = 0;

    while (a[same] != '\0' && a[same] == b[same])
        same++;
    return (double)(common_pairs(a, b) + common_pairs(b, a) + 4 * same) / (double)(3 * (strlen(a) + strlen(b)) + 1);
}

void
nb_family_nearest(const char *class, char *names, size_t size)
{
    const char *best[3] = { NULL, NULL, NULL };
    size_t at = 0;

    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *c = (*f)->classes; *c != NULL; c++) {
            const char *name = *c;

            for (size_t i = 0; i < 3 && name != NULL; i++) {
                const char *other = best[i];

                if (other != NULL && strcmp(other, name) == 0) /* some are of several families */
                    break;
                if (other == NULL || likeness(class, name) > likeness(class, other)) {
                    best[i] = name;
                    name = other;
                }
            }
        }
    *names = '\0';
    for (size_t i = 0; i < 3 && best[i] != NULL && at < size; i++)
        at += (size_t)snprintf(names + at, size - at, "%s%s", i > 0 ? ", " : "", best[i]);
}

/* --- config.json ------------------------------------------------------------------------------------------- */

/* The entry of OBJECT whose name or path ("a.b") is NAME, of LENGTH characters. */
static json_t *
entry(json_t *object, const char *name, size_t length)
{
    const char *dot = memchr(name, '.', length);
    const size_t first = dot == NULL ? length : (size_t)(dot - name);
    char key[64];

    if (length == 0 || first >= sizeof key)
        return NULL;
    memcpy(key, name, first);
    key[first] = '\0';
    object = json_is_array(object) ? json_array_get(object, strtoul(key, NULL, 10)) : json_object_get(object, key);
    return dot == NULL ? object : entry(object, dot + 1, length - first - 1);
}

/* OBJECT's rotary parameters: an empty rope_scaling is like none. */
static json_t *
rope_of(json_t *object)
{
    json_t *scaling = json_object_get(object, "rope_scaling"), *parameters = json_object_get(object, "rope_parameters");

    json_t *rope = json_object_size(scaling) > 0 ? scaling : json_is_object(parameters) ? parameters : NULL;
    json_t *full = json_object_get(rope, "full_attention");

    return json_is_object(full) ? full : rope;
}

json_t *
nb_config_rope(json_t *config)
{
    json_t *inner = rope_of(json_object_get(config, "text_config"));

    return inner != NULL ? inner : rope_of(config);
}

static bool
is_rotary(const char *name, size_t length)
{
    return (length == strlen("rope_theta") && memcmp(name, "rope_theta", length) == 0) ||
           (length == strlen("partial_rotary_factor") && memcmp(name, "partial_rotary_factor", length) == 0);
}

static json_t *
find(json_t *config, const char *name, size_t length)
{
    json_t *text = json_object_get(config, "text_config"), *rope = nb_config_rope(config);
    json_t *const places[] = { text, config, rope };
    json_t *found = is_rotary(name, length) ? entry(rope, name, length) : NULL;

    if (json_is_null(found))
        found = NULL;
    for (size_t i = 0; i < sizeof places / sizeof places[0] && found == NULL; i++)
        found = entry(places[i], name, length);
    return found;
}

json_t *
nb_config_find(json_t *config, const char *name)
{
    return find(config, name, strlen(name));
}

double
nb_config_layer_is(json_t *config, const char *name, const char *values, uint64_t layer, uint64_t layers)
{
    json_t *list = nb_config_find(config, name);
    const bool is_text = json_is_string(list);
    const size_t n = is_text ? json_string_length(list) : json_array_size(list);
    const char *kind;
    size_t length;

    if (n != layers || layer >= n)
        return NAN;
    kind = is_text ? json_string_value(list) + layer : json_string_value(json_array_get(list, (size_t)layer));
    length = is_text ? 1 : kind == NULL ? 0 : strlen(kind);
    for (const char *at = values; *at != '\0'; at += *at == '|') {
        const size_t width = strcspn(at, "|");

        if (kind != NULL && width == length && memcmp(at, kind, width) == 0)
            return 1;
        at += width;
    }
    return 0;
}

double
nb_config_lists_layer(json_t *config, const char *name, uint64_t first, uint64_t layer)
{
    json_t *list = nb_config_find(config, name), *number;
    size_t i;

    json_array_foreach(list, i, number)
        if (json_number_value(number) == (double)(layer + first))
            return 1;
    return json_is_array(list) ? 0 : (double)NAN;
}

enum nb_status
nb_derive_each(json_t *config, const char *name, enum nb_hparam hparam,
               double (*value)(json_t *config, const struct nb_hparams *hp, uint64_t layer), struct nb_hparams *hp,
               struct nb_error *err)
{
    const uint64_t n = (uint64_t)fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS);
    double numbers[NB_MAX_LAYERS];

    for (uint64_t i = 0; i < n; i++) {
        numbers[i] = value(config, hp, i);
        if (!(numbers[i] >= 0 && numbers[i] <= NB_MAX_SIDE))
            return nb_fail(err, NB_INPUT, "%s: does not say what the %s of layer %" PRIu64 " is", name,
                           nb_hparam_info(hparam)->label, i);
    }
    return nb_hp_set_each(hp, hparam, numbers, (size_t)n, hp->value[hparam].given, err);
}

/*
 * The first of the ENTRIES that is present; *NAME and *LENGTH receive its name, or the first name if none is. A
 * "=text" may follow the name.
 */
static json_t *
find_first(json_t *config, const char *entries, const char **name, size_t *length)
{
    *name = entries;
    *length = strcspn(entries, "=|");
    for (const char *at = entries;; at++) {
        const size_t n = strcspn(at, "=|");
        json_t *value = find(config, at, n);

        if (value != NULL) {
            *name = at;
            *length = n;
            return value;
        }
        at += strcspn(at, "|");
        if (*at == '\0')
            return NULL;
    }
}

/* Where a value was found, for messages. */
struct place {
    const char *file, *name;
    int length; /* of NAME */
    bool in_array;
    bool wants_text; /* "=text" follows NAME in the row */
    const struct nb_hparam_info *row;
    struct nb_error *err;
};

static enum nb_status
check_number(const struct place *p, double number)
{
    /* A single layer may have no heads or no feed-forward part, so 0 is valid in an array only, or without experts. */
    const double low = p->row->form == NB_HP_FORM_EACH && !p->in_array && p->row->high > NB_MAX_EXPERTS
                           ? fmax(p->row->low, 1)
                           : p->row->low;

    if (p->row->type == NB_HP_TYPE_U32 && (number < low || number > NB_MAX_SIDE || number != floor(number)))
        return nb_fail(p->err, NB_INPUT, "%s: %.*s is %g, which is not a size that a model can have", p->file,
                       p->length, p->name, number);
    if (p->row->type == NB_HP_TYPE_U32 && number > p->row->high)
        return nb_fail(p->err, NB_INPUT, "%s: %.*s is %g, more than any model has", p->file, p->length, p->name,
                       number);
    if (p->row->type == NB_HP_TYPE_F32 && !(number > 0 && number <= (double)FLT_MAX))
        return nb_fail(p->err, NB_INPUT, "%s: %.*s is %g, but must be above zero and fit a 32-bit float", p->file,
                       p->length, p->name, number);
    return NB_OK;
}

/* Whether VALUE is the text that follows NAME. */
static enum nb_status
take_match(const struct place *p, json_t *value, double *out)
{
    const char *wanted = p->name + p->length + 1, *text = json_string_value(value);

    if (text == NULL)
        return nb_fail(p->err, NB_INPUT, "%s: %.*s is not a list of texts", p->file, p->length, p->name);
    *out = strlen(text) == strcspn(wanted, "|") && strncmp(text, wanted, strlen(text)) == 0;
    return NB_OK;
}

static enum nb_status
take_number(const struct place *p, json_t *value, double *out)
{
    if (p->wants_text)
        return take_match(p, value, out);
    if (p->row->type == NB_HP_TYPE_BOOL && json_is_boolean(value)) {
        *out = json_is_true(value);
        return NB_OK;
    }
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return nb_fail(p->err, NB_INPUT, "%s: %.*s is not a number", p->file, p->length, p->name);
    *out = json_number_value(value);
    return check_number(p, *out);
}

static enum nb_status
take_array(struct place *p, enum nb_hparam hparam, json_t *array, struct nb_hparams *hp)
{
    double numbers[NB_MAX_LAYERS];
    const size_t n = json_array_size(array);
    enum nb_status status;

    if (n > NB_MAX_LAYERS)
        return nb_fail(p->err, NB_INPUT, "%s: %.*s has %zu entries, more than any model has layers", p->file, p->length,
                       p->name, n);
    p->in_array = true;
    for (size_t i = 0; i < n; i++)
        if ((status = take_number(p, json_array_get(array, i), &numbers[i])) != NB_OK)
            return status;
    status = nb_hp_set_each(hp, hparam, numbers, n, true, p->err);
    hp->value[hparam].flags = p->wants_text || (n > 0 && json_is_boolean(json_array_get(array, 0)));
    return status;
}

/* Names that config.json has for numbers: of router functions, as in llama.cpp's llama_expert_gating_func_type. */
static const struct {
    enum nb_hparam hparam;
    const char *name;
    double number;
} names_of_numbers[] = {
    { NB_HP_EXPERT_GATING, "softmax", 1 },
    { NB_HP_EXPERT_GATING, "sigmoid", 2 },
    { NB_HP_EXPERT_GATING, "sqrtsoftplus", 4 },
    { NB_HP_EXPERT_GATING, "noaux_tc", 2 }, /* dots.llm1 has the method of selection in its place */
};

const char *
nb_config_number_name(enum nb_hparam hparam, double number)
{
    for (size_t i = 0; i < sizeof names_of_numbers / sizeof names_of_numbers[0]; i++)
        if (names_of_numbers[i].hparam == hparam && names_of_numbers[i].number == number)
            return names_of_numbers[i].name;
    return NULL;
}

static enum nb_status
take_name(const struct place *p, enum nb_hparam hparam, const char *name, struct nb_hparams *hp)
{
    for (size_t i = 0; i < sizeof names_of_numbers / sizeof names_of_numbers[0]; i++) {
        if (names_of_numbers[i].hparam == hparam && strcmp(names_of_numbers[i].name, name) == 0) {
            nb_hp_set(hp, hparam, names_of_numbers[i].number, true);
            return NB_OK;
        }
    }
    return nb_fail(p->err, NB_UNSUPPORTED, "%s: %.*s is '%.64s', which cannot be converted", p->file, p->length,
                   p->name, name);
}

static enum nb_status
take_value(struct place *p, enum nb_hparam hparam, json_t *value, struct nb_hparams *hp)
{
    double number = 0;
    enum nb_status status;

    if (p->row->type == NB_HP_TYPE_TEXT) {
        if (!json_is_string(value))
            return nb_fail(p->err, NB_INPUT, "%s: %.*s is not a text", p->file, p->length, p->name);
        return nb_hp_set_text(hp, hparam, json_string_value(value), true, p->err);
    }
    if (p->wants_text && !json_is_array(value))
        return nb_fail(p->err, NB_INPUT, "%s: %.*s is not a list of texts", p->file, p->length, p->name);
    if (hparam == NB_HP_EXPERT_GATING && json_is_string(value))
        return take_name(p, hparam, json_string_value(value), hp);
    if (json_is_array(value) && p->row->form != NB_HP_FORM_ONE)
        return take_array(p, hparam, value, hp);
    status = take_number(p, value, &number);
    if (status == NB_OK)
        nb_hp_set(hp, hparam, number, true);
    return status;
}

static enum nb_status
read_row(const struct nb_config_row *row, json_t *config, const char *file, struct nb_hparams *hp, struct nb_error *err)
{
    struct place p = { .file = file, .row = nb_hparam_info(row->hparam), .err = err };
    size_t length;
    json_t *value = find_first(config, row->entries, &p.name, &length);

    p.length = (int)length;
    p.wants_text = p.name[length] == '=';
    if (value != NULL && !json_is_null(value))
        return take_value(&p, row->hparam, value, hp);
    if (row->otherwise == NULL)
        return nb_fail(err, NB_INPUT, "%s: has no %.*s", file, p.length, p.name);
    if (*row->otherwise == '\0')
        return NB_OK;
    if (p.row->type == NB_HP_TYPE_TEXT)
        return nb_hp_set_text(hp, row->hparam, row->otherwise, false, err);
    return nb_expression_set(row->otherwise, hp, row->hparam, err);
}

enum nb_status
nb_family_hparams(const struct nb_family *family, json_t *config, const char *name, struct nb_hparams *hp,
                  struct nb_error *err)
{
    enum nb_status status = NB_OK;

    *hp = (struct nb_hparams){ 0 };
    for (size_t i = 0; i < family->n_config && status == NB_OK; i++)
        status = read_row(&family->config[i], config, name, hp, err);
    if (status == NB_OK && family->derive != NULL)
        status = family->derive(config, name, hp, err);
    return status == NB_OK ? nb_hparams_check(hp, name, err) : status;
}

/* --- metadata ------------------------------------------------------------------------------------------------ */

enum nb_status
nb_write_file_type(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    nb_meta_set_u32(meta, "general.file_type", c->file_type);
    return nb_meta_status(meta, err);
}

enum nb_status
nb_family_metadata(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    const struct nb_family *f = c->family;
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < f->n_keys && status == NB_OK; i++) {
        const struct nb_key_row *row = &f->keys[i];

        if (row->kind == NB_KEY_WRITER)
            status = row->write(c, meta, err);
        else if (row->kind == NB_KEY_HPARAM || (row->kind == NB_KEY_IF_GIVEN && c->hp->value[row->hparam].given) ||
                 (row->kind == NB_KEY_IF_SET && nb_hp(c->hp, row->hparam) != 0))
            status = nb_hparam_write(c->hp, row->hparam, f->arch->name, meta, err);
    }
    return status;
}
