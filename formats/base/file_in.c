#include "formats/base/file_in.h"

#include "formats/base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The sentence for a NAME that cannot be opened, for the reason CODE. */
static enum nb_status
fail_to_open(const char *name, int code, struct nb_error *err)
{
    struct stat st;

    if (code == ENOENT && lstat(name, &st) == 0 && S_ISLNK(st.st_mode))
        return nb_fail(err, NB_NOT_FOUND, "%s: is a link to a file that does not exist", name);
    if (code == ENXIO || code == EOPNOTSUPP) /* a socket */
        return nb_fail(err, NB_INPUT, "%s: not a regular file", name);
    return nb_fail(err, nb_status_of_errno(code, NB_INPUT), "%s: cannot be opened: %s", name, strerror(code));
}

int
nb_open(const char *path, int flags, unsigned mode)
{
    int fd;

    do
        fd = open(path, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR); /* on file systems of a network */
    return fd;
}

/* Sets the size of FILE, which is open. */
static enum nb_status
look_at(struct nb_file_in *file, struct nb_error *err)
{
    struct stat st;

    if (fstat(file->fd, &st) != 0)
        return nb_fail(err, NB_SYSTEM, "%s: cannot be examined: %s", file->name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return nb_fail(err, NB_INPUT, "%s: not a regular file", file->name);
    file->size = (uint64_t)st.st_size;
    return NB_OK;
}

/* Opens NAME without waiting: to open a FIFO or a device can take for ever. */
static enum nb_status
open_regular(struct nb_file_in *file, const char *name, int access, struct nb_error *err)
{
    enum nb_status status;

    *file = (struct nb_file_in){ .name = name };
    file->fd = nb_open(name, access | O_NONBLOCK | O_NOCTTY, 0);
    if (file->fd < 0 && access == O_RDWR && (errno == EACCES || errno == EPERM || errno == EROFS || errno == ETXTBSY))
        file->fd = nb_open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (file->fd < 0)
        return fail_to_open(name, errno, err);
    status = look_at(file, err);
    if (status != NB_OK)
        nb_file_close(file);
    return status;
}

bool
nb_file_lock(int fd, int kind)
{
    return flock(fd, kind | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

enum nb_status
nb_file_open(struct nb_file_in *file, const char *name, struct nb_error *err)
{
    enum nb_status status = open_regular(file, name, O_RDONLY, err);

    if (status == NB_OK && !nb_file_lock(file->fd, LOCK_SH)) {
        nb_file_close(file);
        status = nb_fail(err, NB_SYSTEM, "%s: another process is writing it", name);
    }
    return status;
}

enum nb_status
nb_file_open_to_change(struct nb_file_in *file, const char *name, struct nb_error *err)
{
    enum nb_status status;

    for (int tries = 0; tries < 10; tries++) {
        status = open_regular(file, name, O_RDWR, err);
        if (status != NB_OK)
            return status;
        if (!nb_file_lock(file->fd, LOCK_EX)) {
            nb_file_close(file);
            return nb_fail(err, NB_SYSTEM, "%s: another process is reading or writing it", name);
        }
        /* Before the lock was ours, the name may have been given to a new file. */
        if (nb_file_is(file, name)) {
            status = look_at(file, err);
            if (status != NB_OK)
                nb_file_close(file);
            return status;
        }
        nb_file_close(file);
    }
    return nb_fail(err, NB_SYSTEM, "%s: other processes keep replacing it", name);
}

enum nb_status
nb_file_read(const struct nb_file_in *file, uint64_t offset, void *buffer, uint64_t size, struct nb_error *err)
{
    char *to = buffer;
    uint64_t done = 0;

    if (offset < file->head_size) {
        done = size < file->head_size - offset ? size : file->head_size - offset;
        memcpy(to, file->head + offset, (size_t)done);
    }
    while (done < size) {
        uint64_t want = size - done;
        ssize_t got;

        if (want > (uint64_t)1 << 30)
            want = (uint64_t)1 << 30;
        got = pread(file->fd, to + done, (size_t)want, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return nb_fail(err, NB_SYSTEM, "%s: reading at byte %" PRIu64 " failed: %s", file->name, offset + done,
                           strerror(errno));
        if (got == 0)
            return nb_fail(err, NB_INPUT,
                           "%s: ends at byte %" PRIu64 ", but %" PRIu64 " bytes were expected at byte %" PRIu64,
                           file->name, offset + done, size, offset);
        done += (uint64_t)got;
    }
    return NB_OK;
}

void
nb_file_close(struct nb_file_in *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

enum nb_status
nb_file_load(const char *name, uint64_t limit, char **text, size_t *length, struct nb_error *err)
{
    struct nb_file_in file;
    enum nb_status status = nb_file_open(&file, name, err);

    if (status != NB_OK)
        return status;
    if (file.size > limit) {
        status = nb_fail(err, NB_INPUT, "%s: %" PRIu64 " bytes, more than the %" PRIu64 " such a file may have", name,
                         file.size, limit);
    } else if ((*text = nb_malloc(file.size + 1)) == NULL) {
        status = nb_fail_memory(err);
    } else {
        status = nb_file_read(&file, 0, *text, file.size, err);
        if (status == NB_OK) {
            (*text)[file.size] = '\0';
            *length = (size_t)file.size;
        } else {
            free(*text);
        }
    }
    if (status != NB_OK)
        *text = NULL;
    nb_file_close(&file);
    return status;
}

bool
nb_file_is(const struct nb_file_in *file, const char *path)
{
    struct stat own, other;

    return fstat(file->fd, &own) == 0 && stat(path, &other) == 0 && own.st_dev == other.st_dev &&
           own.st_ino == other.st_ino;
}

bool
nb_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 || nb_errno_is_of_system(errno);
}

bool
nb_is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? S_ISREG(st.st_mode) : nb_errno_is_of_system(errno);
}

bool
nb_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
