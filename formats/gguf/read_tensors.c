/* The tensor infos of a GGUF file and the tensors' offsets. */
#include "formats/gguf/reader.h"

#include "formats/base/checked.h"
#include "formats/base/mistaken.h"

#include <inttypes.h>
#include <stdlib.h>

#define MIN_INFO_BYTES (8u + 1u + 4u + 8u + 4u + 8u)
#define MAX_DIMS_SKIPPED 64u /* more than that cannot be a small mistake */

/* Reads the dimensions; those after the fourth are skipped. */
static enum nb_status
read_dims(struct nb_gguf_reader *r, struct nb_tensor *t)
{
    const struct nb_place place = nb_at_tensor(r->file->name, t->name, r->at);
    uint64_t n, ne;
    enum nb_status status = nb_gguf_take_number(r, 4, &n);
    bool zero = false;

    if (status == NB_OK && (n < 1 || n > NB_MAX_DIMS)) {
        if (n > MAX_DIMS_SKIPPED)
            return FOUND_END(r, NB_BAD_GGUF_TENSOR_DIMS, place, "%" PRIu64 " dimensions", n);
        status = FOUND(r, NB_BAD_GGUF_TENSOR_DIMS, place, "%" PRIu64 " dimensions", n);
        t->type = NB_TYPE_NONE;
    }
    t->n_dims = (uint32_t)(n < NB_MAX_DIMS ? n : NB_MAX_DIMS);
    for (unsigned i = 0; i < NB_MAX_DIMS; i++)
        t->ne[i] = 1;
    for (unsigned i = 0; i < n && status == NB_OK; i++) {
        status = nb_gguf_take_number(r, 8, &ne);
        if (status == NB_OK && i < NB_MAX_DIMS)
            t->ne[i] = ne;
        if (status == NB_OK && ne == 0 && !zero) {
            status = FOUND(r, NB_BAD_GGUF_TENSOR_DIMS, place, "dimension %u is zero", i);
            t->type = NB_TYPE_NONE;
            zero = true;
        }
    }
    return status;
}

static enum nb_status
measure(const struct nb_gguf_reader *r, struct nb_tensor *t, uint64_t type)
{
    const struct nb_place place = nb_at_tensor(r->file->name, t->name, r->at);
    const struct nb_type_info *info;
    const bool spoiled = t->type == NB_TYPE_NONE; /* its dimensions are invalid */

    info = nb_type_info(type < NB_GGUF_TYPES ? (enum nb_type)type : NB_TYPE_NONE);
    if (info->kind == NB_KIND_NONE) {
        t->type = NB_TYPE_NONE;
        return FOUND(r, NB_BAD_GGUF_TENSOR_TYPE, place, "unknown type %" PRIu64, type);
    }
    t->type = (enum nb_type)type;
    if (!spoiled && nb_tensor_measure(t))
        return NB_OK;
    t->type = NB_TYPE_NONE;
    t->bytes = t->elements = 0;
    if (spoiled)
        return NB_OK;
    return FOUND(r, t->ne[0] % info->block != 0 ? NB_BAD_GGUF_TENSOR_BLOCK : NB_BAD_GGUF_TENSOR_SIZE, place,
                 "its dimensions overflow or do not fill blocks of %s", info->name);
}

static enum nb_status
read_info(struct nb_gguf_reader *r, struct nb_tensor *t)
{
    uint64_t type;
    char *name;
    enum nb_status status = nb_gguf_take_name(r, NB_MAX_NAME, NB_BAD_GGUF_TENSOR_NAME, "a tensor name", &name);

    *t = (struct nb_tensor){ 0 };
    if (status != NB_OK)
        return status;
    t->name = name;
    status = read_dims(r, t);
    if (status == NB_OK)
        status = nb_gguf_take_number(r, 4, &type);
    if (status == NB_OK)
        status = nb_gguf_take_number(r, 8, &t->offset);
    return status == NB_OK ? measure(r, t, type) : status;
}

static enum nb_status
check_names(const struct nb_gguf_reader *r)
{
    const char **names = calloc(r->out->count + 1, sizeof *names);
    enum nb_status status;

    if (names == NULL)
        return nb_fail_memory(r->err);
    for (size_t i = 0; i < r->out->count; i++)
        names[i] = r->out->tensors[i].name;
    status = nb_gguf_check_unique(r, names, r->out->count, NB_BAD_GGUF_TENSOR_DUPLICATE);
    free(names);
    return status;
}

enum nb_status
nb_gguf_read_infos(struct nb_gguf_reader *r, uint64_t count)
{
    struct nb_gguf *out = r->out;
    size_t room = 0;
    enum nb_status status = NB_OK;

    if (count > nb_gguf_left(r) / MIN_INFO_BYTES || count > NB_GGUF_MAX_COUNT)
        return FOUND_END(r, NB_BAD_GGUF_COUNT, nb_in_file(r->file->name), "%s%" PRIu64 " tensors, more than %s",
                         count > NB_GGUF_MAX_COUNT ? "" : NB_GGUF_ENDS, count,
                         count > nb_gguf_left(r) / MIN_INFO_BYTES ? "the file can hold" : "any model has");
    for (uint64_t i = 0; i < count && status == NB_OK; i++) {
        if (!nb_gguf_grow((void **)&out->tensors, out->count, &room, sizeof *out->tensors))
            return nb_fail_memory(r->err);
        status = read_info(r, &out->tensors[out->count]);
        if (status == NB_OK)
            out->count++;
    }
    return status == NB_OK ? check_names(r) : status;
}

/* Compares a tensor's offset with the padded sum of the sizes before it, which llama.cpp requires. */
static enum nb_status
check_offset(const struct nb_gguf_reader *r, const struct nb_tensor *t, uint64_t expected)
{
    const enum nb_code code = t->offset % r->out->alignment != 0 ? NB_BAD_GGUF_OFFSET_ALIGNMENT
                              : t->offset > expected             ? NB_BAD_GGUF_OFFSET_GAP
                                                                 : NB_BAD_GGUF_OFFSET_OVERLAP;

    if (t->offset == expected)
        return NB_OK;
    return FOUND(r, code, nb_at_tensor(r->file->name, t->name, NB_NO_OFFSET),
                 "its offset is %" PRIu64 ", but the tensors before it end at %" PRIu64, t->offset, expected);
}

/* The offset of T in the file, and *END after its last byte; false if the file ends before that. */
static bool
place(const struct nb_gguf_reader *r, struct nb_tensor *t, uint64_t *end)
{
    const bool small = nb_add_u64(r->out->data_offset, t->offset, &t->offset) && nb_add_u64(t->offset, t->bytes, end);

    *end = small ? *end : UINT64_MAX;
    return *end <= r->file->size;
}

/*
 * Places the tensors in the file. If the file ends before some of them do, it is one fault, and their data must not be
 * read. ORDERLY: they follow one another as they should, so that what is missing is the rest of a good file.
 */
static enum nb_status
check_ends(const struct nb_gguf_reader *r, bool orderly)
{
    struct nb_gguf *out = r->out;
    size_t outside = 0;
    uint64_t end, last = 0;
    char text[NB_CUT_SHORT];
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < out->count && status == NB_OK; i++) {
        struct nb_tensor *t = &out->tensors[i];

        if (place(r, t, &end))
            continue;
        last = end > last ? end : last;
        outside++;
        if (!orderly)
            status = FOUND(r, NB_BAD_GGUF_TENSOR_OUTSIDE, nb_at_tensor(r->file->name, t->name, t->offset),
                           "it has %" PRIu64 " bytes at byte %" PRIu64 ", but the file only %" PRIu64, t->bytes,
                           t->offset, r->file->size);
        t->type = NB_TYPE_NONE;
    }
    if (status != NB_OK || !orderly || outside == 0)
        return status;
    return FOUND(r, NB_BAD_GGUF_TENSOR_OUTSIDE, nb_in_file(r->file->name),
                 "%s (incomplete or missing: %zu of %zu tensors)", nb_cut_short(text, r->file->size, last), outside,
                 out->count);
}

enum nb_status
nb_gguf_place_tensors(const struct nb_gguf_reader *r)
{
    struct nb_gguf *out = r->out;
    uint64_t expected = 0, end;
    bool known = true, orderly = true;
    enum nb_status status = NB_OK;

    out->header_end = r->at;
    if (!nb_align_u64(r->at, out->alignment, &out->data_offset))
        return FOUND_END(r, NB_BAD_GGUF_TRUNCATED, nb_gguf_here(r), "the header's size overflows");
    for (size_t i = 0; i < out->count && status == NB_OK; i++) {
        const struct nb_tensor *t = &out->tensors[i];

        if (known)
            status = check_offset(r, t, expected);
        orderly = orderly && known && t->offset == expected;
        known = t->type != NB_TYPE_NONE && nb_add_u64(t->offset, t->bytes, &end) &&
                nb_align_u64(end, out->alignment, &expected); /* otherwise its end is unknown */
    }
    return status == NB_OK ? check_ends(r, orderly) : status;
}
