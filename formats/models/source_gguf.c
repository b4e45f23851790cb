/* A GGUF file, or all files of a split set, as a source. */
#include "formats/gguf/gguf.h"
#include "formats/models/source.h"

#include "formats/gguf/journal.h"
#include "formats/gguf/split_name.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A name must be unique in the set; within one file the reader has already checked it. */
static enum nb_status
check_names(const struct nb_source *source, struct nb_error *err)
{
    const struct nb_store *s = &source->store;
    const struct nb_tensor **sorted = nb_tensors_by_name(s->tensors, s->count);
    enum nb_status status = NB_OK;

    if (sorted == NULL)
        return nb_fail_memory(err);
    for (size_t i = 1; i < s->count && status == NB_OK; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            status = nb_fail(err, NB_INPUT, "%s: tensor '%s' is in two files of the split set", source->path,
                             sorted[i]->name);
    free(sorted);
    return status;
}

/* Moves the tensors of GGUF to the store of SOURCE, and copies their names into its arena. */
static enum nb_status
adopt_tensors(struct nb_source *source, const struct nb_gguf *gguf, struct nb_error *err)
{
    struct nb_store *s = &source->store;
    struct nb_tensor *grown = realloc(source->stored, (s->count + gguf->count + 1) * sizeof *grown);

    if (grown == NULL)
        return nb_fail_memory(err);
    s->tensors = source->stored = grown;
    for (size_t i = 0; i < gguf->count; i++) {
        struct nb_tensor *t = &grown[s->count];

        *t = gguf->tensors[i];
        t->name = nb_arena_strdup(&source->arena, t->name);
        if (t->name == NULL)
            return nb_fail_memory(err);
        s->count++;
    }
    return NB_OK;
}

/* A view of each stored tensor. */
static enum nb_status
make_views(struct nb_source *source, struct nb_error *err)
{
    const struct nb_store *s = &source->store;
    struct nb_piece *pieces = nb_arena_calloc(&source->arena, s->count + 1, sizeof *pieces);

    source->tensors = calloc(s->count + 1, sizeof *source->tensors);
    if (pieces == NULL || source->tensors == NULL)
        return nb_fail_memory(err);
    source->n_tensors = s->count;
    for (size_t i = 0; i < s->count; i++)
        nb_view_whole(&source->tensors[i], s, &s->tensors[i], &pieces[i]);
    return NB_OK;
}

/* Opens file NUMBER of the source, and reads it. An interrupted edit is an error; a stray journal is noted. */
static enum nb_status
open_and_read(struct nb_source *source, uint32_t number, const char *name, struct nb_gguf *gguf, struct nb_error *err)
{
    struct nb_file_in *file = &source->files[number];
    char note[NB_ERROR_SIZE];
    enum nb_status status = nb_file_open(file, name, err);

    if (status != NB_OK)
        return status;
    source->store.n_files = number + 1;
    status = nb_journal_check(file, note, err);
    if (status != NB_OK)
        return status;
    if (*note != '\0')
        nb_source_note(source, "%s", note);
    return nb_gguf_read(file, number, gguf, err);
}

static enum nb_status
check_part(const struct nb_gguf *gguf, uint32_t number, uint64_t count, const char *name, struct nb_error *err)
{
    uint64_t no, of;

    if (!nb_meta_get_u64(&gguf->meta, "split.no", &no) || !nb_meta_get_u64(&gguf->meta, "split.count", &of) ||
        no != number || of != count)
        return nb_fail(err, NB_INPUT, "%s: does not say that it is part %" PRIu32 " of %" PRIu64, name, number + 1,
                       count);
    return NB_OK;
}

/* Opens part NUMBER of a set whose first part is open; PREFIX is the length of the common name prefix. */
static enum nb_status
open_part(struct nb_source *source, size_t prefix, uint32_t number, uint32_t count, struct nb_error *err)
{
    char *found = nb_split_name(source->path, prefix, number, count);
    const char *name = found == NULL ? NULL : nb_arena_strdup(&source->arena, found);
    struct nb_gguf gguf;
    enum nb_status status;

    free(found);
    if (name == NULL)
        return nb_fail_memory(err);
    status = open_and_read(source, number, name, &gguf, err);
    if (status != NB_OK)
        return status;
    status = check_part(&gguf, number, count, name, err);
    if (status == NB_OK)
        status = adopt_tensors(source, &gguf, err);
    nb_gguf_free(&gguf);
    return status;
}

static enum nb_status
open_rest(struct nb_source *source, uint64_t count, struct nb_error *err)
{
    uint64_t no, expected = 0;
    size_t prefix;
    enum nb_status status = NB_OK;

    if (count > NB_MAX_SPLITS)
        return nb_fail(err, NB_INPUT, "%s: says it is one of %" PRIu64 " parts", source->path, count);
    if (!nb_meta_get_u64(&source->meta, "split.no", &no) || no != 0)
        return nb_fail(err, NB_INPUT, "%s: is not the first part of its split set; name that one", source->path);
    if (!nb_split_prefix(source->path, 0, (uint32_t)count, &prefix))
        return nb_fail(err, NB_INPUT,
                       "%s: is the first of %" PRIu64 " parts, but its name does not end with "
                       "'-00001-of-%05" PRIu64 ".gguf'",
                       source->path, count, count);
    for (uint32_t i = 1; i < count && status == NB_OK; i++)
        status = open_part(source, prefix, i, (uint32_t)count, err);
    if (status != NB_OK)
        return status;
    if (nb_meta_get_u64(&source->meta, "split.tensors.count", &expected) && expected != source->store.count)
        return nb_fail(err, NB_INPUT, "%s: the split set has %zu tensors, but should have %" PRIu64, source->path,
                       source->store.count, expected);
    return check_names(source, err);
}

enum nb_status
nb_source_open_gguf(struct nb_source *source, const char *path, struct nb_error *err)
{
    struct nb_gguf gguf;
    uint64_t parts = 0;
    enum nb_status status;

    source->kind = NB_SOURCE_GGUF;
    source->files = nb_arena_calloc(&source->arena, NB_MAX_SPLITS, sizeof *source->files);
    if (source->files == NULL)
        return nb_fail_memory(err);
    source->store.files = source->files;
    status = open_and_read(source, 0, path, &gguf, err);
    if (status != NB_OK)
        return status;
    status = adopt_tensors(source, &gguf, err);
    source->meta = gguf.meta; /* moved */
    gguf.meta = (struct nb_metadata){ 0 };
    nb_gguf_free(&gguf);
    if (status == NB_OK && nb_meta_get_u64(&source->meta, "split.count", &parts) && parts > 1)
        status = open_rest(source, parts, err);
    return status == NB_OK ? make_views(source, err) : status;
}
