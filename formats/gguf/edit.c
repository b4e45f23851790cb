#include "formats/gguf/edit.h"

#include "formats/base/checked.h"
#include "formats/base/file_out.h"
#include "formats/base/system.h"
#include "formats/gguf/assemble.h"
#include "formats/gguf/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
can_be_mended(const struct nb_findings *found)
{
    return found->errors == found->of_code[NB_BAD_GGUF_TEXT] + found->of_code[NB_BAD_GGUF_BOOL];
}

enum nb_status
nb_edit_read(const struct nb_file_in *file, struct nb_gguf *gguf, struct nb_error *err)
{
    struct nb_findings found = { 0 };
    struct nb_error unused;
    enum nb_status status = nb_gguf_read(file, 0, gguf, err);

    if (!nb_status_is(status, NB_INPUT))
        return status;
    status = nb_gguf_examine(file, 0, gguf, &found, &unused);
    if (status != NB_OK || !can_be_mended(&found)) {
        nb_gguf_free(gguf);
        status = nb_status_is(status, NB_SYSTEM) ? status : NB_INPUT;
    }
    nb_findings_free(&found);
    return status;
}

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
nb_edit_fits(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta, bool *fits,
             struct nb_error *err)
{
    unsigned char *header;
    uint64_t size;
    struct stat st;
    enum nb_status status;

    *fits = false;
    if (nb_gguf_alignment(meta) == 0)
        return nb_fail(err, NB_USAGE, "general.alignment must be a u32 power of two");
    status = make_header(gguf, meta, &header, &size, err);
    *fits = status == NB_OK && size == gguf->data_offset && size <= file->size &&
            nb_gguf_alignment(meta) == gguf->alignment && fstat(file->fd, &st) == 0 && st.st_nlink < 2;
    free(header);
    return status;
}

/* --- editing in place --------------------------------------------------------------------------------- */

/* Writes SIZE bytes at OFFSET to FILE, which is open to be changed, and to the disk. */
static enum nb_status
overwrite(const struct nb_file_in *file, uint64_t offset, const unsigned char *bytes, uint64_t size,
          struct nb_error *err)
{
    const struct nb_file_out out = { .fd = file->fd, .name = (char *)file->name };
    enum nb_status status = nb_out_write(&out, offset, bytes, size, err);
    int code;

    if (status == NB_OK && (code = nb_system_sync(file->fd)) != 0)
        status = nb_fail(err, nb_status_of_errno(code, NB_SYSTEM), "%s: writing failed: %s", file->name,
                         strerror(code));
    return status;
}

static bool
can_write(const struct nb_file_in *file)
{
    return (fcntl(file->fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

/* Writes the bytes that differ between OLD and NEW, each SIZE bytes from the start of the file. */
static enum nb_status
replace_header(const struct nb_file_in *file, const unsigned char *old, const unsigned char *new, uint64_t size,
               struct nb_error *err)
{
    struct nb_header_change c = { old, new, size, 0, size };
    char *journal;
    enum nb_status status;

    while (c.offset < size && old[c.offset] == new[c.offset])
        c.offset++;
    while (c.end > c.offset && old[c.end - 1] == new[c.end - 1])
        c.end--;
    if (c.offset == c.end)
        return NB_OK;
    if (!can_write(file))
        return nb_fail(err, NB_SYSTEM, "%s: cannot be written: permission denied", file->name);
    status = nb_journal_write(file, &c, &journal, err);
    if (status == NB_OK) {
        status = overwrite(file, c.offset, new + c.offset, c.end - c.offset, err);
        if (status == NB_OK)
            unlink(journal); /* otherwise it is needed to repair the file */
    }
    free(journal);
    return status;
}

enum nb_status
nb_edit_in_place(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                 struct nb_error *err)
{
    unsigned char *header = NULL, *old = nb_malloc(gguf->data_offset + 1);
    uint64_t size;
    enum nb_status status = old == NULL ? nb_fail_memory(err) : make_header(gguf, meta, &header, &size, err);

    if (status == NB_OK && (size != gguf->data_offset || size > file->size))
        status = nb_fail(err, NB_USAGE, "%s: the new metadata does not fit into its place", file->name);
    if (status == NB_OK)
        status = nb_file_read(file, 0, old, size, err);
    if (status == NB_OK)
        status = replace_header(file, old, header, size, err);
    free(header);
    free(old);
    return status;
}

/* --- recovery ------------------------------------------------------------------------------------------- */

enum nb_status
nb_edit_recover(const struct nb_file_in *file, bool *recovered, struct nb_error *err)
{
    struct nb_journal j;
    enum nb_status status = nb_journal_read(file, &j, err);

    *recovered = false;
    if (status == NB_OK && j.state == NB_JOURNAL_FOREIGN)
        status = nb_fail(err, NB_INPUT, "%s: %s; move it away before %s is changed", j.path, j.why, file->name);
    if (status == NB_OK && j.state == NB_JOURNAL_TORN) {
        status = can_write(file) ? overwrite(file, j.offset, j.old, j.size, err)
                                 : nb_fail(err, NB_SYSTEM, "%s: cannot be written: permission denied", file->name);
        *recovered = status == NB_OK;
    } else if (status == NB_OK && j.state == NB_JOURNAL_DONE) {
        status = overwrite(file, 0, NULL, 0, err); /* what was written may not be on the disk yet */
    }
    if (status == NB_OK && j.state != NB_JOURNAL_NONE)
        unlink(j.path);
    nb_journal_free(&j);
    return status;
}

/* --- a new file -------------------------------------------------------------------------------------------- */

enum nb_status
nb_edit_copy(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
             const char *output, bool replace, const struct nb_watch *watch, struct nb_error *err)
{
    const struct nb_tensor **tensors = calloc(gguf->count + 1, sizeof *tensors);
    const struct nb_assembly a = {
        .meta = meta,
        .tensors = tensors,
        .count = gguf->count,
        .files = file,
        .watch = watch,
        .total = nb_tensor_bytes(gguf->tensors, gguf->count),
    };
    enum nb_status status;

    if (tensors == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < gguf->count; i++)
        tensors[i] = &gguf->tensors[i];
    status = nb_assemble(&a, output, replace, err);
    free(tensors);
    return status;
}
