#include "safetensors.h"

#include "checked.h"
#include "json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct nb_file_in *file;
    struct nb_arena *arena;
    struct nb_safetensors *out;
    struct nb_error *err;
    size_t room;
};

static enum nb_status
bad(const struct reader *r, const char *name, const char *what)
{
    return nb_fail(r->err, NB_INPUT, "%s: tensor '%s': %s", r->file->name, name, what);
}

static enum nb_status
read_dtype(const struct reader *r, struct nb_safetensor *t, json_t *dtype)
{
    if (!json_is_string(dtype))
        return bad(r, t->name, "dtype is not a string");
    t->type = nb_type_by_safetensors(json_string_value(dtype));
    if (t->type == NB_TYPE_NONE)
        return nb_fail(r->err, NB_INPUT, "%s: tensor '%s': unknown dtype '%s'", r->file->name, t->name,
                       json_string_value(dtype));
    return NB_OK;
}

static enum nb_status
read_shape(const struct reader *r, struct nb_safetensor *t, json_t *shape)
{
    if (!json_is_array(shape))
        return bad(r, t->name, "shape is not an array");
    if (json_array_size(shape) > NB_SAFETENSORS_MAX_DIMS)
        return bad(r, t->name, "more dimensions than any model has");
    t->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        json_t *n = json_array_get(shape, i);

        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return bad(r, t->name, "shape has an entry that is not a count");
        t->shape[i] = (uint64_t)json_integer_value(n);
    }
    return NB_OK;
}

/* OFFSETS count from the end of the header; BASE is that place in the file. */
static enum nb_status
read_span(const struct reader *r, struct nb_safetensor *t, json_t *offsets, uint64_t base)
{
    json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    uint64_t elements = 1, expected, begin, end, data = r->file->size - base;

    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to) ||
        json_integer_value(from) < 0 || json_integer_value(to) < 0)
        return bad(r, t->name, "data_offsets is not a pair of counts");
    begin = (uint64_t)json_integer_value(from);
    end = (uint64_t)json_integer_value(to);
    if (begin > end || end > data)
        return nb_fail(r->err, NB_INPUT,
                       "%s: tensor '%s': bytes %" PRIu64 " to %" PRIu64 " lie outside the data, which has %" PRIu64,
                       r->file->name, t->name, begin, end, data);
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!nb_mul_u64(elements, t->shape[i], &elements))
            return bad(r, t->name, "the product of its shape overflows");
    if (!nb_type_bytes(t->type, elements, &expected))
        return bad(r, t->name, "the product of its shape overflows");
    if (expected != end - begin)
        return nb_fail(r->err, NB_INPUT,
                       "%s: tensor '%s': dtype and shape need %" PRIu64 " bytes, but its span has %" PRIu64,
                       r->file->name, t->name, expected, end - begin);
    t->offset = base + begin;
    t->bytes = expected;
    return NB_OK;
}

static enum nb_status
read_entry(struct reader *r, const char *name, struct nb_json_span value, uint64_t base)
{
    struct nb_safetensor t = { .name = name };
    json_t *entry = nb_json_tree(value);
    enum nb_status status;

    if (!json_is_object(entry) || json_object_size(entry) != 3 || json_object_get(entry, "dtype") == NULL ||
        json_object_get(entry, "shape") == NULL || json_object_get(entry, "data_offsets") == NULL) {
        json_decref(entry);
        return bad(r, name, "its entry is not an object of dtype, shape and data_offsets");
    }
    status = read_dtype(r, &t, json_object_get(entry, "dtype"));
    if (status == NB_OK)
        status = read_shape(r, &t, json_object_get(entry, "shape"));
    if (status == NB_OK)
        status = read_span(r, &t, json_object_get(entry, "data_offsets"), base);
    json_decref(entry);
    if (status != NB_OK)
        return status;
    if (r->out->count == r->room) {
        size_t room = r->room == 0 ? 256 : 2 * r->room;
        struct nb_safetensor *grown = nb_arena_calloc(r->arena, room, sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(r->err);
        if (r->out->count > 0)
            memcpy(grown, r->out->tensors, r->out->count * sizeof *grown);
        r->out->tensors = grown;
        r->room = room;
    }
    r->out->tensors[r->out->count++] = t;
    return NB_OK;
}

static enum nb_status
check_metadata(const struct reader *r, struct nb_json_span value)
{
    json_t *map = nb_json_tree(value), *entry;
    const char *key;
    bool good = json_is_object(map);

    if (good)
        json_object_foreach(map, key, entry)
            good = good && json_is_string(entry);
    json_decref(map);
    return good ? NB_OK
                : nb_fail(r->err, NB_INPUT, "%s: __metadata__ is not a map of strings to strings", r->file->name);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct nb_safetensor *)a)->name, ((const struct nb_safetensor *)b)->name);
}

static int
by_offset(const void *a, const void *b)
{
    const struct nb_safetensor *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    /* An empty tensor stands before the one that begins at the same byte. */
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The data section must be covered exactly: no name twice, no overlap, no hole, nothing behind. */
static enum nb_status
check_layout(const struct reader *r, uint64_t base)
{
    struct nb_safetensor *t = r->out->tensors;
    uint64_t at = base;

    if (r->out->count == 0)
        return r->file->size == base
                   ? NB_OK
                   : nb_fail(r->err, NB_INPUT, "%s: data, but no tensor that it belongs to", r->file->name);
    qsort(t, r->out->count, sizeof *t, by_name);
    for (size_t i = 1; i < r->out->count; i++)
        if (strcmp(t[i - 1].name, t[i].name) == 0)
            return bad(r, t[i].name, "its name occurs twice");
    qsort(t, r->out->count, sizeof *t, by_offset);
    for (size_t i = 0; i < r->out->count; i++) {
        if (t[i].offset < at)
            return bad(r, t[i].name, "its bytes overlap those of another tensor");
        if (t[i].offset > at)
            return nb_fail(r->err, NB_INPUT, "%s: %" PRIu64 " bytes before tensor '%s' belong to no tensor",
                           r->file->name, t[i].offset - at, t[i].name);
        at += t[i].bytes;
    }
    if (at != r->file->size)
        return nb_fail(r->err, NB_INPUT, "%s: the last %" PRIu64 " bytes belong to no tensor", r->file->name,
                       r->file->size - at);
    return NB_OK;
}

static enum nb_status
read_header(struct reader *r, struct nb_json_span text, uint64_t base)
{
    struct nb_json_span root, key, value;
    struct nb_json_cursor members;
    bool metadata_seen = false;
    int more;

    /* The specification pads with spaces behind the object and with nothing before it. */
    if (text.length == 0 || *text.at != '{' || !nb_json_value(text, &root) || !nb_json_enter(&members, root))
        return nb_fail(r->err, NB_INPUT, "%s: its header is not a JSON object", r->file->name);
    while ((more = nb_json_next(&members, &key, &value)) > 0) {
        enum nb_status status;
        size_t length;
        char *name = nb_json_string(r->arena, key, &length);

        if (name == NULL || strlen(name) != length)
            return nb_fail(r->err, NB_INPUT, "%s: a tensor name in its header is not valid UTF-8 text",
                           r->file->name);
        if (strcmp(name, "__metadata__") == 0) {
            if (metadata_seen)
                return nb_fail(r->err, NB_INPUT, "%s: __metadata__ occurs twice", r->file->name);
            metadata_seen = true;
            status = check_metadata(r, value);
        } else {
            status = read_entry(r, name, value, base);
        }
        if (status != NB_OK)
            return status;
    }
    if (more < 0)
        return nb_fail(r->err, NB_INPUT, "%s: its header is not valid JSON", r->file->name);
    return check_layout(r, base);
}

enum nb_status
nb_safetensors_read(const struct nb_file_in *file, struct nb_arena *arena, struct nb_safetensors *out,
                    struct nb_error *err)
{
    struct reader r = { .file = file, .arena = arena, .out = out, .err = err };
    unsigned char prefix[8];
    uint64_t length = 0;
    enum nb_status status;
    char *header;

    *out = (struct nb_safetensors){ 0 };
    if (file->size < sizeof prefix)
        return nb_fail(err, NB_INPUT, "%s: too short to be a safetensors file (%" PRIu64 " bytes)", file->name,
                       file->size);
    status = nb_file_read(file, 0, prefix, sizeof prefix, err);
    if (status != NB_OK)
        return status;
    for (unsigned i = 0; i < sizeof prefix; i++)
        length |= (uint64_t)prefix[i] << (8 * i);
    if (length > NB_SAFETENSORS_MAX_HEADER)
        return nb_fail(err, NB_INPUT, "%s: not a safetensors file, or its header of %" PRIu64
                       " bytes is over the format's limit of %u", file->name, length, NB_SAFETENSORS_MAX_HEADER);
    if (length > file->size - sizeof prefix)
        return nb_fail(err, NB_INPUT, "%s: cut short: its header has %" PRIu64 " bytes, the file only %" PRIu64,
                       file->name, length, file->size);
    header = malloc((size_t)length + 1);
    if (header == NULL)
        return nb_fail_memory(err);
    status = nb_file_read(file, sizeof prefix, header, length, err);
    if (status == NB_OK)
        status = read_header(&r, (struct nb_json_span){ header, (size_t)length }, sizeof prefix + length);
    free(header);
    return status;
}
