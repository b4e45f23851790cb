/* Checks a GGUF file or a whole split set. */
#include "verify/check/parts.h"

#include "formats/base/checked.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/journal.h"
#include "formats/gguf/split_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The parts of a set by number; a single file is a set of one. */
struct set {
    struct nb_checking *c;
    const char *named;        /* the file that the user named */
    struct nb_file_in *files; /* not open if a part cannot be read */
    struct nb_gguf *ggufs;
    char **paths;
    uint32_t parts;
    bool whole;                /* all parts could be read */
    struct nb_tensor *tensors; /* of all parts */
    size_t count;
};

/* --- one file ------------------------------------------------------------------------------------- */

/* Checks that the padding from FROM to TO, less than an alignment, is zero. */
static enum nb_status
check_padding(struct nb_checking *c, const struct nb_file_in *file, uint64_t from, uint64_t to)
{
    unsigned char bytes[4096];

    for (uint64_t at = from; at < to; at += sizeof bytes) {
        const size_t n = to - at < sizeof bytes ? (size_t)(to - at) : sizeof bytes;
        enum nb_status status = nb_file_read(file, at, bytes, n, c->err);

        if (status != NB_OK)
            return status;
        for (size_t i = 0; i < n; i++)
            if (bytes[i] != 0)
                return CHECK_FOUND(c, NB_BAD_GGUF_PADDING, nb_at_byte(file->name, at + i), "padding that is not zero");
    }
    return NB_OK;
}

/* Checks the end of the file, after the last tensor. */
static enum nb_status
check_end(struct nb_checking *c, const struct nb_file_in *file, const struct nb_gguf *gguf, uint64_t end)
{
    uint64_t padded;
    enum nb_status status;

    /* A file without tensors may end after its header, padded or not. */
    if (!nb_align_u64(end, gguf->alignment, &padded) || file->size == padded ||
        (gguf->count == 0 && file->size < padded))
        return check_padding(c, file, end, file->size);
    if (file->size < padded)
        return CHECK_FOUND(c, NB_BAD_GGUF_CUT, nb_in_file(file->name),
                           "cut short: the last tensor must be padded to %" PRIu64 " bytes, but the file has %" PRIu64,
                           padded, file->size);
    status = check_padding(c, file, end, padded);
    if (status != NB_OK)
        return status;
    return CHECK_FOUND(c, NB_BAD_GGUF_END, nb_at_byte(file->name, padded),
                       "%" PRIu64 " bytes after the last tensor belong to no tensor", file->size - padded);
}

static enum nb_status
check_gaps(struct nb_checking *c, const struct nb_file_in *file, const struct nb_gguf *gguf)
{
    uint64_t end = gguf->header_end, last = gguf->header_end;
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < gguf->count && status == NB_OK; i++) {
        const struct nb_tensor *t = &gguf->tensors[i];

        if (t->type == NB_TYPE_NONE)
            return NB_OK; /* the bytes after it cannot be classified */
        if (t->offset >= end && t->offset - end < gguf->alignment)
            status = check_padding(c, file, end, t->offset);
        end = t->offset + t->bytes;
        last = end > last ? end : last;
    }
    return status == NB_OK ? check_end(c, file, gguf, last) : status;
}

/* Reports what an interrupted edit has left. */
static enum nb_status
check_journal(struct nb_checking *c, const struct nb_file_in *file)
{
    char note[NB_ERROR_SIZE];
    enum nb_status status = nb_journal_check(file, note, c->err);
    const struct nb_error why = *c->err;

    if (nb_status_is(status, NB_INPUT))
        return nb_found_error(c->findings, c->err, NB_BAD_FILE_TORN, nb_in_file(file->name), &why);
    if (status != NB_OK || *note == '\0')
        return status;
    return CHECK_FOUND(c, NB_BAD_FILE_UNDO, nb_in_file(file->name), "%s", note);
}

/* Opens and reads PATH. *READ: whether the header can be used; only then the file stays open. */
static enum nb_status
read_file(struct nb_checking *c, const char *path, struct nb_file_in *file, struct nb_gguf *gguf, bool *read)
{
    const uint64_t before = c->findings->errors;
    enum nb_status status = nb_file_open(file, path, c->err);

    *read = false;
    if (status != NB_OK)
        return status;
    status = check_journal(c, file);
    if (status == NB_OK)
        status = nb_gguf_examine(file, 0, gguf, c->findings, c->err);
    if (status != NB_OK) {
        nb_file_close(file);
        return nb_check_after(c, path, before, status);
    }
    status = nb_check_after(c, path, before, check_gaps(c, file, gguf));
    *read = status == NB_OK;
    if (status != NB_OK) {
        nb_gguf_free(gguf);
        nb_file_close(file);
    }
    return status;
}

/* --- sets ----------------------------------------------------------------------------------------- */

static enum nb_status
allocate(struct set *s, uint32_t parts)
{
    s->files = calloc(parts, sizeof *s->files);
    s->ggufs = calloc(parts, sizeof *s->ggufs);
    s->paths = calloc(parts, sizeof *s->paths);
    if (s->files == NULL || s->ggufs == NULL || s->paths == NULL)
        return nb_fail_memory(s->c->err);
    for (uint32_t i = 0; i < parts; i++)
        s->files[i].fd = -1;
    s->parts = parts;
    return NB_OK;
}

static void
release(struct set *s)
{
    for (uint32_t i = 0; i < s->parts; i++) {
        nb_file_close(&s->files[i]);
        nb_gguf_free(&s->ggufs[i]);
        free(s->paths[i]);
    }
    free(s->files);
    free(s->ggufs);
    free(s->paths);
    free(s->tensors);
}

/* Stores a part that was read in the set. */
static enum nb_status
adopt(struct set *s, uint32_t number, const struct nb_file_in *file, const struct nb_gguf *gguf)
{
    struct nb_tensor *grown = realloc(s->tensors, (s->count + gguf->count + 1) * sizeof *grown);

    s->files[number] = *file;
    s->ggufs[number] = *gguf;
    if (grown == NULL)
        return nb_fail_memory(s->c->err);
    s->tensors = grown;
    for (size_t i = 0; i < gguf->count; i++) {
        grown[s->count] = gguf->tensors[i];
        grown[s->count++].file = number;
    }
    return NB_OK;
}

/* Reads part NUMBER, other than the named one. */
static enum nb_status
read_part(struct set *s, uint32_t number, size_t prefix_length)
{
    char *path = s->paths[number] = nb_split_name(s->named, prefix_length, number, s->parts);
    struct nb_file_in file;
    struct nb_gguf gguf;
    uint64_t no, of;
    bool read = false;
    enum nb_status status;

    if (path == NULL)
        return nb_fail_memory(s->c->err);
    status = nb_is_file(path) ? read_file(s->c, path, &file, &gguf, &read)
                              : CHECK_FOUND(s->c, NB_BAD_SPLIT_PART, nb_in_file(path),
                                            "part %" PRIu32 " of %" PRIu32 " is missing", number + 1, s->parts);
    s->whole = s->whole && read;
    if (status != NB_OK || !read)
        return status;
    status = adopt(s, number, &file, &gguf);
    if (status != NB_OK)
        return status;
    if (nb_meta_get_u64(&gguf.meta, "split.no", &no) && nb_meta_get_u64(&gguf.meta, "split.count", &of) &&
        no == number && of == s->parts)
        return NB_OK;
    return CHECK_FOUND(s->c, NB_BAD_SPLIT_KEYS, nb_in_file(path),
                       "does not say that it is part %" PRIu32 " of %" PRIu32 " (split.no, split.count)", number + 1,
                       s->parts);
}

/* Checks the whole set: unique tensors, and the stated number of them. */
static enum nb_status
check_set(struct set *s, const struct nb_metadata *meta)
{
    const struct nb_tensor **sorted = nb_tensors_by_name(s->tensors, s->count);
    uint64_t expected;
    enum nb_status status = NB_OK;

    if (sorted == NULL)
        return nb_fail_memory(s->c->err);
    for (size_t i = 1; i < s->count && status == NB_OK; i++)
        if (sorted[i]->file != sorted[i - 1]->file && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            status = CHECK_FOUND(s->c, NB_BAD_SPLIT_DUPLICATE, nb_at_tensor(s->named, sorted[i]->name, NB_NO_OFFSET),
                                 "is in two files of the split set");
    free(sorted);
    if (status == NB_OK && s->whole && nb_meta_get_u64(meta, "split.tensors.count", &expected) && expected != s->count)
        status = CHECK_FOUND(s->c, NB_BAD_SPLIT_COUNT, nb_in_file(s->named),
                             "the split set has %zu tensors, but should have %" PRIu64, s->count, expected);
    return status;
}

/* Finds and reads the other parts; the named file is in GGUF and FILE. */
static enum nb_status
read_set(struct set *s, const struct nb_file_in *file, const struct nb_gguf *gguf)
{
    uint64_t number = 0, count = 0;
    size_t prefix = 0;
    const bool part = nb_meta_get_u64(&gguf->meta, "split.count", &count) && count > 1;
    const bool sane = part && nb_meta_get_u64(&gguf->meta, "split.no", &number) && number < count &&
                      count <= NB_MAX_SPLITS;
    const bool named = sane && nb_split_prefix(s->named, (uint32_t)number, (uint32_t)count, &prefix);
    enum nb_status status = allocate(s, named ? (uint32_t)count : 1);

    if (status != NB_OK)
        return status;
    s->whole = !part || named;
    status = adopt(s, named ? (uint32_t)number : 0, file, gguf);
    if (status == NB_OK && part && !sane)
        status = CHECK_FOUND(s->c, NB_BAD_SPLIT_KEYS, nb_in_file(s->named),
                             "says it is part %" PRIu64 " of %" PRIu64 " (split.no, split.count)", number + 1, count);
    if (status == NB_OK && sane && !named)
        status = CHECK_FOUND(s->c, NB_BAD_SPLIT_NAME, nb_in_file(s->named),
                             "is part %" PRIu64 " of %" PRIu64 ", but its name does not end with '-%05" PRIu64
                             "-of-%05" PRIu64 ".gguf'",
                             number + 1, count, number + 1, count);
    for (uint32_t i = 0; i < s->parts && status == NB_OK && named; i++)
        if (i != number)
            status = read_part(s, i, prefix);
    return status == NB_OK && named ? check_set(s, &gguf->meta) : status;
}

/* --- all of it -------------------------------------------------------------------------------------- */

/* The metadata is in the first part. */
static enum nb_status
check_meaning(struct set *s)
{
    const char *path = s->paths[0] != NULL ? s->paths[0] : s->named;
    const struct nb_metadata *meta = &s->ggufs[0].meta;
    const char *type = nb_meta_get_string(meta, "general.type");
    enum nb_status status;

    if (!s->whole || (type != NULL && strcmp(type, "model") != 0)) /* an adapter or projector: has other keys */
        return NB_OK;
    status = nb_check_model(s->c, path, meta, s->tensors, s->count);
    if (status == NB_OK)
        status = nb_check_tokens(s->c, path, meta);
    return status == NB_OK ? nb_check_templates(s->c, path, meta) : status;
}

enum nb_status
nb_check_gguf(struct nb_checking *c, const char *path)
{
    struct set s = { .c = c, .named = path };
    struct nb_file_in file;
    struct nb_gguf gguf;
    bool read;
    enum nb_status status = read_file(c, path, &file, &gguf, &read);

    c->result->format = "GGUF";
    if (!read)
        return status;
    status = read_set(&s, &file, &gguf);
    if (s.parts == 0) { /* not moved to the set */
        nb_file_close(&file);
        nb_gguf_free(&gguf);
    }
    c->result->files = s.parts;
    c->result->tensors = s.count;
    if (status == NB_OK && c->options->level >= NB_CHECK_CONTENT)
        status = nb_check_content(c, s.files, s.tensors, s.count);
    if (status == NB_OK && c->options->level >= NB_CHECK_FULL)
        status = check_meaning(&s);
    release(&s);
    return status;
}
