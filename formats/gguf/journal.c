#include "formats/gguf/journal.h"

#include "formats/base/checked.h"
#include "formats/base/file_out.h"
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/*
 * The file: this magic, the numbers of struct head in order as u64, little-endian, the old bytes, and the
 * XXH64 of all that.
 */
#define MAGIC "nbundo2"
#define NUMBERS 7
#define HEAD (sizeof MAGIC + sizeof(uint64_t) * NUMBERS)
#define LIMIT ((uint64_t)512 << 20) /* more than the header of any file that can be read */

struct head {
    uint64_t inode, file_size;   /* of the model */
    uint64_t header_size;        /* of both headers, with their padding */
    uint64_t old_hash, new_hash; /* XXH64 of the headers */
    uint64_t offset, size;       /* of the bytes that follow, in the model */
};

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

/* *PATH receives "NAME.undo" beside the file itself, under any name of it; from malloc. */
static enum nb_status
journal_path(const struct nb_file_in *model, char **path, struct nb_error *err)
{
    char *real = realpath(model->name, NULL);

    *path = NULL;
    if (real == NULL && nb_errno_is_of_system(errno))
        return nb_fail(err, NB_SYSTEM, "%s: cannot be followed: %s", model->name, strerror(errno));
    *path = nb_joined(real != NULL ? real : model->name, ".undo"); /* it may have no name any more */
    free(real);
    return *path == NULL ? nb_fail_memory(err) : NB_OK;
}

static enum nb_status
inode_of(const struct nb_file_in *model, uint64_t *inode, struct nb_error *err)
{
    struct stat st;

    if (fstat(model->fd, &st) != 0)
        return nb_fail(err, NB_SYSTEM, "%s: cannot be examined: %s", model->name, strerror(errno));
    *inode = (uint64_t)st.st_ino;
    return NB_OK;
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* What is wrong with the LENGTH bytes ALL as a journal of MODEL, which has this INODE; NULL if nothing is. */
static const char *
parse(const unsigned char *all, size_t length, const struct nb_file_in *model, uint64_t inode, struct head *h)
{
    uint64_t *const numbers[NUMBERS] = { &h->inode,    &h->file_size, &h->header_size, &h->old_hash,
                                         &h->new_hash, &h->offset,    &h->size };

    if (length < HEAD + 8 || memcmp(all, MAGIC, sizeof MAGIC) != 0)
        return "is not the journal of an edit";
    for (size_t i = 0; i < NUMBERS; i++)
        *numbers[i] = get_u64(all + sizeof MAGIC + 8 * i);
    if (h->size != length - HEAD - 8 || get_u64(all + length - 8) != XXH64(all, length - 8, 0))
        return "is damaged";
    if (h->inode != inode || h->file_size != model->size)
        return "belongs to another file";
    if (h->header_size > model->size || h->header_size > LIMIT || h->offset > h->header_size ||
        h->size > h->header_size - h->offset)
        return "reaches beyond the header";
    return NULL;
}

/* Whether the SIZE bytes HEADER, in front of the data of MODEL, are exactly a GGUF header. */
static enum nb_status
is_header(const struct nb_file_in *model, const unsigned char *header, uint64_t size, bool *is, struct nb_error *err)
{
    struct nb_file_in patched = *model;
    struct nb_gguf gguf;
    enum nb_status status;

    patched.head = header;
    patched.head_size = size;
    status = nb_gguf_read(&patched, 0, &gguf, err);
    *is = status == NB_OK && gguf.data_offset == size;
    if (status == NB_OK)
        nb_gguf_free(&gguf);
    return nb_status_is(status, NB_INPUT) ? NB_OK : status;
}

/* Compares the header of MODEL with those that the journal knows. */
static enum nb_status
compare(const struct nb_file_in *model, const struct head *h, struct nb_journal *j, struct nb_error *err)
{
    unsigned char *header = nb_malloc(h->header_size + 1);
    bool is = false;
    uint64_t hash;
    enum nb_status status;

    if (header == NULL)
        return nb_fail_memory(err);
    status = nb_file_read(model, 0, header, h->header_size, err);
    if (status == NB_OK) {
        hash = XXH64(header, (size_t)h->header_size, 0);
        j->state = NB_JOURNAL_DONE;
        if (hash != h->old_hash && hash != h->new_hash) {
            memcpy(header + h->offset, j->old, (size_t)h->size);
            if (XXH64(header, (size_t)h->header_size, 0) == h->old_hash)
                status = is_header(model, header, h->header_size, &is, err);
            j->state = is ? NB_JOURNAL_TORN : NB_JOURNAL_FOREIGN;
            j->why = "does not fit the header of the file, which was changed since";
        }
    }
    free(header);
    return status;
}

enum nb_status
nb_journal_read(const struct nb_file_in *model, struct nb_journal *j, struct nb_error *err)
{
    struct head h;
    struct stat st;
    struct nb_error own;
    uint64_t inode = 0;
    size_t length;
    enum nb_status status;

    *j = (struct nb_journal){ .state = NB_JOURNAL_NONE };
    status = journal_path(model, &j->path, err);
    if (status != NB_OK || !nb_exists(j->path))
        return status;
    j->state = NB_JOURNAL_FOREIGN;
    j->why = "is not the journal of an edit";
    if (lstat(j->path, &st) != 0)
        return nb_fail(err, NB_SYSTEM, "%s: cannot be examined: %s", j->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return NB_OK;
    status = nb_file_load(j->path, LIMIT, &j->text, &length, err != NULL ? err : &own);
    if (status != NB_OK)
        return nb_status_is(status, NB_INPUT) ? NB_OK : status;
    status = inode_of(model, &inode, err);
    if (status != NB_OK)
        return status;
    j->why = parse((const unsigned char *)j->text, length, model, inode, &h);
    if (j->why != NULL)
        return NB_OK;
    j->old = (const unsigned char *)j->text + HEAD;
    j->offset = h.offset;
    j->size = h.size;
    return compare(model, &h, j, err);
}

void
nb_journal_free(struct nb_journal *j)
{
    free(j->path);
    free(j->text);
    *j = (struct nb_journal){ .state = NB_JOURNAL_NONE };
}

enum nb_status
nb_journal_check(const struct nb_file_in *model, char *note, struct nb_error *err)
{
    struct nb_journal j;
    enum nb_status status = nb_journal_read(model, &j, err);

    *note = '\0';
    if (status == NB_OK && j.state == NB_JOURNAL_TORN)
        status = nb_fail(err, NB_INPUT,
                         "%s: an edit of it was interrupted, and its header is half written; the next 'nibble edit' of "
                         "it will undo that",
                         model->name);
    else if (status == NB_OK && j.state == NB_JOURNAL_DONE)
        snprintf(note, NB_ERROR_SIZE, "%s: an interrupted edit of %s left it behind; the file itself is whole", j.path,
                 model->name);
    else if (status == NB_OK && j.state == NB_JOURNAL_FOREIGN)
        snprintf(note, NB_ERROR_SIZE, "%s: %s, and is ignored", j.path, j.why);
    nb_journal_free(&j);
    return status;
}

/* --- writing ------------------------------------------------------------------------------------------ */

/* The journal as bytes, from malloc; NULL if out of memory. */
static unsigned char *
compose(const struct nb_header_change *c, uint64_t inode, uint64_t file_size, uint64_t *total)
{
    const uint64_t numbers[NUMBERS] = {
        inode,     file_size,         c->size, XXH64(c->old, (size_t)c->size, 0), XXH64(c->new, (size_t)c->size, 0),
        c->offset, c->end - c->offset
    };
    const uint64_t size = c->end - c->offset;
    unsigned char *all = nb_malloc(HEAD + size + 8);

    if (all == NULL)
        return NULL;
    memcpy(all, MAGIC, sizeof MAGIC);
    for (size_t i = 0; i < NUMBERS; i++)
        put_u64(all + sizeof MAGIC + 8 * i, numbers[i]);
    memcpy(all + HEAD, c->old + c->offset, (size_t)size);
    put_u64(all + HEAD + size, XXH64(all, (size_t)(HEAD + size), 0));
    *total = HEAD + size + 8;
    return all;
}

enum nb_status
nb_journal_write(const struct nb_file_in *model, const struct nb_header_change *change, char **path,
                 struct nb_error *err)
{
    unsigned char *all;
    uint64_t inode = 0, total;
    struct nb_file_out out;
    enum nb_status status;

    status = journal_path(model, path, err);
    if (status != NB_OK)
        return status;
    status = inode_of(model, &inode, err);
    if (status != NB_OK)
        return status;
    all = compose(change, inode, model->size, &total);
    if (all == NULL)
        return nb_fail_memory(err);
    status = nb_out_create(&out, *path, total, false, err);
    if (status == NB_OK) {
        status = nb_out_write(&out, 0, all, total, err);
        if (status == NB_OK)
            status = nb_out_commit(&out, false, err);
        else
            nb_out_abort(&out, err);
    }
    free(all);
    return status;
}
