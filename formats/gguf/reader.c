#include "formats/gguf/reader.h"

#include "formats/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct nb_place
nb_gguf_here(const struct nb_gguf_reader *r)
{
    return nb_at_byte(r->file->name, r->at);
}

uint64_t
nb_gguf_left(const struct nb_gguf_reader *r)
{
    return r->file->size - r->at;
}

enum nb_status
nb_gguf_take(struct nb_gguf_reader *r, void *to, uint64_t size)
{
    enum nb_status status;

    if (size > nb_gguf_left(r))
        return FOUND_END(r, NB_BAD_GGUF_TRUNCATED, nb_gguf_here(r), NB_GGUF_ENDS "the file ends inside its header");
    if (size >= NB_GGUF_BUFFER) {
        status = nb_file_read(r->file, r->at, to, size, r->err);
        if (status == NB_OK)
            r->at += size;
        return status;
    }
    if (r->at < r->start || r->at + size > r->start + r->filled) {
        r->start = r->at;
        r->filled = (size_t)(nb_gguf_left(r) < NB_GGUF_BUFFER ? nb_gguf_left(r) : NB_GGUF_BUFFER);
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

enum nb_status
nb_gguf_take_number(struct nb_gguf_reader *r, unsigned bytes, uint64_t *out)
{
    unsigned char raw[8];
    enum nb_status status = nb_gguf_take(r, raw, bytes);

    if (status != NB_OK)
        return status;
    *out = 0;
    for (unsigned i = 0; i < bytes; i++)
        *out |= (uint64_t)raw[i] << (8 * i);
    return NB_OK;
}

enum nb_status
nb_gguf_take_string(struct nb_gguf_reader *r, uint64_t limit, enum nb_code code, const char *what, char **out,
                    uint64_t *length)
{
    enum nb_status status = nb_gguf_take_number(r, 8, length);
    char *s;

    if (status != NB_OK)
        return status;
    if (*length > nb_gguf_left(r) || *length > limit)
        return FOUND_END(r, *length > nb_gguf_left(r) ? NB_BAD_GGUF_STRING_LENGTH : code, nb_gguf_here(r),
                         "%s%s of %" PRIu64 " bytes, more than there can be", *length > limit ? "" : NB_GGUF_ENDS, what,
                         *length);
    s = nb_arena_alloc(&r->out->meta.arena, *length + 1);
    if (s == NULL)
        return nb_fail_memory(r->err);
    status = nb_gguf_take(r, s, *length);
    if (status != NB_OK)
        return status;
    s[*length] = '\0';
    *out = s;
    return NB_OK;
}

enum nb_status
nb_gguf_take_name(struct nb_gguf_reader *r, uint64_t limit, enum nb_code code, const char *what, char **out)
{
    uint64_t length;
    enum nb_status status = nb_gguf_take_string(r, limit, code, what, out, &length);

    if (status != NB_OK)
        return status;
    if (!nb_is_name(*out, (size_t)length))
        return FOUND(r, code, nb_gguf_here(r), "%s is empty or not UTF-8 text, or has control characters", what);
    return NB_OK;
}

static int
compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum nb_status
nb_gguf_check_unique(const struct nb_gguf_reader *r, const char **names, size_t count, enum nb_code code)
{
    enum nb_status status = NB_OK;

    if (count > 1)
        qsort(names, count, sizeof *names, compare_strings);
    for (size_t i = 1; i < count && status == NB_OK; i++) {
        if (strcmp(names[i - 1], names[i]) != 0 || (i > 1 && strcmp(names[i - 2], names[i]) == 0))
            continue; /* of several equal names only the second is reported */
        status = code == NB_BAD_GGUF_KEY_DUPLICATE
                     ? FOUND(r, code, nb_in_file(r->file->name), "metadata key '%s' occurs twice", names[i])
                     : FOUND(r, code, nb_in_file(r->file->name), "tensor '%s' occurs twice", names[i]);
    }
    return status;
}

bool
nb_gguf_grow(void **items, size_t count, size_t *room, size_t size)
{
    const size_t more = *room == 0 ? 64 : 2 * *room;
    void *grown;

    if (count < *room)
        return true;
    grown = more > SIZE_MAX / size ? NULL : realloc(*items, more * size);
    if (grown == NULL)
        return false;
    *items = grown;
    *room = more;
    return true;
}
