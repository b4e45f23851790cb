/* nibble.h: writing a GGUF file of the caller's metadata and tensors. */
#include "formats/base/arena.h"
#include "formats/base/file_out.h"
#include "formats/base/public.h"
#include "formats/base/text.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/assemble.h"
#include "formats/gguf/public_metadata.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct nibble_writer {
    struct nb_metadata meta;
    struct nb_arena arena; /* of the names */
    struct nb_tensor *tensors;
    size_t count, room;

    /* Once it has begun: */
    bool begun, replace;
    struct nb_layout layout;
    struct nb_file_out out;
    _Atomic uint64_t *bytes_put; /* of each tensor */
};

enum nibble_code
nibble_writer_new(const struct nibble_metadata *metadata, struct nibble_writer **out, struct nibble_error *error)
{
    struct nibble_writer *w = calloc(1, sizeof *w);
    struct nb_error err;
    enum nb_status status = w == NULL ? nb_fail_memory(&err) : NB_OK;

    if (w != NULL) {
        nb_meta_copy(&w->meta, nb_public_metadata(metadata));
        status = nb_meta_status(&w->meta, &err);
    }
    if (status != NB_OK) {
        nibble_writer_free(w);
        w = NULL;
    }
    *out = w;
    return nb_public_end(status, &err, error);
}

/* Back to what it was before it had begun. */
static void
end(struct nibble_writer *w)
{
    if (w->begun)
        nb_out_abort(&w->out, NULL); /* does nothing to a file that has its name */
    w->begun = false;
    nb_layout_free(&w->layout);
    free(w->bytes_put);
    w->bytes_put = NULL;
}

void
nibble_writer_free(struct nibble_writer *w)
{
    if (w == NULL)
        return;
    end(w);
    nb_meta_free(&w->meta);
    nb_arena_free(&w->arena);
    free(w->tensors);
    free(w);
}

/* --- adding tensors -------------------------------------------------------------------------------------- */

static enum nb_status
check_name(const struct nibble_writer *w, const char *name, struct nb_error *err)
{
    if (name == NULL || strlen(name) > NB_MAX_NAME || !nb_is_name(name, strlen(name)))
        return nb_fail(err, NB_USAGE,
                       "'%.80s' is no name of a tensor: it is empty, longer than %d bytes, not UTF-8 or "
                       "has control characters",
                       name == NULL ? "" : name, NB_MAX_NAME);
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->tensors[i].name, name) == 0)
            return nb_fail(err, NB_USAGE, "there is a tensor '%s' already", name);
    return NB_OK;
}

static enum nb_status
make_tensor(const struct nibble_tensor *from, struct nb_tensor *t, struct nb_error *err)
{
    *t = (struct nb_tensor){ .type = nb_type_by_name(from->type == NULL ? "" : from->type), .n_dims = from->dims };
    if (t->type == NB_TYPE_NONE || t->type >= NB_GGUF_TYPES)
        return nb_fail(err, NB_USAGE, "tensor '%s': GGUF has no type '%.60s'", from->name,
                       from->type == NULL ? "" : from->type);
    if (from->dims < 1 || from->dims > NB_MAX_DIMS)
        return nb_fail(err, NB_USAGE, "tensor '%s': %" PRIu32 " dimensions", from->name, from->dims);
    for (uint32_t i = 0; i < NB_MAX_DIMS; i++) {
        t->ne[i] = i < from->dims ? from->shape[i] : 1;
        if (t->ne[i] == 0)
            return nb_fail(err, NB_USAGE, "tensor '%s': dimension %" PRIu32 " is 0", from->name, i);
    }
    if (!nb_tensor_measure(t))
        return nb_fail(err, NB_USAGE,
                       "tensor '%s': its size overflows, or its rows of %" PRIu64 " do not divide into blocks of %s",
                       from->name, t->ne[0], nb_type_info(t->type)->name);
    return NB_OK;
}

static enum nb_status
append(struct nibble_writer *w, const struct nb_tensor *t, const char *name, struct nb_error *err)
{
    if (w->count == w->room) {
        const size_t room = w->room == 0 ? 64 : 2 * w->room;
        struct nb_tensor *grown = realloc(w->tensors, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        w->tensors = grown;
        w->room = room;
    }
    w->tensors[w->count] = *t;
    w->tensors[w->count].name = nb_arena_strdup(&w->arena, name);
    if (w->tensors[w->count].name == NULL)
        return nb_fail_memory(err);
    w->count++;
    return NB_OK;
}

enum nibble_code
nibble_writer_add(struct nibble_writer *w, const struct nibble_tensor *tensor, struct nibble_error *error)
{
    struct nibble_tensor from;
    struct nb_tensor t;
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(from, tensor, "nibble_tensor", &err);

    if (status == NB_OK && w->begun)
        status = nb_fail(&err, NB_USAGE, "the file has begun: no tensor can be added");
    if (status == NB_OK)
        status = check_name(w, from.name, &err);
    if (status == NB_OK)
        status = make_tensor(&from, &t, &err);
    if (status == NB_OK)
        status = append(w, &t, from.name, &err);
    return nb_public_end(status, &err, error);
}

/* --- writing --------------------------------------------------------------------------------------------- */

static enum nb_status
lay_out(struct nibble_writer *w, struct nb_error *err)
{
    const struct nb_tensor **list = calloc(w->count + 1, sizeof *list);
    const struct nb_assembly assembly = { .meta = &w->meta, .tensors = list, .count = w->count };
    enum nb_status status;

    if (list == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < w->count; i++)
        list[i] = &w->tensors[i];
    status = nb_assembly_layout(&assembly, &w->layout, err);
    free(list);
    return status;
}

enum nibble_code
nibble_writer_begin(struct nibble_writer *w, const char *path, bool replace, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status;

    if (w->begun)
        return nb_public_end(nb_fail(&err, NB_USAGE, "the file has begun already"), &err, error);
    status = lay_out(w, &err);
    if (status == NB_OK && (w->bytes_put = calloc(w->count + 1, sizeof *w->bytes_put)) == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK)
        status = nb_out_create(&w->out, path, w->layout.size, replace, &err);
    w->begun = status == NB_OK;
    w->replace = replace;
    if (status == NB_OK)
        status = nb_out_write(&w->out, 0, w->layout.header, w->layout.header_size, &err);
    if (status != NB_OK)
        end(w);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_writer_put(struct nibble_writer *w, size_t index, uint64_t offset, const void *data, uint64_t bytes,
                  struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status;

    if (!w->begun)
        return nb_public_end(nb_fail(&err, NB_USAGE, "the file has not begun"), &err, error);
    status = nb_public_check_index(index, w->count, "tensors", &err);
    if (status == NB_OK && (offset > w->tensors[index].bytes || bytes > w->tensors[index].bytes - offset))
        status = nb_fail(&err, NB_USAGE, "tensor '%s' has only %" PRIu64 " bytes", w->tensors[index].name,
                         w->tensors[index].bytes);
    if (status == NB_OK)
        status = nb_out_write(&w->out, w->layout.header_size + w->layout.infos[index].offset + offset, data, bytes,
                              &err);
    if (status == NB_OK)
        atomic_fetch_add(&w->bytes_put[index], bytes);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_writer_finish(struct nibble_writer *w, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = w->begun ? NB_OK : nb_fail(&err, NB_USAGE, "the file has not begun");

    for (size_t i = 0; i < w->count && status == NB_OK; i++)
        if (atomic_load(&w->bytes_put[i]) != w->tensors[i].bytes)
            status = nb_fail(&err, NB_USAGE, "tensor '%s' was given %" PRIu64 " of %" PRIu64 " bytes",
                             w->tensors[i].name, atomic_load(&w->bytes_put[i]), w->tensors[i].bytes);
    if (status != NB_OK)
        return nb_public_end(status, &err, error);
    status = nb_out_commit(&w->out, w->replace, &err);
    end(w);
    return nb_public_end(status, &err, error);
}
