#include "formats/gguf/metadata.h"

#include "formats/base/checked.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned char size;
} types[NB_KV_TYPES] = {
    [NB_KV_U8] = { "u8", 1 },       [NB_KV_I8] = { "i8", 1 },     [NB_KV_U16] = { "u16", 2 },
    [NB_KV_I16] = { "i16", 2 },     [NB_KV_U32] = { "u32", 4 },   [NB_KV_I32] = { "i32", 4 },
    [NB_KV_F32] = { "f32", 4 },     [NB_KV_BOOL] = { "bool", 1 }, [NB_KV_STRING] = { "str", 0 },
    [NB_KV_ARRAY] = { "array", 0 }, [NB_KV_U64] = { "u64", 8 },   [NB_KV_I64] = { "i64", 8 },
    [NB_KV_F64] = { "f64", 8 },
};

const char *
nb_kv_type_name(enum nb_kv_type type)
{
    return (unsigned)type < NB_KV_TYPES ? types[type].name : "?";
}

uint64_t
nb_kv_type_size(enum nb_kv_type type)
{
    return (unsigned)type < NB_KV_TYPES ? types[type].size : 0;
}

static struct nb_kv *
find(const struct nb_metadata *meta, const char *key)
{
    for (size_t i = 0; i < meta->count; i++)
        if (strcmp(meta->items[i].key, key) == 0)
            return &meta->items[i];
    return NULL;
}

const struct nb_kv *
nb_meta_find(const struct nb_metadata *meta, const char *key)
{
    return find(meta, key);
}

bool
nb_meta_get_u64(const struct nb_metadata *meta, const char *key, uint64_t *out)
{
    const struct nb_kv *kv = find(meta, key);
    uint64_t value = 0;
    bool is_signed;

    if (kv == NULL)
        return false;
    switch (kv->type) {
    case NB_KV_U8:
    case NB_KV_U16:
    case NB_KV_U32:
    case NB_KV_U64:
        is_signed = false;
        break;
    case NB_KV_I8:
    case NB_KV_I16:
    case NB_KV_I32:
    case NB_KV_I64:
        is_signed = true;
        break;
    default:
        return false;
    }
    for (uint64_t i = 0; i < kv->size; i++)
        value |= (uint64_t)kv->data[i] << (8 * i);
    if (is_signed && (kv->data[kv->size - 1] & 0x80) != 0)
        return false;
    *out = value;
    return true;
}

bool
nb_meta_get_f64(const struct nb_metadata *meta, const char *key, double *out)
{
    const struct nb_kv *kv = find(meta, key);
    uint64_t integer;
    float f;

    if (kv != NULL && kv->type == NB_KV_F32) {
        memcpy(&f, kv->data, sizeof f);
        *out = (double)f;
        return true;
    }
    if (kv != NULL && kv->type == NB_KV_F64) {
        memcpy(out, kv->data, sizeof *out);
        return true;
    }
    if (!nb_meta_get_u64(meta, key, &integer))
        return false;
    *out = (double)integer;
    return true;
}

bool
nb_meta_get_bool(const struct nb_metadata *meta, const char *key, bool *out)
{
    const struct nb_kv *kv = find(meta, key);

    if (kv == NULL || kv->type != NB_KV_BOOL)
        return false;
    *out = kv->data[0] != 0;
    return true;
}

const char *
nb_meta_get_string(const struct nb_metadata *meta, const char *key)
{
    const struct nb_kv *kv = find(meta, key);

    return kv != NULL && kv->type == NB_KV_STRING ? (const char *)kv->data : NULL;
}

const char *
nb_kv_next_string(const unsigned char **at, uint64_t *length)
{
    const char *text = (const char *)(*at + sizeof *length);

    memcpy(length, *at, sizeof *length);
    *at += sizeof *length + *length;
    return text;
}

static struct nb_kv *
append(struct nb_metadata *meta, const char *key)
{
    if (meta->count == meta->room) {
        size_t room = meta->room == 0 ? 64 : 2 * meta->room;
        struct nb_kv *items = realloc(meta->items, room * sizeof *items);

        if (items == NULL)
            return NULL;
        meta->items = items;
        meta->room = room;
    }
    struct nb_kv *kv = &meta->items[meta->count];
    kv->key = nb_arena_strdup(&meta->arena, key);
    if (kv->key == NULL)
        return NULL;
    meta->count++;
    return kv;
}

/* Copies VALUE to AT, or appends it if AT is NULL. */
static void
store(struct nb_metadata *meta, struct nb_kv *at, const char *key, const struct nb_kv *value)
{
    char *copy = nb_arena_strndup(&meta->arena, (const char *)value->data, value->size);

    if (copy == NULL || (at == NULL && (at = append(meta, key)) == NULL)) {
        meta->out_of_memory = true;
        return;
    }
    key = at->key;
    *at = *value;
    at->key = key;
    at->data = (const unsigned char *)copy;
}

void
nb_meta_set(struct nb_metadata *meta, const char *key, enum nb_kv_type type, enum nb_kv_type element, uint64_t count,
            const void *data, uint64_t size)
{
    struct nb_kv value = { .type = type, .element = element, .count = count, .data = data, .size = size };

    store(meta, find(meta, key), key, &value);
}

static void
set_number(struct nb_metadata *meta, const char *key, enum nb_kv_type type, const void *value)
{
    nb_meta_set(meta, key, type, type, 1, value, nb_kv_type_size(type));
}

void
nb_meta_set_u32(struct nb_metadata *meta, const char *key, uint32_t value)
{
    set_number(meta, key, NB_KV_U32, &value);
}

void
nb_meta_set_i32(struct nb_metadata *meta, const char *key, int32_t value)
{
    set_number(meta, key, NB_KV_I32, &value);
}

void
nb_meta_set_f32(struct nb_metadata *meta, const char *key, float value)
{
    set_number(meta, key, NB_KV_F32, &value);
}

void
nb_meta_set_bool(struct nb_metadata *meta, const char *key, bool value)
{
    set_number(meta, key, NB_KV_BOOL, &(unsigned char){ value });
}

void
nb_meta_set_string(struct nb_metadata *meta, const char *key, const char *value)
{
    nb_meta_set(meta, key, NB_KV_STRING, NB_KV_STRING, 1, value, strlen(value));
}

void
nb_meta_remove(struct nb_metadata *meta, const char *key)
{
    struct nb_kv *kv = find(meta, key);

    if (kv == NULL)
        return;
    memmove(kv, kv + 1, (size_t)(meta->items + meta->count - (kv + 1)) * sizeof *kv);
    meta->count--;
}

void
nb_meta_copy(struct nb_metadata *meta, const struct nb_metadata *from)
{
    /* The keys of FROM are unique, so an empty META needs no lookups, which would take quadratic time. */
    const bool empty = meta->count == 0;

    for (size_t i = 0; i < from->count; i++) {
        const struct nb_kv *kv = &from->items[i];

        store(meta, empty ? NULL : find(meta, kv->key), kv->key, kv);
    }
}

enum nb_status
nb_meta_status(const struct nb_metadata *meta, struct nb_error *err)
{
    return meta->out_of_memory ? nb_fail_memory(err) : NB_OK;
}

void
nb_meta_free(struct nb_metadata *meta)
{
    nb_arena_free(&meta->arena);
    free(meta->items);
    *meta = (struct nb_metadata){ 0 };
}

void
nb_strings_add(struct nb_strings *strings, const char *s, uint64_t length)
{
    uint64_t need = strings->size + 8 + length;

    if (strings->out_of_memory)
        return;
    if (need > strings->room) {
        uint64_t room = need + need / 2 + 1024;
        unsigned char *data = nb_realloc(strings->data, room);

        if (data == NULL) {
            strings->out_of_memory = true;
            return;
        }
        strings->data = data;
        strings->room = room;
    }
    for (unsigned i = 0; i < 8; i++)
        strings->data[strings->size + i] = (unsigned char)(length >> (8 * i));
    if (length > 0)
        memcpy(strings->data + strings->size + 8, s, (size_t)length);
    strings->size = need;
    strings->count++;
}

void
nb_meta_set_strings(struct nb_metadata *meta, const char *key, struct nb_strings *strings)
{
    if (strings->out_of_memory)
        meta->out_of_memory = true;
    else if (strings->count > 0)
        nb_meta_set(meta, key, NB_KV_ARRAY, NB_KV_STRING, strings->count, strings->data, strings->size);
    free(strings->data);
    *strings = (struct nb_strings){ 0 };
}
