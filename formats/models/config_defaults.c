#include "formats/models/config_defaults.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A model_type, and a JSON object or another model_type. */
struct row {
    const char *model_type, *text;
};

#define NB_TEXT_OF(model_type, text)
#define NB_OTHER_NAMES(model_type, ...)
#define NB_DEFAULTS(model_type, ...) { model_type, #__VA_ARGS__ },
static const struct row defaults[] = {
#include "formats/models/config_defaults.def"
};
#undef NB_OTHER_NAMES
#undef NB_DEFAULTS

#define NB_DEFAULTS(model_type, ...)
#define NB_OTHER_NAMES(model_type, ...) { model_type, #__VA_ARGS__ },
static const struct row other_names[] = {
#include "formats/models/config_defaults.def"
};
#undef NB_OTHER_NAMES
#undef NB_TEXT_OF

#define NB_OTHER_NAMES(model_type, ...)
#define NB_TEXT_OF(model_type, text) { model_type, text },
static const struct row texts_of_wrappers[] = {
#include "formats/models/config_defaults.def"
};

/* InternVL, GLM-ASR, DeepSeek-OCR: as llama.cpp's conversion/base.py (load_hparams). */
static const char *const text_config_names[] = { "llm_config", "lm_config", "language_config", NULL };

/* What ROWS has for MODEL_TYPE; NULL: nothing. */
static const char *
find(const struct row *rows, size_t count, const char *model_type)
{
    for (size_t i = 0; i < count && model_type != NULL; i++)
        if (strcmp(rows[i].model_type, model_type) == 0)
            return rows[i].text;
    return NULL;
}

static const char *
type_of(json_t *object)
{
    return json_string_value(json_object_get(object, "model_type"));
}

/*
 * The model_type whose class reads the text model of CONFIG; NULL: none that is known. A wrapper of an unknown type is
 * not read by a class, nor is its text model.
 */
static const char *
class_type(json_t *config)
{
    const char *type = type_of(config), *usual = find(texts_of_wrappers, COUNT(texts_of_wrappers), type);
    const char *inner = type_of(json_object_get(config, "text_config"));

    if (find(defaults, COUNT(defaults), type) != NULL)
        return type;
    return usual == NULL || find(defaults, COUNT(defaults), inner) == NULL ? usual : inner;
}

bool
nb_config_has_class(json_t *config)
{
    return class_type(config) != NULL;
}

/* Whether the absent entry NAME has no default here: rope_parameters stand for rope_scaling. */
static bool
is_said_otherwise(json_t *text, const char *name)
{
    return strcmp(name, "rope_scaling") == 0 && json_is_object(json_object_get(text, "rope_parameters"));
}

/* Adds the entries of MORE that TEXT does not have; those of objects too, but of rotary ones. */
static int
add_absent(json_t *text, json_t *more)
{
    const char *name;
    json_t *value;
    int failed = 0;

    json_object_foreach(more, name, value) {
        json_t *there = json_object_get(text, name);

        if (there == NULL && !is_said_otherwise(text, name))
            failed |= json_object_set(text, name, value);
        else if (json_is_object(there) && json_is_object(value) && strncmp(name, "rope_", 5) != 0)
            failed |= add_absent(there, value);
    }
    return failed;
}

/* Entries under other names move to the class's own. */
static int
add_other_names(json_t *text, json_t *names)
{
    const char *name;
    json_t *own;
    int failed = 0;

    json_object_foreach(names, name, own) {
        json_t *value = json_object_get(text, name);

        if (value != NULL && json_object_get(text, json_string_value(own)) == NULL)
            failed |= json_object_set(text, json_string_value(own), value) | json_object_del(text, name);
    }
    return failed;
}

static int
add_text_config(json_t *config)
{
    json_t *thinker = json_object_get(json_object_get(config, "thinker_config"), "text_config"); /* Qwen's Omni */

    if (json_is_object(thinker) && json_object_get(config, "text_config") == NULL)
        return json_object_set(config, "text_config", thinker);
    for (const char *const *name = text_config_names; *name != NULL; name++) {
        json_t *text = json_object_get(config, *name);

        if (json_is_object(text) && json_object_get(config, "text_config") == NULL)
            return json_object_set(config, "text_config", text);
    }
    return 0;
}

/* Not NULL; to be released. */
static json_t *
object_for(const struct row *rows, size_t count, const char *model_type)
{
    const char *text = find(rows, count, model_type);

    return text == NULL ? json_object() : json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
}

enum nb_status
nb_config_complete(json_t *config, struct nb_error *err)
{
    int failed = add_text_config(config);
    json_t *inner = json_object_get(config, "text_config"), *text = json_is_object(inner) ? inner : config;
    const char *type = class_type(config);
    json_t *names = object_for(other_names, COUNT(other_names), type);
    json_t *more = object_for(defaults, COUNT(defaults), type);

    failed |= names == NULL || more == NULL || add_other_names(text, names) != 0 || add_absent(text, more) != 0;
    json_decref(names);
    json_decref(more);
    return failed != 0 ? nb_fail_memory(err) : NB_OK;
}
