#include "verify/tokenize/text_file.h"

#include "formats/base/file_in.h"
#include "formats/base/mistaken.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define LIMIT ((size_t)1 << 30)

/*
 * How far a small gzip file may expand: zlib reaches 1000 times, texts that people read 3 to 10 times, and
 * what a text costs grows with its length.
 */
#define ALWAYS ((size_t)16 << 20)
#define EXPANSION 64u

/* With these a gzip file begins (RFC 1952). */
#define GZIP_1 0x1f
#define GZIP_2 0x8b

/* A text in the making. */
struct reading {
    const char *name;
    int fd;
    uint64_t stored; /* size of the file, or 0 if it has none */
    unsigned char chunk[65536];
    z_stream gzip;
    bool is_gzip, ended; /* ENDED: a member of the gzip file has, and none begins again */
    char *text;
    size_t length, room;
};

/* Fills the chunk with what is next; *SIZE is 0 at the end. A file of a network may give less than it has. */
static enum nb_status
next_chunk(struct reading *r, size_t *size, struct nb_error *err)
{
    ssize_t n;

    *size = 0;
    do {
        n = read(r->fd, r->chunk + *size, sizeof r->chunk - *size);
        *size += n > 0 ? (size_t)n : 0;
    } while ((n > 0 && *size < sizeof r->chunk) || (n < 0 && errno == EINTR));
    return n >= 0 ? NB_OK : nb_fail(err, NB_SYSTEM, "%s: cannot be read: %s", r->name, strerror(errno));
}

static enum nb_status
check_length(const struct reading *r, struct nb_error *err)
{
    if (r->length > LIMIT)
        return nb_fail(err, NB_UNSUPPORTED, "%s: a text of more than 1 GiB", r->name);
    if (r->stored > 0 && r->length > ALWAYS && r->length / EXPANSION > r->stored)
        return nb_fail(err, NB_INPUT, "%s: expands to more than %u times its size, which no text does", r->name,
                       EXPANSION);
    return NB_OK;
}

/* Makes room for at least one more byte, and the NUL at the end. */
static enum nb_status
make_room(struct reading *r, struct nb_error *err)
{
    const size_t room = r->room == 0 ? 65536 : 2 * r->room;
    char *grown;

    if (r->length + 1 < r->room)
        return NB_OK;
    grown = realloc(r->text, room);
    if (grown == NULL)
        return nb_fail_memory(err);
    r->text = grown;
    r->room = room;
    return NB_OK;
}

static enum nb_status
add_plain(struct reading *r, size_t size, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t done = 0, n; done < size && status == NB_OK; done += n) {
        status = make_room(r, err);
        n = status != NB_OK || size - done < r->room - 1 - r->length ? size - done : r->room - 1 - r->length;
        if (status == NB_OK) {
            memcpy(r->text + r->length, r->chunk + done, n);
            r->length += n;
            status = check_length(r, err);
        }
    }
    return status;
}

/* Adds what the SIZE bytes of the chunk expand to. Of several members, one after another, all are text. */
static enum nb_status
add_gzip(struct reading *r, size_t size, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    r->gzip.next_in = r->chunk;
    r->gzip.avail_in = (uInt)size;
    while (status == NB_OK && (r->gzip.avail_in > 0 || (r->gzip.avail_out == 0 && !r->ended))) {
        int code = Z_OK;

        if (r->ended && *r->gzip.next_in != GZIP_1)
            return NB_OK; /* padding after the last member */
        if (r->ended)
            code = inflateReset(&r->gzip);
        r->ended = false;
        status = make_room(r, err);
        if (status != NB_OK)
            return status;
        r->gzip.next_out = (unsigned char *)r->text + r->length;
        r->gzip.avail_out = (uInt)(r->room - 1 - r->length);
        if (code == Z_OK)
            code = inflate(&r->gzip, Z_NO_FLUSH);
        r->length = r->room - 1 - r->gzip.avail_out;
        r->ended = code == Z_STREAM_END;
        if (code == Z_MEM_ERROR)
            return nb_fail_memory(err);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return nb_fail(err, NB_INPUT, "%s: damaged gzip file: %s", r->name,
                           r->gzip.msg == NULL ? "it cannot be expanded" : r->gzip.msg);
        status = check_length(r, err);
    }
    return status;
}

/* Whether the first SIZE bytes are those of a gzip file; of a text they are the bytes themselves. */
static enum nb_status
begin(struct reading *r, size_t size, struct nb_error *err)
{
    r->is_gzip = size >= 2 && r->chunk[0] == GZIP_1 && r->chunk[1] == GZIP_2;
    return !r->is_gzip || inflateInit2(&r->gzip, 16 + MAX_WBITS) == Z_OK ? NB_OK : nb_fail_memory(err);
}

static enum nb_status
read_all(struct reading *r, struct nb_error *err)
{
    size_t size;
    enum nb_status status = next_chunk(r, &size, err);

    if (status == NB_OK)
        status = begin(r, size, err);
    while (status == NB_OK && size > 0) {
        status = r->is_gzip ? add_gzip(r, size, err) : add_plain(r, size, err);
        if (status == NB_OK)
            status = next_chunk(r, &size, err);
    }
    if (status == NB_OK)
        status = make_room(r, err);
    if (status == NB_OK && r->is_gzip && !r->ended) /* what there is of it would be taken for all */
        status = nb_fail(err, NB_INPUT, "%s: cut short: its gzip data has no end", r->name);
    if (r->is_gzip)
        inflateEnd(&r->gzip);
    if (status == NB_OK)
        r->text[r->length] = '\0';
    return status;
}

/* "-", and the names that systems have for open descriptors, as a shell's <(command) passes one. */
static int
descriptor_of(const char *name)
{
    static const char folder[] = "/dev/fd/";
    unsigned long number;
    char *end;

    if (strcmp(name, "-") == 0 || strcmp(name, "/dev/stdin") == 0)
        return STDIN_FILENO;
    if (strncmp(name, folder, sizeof folder - 1) != 0 || !isdigit((unsigned char)name[sizeof folder - 1]))
        return -1;
    number = strtoul(name + sizeof folder - 1, &end, 10);
    return *end == '\0' && number <= INT_MAX ? (int)number : -1;
}

/* Opens the text NAME, of STORED bytes if it is a file. A FIFO or a device has no end, so it is refused unless it is open already. */
static enum nb_status
open_text(const char *name, int *fd, uint64_t *stored, struct nb_error *err)
{
    const int given = descriptor_of(name);
    struct nb_file_in file;
    enum nb_status status;

    *stored = 0;
    if (given < 0) {
        status = nb_file_open(&file, name, err);
        *fd = file.fd;
        *stored = status == NB_OK ? file.size : 0;
        return status;
    }
    *fd = dup(given);
    return *fd >= 0 ? NB_OK : nb_fail(err, nb_status_of_errno(errno, NB_INPUT), "%s: %s", name, strerror(errno));
}

enum nb_status
nb_text_file_load(const char *name, char **text, size_t *length, struct nb_error *err)
{
    struct reading *r = calloc(1, sizeof *r);
    enum nb_status status;

    *text = NULL;
    if (r == NULL)
        return nb_fail_memory(err);
    r->name = name;
    status = open_text(name, &r->fd, &r->stored, err);
    if (status == NB_OK) {
        status = read_all(r, err);
        close(r->fd);
    }
    if (status == NB_OK) {
        *text = r->text;
        *length = r->length;
    } else {
        free(r->text);
    }
    free(r);
    return status;
}

enum nb_status
nb_text_open(const struct nb_text *text, const char **bytes, size_t *length, char **own, struct nb_error *err)
{
    char what[NB_MISTAKEN];
    enum nb_status status;

    *own = NULL;
    *bytes = text->bytes;
    *length = text->length;
    if (text->bytes == NULL) {
        status = nb_text_file_load(text->name, own, length, err);
        if (status != NB_OK)
            return status;
        *bytes = *own;
    }
    if (text->bytes == NULL && nb_text_mistaken(*bytes, *length, what))
        status = nb_fail(err, NB_INPUT, "%s: no text, but %s", text->name, what);
    else if (!nb_utf8_valid(*bytes, *length))
        status = nb_fail(err, NB_INPUT, "%s: is not valid UTF-8 text", text->name);
    else
        return NB_OK;
    free(*own);
    *own = NULL;
    return status;
}
