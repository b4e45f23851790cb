#include "formats/safetensors/safetensors.h"

#include "formats/base/checked.h"
#include "formats/base/json.h"
#include "formats/base/mistaken.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct nb_file_in *file;
    struct nb_arena *arena;
    struct nb_safetensors *out;
    struct nb_findings *findings; /* NULL: the first finding is an error */
    struct nb_error *err;
    size_t room;
};

/* Record a finding; reading continues after FOUND and ends after FOUND_END. */
#define FOUND(r, code, place, ...) nb_found((r)->findings, (r)->err, code, place, __VA_ARGS__)
#define FOUND_END(r, code, place, ...) nb_found_end((r)->findings, (r)->err, code, place, __VA_ARGS__)

static struct nb_place
at(const struct reader *r, const char *tensor)
{
    return nb_at_tensor(r->file->name, tensor, NB_NO_OFFSET);
}

/* The readers of an entry's members set t->type to NB_TYPE_NONE if the tensor cannot be used. */

static enum nb_status
read_dtype(const struct reader *r, struct nb_safetensor *t, json_t *dtype)
{
    t->type = NB_TYPE_NONE;
    if (!json_is_string(dtype))
        return FOUND(r, NB_BAD_ST_DTYPE, at(r, t->name), "dtype is not a string");
    t->type = nb_type_by_safetensors(json_string_value(dtype));
    if (t->type == NB_TYPE_NONE)
        return FOUND(r, NB_BAD_ST_DTYPE, at(r, t->name), "unknown dtype '%s'", json_string_value(dtype));
    return NB_OK;
}

static enum nb_status
bad_shape(const struct reader *r, struct nb_safetensor *t, const char *what)
{
    t->type = NB_TYPE_NONE;
    t->n_dims = 0;
    return FOUND(r, NB_BAD_ST_SHAPE, at(r, t->name), "%s", what);
}

static enum nb_status
read_shape(const struct reader *r, struct nb_safetensor *t, json_t *shape, uint64_t *elements)
{
    *elements = 1;
    if (!json_is_array(shape))
        return bad_shape(r, t, "shape is not an array");
    if (json_array_size(shape) > NB_SAFETENSORS_MAX_DIMS)
        return bad_shape(r, t, "more dimensions than any model has");
    t->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        json_t *n = json_array_get(shape, i);

        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return bad_shape(r, t, "shape has an entry that is not a count");
        t->shape[i] = (uint64_t)json_integer_value(n);
        if (!nb_mul_u64(*elements, t->shape[i], elements))
            return bad_shape(r, t, "the product of its shape overflows");
    }
    return NB_OK;
}

/* Reads the two numbers of data_offsets; false unless they are a range. */
static bool
read_range(json_t *offsets, uint64_t *begin, uint64_t *end)
{
    json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);

    *begin = *end = 0;
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to) ||
        json_integer_value(from) < 0 || json_integer_value(to) < 0)
        return false;
    *begin = (uint64_t)json_integer_value(from);
    *end = (uint64_t)json_integer_value(to);
    return *begin <= *end;
}

/* OFFSETS are relative to the end of the header, which is at BASE in the file. */
static enum nb_status
read_span(const struct reader *r, struct nb_safetensor *t, json_t *offsets, uint64_t elements, uint64_t base)
{
    uint64_t expected, begin, end;

    if (!read_range(offsets, &begin, &end)) {
        t->type = NB_TYPE_NONE;
        return FOUND(r, NB_BAD_ST_OUTSIDE, at(r, t->name), "data_offsets is not a pair of counts that is a range");
    }
    t->offset = base + begin;
    t->bytes = end - begin;
    if (t->type == NB_TYPE_NONE)
        return NB_OK; /* already reported */
    if (!nb_type_bytes(t->type, elements, &expected))
        return bad_shape(r, t, "the product of its shape overflows");
    if (expected == t->bytes)
        return NB_OK;
    t->type = NB_TYPE_NONE;
    return FOUND(r, NB_BAD_ST_SIZE, at(r, t->name), "dtype and shape need %" PRIu64 " bytes, but its span has %" PRIu64,
                 expected, t->bytes);
}

static enum nb_status
keep(struct reader *r, const struct nb_safetensor *t)
{
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
    r->out->tensors[r->out->count++] = *t;
    return NB_OK;
}

static enum nb_status
read_entry(struct reader *r, const char *name, struct nb_json_span value, uint64_t base)
{
    struct nb_safetensor t = { .name = name, .offset = base };
    bool no_memory;
    json_t *entry = nb_json_tree(value, &no_memory);
    uint64_t elements;
    enum nb_status status;

    if (no_memory)
        return nb_fail_memory(r->err);
    if (!json_is_object(entry) || json_object_size(entry) != 3 || json_object_get(entry, "dtype") == NULL ||
        json_object_get(entry, "shape") == NULL || json_object_get(entry, "data_offsets") == NULL) {
        json_decref(entry);
        return FOUND(r, NB_BAD_ST_ENTRY, at(r, name), "its entry is not an object of dtype, shape and data_offsets");
    }
    status = read_dtype(r, &t, json_object_get(entry, "dtype"));
    if (status == NB_OK)
        status = read_shape(r, &t, json_object_get(entry, "shape"), &elements);
    if (status == NB_OK)
        status = read_span(r, &t, json_object_get(entry, "data_offsets"), elements, base);
    json_decref(entry);
    return status == NB_OK ? keep(r, &t) : status;
}

static enum nb_status
check_metadata(const struct reader *r, struct nb_json_span value)
{
    bool no_memory;
    json_t *map = nb_json_tree(value, &no_memory), *entry;
    const char *key;
    bool good = json_is_object(map);

    if (no_memory)
        return nb_fail_memory(r->err);
    if (good)
        json_object_foreach(map, key, entry)
            good = good && json_is_string(entry);
    r->out->is_mlx = good && json_is_string(json_object_get(map, "format")) &&
                     strcmp(json_string_value(json_object_get(map, "format")), "mlx") == 0;
    json_decref(map);
    return good ? NB_OK
                : FOUND(r, NB_BAD_ST_METADATA, nb_in_file(r->file->name),
                        "__metadata__ is not a map of strings to strings");
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
    /* An empty tensor is sorted before the tensor at the same offset. */
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static enum nb_status
check_names(const struct reader *r)
{
    struct nb_safetensor *t = r->out->tensors;
    enum nb_status status = NB_OK;

    qsort(t, r->out->count, sizeof *t, by_name);
    for (size_t i = 1; i < r->out->count && status == NB_OK; i++)
        if (strcmp(t[i - 1].name, t[i].name) == 0 && (i < 2 || strcmp(t[i - 2].name, t[i].name) != 0))
            status = FOUND(r, NB_BAD_ST_DUPLICATE, at(r, t[i].name), "its name occurs twice");
    return status;
}

/* The tensors, which are sorted by offset, must cover the data without overlap and hole; *END receives where they end. */
static enum nb_status
check_order(const struct reader *r, uint64_t *end)
{
    const struct nb_safetensor *t = r->out->tensors;
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < r->out->count && status == NB_OK; i++) {
        if (t[i].offset < *end && t[i].bytes > 0)
            status = FOUND(r, NB_BAD_ST_OVERLAP, at(r, t[i].name), "its bytes overlap those of another tensor");
        else if (t[i].offset > *end)
            status = FOUND(r, NB_BAD_ST_HOLE, nb_in_file(r->file->name),
                           "%" PRIu64 " bytes before tensor '%s' belong to no tensor", t[i].offset - *end, t[i].name);
        if (t[i].offset + t[i].bytes > *end)
            *end = t[i].offset + t[i].bytes;
    }
    return status;
}

/*
 * The file ends before the tensors do, at END. ORDERLY: they follow one another as they should, so that it is one fault,
 * the rest of a good file. Otherwise each tensor is one.
 */
static enum nb_status
cut_short(const struct reader *r, uint64_t end, bool orderly)
{
    struct nb_safetensor *t = r->out->tensors;
    size_t outside = 0;
    char text[NB_CUT_SHORT];
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < r->out->count && status == NB_OK; i++) {
        if (t[i].offset + t[i].bytes <= r->file->size)
            continue;
        if (!orderly)
            status = FOUND(r, NB_BAD_ST_OUTSIDE, at(r, t[i].name),
                           "it has %" PRIu64 " bytes at byte %" PRIu64 ", but the file only %" PRIu64, t[i].bytes,
                           t[i].offset, r->file->size);
        t[i].type = NB_TYPE_NONE; /* its data must not be read */
        outside++;
    }
    if (status != NB_OK || !orderly)
        return status;
    return FOUND(r, NB_BAD_ST_OUTSIDE, nb_in_file(r->file->name), "%s (incomplete or missing: %zu of %zu tensors)",
                 nb_cut_short(text, r->file->size, end), outside, r->out->count);
}

/* How many faults were found so far. */
static uint64_t
faults(const struct reader *r)
{
    return r->findings == NULL ? 0 : r->findings->errors;
}

/* Checks that names are unique and that the tensors cover the data without overlap, hole or rest; BEFORE: the faults before. */
static enum nb_status
check_layout(const struct reader *r, uint64_t base, uint64_t before)
{
    const struct nb_place file = nb_in_file(r->file->name);
    uint64_t end = base;
    enum nb_status status;

    if (r->out->count == 0)
        return r->file->size == base ? NB_OK : FOUND(r, NB_BAD_ST_HOLE, file, "data, but no tensor that it belongs to");
    status = check_names(r);
    qsort(r->out->tensors, r->out->count, sizeof *r->out->tensors, by_offset);
    if (status == NB_OK)
        status = check_order(r, &end);
    if (status != NB_OK || end == r->file->size)
        return status;
    if (end > r->file->size)
        return cut_short(r, end, faults(r) == before);
    return FOUND(r, NB_BAD_ST_HOLE, file, "the last %" PRIu64 " bytes belong to no tensor", r->file->size - end);
}

static enum nb_status
read_header(struct reader *r, struct nb_json_span text, uint64_t base)
{
    struct nb_json_span root, key, value;
    struct nb_json_cursor members;
    const uint64_t before = faults(r);
    bool metadata_seen = false;
    int more;

    /* The specification allows spaces after the object and nothing before it. */
    if (text.length == 0 || *text.at != '{' || !nb_json_value(text, &root) || !nb_json_enter(&members, root))
        return FOUND_END(r, NB_BAD_ST_HEADER, nb_in_file(r->file->name), "its header is not a JSON object");
    while ((more = nb_json_next(&members, &key, &value)) > 0) {
        enum nb_status status;
        size_t length;
        char *name = nb_json_string(r->arena, key, &length);

        if (name == NULL && r->arena->exhausted)
            return nb_fail_memory(r->err);
        if (name == NULL || (length > 0 && !nb_is_name(name, length))) /* a name may be empty here */
            return FOUND_END(r, NB_BAD_ST_NAME, nb_in_file(r->file->name),
                             "a tensor name in its header is not valid UTF-8 text, or has control characters");
        if (strcmp(name, "__metadata__") == 0) {
            status = metadata_seen
                         ? FOUND(r, NB_BAD_ST_METADATA, nb_in_file(r->file->name), "__metadata__ occurs twice")
                         : check_metadata(r, value);
            metadata_seen = true;
        } else {
            status = read_entry(r, name, value, base);
        }
        if (status != NB_OK)
            return status;
    }
    if (more < 0)
        return FOUND_END(r, NB_BAD_ST_HEADER, nb_in_file(r->file->name), "its header is not valid JSON");
    return check_layout(r, base, before);
}

bool
nb_safetensors_begins(const struct nb_file_in *file)
{
    unsigned char first[9];

    if (file->size < sizeof first)
        return false;
    return nb_file_read(file, 0, first, sizeof first, NULL) != NB_OK ||
           (memcmp(first + 4, "\0\0\0", 4) == 0 && first[8] == '{');
}

enum nb_status
nb_safetensors_read(const struct nb_file_in *file, struct nb_arena *arena, struct nb_safetensors *out,
                    struct nb_error *err)
{
    return nb_safetensors_examine(file, arena, out, NULL, err);
}

enum nb_status
nb_safetensors_examine(const struct nb_file_in *file, struct nb_arena *arena, struct nb_safetensors *out,
                       struct nb_findings *findings, struct nb_error *err)
{
    struct reader r = { .file = file, .arena = arena, .out = out, .findings = findings, .err = err };
    unsigned char prefix[8];
    uint64_t length = 0;
    enum nb_status status;
    char *header, what[NB_MISTAKEN], text[NB_CUT_SHORT];

    *out = (struct nb_safetensors){ 0 };
    if (!nb_safetensors_begins(file) && nb_file_mistaken(file, what))
        return FOUND_END(&r, NB_BAD_FILE_KIND, nb_in_file(file->name), "not a safetensors file, but %s", what);
    if (file->size < sizeof prefix)
        return FOUND_END(&r, NB_BAD_ST_HEADER, nb_in_file(file->name),
                         "too short to be a safetensors file (%" PRIu64 " bytes)", file->size);
    status = nb_file_read(file, 0, prefix, sizeof prefix, err);
    if (status != NB_OK)
        return status;
    for (unsigned i = 0; i < sizeof prefix; i++)
        length |= (uint64_t)prefix[i] << (8 * i);
    if (length > NB_SAFETENSORS_MAX_HEADER)
        return FOUND_END(&r, NB_BAD_ST_HEADER, nb_in_file(file->name),
                         "not a safetensors file, or its header of %" PRIu64 " bytes is over the format's limit of %u",
                         length, NB_SAFETENSORS_MAX_HEADER);
    if (length > file->size - sizeof prefix)
        return FOUND_END(&r, NB_BAD_ST_HEADER, nb_in_file(file->name), "%s",
                         nb_cut_short(text, file->size, length + sizeof prefix));
    header = nb_malloc(length + 1);
    if (header == NULL)
        return nb_fail_memory(err);
    status = nb_file_read(file, sizeof prefix, header, length, err);
    if (status == NB_OK)
        status = read_header(&r, (struct nb_json_span){ header, (size_t)length }, sizeof prefix + length);
    free(header);
    return status;
}
