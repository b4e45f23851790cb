#include "calib/state.h"

#include "formats/base/file_in.h"
#include "formats/base/file_out.h"

#include <stdlib.h>
#include <string.h>

/*
 * The file: this header, then for each entry in order the tokens of each expert
 * and the sums, in native byte order, as no other program reads it.
 */
struct header {
    char magic[8];
    uint64_t fingerprint, chunks, entries;
};
#define MAGIC "nbcalib1"

static uint64_t
file_size(const struct nb_sums *s)
{
    uint64_t size = sizeof(struct header);

    for (size_t i = 0; i < s->count; i++)
        size += s->entries[i].experts * (sizeof(uint64_t) + s->entries[i].columns * sizeof(double));
    return size;
}

enum nb_status
nb_state_write(const struct nb_sums *s, const char *path, uint64_t fingerprint, uint32_t chunks, struct nb_error *err)
{
    const struct header h = { MAGIC, fingerprint, chunks, s->count };
    struct nb_file_out out;
    uint64_t at = sizeof h;
    enum nb_status status = nb_out_create_own(&out, path, file_size(s), err);

    if (status != NB_OK)
        return status;
    status = nb_out_write(&out, 0, &h, sizeof h, err);
    for (size_t i = 0; i < s->count && status == NB_OK; i++) {
        const struct nb_sums_entry *e = &s->entries[i];
        const uint64_t tokens = e->experts * sizeof(uint64_t), squares = e->experts * e->columns * sizeof(double);

        status = nb_out_write(&out, at, e->tokens, tokens, err);
        if (status == NB_OK)
            status = nb_out_write(&out, at + tokens, e->squares, squares, err);
        at += tokens + squares;
    }
    if (status == NB_OK)
        return nb_out_commit(&out, true, err);
    nb_out_abort(&out, err);
    return status;
}

enum nb_status
nb_state_read(struct nb_sums *s, const char *path, uint64_t fingerprint, uint32_t *chunks, struct nb_error *err)
{
    struct nb_file_in file;
    struct header h;
    uint64_t at = sizeof h;
    enum nb_status status = nb_file_open(&file, path, err);

    if (status != NB_OK)
        return status;
    status = file.size < sizeof h ? NB_OK : nb_file_read(&file, 0, &h, sizeof h, err);
    if (status == NB_OK && (file.size < sizeof h || memcmp(h.magic, MAGIC, sizeof h.magic) != 0 ||
                            h.fingerprint != fingerprint || h.entries != s->count || file.size != file_size(s)))
        status = nb_fail(err, NB_INPUT,
                         "%s: belongs to a run with another model, text or options; remove it to start again", path);
    for (size_t i = 0; i < s->count && status == NB_OK; i++) {
        const struct nb_sums_entry *e = &s->entries[i];
        const uint64_t tokens = e->experts * sizeof(uint64_t), squares = e->experts * e->columns * sizeof(double);

        status = nb_file_read(&file, at, e->tokens, tokens, err);
        if (status == NB_OK)
            status = nb_file_read(&file, at + tokens, e->squares, squares, err);
        at += tokens + squares;
    }
    if (status == NB_OK)
        *chunks = (uint32_t)h.chunks;
    nb_file_close(&file);
    return status;
}
