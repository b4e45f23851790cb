#include "formats/models/config_defaults.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A model_type and a JSON object. */
struct row {
    const char *model_type, *entries;
};

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
#undef NB_DEFAULTS

/* InternVL, GLM-ASR, DeepSeek-OCR: as llama.cpp's conversion/base.py (load_hparams). */
const char *const nb_text_config_names[] = { "llm_config", "lm_config", "language_config", NULL };

/* The object that ROWS has for the type of TEXT, or for that of CONFIG, which it is in; NULL: none. To be released. */
static json_t *
entries_for(const struct row *rows, size_t count, json_t *text, json_t *config)
{
    json_t *const places[] = { text, config };

    for (size_t p = 0; p < COUNT(places); p++) {
        const char *type = json_string_value(json_object_get(places[p], "model_type"));

        for (size_t i = 0; i < count && type != NULL; i++)
            if (strcmp(rows[i].model_type, type) == 0)
                return json_loads(rows[i].entries, JSON_DECODE_INT_AS_REAL, NULL);
    }
    return NULL;
}

/* Whether an absent entry NAME has no default in this config: what rope_parameters hold stands for rope_scaling. */
static bool
is_said_otherwise(json_t *text, json_t *config, const char *name)
{
    return strcmp(name, "rope_scaling") == 0 && (json_is_object(json_object_get(text, "rope_parameters")) ||
                                                 json_is_object(json_object_get(config, "rope_parameters")));
}

/* Adds the entries of MORE that neither TEXT nor CONFIG has; those of objects too, but of rotary ones. */
static int
add_absent(json_t *text, json_t *config, json_t *more)
{
    const char *name;
    json_t *value;
    int failed = 0;

    json_object_foreach(more, name, value) {
        json_t *there = json_object_get(text, name);

        if (there == NULL && config != NULL)
            there = json_object_get(config, name);
        if (there == NULL && !is_said_otherwise(text, config, name))
            failed |= json_object_set(text, name, value);
        else if (json_is_object(there) && json_is_object(value) && strncmp(name, "rope_", 5) != 0)
            failed |= add_absent(there, NULL, value);
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
    for (const char *const *name = nb_text_config_names; *name != NULL; name++) {
        json_t *text = json_object_get(config, *name);

        if (json_is_object(text) && json_object_get(config, "text_config") == NULL)
            return json_object_set(config, "text_config", text);
    }
    return 0;
}

enum nb_status
nb_config_complete(json_t *config, struct nb_error *err)
{
    int failed = add_text_config(config);
    json_t *inner = json_object_get(config, "text_config"), *text = json_is_object(inner) ? inner : config;
    json_t *names = entries_for(other_names, COUNT(other_names), text, config);
    json_t *more = entries_for(defaults, COUNT(defaults), text, config);

    failed |= add_other_names(text, names);
    failed |= add_absent(text, config, more);
    json_decref(names);
    json_decref(more);
    return failed != 0 ? nb_fail_memory(err) : NB_OK;
}
