#include "formats/models/stored_tensors.h"

#include "formats/base/text.h"
#include "formats/gguf/journal.h"

#include <stdlib.h>
#include <string.h>

struct nb_tensor
nb_stored_safetensor(const struct nb_safetensor *t, uint32_t file)
{
    const struct nb_type_info *info = nb_type_info(t->type);
    struct nb_tensor out = {
        .name = t->name,
        .type = t->type,
        .n_dims = t->n_dims,
        .ne = { 1, 1, 1, 1 },
        .elements = info->kind == NB_KIND_NONE ? 0 : t->bytes / info->block_bytes,
        .bytes = t->bytes,
        .file = file,
        .offset = t->offset,
    };

    for (uint32_t i = 0; i < t->n_dims; i++) /* merges dimensions after the fourth; the reader checked the product */
        out.ne[i < NB_MAX_DIMS ? i : NB_MAX_DIMS - 1] *= t->shape[t->n_dims - 1 - i];
    return out;
}

enum nb_status
nb_stored_are_equal(const struct nb_store *store, const struct nb_tensor *a, const struct nb_tensor *b, bool *equal,
                    struct nb_error *err)
{
    const size_t most = 1u << 20;
    unsigned char *bytes = malloc(2 * most);
    enum nb_status status = bytes == NULL ? nb_fail_memory(err) : NB_OK;

    *equal = a->packed == NULL && b->packed == NULL && a->type == b->type && a->bytes == b->bytes &&
             memcmp(a->ne, b->ne, sizeof a->ne) == 0;
    for (uint64_t at = 0; at < a->bytes && *equal && status == NB_OK; at += most) {
        const size_t n = a->bytes - at < most ? (size_t)(a->bytes - at) : most;

        status = nb_file_read(&store->files[a->file], a->offset + at, bytes, n, err);
        if (status == NB_OK)
            status = nb_file_read(&store->files[b->file], b->offset + at, bytes + most, n, err);
        *equal = status == NB_OK && memcmp(bytes, bytes + most, n) == 0;
    }
    free(bytes);
    return status;
}

enum nb_status
nb_stored_is_zero(const struct nb_store *store, const struct nb_tensor *t, bool *zero, struct nb_error *err)
{
    const struct nb_type_info *info = nb_type_info(t->type);
    const size_t most = 65536, width = info->kind == NB_KIND_FLOAT ? info->block_bytes : 1;
    unsigned char *bytes = malloc(most);
    enum nb_status status = bytes == NULL ? nb_fail_memory(err) : NB_OK;

    *zero = true;
    for (uint64_t at = 0; at < t->bytes && *zero && status == NB_OK; at += most) {
        const size_t n = t->bytes - at < most ? (size_t)(t->bytes - at) : most;

        status = nb_file_read(&store->files[t->file], t->offset + at, bytes, n, err);
        for (size_t i = 0; i < n && status == NB_OK && *zero; i++) /* the sign is in the last byte of a float */
            *zero = bytes[i] == 0 || (bytes[i] == 0x80 && i % width == width - 1);
    }
    free(bytes);
    return status;
}

static enum nb_status
open_file(struct nb_stored_tensors *s, const char *path, struct nb_error *err)
{
    const char *name = nb_arena_strdup(&s->arena, path);

    s->files = &s->file;
    s->n_files = 1;
    return name == NULL ? nb_fail_memory(err) : nb_file_open(&s->file, name, err);
}

static enum nb_status
open_safetensors(struct nb_stored_tensors *s, const char *path, struct nb_error *err)
{
    struct nb_safetensors st = { 0 };
    enum nb_status status = open_file(s, path, err);

    if (status == NB_OK)
        status = nb_safetensors_read(&s->file, &s->arena, &st, err);
    if (status == NB_OK && (s->own = calloc(st.count + 1, sizeof *s->own)) == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < st.count && status == NB_OK; i++)
        s->own[i] = nb_stored_safetensor(&st.tensors[i], 0);
    s->count = st.count;
    return status;
}

static enum nb_status
open_gguf(struct nb_stored_tensors *s, const char *path, struct nb_error *err)
{
    char note[NB_ERROR_SIZE]; /* the bytes of tensors are the same with any journal */
    enum nb_status status = open_file(s, path, err);

    if (status == NB_OK)
        status = nb_journal_check(&s->file, note, err);
    if (status == NB_OK)
        status = nb_gguf_read(&s->file, 0, &s->gguf, err);
    s->count = s->gguf.count;
    return status;
}

static enum nb_status
open_folder(struct nb_stored_tensors *s, const char *path, bool follow_links, struct nb_error *err)
{
    enum nb_status status = nb_checkpoint_open(&s->checkpoint, path, follow_links, err);

    if (status != NB_OK)
        return status;
    s->own = calloc(s->checkpoint.n_tensors + 1, sizeof *s->own);
    if (s->own == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < s->checkpoint.n_tensors; i++)
        s->own[i] = nb_stored_safetensor(&s->checkpoint.tensors[i].info, s->checkpoint.tensors[i].file);
    s->count = s->checkpoint.n_tensors;
    s->files = s->checkpoint.files;
    s->n_files = s->checkpoint.n_files;
    return NB_OK;
}

enum nb_status
nb_stored_open(struct nb_stored_tensors *s, const char *path, bool follow_links, struct nb_error *err)
{
    enum nb_status status;

    *s = (struct nb_stored_tensors){ .file.fd = -1 };
    if (nb_is_folder(path))
        status = open_folder(s, path, follow_links, err);
    else if (nb_ends_with(path, ".safetensors"))
        status = open_safetensors(s, path, err);
    else
        status = open_gguf(s, path, err);
    s->tensors = s->own != NULL ? s->own : s->gguf.tensors;
    if (status != NB_OK)
        nb_stored_close(s);
    return status;
}

enum nb_status
nb_stored_open_bytes(struct nb_stored_tensors *s, const char *path, struct nb_error *err)
{
    enum nb_status status;

    *s = (struct nb_stored_tensors){ .file.fd = -1 };
    status = open_file(s, path, err);
    if (status != NB_OK)
        nb_stored_close(s);
    return status;
}

void
nb_stored_close(struct nb_stored_tensors *s)
{
    nb_gguf_free(&s->gguf);
    nb_checkpoint_close(&s->checkpoint);
    nb_file_close(&s->file);
    free(s->own);
    nb_arena_free(&s->arena);
    *s = (struct nb_stored_tensors){ .file.fd = -1 };
}
