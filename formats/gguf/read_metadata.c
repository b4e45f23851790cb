/* The metadata of a GGUF file. */
#include "formats/gguf/reader.h"

#include "formats/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The smallest possible entry, for checking the count against the file size. */
#define MIN_KV_BYTES (8u + 1u + 4u + 1u)
#define MAX_NESTING 8u /* of arrays, which are only skipped */

static struct nb_place
key_here(const struct nb_gguf_reader *r, const struct nb_kv *kv)
{
    return nb_at_key(r->file->name, kv->key, r->at);
}

/* Key style of ggml's docs/gguf.md: ASCII, lower_snake_case, hierarchical with dots. */
static enum nb_status
check_key_style(const struct nb_gguf_reader *r, const char *key)
{
    if (key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0')
        return NB_OK;
    return FOUND(r, NB_BAD_GGUF_KEY_STYLE, nb_at_key(r->file->name, key, r->at),
                 "the format wants lower_snake_case (llama.cpp also has hyphens) with dots");
}

static enum nb_status
check_bools(const struct nb_gguf_reader *r, const struct nb_kv *kv)
{
    for (uint64_t i = 0; i < kv->size; i++)
        if (kv->data[i] > 1)
            return FOUND(r, NB_BAD_GGUF_BOOL, key_here(r, kv), "%u is not a boolean", kv->data[i]);
    return NB_OK;
}

/* The bytes that metadata may still take up. */
static uint64_t
room(const struct nb_gguf_reader *r)
{
    return r->at < NB_GGUF_MAX_METADATA ? NB_GGUF_MAX_METADATA - r->at : 0;
}

static enum nb_status
too_much(const struct nb_gguf_reader *r, const struct nb_kv *kv)
{
    return FOUND_END(r, NB_BAD_GGUF_COUNT, key_here(r, kv),
                     "more than %" PRIu64 " MiB of metadata, or %" PRIu64 " million elements: no model has so many",
                     NB_GGUF_MAX_METADATA >> 20, NB_GGUF_MAX_ELEMENTS >> 20);
}

/* Skips COUNT strings. */
static enum nb_status
skip_strings(struct nb_gguf_reader *r, const struct nb_kv *kv, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t length;
        enum nb_status status = nb_gguf_take_number(r, 8, &length);

        if (status != NB_OK)
            return status;
        if (length > nb_gguf_left(r))
            return FOUND_END(r, NB_BAD_GGUF_STRING_LENGTH, key_here(r, kv),
                             "string %" PRIu64 " is longer than the file", i);
        r->at += length;
    }
    return NB_OK;
}

/* An array of strings is kept as its bytes; skipping it first gives their number. */
static enum nb_status
take_string_array(struct nb_gguf_reader *r, struct nb_kv *kv)
{
    const uint64_t from = r->at;
    unsigned char *data;
    uint64_t length, at = 0;
    bool text = true;
    enum nb_status status = skip_strings(r, kv, kv->count);

    if (status != NB_OK)
        return status;
    kv->size = r->at - from;
    if (r->at > NB_GGUF_MAX_METADATA)
        return too_much(r, kv);
    data = nb_arena_alloc(&r->out->meta.arena, kv->size + 1);
    if (data == NULL)
        return nb_fail_memory(r->err);
    status = nb_file_read(r->file, from, data, kv->size, r->err);
    if (status != NB_OK)
        return status;
    kv->data = data;
    for (uint64_t i = 0; i < kv->count && status == NB_OK; i++, at += length) {
        /* Every length is checked again: the bytes were read twice, and the file may have changed in between. */
        length = 0;
        for (unsigned b = 0; b < 8 && kv->size - at >= 8; b++)
            length |= (uint64_t)data[at + b] << (8 * b);
        at += 8;
        if (at > kv->size || length > kv->size - at)
            return FOUND_END(r, NB_BAD_FILE_CHANGED, key_here(r, kv), "the file changed while it was read");
        if (!text || nb_utf8_valid((const char *)data + at, (size_t)length))
            continue;
        text = false; /* one finding per array is enough */
        status = FOUND(r, NB_BAD_GGUF_TEXT, key_here(r, kv), "string %" PRIu64 " is not UTF-8 text", i);
    }
    return status;
}

static enum nb_status
take_array_head(struct nb_gguf_reader *r, const struct nb_kv *kv, uint64_t *element, uint64_t *count)
{
    enum nb_status status = nb_gguf_take_number(r, 4, element);
    uint64_t least;

    if (status == NB_OK)
        status = nb_gguf_take_number(r, 8, count);
    if (status != NB_OK)
        return status;
    if (*element >= NB_KV_TYPES)
        return FOUND_END(r, NB_BAD_GGUF_ARRAY_TYPE, key_here(r, kv),
                         "an array of type %" PRIu64 ", which cannot be read", *element);
    least = *element == NB_KV_STRING ? 8 : *element == NB_KV_ARRAY ? 12 : nb_kv_type_size((enum nb_kv_type) * element);
    if (*count > nb_gguf_left(r) / least)
        return FOUND_END(r, NB_BAD_GGUF_ARRAY_LENGTH, key_here(r, kv),
                         NB_GGUF_ENDS "%" PRIu64 " elements, more than the file can hold", *count);
    r->elements += *count;
    if (r->elements > NB_GGUF_MAX_ELEMENTS || *count > room(r) / least)
        return too_much(r, kv);
    return NB_OK;
}

/* Skips an array of COUNT arrays. */
static enum nb_status
skip_arrays(struct nb_gguf_reader *r, const struct nb_kv *kv, uint64_t count, unsigned depth)
{
    enum nb_status status = NB_OK;

    if (depth > MAX_NESTING)
        return FOUND_END(r, NB_BAD_GGUF_ARRAY_NESTED, key_here(r, kv), "arrays nested more than %u deep", MAX_NESTING);
    for (uint64_t i = 0; i < count && status == NB_OK; i++) {
        uint64_t element, n;

        status = take_array_head(r, kv, &element, &n);
        if (status == NB_OK && element == NB_KV_ARRAY)
            status = skip_arrays(r, kv, n, depth + 1);
        else if (status == NB_OK && element == NB_KV_STRING)
            status = skip_strings(r, kv, n);
        else if (status == NB_OK)
            r->at += n * nb_kv_type_size((enum nb_kv_type)element);
    }
    return status;
}

static enum nb_status
take_array(struct nb_gguf_reader *r, struct nb_kv *kv)
{
    uint64_t element;
    enum nb_status status = take_array_head(r, kv, &element, &kv->count);
    unsigned char *data;

    if (status != NB_OK)
        return status;
    kv->element = (enum nb_kv_type)element;
    if (kv->element == NB_KV_ARRAY) {
        const uint64_t count = kv->count;

        kv->count = 0; /* nothing of it is kept */
        kv->data = (const unsigned char *)"";
        status = FOUND(r, NB_BAD_GGUF_ARRAY_NESTED, key_here(r, kv), "an array of arrays, which cannot be read");
        return status == NB_OK ? skip_arrays(r, kv, count, 1) : status;
    }
    if (kv->element == NB_KV_STRING)
        return take_string_array(r, kv);
    kv->size = kv->count * nb_kv_type_size(kv->element);
    data = nb_arena_alloc(&r->out->meta.arena, kv->size + 1);
    if (data == NULL)
        return nb_fail_memory(r->err);
    kv->data = data;
    return nb_gguf_take(r, data, kv->size);
}

static enum nb_status
take_value(struct nb_gguf_reader *r, struct nb_kv *kv)
{
    unsigned char *data;
    char *s = NULL;
    enum nb_status status;

    kv->element = kv->type;
    kv->count = 1;
    if (kv->type == NB_KV_ARRAY) {
        status = take_array(r, kv);
    } else if (kv->type == NB_KV_STRING) {
        status = nb_gguf_take_string(r, room(r), NB_BAD_GGUF_COUNT, "a string", &s, &kv->size);
        if (status == NB_OK && !nb_utf8_valid(s, (size_t)kv->size))
            status = FOUND(r, NB_BAD_GGUF_TEXT, key_here(r, kv), "not UTF-8 text");
        kv->data = (unsigned char *)s;
    } else {
        kv->size = nb_kv_type_size(kv->type);
        data = nb_arena_alloc(&r->out->meta.arena, kv->size);
        if (data == NULL)
            return nb_fail_memory(r->err);
        kv->data = data;
        status = nb_gguf_take(r, data, kv->size);
    }
    if (status == NB_OK && kv->element == NB_KV_BOOL)
        status = check_bools(r, kv);
    return status;
}

static enum nb_status
read_entry(struct nb_gguf_reader *r, struct nb_kv *kv)
{
    uint64_t type;
    char *key;
    enum nb_status status = nb_gguf_take_name(r, NB_GGUF_MAX_KEY, NB_BAD_GGUF_KEY, "a metadata key", &key);

    *kv = (struct nb_kv){ 0 };
    if (status == NB_OK)
        status = nb_gguf_take_number(r, 4, &type);
    if (status != NB_OK)
        return status;
    kv->key = key;
    if (type >= NB_KV_TYPES)
        return FOUND_END(r, NB_BAD_GGUF_VALUE_TYPE, key_here(r, kv), "unknown value type %" PRIu64, type);
    kv->type = (enum nb_kv_type)type;
    status = r->findings == NULL ? NB_OK : check_key_style(r, key);
    return status == NB_OK ? take_value(r, kv) : status;
}

static enum nb_status
check_keys(const struct nb_gguf_reader *r)
{
    const struct nb_metadata *meta = &r->out->meta;
    const char **names = calloc(meta->count + 1, sizeof *names);
    enum nb_status status;

    if (names == NULL)
        return nb_fail_memory(r->err);
    for (size_t i = 0; i < meta->count; i++)
        names[i] = meta->items[i].key;
    status = nb_gguf_check_unique(r, names, meta->count, NB_BAD_GGUF_KEY_DUPLICATE);
    free(names);
    return status;
}

enum nb_status
nb_gguf_read_metadata(struct nb_gguf_reader *r, uint64_t count)
{
    struct nb_metadata *meta = &r->out->meta;
    enum nb_status status = NB_OK;

    if (count > nb_gguf_left(r) / MIN_KV_BYTES || count > NB_GGUF_MAX_COUNT)
        return FOUND_END(r, NB_BAD_GGUF_COUNT, nb_in_file(r->file->name),
                         "%s%" PRIu64 " metadata entries, more than %s", count > NB_GGUF_MAX_COUNT ? "" : NB_GGUF_ENDS,
                         count, count > nb_gguf_left(r) / MIN_KV_BYTES ? "the file can hold" : "any model has");
    for (uint64_t i = 0; i < count && status == NB_OK; i++) {
        if (!nb_gguf_grow((void **)&meta->items, meta->count, &meta->room, sizeof *meta->items))
            return nb_fail_memory(r->err);
        status = read_entry(r, &meta->items[meta->count]);
        if (status == NB_OK)
            meta->count++;
    }
    return status == NB_OK ? check_keys(r) : status;
}
