#include "verify/tokenize/text_file.h"

#include "formats/base/file_in.h"
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

/* STORED is the size of the file, or 0 if it has none. */
static enum nb_status
read_all(gzFile file, uint64_t stored, const char *name, char **text, size_t *length, struct nb_error *err)
{
    size_t room = 0;
    int n, cut;

    *length = 0;
    do {
        if (*length + 1 >= room) {
            char *grown = realloc(*text, room == 0 ? 65536 : 2 * room);

            if (grown == NULL)
                return nb_fail_memory(err);
            *text = grown;
            room = room == 0 ? 65536 : 2 * room;
        }
        n = gzread(file, *text + *length, (unsigned)(room - *length - 1));
        if (n > 0)
            *length += (size_t)n;
        if (*length > LIMIT)
            return nb_fail(err, NB_UNSUPPORTED, "%s: a text of more than 1 GiB", name);
        if (stored > 0 && *length > ALWAYS && *length / EXPANSION > stored)
            return nb_fail(err, NB_INPUT, "%s: expands to more than %u times its size, which no text does", name,
                           EXPANSION);
    } while (n > 0);
    (*text)[*length] = '\0';
    gzerror(file, &cut);
    if (n == 0 && cut == Z_BUF_ERROR) /* what there is of it was given out as if it were all */
        return nb_fail(err, NB_INPUT, "%s: cut short: its gzip data has no end", name);
    if (n < 0) {
        int why;
        const char *what = gzerror(file, &why);

        return why == Z_ERRNO ? nb_fail(err, NB_SYSTEM, "%s: cannot be read: %s", name, strerror(errno))
                              : nb_fail(err, NB_INPUT, "%s: damaged gzip file: %s", name, what);
    }
    return NB_OK;
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
    gzFile file;
    uint64_t stored;
    int fd;
    enum nb_status status = open_text(name, &fd, &stored, err);

    *text = NULL;
    if (status != NB_OK)
        return status;
    file = gzdopen(fd, "rb");
    if (file == NULL) {
        close(fd);
        return nb_fail_memory(err);
    }
    status = read_all(file, stored, name, text, length, err);
    gzclose(file);
    if (status != NB_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

enum nb_status
nb_text_open(const struct nb_text *text, const char **bytes, size_t *length, char **own, struct nb_error *err)
{
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
    if (nb_utf8_valid(*bytes, *length))
        return NB_OK;
    free(*own);
    *own = NULL;
    return nb_fail(err, NB_INPUT, "%s: is not valid UTF-8 text", text->name);
}
