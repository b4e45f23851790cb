/*
 * Reading GGUF. The layout: magic, u32 version, u64 tensor count, u64 metadata
 * count, the metadata, the tensor infos, padding, data. Strings are a u64
 * length and bytes. (ggml's docs/gguf.md.)
 */
#include "gguf.h"

#include "checked.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_SIZE 65536u
/* The smallest metadata entry and tensor info there can be: what a count is checked against. */
#define MIN_KV_BYTES (8u + 1u + 4u + 1u)
#define MIN_INFO_BYTES (8u + 1u + 4u + 8u + 4u + 8u)
#define MAX_KEY_BYTES 65535u
#define MAX_ALIGNMENT (1u << 20)

/* Reads forward through a file, a buffer at a time. */
struct reader {
    const struct nb_file_in *file;
    struct nb_gguf *out;
    struct nb_error *err;
    uint64_t at;            /* of the next byte to hand out */
    uint64_t start;         /* of the buffer, in the file */
    size_t filled;
    unsigned char *buffer;
};

static enum nb_status
bad(const struct reader *r, const char *what)
{
    return nb_fail(r->err, NB_INPUT, "%s: at byte %" PRIu64 ": %s", r->file->name, r->at, what);
}

static uint64_t
left(const struct reader *r)
{
    return r->file->size - r->at;
}

static enum nb_status
take(struct reader *r, void *to, uint64_t size)
{
    enum nb_status status;

    if (size > left(r))
        return bad(r, "the file ends inside its header");
    if (size >= BUFFER_SIZE) {
        status = nb_file_read(r->file, r->at, to, size, r->err);
        if (status == NB_OK)
            r->at += size;
        return status;
    }
    if (r->at < r->start || r->at + size > r->start + r->filled) {
        r->start = r->at;
        r->filled = (size_t)(left(r) < BUFFER_SIZE ? left(r) : BUFFER_SIZE);
        status = nb_file_read(r->file, r->start, r->buffer, r->filled, r->err);
        if (status != NB_OK) {
            r->filled = 0;
            return status;
        }
    }
    memcpy(to, r->buffer + (r->at - r->start), (size_t)size);
    r->at += size;
    return NB_OK;
}

static enum nb_status
take_number(struct reader *r, unsigned bytes, uint64_t *out)
{
    unsigned char raw[8];
    enum nb_status status = take(r, raw, bytes);

    if (status != NB_OK)
        return status;
    *out = 0;
    for (unsigned i = 0; i < bytes; i++)
        *out |= (uint64_t)raw[i] << (8 * i);
    return NB_OK;
}

/* A string into the arena, with a NUL behind it. LIMIT bounds its bytes. */
static enum nb_status
take_string(struct reader *r, uint64_t limit, const char *what, char **out, uint64_t *length)
{
    enum nb_status status = take_number(r, 8, length);
    char *s;

    if (status != NB_OK)
        return status;
    if (*length > left(r) || *length > limit)
        return nb_fail(r->err, NB_INPUT, "%s: at byte %" PRIu64 ": %s of %" PRIu64 " bytes, more than there can be",
                       r->file->name, r->at, what, *length);
    s = nb_arena_alloc(&r->out->meta.arena, (size_t)*length + 1);
    if (s == NULL)
        return nb_fail_memory(r->err);
    status = take(r, s, *length);
    if (status != NB_OK)
        return status;
    s[*length] = '\0';
    *out = s;
    return NB_OK;
}

/* Keys and tensor names: not empty, no NUL inside, UTF-8. */
static enum nb_status
take_name(struct reader *r, uint64_t limit, const char *what, char **out)
{
    uint64_t length;
    enum nb_status status = take_string(r, limit, what, out, &length);

    if (status != NB_OK)
        return status;
    if (length == 0 || strlen(*out) != length || !nb_utf8_valid(*out, (size_t)length))
        return nb_fail(r->err, NB_INPUT, "%s: at byte %" PRIu64 ": %s is empty or not UTF-8 text", r->file->name,
                       r->at, what);
    return NB_OK;
}

static enum nb_status
check_bools(const struct reader *r, const struct nb_kv *kv)
{
    for (uint64_t i = 0; i < kv->size; i++)
        if (kv->data[i] > 1)
            return nb_fail(r->err, NB_INPUT, "%s: key '%s': %u is not a boolean", r->file->name, kv->key,
                           kv->data[i]);
    return NB_OK;
}

/* An array of strings is kept as its bytes; this walks it to learn how many those are. */
static enum nb_status
take_string_array(struct reader *r, struct nb_kv *kv)
{
    const uint64_t from = r->at;
    unsigned char *data;
    enum nb_status status = NB_OK;
    uint64_t length, at = 0;

    for (uint64_t i = 0; i < kv->count; i++) {
        status = take_number(r, 8, &length);
        if (status != NB_OK)
            return status;
        if (length > left(r))
            return nb_fail(r->err, NB_INPUT, "%s: key '%s': string %" PRIu64 " is longer than the file",
                           r->file->name, kv->key, i);
        r->at += length;
    }
    kv->size = r->at - from;
    data = nb_arena_alloc(&r->out->meta.arena, (size_t)kv->size + 1);
    if (data == NULL)
        return nb_fail_memory(r->err);
    status = nb_file_read(r->file, from, data, kv->size, r->err);
    if (status != NB_OK)
        return status;
    kv->data = data;
    for (uint64_t i = 0; i < kv->count; i++, at += length) {
        /* Every length is checked again: the bytes were read twice, and the file may have changed in between. */
        length = 0;
        for (unsigned b = 0; b < 8 && kv->size - at >= 8; b++)
            length |= (uint64_t)data[at + b] << (8 * b);
        at += 8;
        if (at > kv->size || length > kv->size - at)
            return nb_fail(r->err, NB_INPUT, "%s: changed while it was read", r->file->name);
        if (!nb_utf8_valid((const char *)data + at, (size_t)length))
            return nb_fail(r->err, NB_INPUT, "%s: key '%s': string %" PRIu64 " is not UTF-8 text", r->file->name,
                           kv->key, i);
    }
    return NB_OK;
}

static enum nb_status
take_array(struct reader *r, struct nb_kv *kv)
{
    uint64_t element, each;
    enum nb_status status = take_number(r, 4, &element);

    if (status == NB_OK)
        status = take_number(r, 8, &kv->count);
    if (status != NB_OK)
        return status;
    if (element >= NB_KV_TYPES || element == NB_KV_ARRAY)
        return nb_fail(r->err, NB_INPUT, "%s: key '%s': an array of type %" PRIu64 ", which cannot be read",
                       r->file->name, kv->key, element);
    kv->element = (enum nb_kv_type)element;
    each = kv->element == NB_KV_STRING ? 8 : nb_kv_type_size(kv->element);
    if (kv->count > left(r) / each)
        return nb_fail(r->err, NB_INPUT, "%s: key '%s': %" PRIu64 " elements, more than the file can hold",
                       r->file->name, kv->key, kv->count);
    if (kv->element == NB_KV_STRING)
        return take_string_array(r, kv);
    kv->size = kv->count * each;
    unsigned char *data = nb_arena_alloc(&r->out->meta.arena, (size_t)kv->size + 1);
    if (data == NULL)
        return nb_fail_memory(r->err);
    kv->data = data;
    return take(r, data, kv->size);
}

static enum nb_status
take_value(struct reader *r, struct nb_kv *kv)
{
    unsigned char *data;
    char *s = NULL;
    enum nb_status status;

    kv->element = kv->type;
    kv->count = 1;
    if (kv->type == NB_KV_ARRAY) {
        status = take_array(r, kv);
    } else if (kv->type == NB_KV_STRING) {
        status = take_string(r, UINT64_MAX, "a string", &s, &kv->size);
        if (status == NB_OK && !nb_utf8_valid(s, (size_t)kv->size))
            status = nb_fail(r->err, NB_INPUT, "%s: key '%s': not UTF-8 text", r->file->name, kv->key);
        kv->data = (unsigned char *)s;
    } else {
        kv->size = nb_kv_type_size(kv->type);
        data = nb_arena_alloc(&r->out->meta.arena, (size_t)kv->size);
        if (data == NULL)
            return nb_fail_memory(r->err);
        kv->data = data;
        status = take(r, data, kv->size);
    }
    if (status == NB_OK && kv->element == NB_KV_BOOL)
        status = check_bools(r, kv);
    return status;
}

static int
compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorting finds what comes twice in n log n: a hostile file may have millions of names. */
static enum nb_status
check_unique(const struct reader *r, const char **names, size_t count, const char *what)
{
    qsort(names, count, sizeof *names, compare_strings);
    for (size_t i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return nb_fail(r->err, NB_INPUT, "%s: %s '%s' occurs twice", r->file->name, what, names[i]);
    return NB_OK;
}

static enum nb_status
read_metadata(struct reader *r, uint64_t count)
{
    struct nb_metadata *meta = &r->out->meta;
    const char **names;
    enum nb_status status = NB_OK;

    if (count > left(r) / MIN_KV_BYTES)
        return nb_fail(r->err, NB_INPUT, "%s: %" PRIu64 " metadata entries, more than the file can hold",
                       r->file->name, count);
    meta->items = calloc((size_t)count + 1, sizeof *meta->items);
    names = calloc((size_t)count + 1, sizeof *names);
    if (meta->items == NULL || names == NULL) {
        free(names);
        return nb_fail_memory(r->err);
    }
    meta->room = (size_t)count + 1;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        struct nb_kv *kv = &meta->items[i];
        uint64_t type;
        char *key;

        status = take_name(r, MAX_KEY_BYTES, "a metadata key", &key);
        if (status == NB_OK)
            status = take_number(r, 4, &type);
        if (status != NB_OK)
            break;
        if (type >= NB_KV_TYPES) {
            status = nb_fail(r->err, NB_INPUT, "%s: key '%s': unknown value type %" PRIu64, r->file->name, key, type);
            break;
        }
        kv->key = names[i] = key;
        kv->type = (enum nb_kv_type)type;
        status = take_value(r, kv);
        if (status == NB_OK)
            meta->count = i + 1;
    }
    if (status == NB_OK)
        status = check_unique(r, names, meta->count, "metadata key");
    free(names);
    return status;
}

static enum nb_status
read_alignment(const struct reader *r)
{
    const struct nb_kv *kv = nb_meta_find(&r->out->meta, "general.alignment");
    uint64_t value;

    r->out->alignment = NB_GGUF_ALIGNMENT;
    if (kv == NULL)
        return NB_OK;
    if (kv->type != NB_KV_U32 || !nb_meta_get_u64(&r->out->meta, kv->key, &value) || value == 0 ||
        (value & (value - 1)) != 0 || value > MAX_ALIGNMENT)
        return nb_fail(r->err, NB_INPUT, "%s: general.alignment is not a u32 power of two up to %u", r->file->name,
                       MAX_ALIGNMENT);
    r->out->alignment = (uint32_t)value;
    return NB_OK;
}

static enum nb_status
read_info(struct reader *r, struct nb_tensor *t)
{
    uint64_t n, type;
    char *name;
    enum nb_status status = take_name(r, NB_MAX_NAME, "a tensor name", &name);

    if (status == NB_OK)
        status = take_number(r, 4, &n);
    if (status != NB_OK)
        return status;
    t->name = t->source_name = name;
    if (n < 1 || n > NB_MAX_DIMS)
        return nb_fail(r->err, NB_INPUT, "%s: tensor '%s': %" PRIu64 " dimensions", r->file->name, name, n);
    t->n_dims = (uint32_t)n;
    for (unsigned i = 0; i < NB_MAX_DIMS; i++)
        t->ne[i] = 1;
    for (unsigned i = 0; i < n && status == NB_OK; i++) {
        status = take_number(r, 8, &t->ne[i]);
        if (status == NB_OK && t->ne[i] == 0)
            return nb_fail(r->err, NB_INPUT, "%s: tensor '%s': dimension %u is zero", r->file->name, name, i);
    }
    if (status == NB_OK)
        status = take_number(r, 4, &type);
    if (status == NB_OK)
        status = take_number(r, 8, &t->offset);
    if (status != NB_OK)
        return status;
    if (type >= NB_GGUF_TYPES || nb_type_info((enum nb_type)type)->kind == NB_KIND_NONE)
        return nb_fail(r->err, NB_INPUT, "%s: tensor '%s': unknown type %" PRIu64, r->file->name, name, type);
    t->type = t->plain_type = (enum nb_type)type;
    if (!nb_tensor_measure(t))
        return nb_fail(r->err, NB_INPUT, "%s: tensor '%s': its dimensions overflow or do not fill blocks of %s",
                       r->file->name, name, nb_type_info(t->type)->name);
    return NB_OK;
}

/* Offsets must be the padded running sum, as llama.cpp demands, and end inside the file. */
static enum nb_status
place_tensors(const struct reader *r)
{
    struct nb_gguf *out = r->out;
    uint64_t expected = 0, end;

    if (!nb_align_u64(r->at, out->alignment, &out->data_offset))
        return bad(r, "the header's size overflows");
    for (size_t i = 0; i < out->count; i++) {
        struct nb_tensor *t = &out->tensors[i];

        if (t->offset != expected)
            return nb_fail(r->err, NB_INPUT,
                           "%s: tensor '%s': its offset is %" PRIu64 ", but the tensors before it end at %" PRIu64,
                           r->file->name, t->name, t->offset, expected);
        if (!nb_add_u64(out->data_offset, t->offset, &t->offset) || !nb_add_u64(t->offset, t->bytes, &end) ||
            end > r->file->size)
            return nb_fail(r->err, NB_INPUT,
                           "%s: cut short: tensor '%s' has %" PRIu64 " bytes at byte %" PRIu64
                           ", but the file only %" PRIu64,
                           r->file->name, t->name, t->bytes, t->offset, r->file->size);
        if (!nb_align_u64(end - out->data_offset, out->alignment, &expected))
            return bad(r, "the tensors' sizes overflow");
    }
    return NB_OK;
}

static enum nb_status
read_infos(struct reader *r, uint64_t count)
{
    struct nb_gguf *out = r->out;
    const char **names;
    enum nb_status status = NB_OK;

    if (count > left(r) / MIN_INFO_BYTES)
        return nb_fail(r->err, NB_INPUT, "%s: %" PRIu64 " tensors, more than the file can hold", r->file->name, count);
    out->tensors = calloc((size_t)count + 1, sizeof *out->tensors);
    names = calloc((size_t)count + 1, sizeof *names);
    if (out->tensors == NULL || names == NULL) {
        free(names);
        return nb_fail_memory(r->err);
    }
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        status = read_info(r, &out->tensors[i]);
        names[i] = out->tensors[i].name;
    }
    if (status == NB_OK) {
        out->count = (size_t)count;
        status = check_unique(r, names, out->count, "tensor");
    }
    free(names);
    return status;
}

static enum nb_status
read_preamble(struct reader *r, uint64_t *n_tensors, uint64_t *n_kv)
{
    char magic[4];
    uint64_t version;
    enum nb_status status;

    if (r->file->size < 24)
        return nb_fail(r->err, NB_INPUT, "%s: too short to be a GGUF file (%" PRIu64 " bytes)", r->file->name,
                       r->file->size);
    status = take(r, magic, sizeof magic);
    if (status == NB_OK)
        status = take_number(r, 4, &version);
    if (status != NB_OK)
        return status;
    if (memcmp(magic, NB_GGUF_MAGIC, sizeof magic) != 0)
        return nb_fail(r->err, NB_INPUT, "%s: not a GGUF file (its first bytes are not 'GGUF')", r->file->name);
    if ((version & 0xFFFF) == 0)
        return nb_fail(r->err, NB_INPUT, "%s: a big-endian GGUF file, which cannot be read", r->file->name);
    if (version != 2 && version != 3)
        return nb_fail(r->err, NB_INPUT, "%s: GGUF version %" PRIu64 "; 2 and 3 can be read", r->file->name, version);
    r->out->version = (uint32_t)version;
    status = take_number(r, 8, n_tensors);
    return status == NB_OK ? take_number(r, 8, n_kv) : status;
}

enum nb_status
nb_gguf_read(const struct nb_file_in *file, uint32_t file_index, struct nb_gguf *out, struct nb_error *err)
{
    struct reader r = { .file = file, .out = out, .err = err };
    uint64_t n_tensors, n_kv;
    enum nb_status status;

    *out = (struct nb_gguf){ 0 };
    r.buffer = malloc(BUFFER_SIZE);
    if (r.buffer == NULL)
        return nb_fail_memory(err);
    status = read_preamble(&r, &n_tensors, &n_kv);
    if (status == NB_OK)
        status = read_metadata(&r, n_kv);
    if (status == NB_OK)
        status = read_alignment(&r);
    if (status == NB_OK)
        status = read_infos(&r, n_tensors);
    if (status == NB_OK)
        status = place_tensors(&r);
    free(r.buffer);
    for (size_t i = 0; i < out->count; i++)
        out->tensors[i].file = file_index;
    if (status != NB_OK)
        nb_gguf_free(out);
    return status;
}

void
nb_gguf_free(struct nb_gguf *gguf)
{
    nb_meta_free(&gguf->meta);
    free(gguf->tensors);
    *gguf = (struct nb_gguf){ 0 };
}
