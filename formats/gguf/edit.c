#include "formats/gguf/edit.h"

#include "formats/base/checked.h"
#include "formats/base/file_out.h"
#include "formats/base/system.h"
#include "formats/gguf/assemble.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* PATH.undo: this magic, the offset and the number of bytes, the bytes, and the XXH64 of all that. */
#define UNDO_MAGIC "nbundo1"
#define UNDO_HEAD (sizeof UNDO_MAGIC + 16)
#define UNDO_LIMIT ((uint64_t)1 << 32)

/* Makes the header with META for the tensors of GGUF. */
static enum nb_status
make_header(const struct nb_gguf *gguf, const struct nb_metadata *meta, unsigned char **header, uint64_t *size,
            struct nb_error *err)
{
    struct nb_gguf_info *infos = calloc(gguf->count + 1, sizeof *infos);
    enum nb_status status;

    *header = NULL;
    if (infos == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < gguf->count; i++) {
        const struct nb_tensor *t = &gguf->tensors[i];

        infos[i] = (struct nb_gguf_info){ t->name, t->type, t->n_dims, t->ne, t->offset - gguf->data_offset };
    }
    status = nb_gguf_header(meta, infos, gguf->count, header, size, err);
    free(infos);
    return status;
}

enum nb_status
nb_edit_fits(const struct nb_gguf *gguf, const struct nb_metadata *meta, bool *fits, struct nb_error *err)
{
    unsigned char *header;
    uint64_t size;
    enum nb_status status;

    *fits = false;
    if (nb_gguf_alignment(meta) == 0)
        return nb_fail(err, NB_USAGE, "general.alignment must be a u32 power of two");
    status = make_header(gguf, meta, &header, &size, err);
    *fits = status == NB_OK && size == gguf->data_offset && nb_gguf_alignment(meta) == gguf->alignment;
    free(header);
    return status;
}

static char *
undo_path(const char *path)
{
    const size_t n = strlen(path);
    char *undo = malloc(n + sizeof ".undo");

    if (undo != NULL) {
        memcpy(undo, path, n);
        memcpy(undo + n, ".undo", sizeof ".undo");
    }
    return undo;
}

/* --- editing in place --------------------------------------------------------------------------------- */

static enum nb_status
overwrite(const char *path, uint64_t offset, const unsigned char *bytes, uint64_t size, struct nb_error *err)
{
    struct nb_file_out file = { .fd = open(path, O_WRONLY | O_CLOEXEC), .name = (char *)path };
    enum nb_status status;
    int code;

    if (file.fd < 0)
        return nb_fail(err, NB_SYSTEM, "%s: cannot be written: %s", path, strerror(errno));
    status = nb_out_write(&file, offset, bytes, size, err);
    if (status == NB_OK && (code = nb_system_sync(file.fd)) != 0)
        status = nb_fail(err, nb_status_of_errno(code, NB_SYSTEM), "%s: writing failed: %s", path, strerror(code));
    close(file.fd);
    return status;
}

static void
put_u64(unsigned char *to, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t
get_u64(const unsigned char *from)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static enum nb_status
write_undo(const char *undo, uint64_t offset, const unsigned char *bytes, uint64_t size, struct nb_error *err)
{
    unsigned char *all = nb_malloc(UNDO_HEAD + size + 8);
    struct nb_file_out out;
    enum nb_status status;

    if (all == NULL)
        return nb_fail_memory(err);
    memcpy(all, UNDO_MAGIC, sizeof UNDO_MAGIC);
    put_u64(all + sizeof UNDO_MAGIC, offset);
    put_u64(all + sizeof UNDO_MAGIC + 8, size);
    memcpy(all + UNDO_HEAD, bytes, (size_t)size);
    put_u64(all + UNDO_HEAD + size, XXH64(all, (size_t)(UNDO_HEAD + size), 0));
    status = nb_out_create(&out, undo, UNDO_HEAD + size + 8, false, err);
    if (status == NB_OK) {
        status = nb_out_write(&out, 0, all, UNDO_HEAD + size + 8, err);
        if (status == NB_OK)
            status = nb_out_commit(&out, false, err);
        else
            nb_out_abort(&out);
    }
    free(all);
    return status;
}

/* Writes the bytes that differ between OLD and NEW, each SIZE bytes from the start of the file. */
static enum nb_status
replace_header(const char *path, const unsigned char *old, const unsigned char *new, uint64_t size,
               struct nb_error *err)
{
    uint64_t first = 0, end = size;
    char *undo = undo_path(path);
    enum nb_status status;

    while (first < size && old[first] == new[first])
        first++;
    while (end > first && old[end - 1] == new[end - 1])
        end--;
    if (undo == NULL)
        return nb_fail_memory(err);
    if (access(path, W_OK) != 0) { /* checked before the undo file is created */
        free(undo);
        return nb_fail(err, NB_SYSTEM, "%s: cannot be written: %s", path, strerror(errno));
    }
    status = first == end ? NB_OK : write_undo(undo, first, old + first, end - first, err);
    if (status == NB_OK && first < end) {
        status = overwrite(path, first, new + first, end - first, err);
        if (status == NB_OK)
            unlink(undo); /* otherwise it is needed to repair the file */
    }
    free(undo);
    return status;
}

enum nb_status
nb_edit_in_place(const char *path, const struct nb_gguf *gguf, const struct nb_metadata *meta, struct nb_error *err)
{
    unsigned char *header = NULL, *old = nb_malloc(gguf->data_offset + 1);
    struct nb_file_in file;
    uint64_t size;
    enum nb_status status = old == NULL ? nb_fail_memory(err) : nb_file_open(&file, path, err);

    if (status == NB_OK) {
        status = make_header(gguf, meta, &header, &size, err);
        if (status == NB_OK && size != gguf->data_offset)
            status = nb_fail(err, NB_USAGE, "%s: the new metadata does not fit into its place", path);
        /* A file without tensors may end without the padding. */
        if (status == NB_OK && file.size < size)
            memset(old + file.size, 0, (size_t)(size - file.size));
        if (status == NB_OK)
            status = nb_file_read(&file, 0, old, file.size < size ? file.size : size, err);
        nb_file_close(&file);
    }
    if (status == NB_OK)
        status = replace_header(path, old, header, size, err);
    free(header);
    free(old);
    return status;
}

/* --- recovery ------------------------------------------------------------------------------------------- */

enum nb_status
nb_edit_recover(const char *path, bool *recovered, struct nb_error *err)
{
    char *undo = undo_path(path), *text = NULL;
    const unsigned char *all;
    size_t length;
    enum nb_status status = undo == NULL ? nb_fail_memory(err) : NB_OK;

    *recovered = false;
    if (status == NB_OK && nb_is_file(undo))
        status = nb_file_load(undo, UNDO_LIMIT, &text, &length, err);
    if (status == NB_OK && text != NULL) {
        all = (const unsigned char *)text;
        if (length < UNDO_HEAD + 8 || memcmp(all, UNDO_MAGIC, sizeof UNDO_MAGIC) != 0 ||
            get_u64(all + sizeof UNDO_MAGIC + 8) != length - UNDO_HEAD - 8 ||
            get_u64(all + length - 8) != XXH64(all, length - 8, 0))
            status = nb_fail(err, NB_INPUT, "%s: is not what an edit of %s left behind; move it away", undo, path);
        else
            status = overwrite(path, get_u64(all + sizeof UNDO_MAGIC), all + UNDO_HEAD, length - UNDO_HEAD - 8, err);
        *recovered = status == NB_OK;
        if (status == NB_OK)
            unlink(undo);
    }
    free(text);
    free(undo);
    return status;
}

/* --- a new file -------------------------------------------------------------------------------------------- */

enum nb_status
nb_edit_copy(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
             const char *output, bool replace, struct nb_error *err)
{
    const struct nb_tensor **tensors = calloc(gguf->count + 1, sizeof *tensors);
    const struct nb_assembly a = { meta, tensors, gguf->count, file };
    enum nb_status status;

    if (tensors == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < gguf->count; i++)
        tensors[i] = &gguf->tensors[i];
    status = nb_assemble(&a, output, replace, err);
    free(tensors);
    return status;
}
