/*
 * Special token ids, whether BOS and EOS are added, normalizer flags, chat
 * templates. By the rules of gguf-py's SpecialVocab, so that the metadata is
 * the same as the reference converter's.
 */
#include "formats/tokenizer/tokenizer.h"

#include "formats/base/file_in.h"
#include "formats/base/folder.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum role { BOS, EOS, UNK, SEP, PAD, CLS, MASK, EOT, EOM, ROLES };

static const struct {
    const char *name;   /* in the JSON files: "bos_token", "bos_token_id", "add_bos_token" */
    const char *id_key; /* NULL: there is no GGUF key */
    const char *add_key;
} roles[ROLES] = {
    [BOS] = { "bos", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token" },
    [EOS] = { "eos", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_eos_token" },
    [UNK] = { "unk", "tokenizer.ggml.unknown_token_id", NULL },
    [SEP] = { "sep", "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.add_sep_token" }, /* sic */
    [PAD] = { "pad", "tokenizer.ggml.padding_token_id", NULL },
    [CLS] = { "cls", NULL, NULL },
    [MASK] = { "mask", "tokenizer.ggml.mask_token_id", NULL },
    [EOT] = { "eot", "tokenizer.ggml.eot_token_id", NULL },
    [EOM] = { "eom", "tokenizer.ggml.eom_token_id", NULL },
};

struct specials {
    const char *token[ROLES]; /* its text in tokenizer_config.json; owned by the JSON tree */
    bool in_use[ROLES];       /* EOT and EOM are used only after another token replaced EOS */
    bool has_id[ROLES], has_add[ROLES];
    uint64_t id[ROLES];
    bool add[ROLES];
    /* GGUF keys are written in the order in which they were found. */
    enum role id_order[ROLES], add_order[ROLES];
    size_t n_ids, n_adds;
};

const char *
nb_token_content(json_t *token)
{
    if (json_is_object(token))
        token = json_object_get(token, "content");
    return json_string_value(token);
}

static void
set_add(struct specials *s, enum role role, bool value)
{
    if (!s->has_add[role])
        s->add_order[s->n_adds++] = role;
    s->has_add[role] = true;
    s->add[role] = value;
}

static void
set_id(struct specials *s, enum role role, json_t *id, uint64_t limit)
{
    double value = json_number_value(id);

    if (s->has_id[role] || !json_is_number(id) || value < 0 || value >= (double)limit ||
        value != (double)(uint64_t)value)
        return;
    s->has_id[role] = true;
    s->id[role] = (uint64_t)value;
    s->id_order[s->n_ids++] = role;
}

static bool
same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static const char *
special_at(json_t *template, size_t index)
{
    return json_string_value(json_object_get(json_object_get(json_array_get(template, index), "SpecialToken"), "id"));
}

static const char *
sequence_at(json_t *template, size_t index)
{
    return json_string_value(json_object_get(json_object_get(json_array_get(template, index), "Sequence"), "id"));
}

static void
leading_token(struct specials *s, const char *first, bool has_config)
{
    if (!has_config) {
        s->token[BOS] = first;
    } else if (!same(first, s->token[BOS]) && !same(first, s->token[CLS])) {
        if (s->token[BOS] == NULL)
            s->token[BOS] = first;
        if (s->token[CLS] == NULL)
            s->token[CLS] = first;
    }
    set_add(s, BOS, same(first, s->token[BOS]) || same(first, s->token[CLS]));
}

static void
trailing_token(struct specials *s, const char *last, bool has_config)
{
    if (has_config && !same(last, s->token[EOS])) {
        enum role displaced = s->in_use[EOT] ? EOM : EOT;

        if (!s->in_use[displaced]) {
            s->in_use[displaced] = true;
            s->token[displaced] = s->token[EOS];
        }
    }
    s->token[EOS] = last;
    set_add(s, EOS, true);
}

/* Finds a separator between the two texts of a pair: A [sep] [eos] B. */
static void
pair_separator(struct specials *s, json_t *pair, const char *first, const char *last)
{
    size_t from = first != NULL && same(special_at(pair, 0), first) ? 1 : 0;
    size_t to = json_array_size(pair);
    bool separated = false;

    if (to > 0 && last != NULL && same(special_at(pair, to - 1), last))
        to--;
    if (to < from + 3 || !same(sequence_at(pair, from), "A") || !same(sequence_at(pair, to - 1), "B"))
        return;
    for (size_t i = from + 1; i < to - 1 && i < from + 3; i++) {
        const char *token = special_at(pair, i);
        const bool is_separator = same(token, s->token[SEP]) || same(token, s->token[EOS]);

        /* A separator directly after A counts only if a single text has no end token. */
        if (is_separator && (i > from + 1 || last == NULL))
            separated = true;
        if (to - from != 4)
            break;
    }
    set_add(s, SEP, separated);
    if (separated && s->token[SEP] == NULL)
        s->token[SEP] = s->token[EOS];
}

static void
read_processor(struct specials *s, json_t *processor, bool has_config)
{
    const char *type = json_string_value(json_object_get(processor, "type"));
    json_t *single = json_object_get(processor, "single"), *pair = json_object_get(processor, "pair");
    const char *first = NULL, *last = NULL;

    if (same(type, "RobertaProcessing")) {
        set_add(s, BOS, true);
        set_add(s, EOS, true);
        set_add(s, SEP, true);
        return;
    }
    if (!same(type, "TemplateProcessing"))
        return;
    if (json_array_size(single) > 1) {
        first = special_at(single, 0);
        last = special_at(single, json_array_size(single) - 1);
        if (first != NULL)
            leading_token(s, first, has_config);
        if (last != NULL)
            trailing_token(s, last, has_config);
    }
    if (json_array_size(pair) > 0)
        pair_separator(s, pair, first, last);
}

static void
read_post_processor(struct specials *s, json_t *processor, bool has_config)
{
    json_t *list = json_object_get(processor, "processors"), *entry;
    size_t i;

    if (s->token[BOS] == NULL)
        s->token[BOS] = s->token[CLS];
    if (s->token[EOS] == NULL)
        s->token[EOS] = s->token[SEP];
    if (!json_is_array(list)) {
        read_processor(s, processor, has_config);
        return;
    }
    json_array_foreach(list, i, entry)
        read_processor(s, entry, has_config);
}

static json_t *
role_entry(json_t *object, const char *format, enum role role)
{
    char key[64];

    snprintf(key, sizeof key, format, roles[role].name);
    return json_object_get(object, key);
}

static void
read_config_tokens(struct specials *s, json_t *config, json_t *added_tokens, uint64_t limit)
{
    for (enum role role = 0; role < ROLES; role++) {
        json_t *add = role_entry(config, "add_%s_token", role), *token;
        size_t i;

        if (!s->in_use[role])
            continue;
        if (json_is_boolean(add))
            set_add(s, role, json_is_true(add));
        json_array_foreach(added_tokens, i, token)
            if (s->token[role] != NULL && same(nb_token_content(token), s->token[role])) {
                set_id(s, role, json_object_get(token, "id"), limit);
                break;
            }
    }
}

static void
normalizer_flags(struct nb_metadata *meta, json_t *normalizer, unsigned depth)
{
    const char *type = json_string_value(json_object_get(normalizer, "type"));
    const bool bert = same(type, "BertNormalizer");
    json_t *flag, *entry;
    size_t i;

    flag = bert ? json_object_get(normalizer, "lowercase") : same(type, "Lowercase") ? json_true() : NULL;
    if (json_is_boolean(flag))
        nb_meta_set_bool(meta, "tokenizer.ggml.normalizer.lowercase", json_is_true(flag));
    flag = bert ? json_object_get(normalizer, "strip_accents") : same(type, "StripAccents") ? json_true() : NULL;
    if (json_is_boolean(flag))
        nb_meta_set_bool(meta, "tokenizer.ggml.normalizer.strip_accents", json_is_true(flag));
    if (same(type, "Sequence") && depth < 8)
        json_array_foreach(json_object_get(normalizer, "normalizers"), i, entry)
            normalizer_flags(meta, entry, depth + 1);
}

/* Whether a normalizer puts U+2581, SentencePiece's space, before a text. */
static bool
prepends_space(json_t *normalizer, unsigned depth)
{
    const char *type = json_string_value(json_object_get(normalizer, "type"));
    json_t *entry;
    size_t i;

    if (same(type, "Prepend"))
        return true;
    if (same(type, "Sequence") && depth < 8)
        json_array_foreach(json_object_get(normalizer, "normalizers"), i, entry)
            if (prepends_space(entry, depth + 1))
                return true;
    return false;
}

/*
 * llama.cpp puts a space before a text of SentencePiece's kind unless the file says otherwise. The model was
 * trained with what tokenizer.json does; tokenizer_config.json, which the key is from, may say something else.
 */
static void
space_prefix(struct nb_metadata *meta, const struct nb_tokenizer_json *tj)
{
    const enum nb_meta_prefix by_pre_tokenizer = nb_meta_prefix(tj->pre_tokenizer);
    const bool prepends = by_pre_tokenizer == NB_META_NO ? prepends_space(tj->normalizer, 0)
                                                         : by_pre_tokenizer != NB_META_NEVER;

    if (same(nb_meta_get_string(meta, "tokenizer.ggml.model"), "llama") &&
        (!prepends || nb_meta_find(meta, "tokenizer.ggml.add_space_prefix") != NULL))
        nb_meta_set_bool(meta, "tokenizer.ggml.add_space_prefix", prepends);
}

/* Several templates: one key each, a list of the names, and "default" as the main template. */
static void
named_templates(json_t *list, struct nb_metadata *meta)
{
    struct nb_strings names = { 0 };
    const char *otherwise = NULL;
    json_t *entry;
    size_t i;

    json_array_foreach(list, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *text = json_string_value(json_object_get(entry, "template"));
        char key[256];
        int n;

        if (name == NULL || *name == '\0' || text == NULL)
            continue;
        if (strcmp(name, "default") == 0) {
            otherwise = text;
            continue;
        }
        n = snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
        if (n < 0 || (size_t)n >= sizeof key)
            continue;
        for (char *p = key + strlen("tokenizer.chat_template."); *p != '\0'; p++)
            if (!isalnum((unsigned char)*p))
                *p = '_';
        nb_meta_set_string(meta, key, text);
        nb_strings_add(&names, key + strlen("tokenizer.chat_template."),
                       strlen(key) - strlen("tokenizer.chat_template."));
    }
    nb_meta_set_strings(meta, "tokenizer.chat_templates", &names);
    if (otherwise != NULL)
        nb_meta_set_string(meta, "tokenizer.chat_template", otherwise);
}

#define TEMPLATE_LIMIT ((uint64_t)1 << 20)
#define MORE_TEMPLATES "additional_chat_templates"
#define MAX_TEMPLATES 64u

/* Line breaks as Python reads them from a text: "\r\n" and "\r" are "\n". */
static void
unify_line_breaks(char *text, size_t *length)
{
    size_t at = 0;

    for (size_t i = 0; i < *length; i++) {
        if (text[i] == '\r' && i + 1 < *length && text[i + 1] == '\n')
            continue;
        text[at++] = text[i] == '\r' ? '\n' : text[i];
    }
    text[at] = '\0';
    *length = at;
}

/* *TEXT receives the template in FOLDER/NAME, from malloc; NULL if there is no such file. */
static enum nb_status
read_template(struct nb_checkpoint *cp, const char *name, char **text, size_t *length, struct nb_error *err)
{
    char *path = nb_checkpoint_path(cp, name);
    enum nb_status status;

    *text = NULL;
    if (path == NULL)
        return nb_fail_memory(err);
    if (!nb_exists(path))
        return NB_OK;
    status = nb_file_load(path, TEMPLATE_LIMIT, text, length, err);
    if (status != NB_OK)
        return status;
    if (!nb_utf8_valid(*text, *length)) {
        free(*text);
        *text = NULL;
        return nb_fail(err, NB_INPUT, "%s: is not UTF-8 text", path);
    }
    unify_line_breaks(*text, length);
    return NB_OK;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the files in MORE_TEMPLATES, sorted; *COUNT is 0 if there is no such folder. */
static enum nb_status
list_templates(struct nb_checkpoint *cp, const char **names, size_t *count, struct nb_error *err)
{
    char *path = nb_checkpoint_path(cp, MORE_TEMPLATES);
    struct nb_folder folder;
    const char *name;
    enum nb_status status = path == NULL ? nb_fail_memory(err) : nb_folder_open(&folder, path, err);

    *count = 0;
    if (status != NB_OK)
        return status;
    while (status == NB_OK && (status = nb_folder_next(&folder, &name, err)) == NB_OK && name != NULL &&
           *count < MAX_TEMPLATES)
        if (*name != '.' && nb_ends_with(name, ".jinja"))
            names[(*count)++] = nb_arena_strdup(&cp->arena, name);
    nb_folder_close(&folder);
    if (status == NB_OK && cp->arena.exhausted)
        status = nb_fail_memory(err);
    if (status != NB_OK)
        return status;
    qsort(names, *count, sizeof *names, compare_names);
    return NB_OK;
}

static void
add_template(json_t *list, const char *name, size_t name_length, const char *text, size_t length)
{
    json_array_append_new(list, json_pack("{s:o, s:o}", "name", json_stringn(name, name_length), "template",
                                          json_stringn(text, length)));
}

/* Adds the templates of the folder MORE_TEMPLATES to LIST. */
static enum nb_status
add_templates(struct nb_checkpoint *cp, json_t *list, struct nb_error *err)
{
    const char *names[MAX_TEMPLATES];
    size_t count;
    enum nb_status status = list_templates(cp, names, &count, err);

    for (size_t i = 0; i < count && status == NB_OK; i++) {
        char path[sizeof MORE_TEMPLATES + NAME_MAX + 2], *text;
        size_t length;

        if (!nb_is_name(names[i], strlen(names[i])))
            return nb_fail(err, NB_INPUT, "%s/" MORE_TEMPLATES "/%s: its name is not UTF-8 text", cp->folder, names[i]);
        snprintf(path, sizeof path, MORE_TEMPLATES "/%s", names[i]);
        status = read_template(cp, path, &text, &length, err);
        if (text != NULL)
            add_template(list, names[i], strlen(names[i]) - strlen(".jinja"), text, length);
        free(text);
    }
    return status;
}

/* chat_template.jinja, and the named ones that may stand beside it: as in gguf-py's SpecialVocab. */
static enum nb_status
jinja_templates(struct nb_checkpoint *cp, bool *found, struct nb_metadata *meta, struct nb_error *err)
{
    char *text;
    size_t length;
    enum nb_status status = read_template(cp, "chat_template.jinja", &text, &length, err);
    json_t *list;

    *found = text != NULL;
    if (text == NULL)
        return status;
    list = json_array();
    status = add_templates(cp, list, err);
    if (status == NB_OK && json_array_size(list) > 0) {
        add_template(list, "default", strlen("default"), text, length);
        named_templates(list, meta);
    } else if (status == NB_OK) {
        nb_meta_set(meta, "tokenizer.chat_template", NB_KV_STRING, NB_KV_STRING, 1, text, length);
    }
    json_decref(list);
    free(text);
    return status == NB_OK ? nb_meta_status(meta, err) : status;
}

/* A template, or a list of named ones; false if it is neither. */
static bool
set_template(json_t *template, struct nb_metadata *meta)
{
    if (json_is_array(template))
        named_templates(template, meta);
    if (json_is_string(template))
        nb_meta_set_string(meta, "tokenizer.chat_template", json_string_value(template));
    return json_is_array(template) || json_is_string(template);
}

/* Whether TEMPLATE only says that the template is in the file chat_template.jinja, which no reader of GGUF has. */
static bool
is_in_file(json_t *template)
{
    const char *text = json_string_value(template);
    const char *rest = text == NULL ? NULL : strstr(text, "chat_template.jinja");

    return rest != NULL && strncmp(text + strspn(text, "{%- "), "include", strlen("include")) == 0 &&
           strspn(rest + strlen("chat_template.jinja"), "'\"-%} \n") == strlen(rest + strlen("chat_template.jinja"));
}

static enum nb_status
chat_template(struct nb_checkpoint *cp, json_t *config, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *file, *template = json_object_get(config, "chat_template");
    bool found;
    enum nb_status status;

    if (!is_in_file(template) && set_template(template, meta))
        return nb_meta_status(meta, err);
    status = jinja_templates(cp, &found, meta, err);
    if (status != NB_OK || found)
        return status;
    status = nb_checkpoint_json(cp, "chat_template.json", &file, err);
    if (status != NB_OK)
        return status;
    set_template(json_object_get(file, "chat_template"), meta);
    json_decref(file);
    return nb_meta_status(meta, err);
}

static void
write_ids(const struct specials *s, struct nb_metadata *meta)
{
    for (size_t i = 0; i < s->n_ids; i++)
        if (roles[s->id_order[i]].id_key != NULL)
            nb_meta_set_u32(meta, roles[s->id_order[i]].id_key, (uint32_t)s->id[s->id_order[i]]);
}

/* Sets the ids of the added tokens NAMED, where the files name no other. */
static enum nb_status
write_named(const struct nb_named_token *named, const struct nb_tokenizer_json *tj, uint64_t limit,
            struct nb_metadata *meta, struct nb_error *err)
{
    for (; named != NULL && named->key != NULL; named++) {
        json_t *added, *id = NULL;
        size_t i;

        json_array_foreach(tj == NULL ? NULL : tj->added_tokens, i, added)
            if (json_is_string(json_object_get(added, "content")) &&
                strcmp(json_string_value(json_object_get(added, "content")), named->token) == 0)
                id = json_object_get(added, "id");
        if (!json_is_number(id) || !(json_number_value(id) >= 0) || json_number_value(id) >= (double)limit)
            return nb_fail(err, NB_INPUT, "tokenizer.json: has no added token '%s', which models of this class have",
                           named->token);
        if (nb_meta_find(meta, named->key) == NULL)
            nb_meta_set_u32(meta, named->key, (uint32_t)json_number_value(id));
    }
    return NB_OK;
}

static void
write_adds(const struct specials *s, struct nb_metadata *meta)
{
    for (size_t i = 0; i < s->n_adds; i++)
        if (roles[s->add_order[i]].add_key != NULL)
            nb_meta_set_bool(meta, roles[s->add_order[i]].add_key, s->add[s->add_order[i]]);
}

enum nb_status
nb_special_tokens(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, json_t *config,
                  const struct nb_named_token *named, uint64_t limit, struct nb_metadata *meta, struct nb_error *err)
{
    struct specials s = { .n_ids = 0 };
    enum nb_status status;

    for (enum role role = 0; role < ROLES; role++) {
        s.in_use[role] = role < EOT;
        s.token[role] = nb_token_content(role_entry(config, "%s_token", role));
    }
    if (tj != NULL)
        read_post_processor(&s, tj->post_processor, config != NULL);
    if (config != NULL)
        read_config_tokens(&s, config, tj != NULL ? tj->added_tokens : NULL, limit);
    for (enum role role = 0; role < ROLES; role++) {
        json_t *id = role_entry(cp->config, "%s_token_id", role);

        if (id == NULL || json_is_null(id))
            id = role_entry(json_object_get(cp->config, "text_config"), "%s_token_id", role);
        if (s.in_use[role])
            set_id(&s, role, id, limit);
    }
    write_ids(&s, meta);
    status = write_named(named, tj, limit, meta, err);
    write_adds(&s, meta);
    if (status == NB_OK)
        status = chat_template(cp, config, meta, err);
    if (status == NB_OK && tj != NULL) {
        normalizer_flags(meta, tj->normalizer, 0);
        space_prefix(meta, tj);
    }
    return status == NB_OK ? nb_meta_status(meta, err) : status;
}
