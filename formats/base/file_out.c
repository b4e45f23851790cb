#include "formats/base/file_out.h"

#include "formats/base/system.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Some systems refuse to write 2 GiB or more at once. */
#define WRITE_AT_ONCE ((uint64_t)1 << 30)
#define COPY_BUFFER ((size_t)1 << 20)

static enum nb_status
fail_with(const struct nb_file_out *file, const char *what, int code, struct nb_error *err)
{
    return nb_fail(err, nb_status_of_errno(code, NB_SYSTEM), "%s: %s: %s", file->name, what, strerror(code));
}

static enum nb_status
exists_error(const char *name, struct nb_error *err)
{
    return nb_fail(err, NB_EXISTS, "%s: exists already, and would be overwritten", name);
}

/*
 * True if the file behind FD still has the name PATH, and no other. Another name can be that of a finished
 * file, whose writer was killed before it took this one away; then it goes here.
 */
static bool
is_only_name(int fd, const char *path)
{
    struct stat by_fd, by_name;
    const bool named = fstat(fd, &by_fd) == 0 && lstat(path, &by_name) == 0 && by_fd.st_dev == by_name.st_dev &&
                       by_fd.st_ino == by_name.st_ino;

    if (named && by_fd.st_nlink > 1)
        unlink(path);
    return named && by_fd.st_nlink == 1;
}

/*
 * Opens and locks NAME.partial. The lock goes with the process, so only a live
 * writer can hold it. Between open and lock another writer may have finished
 * and given the file its final name; then this is no longer ours to touch.
 */
static enum nb_status
open_partial(struct nb_file_out *file, struct nb_error *err)
{
    for (int tries = 0; tries < 10; tries++) {
        file->fd = open(file->partial, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (file->fd < 0)
            return nb_fail(err, nb_status_of_errno(errno, NB_SYSTEM), "%s: cannot be created: %s", file->partial,
                           strerror(errno));
        if (flock(file->fd, LOCK_EX | LOCK_NB) == 0 && is_only_name(file->fd, file->partial))
            return NB_OK;
        close(file->fd);
        file->fd = -1; /* not ours to remove */
    }
    return nb_fail(err, NB_SYSTEM, "%s: another process is writing it", file->partial);
}

enum nb_status
nb_out_create(struct nb_file_out *file, const char *name, uint64_t size, bool replace, struct nb_error *err)
{
    size_t length = strlen(name);
    enum nb_status status;
    int code;

    file->fd = -1;
    file->name = malloc(length + 1);
    file->partial = malloc(length + sizeof ".partial");
    if (file->name == NULL || file->partial == NULL) {
        status = nb_fail_memory(err);
        goto fail;
    }
    memcpy(file->name, name, length + 1);
    memcpy(file->partial, name, length);
    memcpy(file->partial + length, ".partial", sizeof ".partial");

    struct stat st;
    if (stat(name, &st) == 0 && !S_ISREG(st.st_mode)) { /* a folder; or /dev/null, which root could replace */
        status = nb_fail(err, NB_USAGE, "%s: is there already and is no file that could be replaced", name);
        goto fail;
    }
    if (!replace && lstat(name, &st) == 0) {
        status = exists_error(name, err);
        goto fail;
    }
    status = open_partial(file, err);
    if (status != NB_OK)
        goto fail;
    if (stat(name, &st) == 0)
        (void)fchmod(file->fd, st.st_mode & 0777); /* a file that is replaced keeps its permissions */
    code = ftruncate(file->fd, 0) != 0 ? errno : nb_system_reserve(file->fd, size);
    if (code != 0) {
        status = nb_fail(err, nb_status_of_errno(code, NB_SYSTEM), "%s: no room for %" PRIu64 " bytes: %s", name, size,
                         strerror(code));
        goto fail;
    }
    return NB_OK;
fail:
    nb_out_abort(file);
    return status;
}

enum nb_status
nb_out_write(const struct nb_file_out *file, uint64_t offset, const void *bytes, uint64_t size, struct nb_error *err)
{
    const char *from = bytes;
    uint64_t done = 0;

    while (done < size) {
        const uint64_t want = size - done < WRITE_AT_ONCE ? size - done : WRITE_AT_ONCE;
        ssize_t put = pwrite(file->fd, from + done, (size_t)want, (off_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return fail_with(file, "writing failed", put < 0 ? errno : EIO, err);
        done += (uint64_t)put;
    }
    return NB_OK;
}

enum nb_status
nb_out_copy(const struct nb_file_out *file, uint64_t offset, const struct nb_file_in *in, uint64_t from, uint64_t size,
            struct nb_error *err)
{
    uint64_t done = nb_system_copy(in->fd, from, file->fd, offset, size);
    unsigned char *buffer;
    enum nb_status status = NB_OK;

    if (done == size)
        return NB_OK;
    buffer = malloc(COPY_BUFFER);
    if (buffer == NULL)
        return nb_fail_memory(err);
    while (done < size && status == NB_OK) {
        const uint64_t n = size - done < COPY_BUFFER ? size - done : COPY_BUFFER;

        status = nb_file_read(in, from + done, buffer, n, err);
        if (status == NB_OK)
            status = nb_out_write(file, offset + done, buffer, n, err);
        done += n;
    }
    free(buffer);
    return status;
}

void
nb_out_flush(const struct nb_file_out *file)
{
    nb_system_start_writing(file->fd);
}

/* A rename is only safe from a power cut once its folder is on the disk too. */
static void
sync_folder_of(const char *name)
{
    char *copy = strdup(name);
    int fd;

    if (copy == NULL)
        return;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

enum nb_status
nb_out_commit(struct nb_file_out *file, bool replace, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    int code = nb_system_sync(file->fd);

    if (code != 0) {
        status = fail_with(file, "writing failed", code, err);
    } else {
        code = replace ? (rename(file->partial, file->name) == 0 ? 0 : errno)
                       : nb_system_rename_to_new(file->partial, file->name);
        if (code == EEXIST)
            status = exists_error(file->name, err);
        else if (code != 0)
            status = fail_with(file, "cannot be given its name", code, err);
    }
    if (status == NB_OK) {
        sync_folder_of(file->name);
        close(file->fd);
        file->fd = -1;
    }
    nb_out_abort(file); /* frees the names; removes the file if it is still open */
    return status;
}

void
nb_out_abort(struct nb_file_out *file)
{
    if (file->fd >= 0) {
        unlink(file->partial);
        close(file->fd);
        file->fd = -1;
    }
    free(file->name);
    free(file->partial);
    file->name = file->partial = NULL;
}
