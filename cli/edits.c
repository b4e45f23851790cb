#include "cli/edits.h"

#include "cli/kv_text.h"
#include "formats/base/arena.h"
#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/metadata.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY_BYTES 65535u
#define FILE_LIMIT ((uint64_t)1 << 30)

/* "KEY=REST" or "KEY[INDEX]=REST". */
struct target {
    char *key;
    bool has_index;
    uint64_t index;
    const char *rest;
};

static enum nb_status
check_key(const char *key, struct nb_error *err)
{
    if (strlen(key) > MAX_KEY_BYTES || !nb_is_name(key, strlen(key)))
        return nb_fail(err, NB_USAGE,
                       "'%.80s' is not a valid key: it is empty, too long, not UTF-8 or has control characters", key);
    return NB_OK;
}

static enum nb_status
parse_target(const char *text, struct target *out, struct nb_error *err)
{
    const char *equals = strchr(text, '=');
    char *bracket, *end;

    *out = (struct target){ 0 };
    if (equals == NULL)
        return nb_fail(err, NB_USAGE, "'%.80s' has no '='", text);
    out->rest = equals + 1;
    out->key = strndup(text, (size_t)(equals - text));
    if (out->key == NULL)
        return nb_fail_memory(err);
    bracket = strrchr(out->key, '[');
    if (bracket != NULL && nb_ends_with(out->key, "]")) {
        out->has_index = true;
        out->index = strtoull(bracket + 1, &end, 10);
        if (bracket[1] < '0' || bracket[1] > '9' || strcmp(end, "]") != 0)
            return nb_fail(err, NB_USAGE, "'%.80s': what is in brackets is not a number", out->key);
        *bracket = '\0';
    }
    return check_key(out->key, err);
}

/* --- setting --------------------------------------------------------------------------------------------- */

/* The type that is given before the value, or else the present type of the key. */
static enum nb_status
find_type(const struct nb_metadata *meta, const struct target *t, enum nb_kv_type *type, enum nb_kv_type *element,
          const char **value, struct nb_error *err)
{
    const struct nb_kv *kv = nb_meta_find(meta, t->key);

    *value = t->rest;
    if (kv_parse_type(t->rest, type, element, value))
        return NB_OK;
    if (kv == NULL)
        return nb_fail(err, NB_USAGE, "key '%s' is new and needs a type, as in %s=str:VALUE, =u32:1 or =f32[]:[0.5]",
                       t->key, t->key);
    *type = t->has_index ? kv->element : kv->type;
    *element = kv->element;
    return NB_OK;
}

/* Where element INDEX of the array KV begins and ends, in bytes. */
static void
find_element(const struct nb_kv *kv, uint64_t index, uint64_t *begin, uint64_t *end)
{
    const uint64_t each = nb_kv_type_size(kv->element);
    const unsigned char *at = kv->data;
    uint64_t length;

    if (kv->element != NB_KV_STRING) {
        *begin = index * each;
        *end = *begin + each;
        return;
    }
    for (uint64_t i = 0; i < index; i++)
        (void)nb_kv_next_string(&at, &length);
    *begin = (uint64_t)(at - kv->data);
    (void)nb_kv_next_string(&at, &length);
    *end = (uint64_t)(at - kv->data);
}

static enum nb_status
set_element(struct nb_metadata *meta, const struct target *t, const struct kv_value *value, struct nb_error *err)
{
    const struct nb_kv *kv = nb_meta_find(meta, t->key);
    const uint64_t head = value->element == NB_KV_STRING ? 8 : 0;
    uint64_t begin, end;
    unsigned char *data;

    if (kv == NULL || kv->type != NB_KV_ARRAY || t->index >= kv->count)
        return nb_fail(err, NB_USAGE, "key '%s' is not an array with an element %" PRIu64, t->key, t->index);
    if (value->type == NB_KV_ARRAY || value->element != kv->element)
        return nb_fail(err, NB_USAGE, "key '%s' is an array of %s", t->key, nb_kv_type_name(kv->element));
    find_element(kv, t->index, &begin, &end);
    data = nb_malloc(kv->size - (end - begin) + head + value->size + 1);
    if (data == NULL)
        return nb_fail_memory(err);
    memcpy(data, kv->data, (size_t)begin);
    if (head > 0)
        memcpy(data + begin, &value->size, sizeof value->size);
    memcpy(data + begin + head, value->data, (size_t)value->size);
    memcpy(data + begin + head + value->size, kv->data + end, (size_t)(kv->size - end));
    nb_meta_set(meta, t->key, NB_KV_ARRAY, kv->element, kv->count, data, kv->size - (end - begin) + head + value->size);
    free(data);
    return nb_meta_status(meta, err);
}

/* Sets TARGET to its value, or to the content of the file that is named there. */
static enum nb_status
set(struct nb_metadata *meta, const struct target *t, bool from_file, struct nb_error *err)
{
    enum nb_kv_type type, element;
    const char *text;
    struct kv_value value = { .data = NULL };
    struct nb_error why;
    char *loaded = NULL;
    size_t length;
    enum nb_status status = find_type(meta, t, &type, &element, &text, err);

    if (status != NB_OK)
        return status;
    length = strlen(text);
    if (from_file) {
        status = nb_file_load(text, FILE_LIMIT, &loaded, &length, err);
        if (status != NB_OK)
            return status;
        text = loaded;
        if (type != NB_KV_STRING && type != NB_KV_ARRAY) /* a number, with the end of its line */
            loaded[strcspn(loaded, "\r\n")] = '\0';
    }
    status = kv_parse(text, length, type, element, &value, &why);
    if (status != NB_OK)
        status = nb_fail(err, status, "key '%s': %s", t->key, why.message);
    else if (t->has_index)
        status = set_element(meta, t, &value, err);
    else
        nb_meta_set(meta, t->key, value.type, value.element, value.count, value.data, value.size);
    free(value.data);
    free(loaded);
    return status == NB_OK ? nb_meta_status(meta, err) : status;
}

/* --- the others -------------------------------------------------------------------------------------------- */

static enum nb_status
rename_key(struct nb_metadata *meta, const struct target *t, struct nb_error *err)
{
    struct nb_kv *kv = (struct nb_kv *)nb_meta_find(meta, t->key);
    enum nb_status status = check_key(t->rest, err);

    if (status != NB_OK)
        return status;
    if (kv == NULL)
        return nb_fail(err, NB_USAGE, "there is no key '%s'", t->key);
    if (nb_meta_find(meta, t->rest) != NULL)
        return nb_fail(err, NB_USAGE, "key '%s' exists already", t->rest);
    kv->key = nb_arena_strdup(&meta->arena, t->rest);
    return kv->key == NULL ? nb_fail_memory(err) : NB_OK;
}

/* TOKEN as an id or, if it is not a number, as the text of a token. */
static enum nb_status
find_token(const struct nb_metadata *meta, const char *token, uint32_t *id, struct nb_error *err)
{
    const struct nb_kv *tokens = nb_meta_find(meta, "tokenizer.ggml.tokens");
    const unsigned char *at;
    uint64_t length;
    char *end;
    const unsigned long number = strtoul(token, &end, 10);

    if (tokens == NULL || tokens->type != NB_KV_ARRAY || tokens->element != NB_KV_STRING)
        return nb_fail(err, NB_USAGE, "the file has no tokens (tokenizer.ggml.tokens)");
    if (*token >= '0' && *token <= '9' && *end == '\0') {
        if (number >= tokens->count)
            return nb_fail(err, NB_USAGE, "there is no token %s; the number of tokens is %" PRIu64, token,
                           tokens->count);
        *id = (uint32_t)number;
        return NB_OK;
    }
    at = tokens->data;
    for (uint64_t i = 0; i < tokens->count && i < UINT32_MAX; i++) {
        const char *text = nb_kv_next_string(&at, &length);

        if (length == strlen(token) && memcmp(text, token, (size_t)length) == 0) {
            *id = (uint32_t)i;
            return NB_OK;
        }
    }
    return nb_fail(err, NB_USAGE, "'%.80s' is neither a token nor a token's id", token);
}

static enum nb_status
set_special_token(struct nb_metadata *meta, const struct target *t, struct nb_error *err)
{
    static const char *const short_names[][2] = { { "unk", "unknown" }, { "sep", "seperator" }, { "pad", "padding" } };
    const char *name = t->key;
    char key[128];
    uint32_t id = 0;
    enum nb_status status = find_token(meta, t->rest, &id, err);

    for (size_t i = 0; i < sizeof short_names / sizeof short_names[0]; i++)
        if (strcmp(name, short_names[i][0]) == 0)
            name = short_names[i][1]; /* as gguf-py's constants spell them */
    snprintf(key, sizeof key, "tokenizer.ggml.%.60s_token_id", name);
    if (status != NB_OK)
        return status;
    nb_meta_set_u32(meta, key, id);
    return nb_meta_status(meta, err);
}

enum nb_status
edit_apply(struct nb_metadata *meta, enum edit_kind kind, const char *text, struct nb_error *err)
{
    struct target t = { 0 };
    enum nb_status status;

    if (kind == EDIT_REMOVE) {
        if (nb_meta_find(meta, text) == NULL)
            return nb_fail(err, NB_USAGE, "there is no key '%.80s'", text);
        nb_meta_remove(meta, text);
        return NB_OK;
    }
    status = parse_target(text, &t, err);
    if (status == NB_OK && t.has_index && kind != EDIT_SET && kind != EDIT_SET_FILE)
        status = nb_fail(err, NB_USAGE, "'%.80s': a single element can only be set", text);
    if (status == NB_OK)
        status = kind == EDIT_RENAME          ? rename_key(meta, &t, err)
                 : kind == EDIT_SPECIAL_TOKEN ? set_special_token(meta, &t, err)
                                              : set(meta, &t, kind == EDIT_SET_FILE, err);
    free(t.key);
    return status;
}
