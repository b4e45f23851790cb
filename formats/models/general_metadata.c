#include "formats/base/text.h"
#include "formats/models/model_card.h"
#include "formats/models/model_name.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* generation_config.json's sampling defaults, in the order of writing. */
static const struct {
    const char *config, *key;
    enum nb_kv_type type;
} sampling[] = {
    { "sequence", "general.sampling.sequence", NB_KV_STRING },
    { "top_k", "general.sampling.top_k", NB_KV_I32 },
    { "top_p", "general.sampling.top_p", NB_KV_F32 },
    { "min_p", "general.sampling.min_p", NB_KV_F32 },
    { "xtc_probability", "general.sampling.xtc_probability", NB_KV_F32 },
    { "xtc_threshold", "general.sampling.xtc_threshold", NB_KV_F32 },
    { "temperature", "general.sampling.temp", NB_KV_F32 },
    { "penalty_last_n", "general.sampling.penalty_last_n", NB_KV_I32 },
    { "penalty_repeat", "general.sampling.penalty_repeat", NB_KV_F32 },
    { "mirostat", "general.sampling.mirostat", NB_KV_I32 },
    { "mirostat_tau", "general.sampling.mirostat_tau", NB_KV_F32 },
    { "mirostat_eta", "general.sampling.mirostat_eta", NB_KV_F32 },
};

/* Each field is taken from the first place that has it. */
/* clang-format off */
enum field {
    NAME, AUTHOR, VERSION, ORGANIZATION, FINETUNE, BASENAME, DESCRIPTION, SIZE_LABEL,
    LICENSE, LICENSE_NAME, LICENSE_LINK, SOURCE_URL, SOURCE_DOI, SOURCE_UUID, SOURCE_REPO_URL, FIELDS,
};
/* clang-format on */

/* In the order of writing, with the model card's entries; the first one present is used. */
static const struct {
    const char *key;
    const char *card[4];
} fields[FIELDS] = {
    [NAME] = { "general.name", { "name", "model_name" } },
    [AUTHOR] = { "general.author", { "author", "model_author", "model_creator" } },
    [VERSION] = { "general.version", { "version", "model_version" } },
    [ORGANIZATION] = { "general.organization", { "organization", "model_organization" } },
    [FINETUNE] = { "general.finetune", { "finetune", "model_finetune" } },
    [BASENAME] = { "general.basename", { "basename", "model_basename", "model_type" } },
    [DESCRIPTION] = { "general.description", { "description", "model_description" } },
    [SIZE_LABEL] = { "general.size_label", { "size_label", "model_size_label" } },
    [LICENSE] = { "general.license", { "license" } },
    [LICENSE_NAME] = { "general.license.name", { "license_name" } },
    [LICENSE_LINK] = { "general.license.link", { "license_link" } },
    [SOURCE_URL] = { "general.source.url", { "url", "model_url" } },
    [SOURCE_DOI] = { "general.source.doi", { "doi", "model_doi" } },
    [SOURCE_UUID] = { "general.source.uuid", { "uuid", "model_uuid" } },
    [SOURCE_REPO_URL] = { "general.source.repo_url", { "repo_url", "model_repo_url" } },
};

struct facts {
    char text[FIELDS][1024];
};

static void
set_field(struct facts *facts, enum field field, const char *text)
{
    if (*facts->text[field] == '\0' && text != NULL)
        snprintf(facts->text[field], sizeof facts->text[field], "%s", text);
}

/* A scalar of the card as text, or a list of strings joined with commas. */
static void
set_field_from(struct facts *facts, enum field field, json_t *value)
{
    char buffer[1024] = "";
    size_t at = 0, i;
    json_t *entry;

    if (json_is_string(value))
        set_field(facts, field, json_string_value(value));
    if (json_is_integer(value))
        snprintf(buffer, sizeof buffer, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value))
        snprintf(buffer, sizeof buffer, "%.15g", json_real_value(value));
    json_array_foreach(value, i, entry)
        if (json_is_string(entry) && at < sizeof buffer)
            at += (size_t)snprintf(buffer + at, sizeof buffer - at, "%s%s", at > 0 ? "," : "",
                                   json_string_value(entry));
    if (*buffer != '\0')
        set_field(facts, field, buffer);
}

static void
facts_from_card(struct facts *facts, json_t *card)
{
    for (enum field f = 0; f < FIELDS; f++)
        for (size_t i = 0; i < COUNT(fields[f].card) && fields[f].card[i] != NULL; i++)
            set_field_from(facts, f, json_object_get(card, fields[f].card[i]));
}

static void
facts_from_name(struct facts *facts, const char *id, uint64_t parameters, struct nb_metadata *meta)
{
    struct nb_model_name parts;
    char title[NB_NAME_PART];

    nb_model_name_parse(id, parameters, &parts);
    meta->out_of_memory |= parts.out_of_memory;
    nb_model_title(parts.full, title);
    set_field(facts, NAME, title);
    nb_model_title(parts.organization, title);
    set_field(facts, ORGANIZATION, title);
    set_field(facts, BASENAME, parts.basename);
    set_field(facts, FINETUNE, parts.finetune);
    set_field(facts, VERSION, parts.version);
    set_field(facts, SIZE_LABEL, parts.size_label);
}

static enum nb_status
set_sampling(size_t i, json_t *value, struct nb_metadata *meta, struct nb_error *err)
{
    const double number = json_number_value(value);

    if (sampling[i].type == NB_KV_I32) {
        if (!(number >= INT32_MIN && number <= INT32_MAX))
            return nb_fail(err, NB_INPUT, "generation_config.json: %s is %g, which is not a 32-bit integer",
                           sampling[i].config, number);
        nb_meta_set_i32(meta, sampling[i].key, (int32_t)number);
    } else {
        if (!(fabs(number) <= (double)FLT_MAX))
            return nb_fail(err, NB_INPUT, "generation_config.json: %s is %g, which is more than a 32-bit float holds",
                           sampling[i].config, number);
        nb_meta_set_f32(meta, sampling[i].key, (float)number);
    }
    return NB_OK;
}

static enum nb_status
sampling_keys(json_t *config, struct nb_metadata *meta, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < COUNT(sampling) && status == NB_OK; i++) {
        json_t *value = json_object_get(config, sampling[i].config);

        if (value == NULL && strcmp(sampling[i].config, "penalty_repeat") == 0)
            value = json_object_get(config, "repetition_penalty");
        if (sampling[i].type == NB_KV_STRING && json_is_string(value))
            nb_meta_set_string(meta, sampling[i].key, json_string_value(value));
        else if (sampling[i].type != NB_KV_STRING && json_is_number(value))
            status = set_sampling(i, value, meta, err);
    }
    return status;
}

/* "general.WHAT.INDEX.NAME" */
static void
set_relative(struct nb_metadata *meta, const char *what, size_t index, const char *name, const char *value)
{
    char key[128];

    if (value == NULL || *value == '\0')
        return;
    snprintf(key, sizeof key, "general.%s.%zu.%s", what, index, name);
    nb_meta_set_string(meta, key, value);
}

static void
relative_from_id(struct nb_metadata *meta, const char *what, size_t index, const char *id, uint64_t parameters)
{
    static const char hub[] = "https://huggingface.co/";
    const bool is_url = strncmp(id, "http://", 7) == 0 || strncmp(id, "https://", 8) == 0 ||
                        strncmp(id, "ssh://", 6) == 0;
    const char *hub_id = id;
    struct nb_model_name parts;
    char title[NB_NAME_PART], url[2 * (size_t)NB_NAME_PART + sizeof hub];

    if (is_url) {
        hub_id = strncmp(id, hub, strlen(hub)) == 0 ? id + strlen(hub) : "";
        const char *slash = strchr(hub_id, '/');
        if (slash == NULL || strchr(slash + 1, '/') != NULL)
            hub_id = ""; /* not OWNER/NAME */
    }
    nb_model_name_parse(hub_id, parameters, &parts);
    meta->out_of_memory |= parts.out_of_memory;
    nb_model_title(parts.full, title);
    set_relative(meta, what, index, "name", title);
    set_relative(meta, what, index, "version", parts.version);
    nb_model_title(parts.organization, title);
    set_relative(meta, what, index, "organization", title);
    snprintf(url, sizeof url, "%s%s/%s", hub, parts.organization, parts.full);
    set_relative(meta, what, index, "repo_url", is_url ? id : *parts.organization != '\0' ? url : NULL);
}

/* The base models or data sets: ids, URLs, or maps that contain the keys themselves. */
static void
relatives(struct nb_metadata *meta, json_t *card, const char *const *entries, const char *what, uint64_t parameters)
{
    static const char *const names[] = { "name", "author", "version", "organization", "description",
                                         "url",  "doi",    "uuid",    "repo_url" };
    json_t *list = NULL, *entry, *single;
    char key[64];
    size_t i;

    for (i = 0; entries[i] != NULL && list == NULL; i++)
        list = json_object_get(card, entries[i]);
    if (list == NULL)
        return;
    single = json_array();
    if (json_is_string(list)) {
        meta->out_of_memory |= json_array_append(single, list) != 0;
        list = single;
    }
    snprintf(key, sizeof key, "general.%s.count", what);
    nb_meta_set_u32(meta, key, (uint32_t)json_array_size(list));
    json_array_foreach(list, i, entry) {
        if (json_is_string(entry))
            relative_from_id(meta, what, i, json_string_value(entry), parameters);
        for (size_t k = 0; json_is_object(entry) && k < COUNT(names); k++)
            set_relative(meta, what, i, names[k], json_string_value(json_object_get(entry, names[k])));
    }
    json_decref(single);
}

static void
string_list(struct nb_metadata *meta, json_t *card, const char *first, const char *second, const char *key)
{
    const char *const sources[] = { first, second };
    struct nb_strings list = { 0 };

    for (size_t s = 0; s < COUNT(sources); s++) {
        json_t *value = json_object_get(card, sources[s]), *entry;
        size_t i;

        if (json_is_string(value))
            nb_strings_add(&list, json_string_value(value), json_string_length(value));
        json_array_foreach(value, i, entry)
            if (json_is_string(entry))
                nb_strings_add(&list, json_string_value(entry), json_string_length(entry));
    }
    nb_meta_set_strings(meta, key, &list);
}

/* Whether the N characters at S are a commit's hash. */
static bool
is_hash(const char *s, size_t n)
{
    return n == 40 && strspn(s, "0123456789abcdef") >= n;
}

/*
 * In the hub's cache a model's folder is ".../models--OWNER--NAME/snapshots/HASH", where REAL ends.
 * Writes "OWNER/NAME" into ID; false if REAL is not such a folder.
 */
static bool
hub_name(const char *real, char *id, size_t size)
{
    static const char snapshots[] = "/snapshots", models[] = "models--";
    const char *hash = strrchr(real, '/'), *end, *from;
    char *dashes;

    if (hash == NULL || !is_hash(hash + 1, strlen(hash + 1)) || hash - real < (ptrdiff_t)strlen(snapshots))
        return false;
    end = hash - strlen(snapshots);
    if (strncmp(end, snapshots, strlen(snapshots)) != 0)
        return false;
    for (from = end; from > real && from[-1] != '/';)
        from--;
    if (strncmp(from, models, strlen(models)) != 0)
        return false;
    from += strlen(models);
    snprintf(id, size, "%.*s", (int)(end - from), from);
    dashes = strstr(id, "--");
    if (dashes != NULL) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return *id != '\0';
}

enum nb_status
nb_model_folder_name(const char *folder, char *name, size_t size, struct nb_error *err)
{
    char *real = realpath(folder, NULL), *clean;
    const char *slash = real == NULL ? NULL : strrchr(real, '/');

    if (real == NULL && errno == ENOMEM)
        return nb_fail_memory(err);
    if (real == NULL)
        return nb_fail(err, nb_status_of_errno(errno, NB_INPUT), "%s: cannot be followed: %s", folder, strerror(errno));
    clean = nb_utf8_repaired(slash == NULL ? "" : slash + 1); /* a folder's name may be any bytes */
    if (clean != NULL && !hub_name(real, name, size))
        snprintf(name, size, "%s", clean);
    free(real);
    if (clean == NULL)
        return nb_fail_memory(err);
    free(clean);
    return NB_OK;
}

static void
write_facts(const struct facts *facts, json_t *card, uint64_t parameters, struct nb_metadata *meta)
{
    static const char *const models[] = { "base_model", "base_models", "base_model_sources", NULL };
    static const char *const datasets[] = { "datasets", "dataset", "dataset_sources", NULL };

    for (enum field f = 0; f < FIELDS; f++)
        if (*facts->text[f] != '\0')
            nb_meta_set_string(meta, fields[f].key, facts->text[f]);
    relatives(meta, card, models, "base_model", parameters);
    relatives(meta, card, datasets, "dataset", parameters);
    string_list(meta, card, "tags", "pipeline_tag", "general.tags");
    string_list(meta, card, "languages", "language", "general.languages");
}

enum nb_status
nb_general_metadata(struct nb_checkpoint *cp, const struct nb_parameters *parameters, struct nb_metadata *meta,
                    struct nb_error *err)
{
    struct facts *facts = nb_arena_calloc(&cp->arena, 1, sizeof *facts);
    json_t *card = NULL, *generation = NULL;
    const char *id = json_string_value(json_object_get(cp->config, "_name_or_path"));
    char folder[3 * NAME_MAX + 1], label[NB_NAME_PART];
    enum nb_status status;

    if (facts == NULL)
        return nb_fail_memory(err);
    status = nb_checkpoint_json(cp, "generation_config.json", &generation, err);
    if (status == NB_OK)
        status = nb_model_card_read(cp, &card, err);
    if (status == NB_OK)
        status = nb_model_folder_name(cp->folder, folder, sizeof folder, err);
    if (status != NB_OK) {
        json_decref(card);
        json_decref(generation);
        return status;
    }
    facts_from_card(facts, card);
    /* A hub's OWNER/NAME is a name; a local path is not. */
    if (id != NULL && *id != '\0' && (strchr(id, '/') == NULL || strchr(id, '/') == strrchr(id, '/')))
        facts_from_name(facts, id, parameters->all, meta);
    facts_from_name(facts, folder, parameters->all, meta);
    set_field(facts, NAME, folder);
    nb_size_label(parameters, label);
    set_field(facts, SIZE_LABEL, label);
    status = sampling_keys(generation, meta, err);
    write_facts(facts, card, parameters->all, meta);
    json_decref(card);
    json_decref(generation);
    return status == NB_OK ? nb_meta_status(meta, err) : status;
}
