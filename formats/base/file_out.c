#include "formats/base/file_out.h"

#include "formats/base/system.h"
#include "formats/base/text.h"

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
    return nb_fail(err, NB_EXISTS, "%s: exists already (--force overwrites it)", name);
}

static bool
is_name_of(int fd, const char *path)
{
    struct stat by_fd, by_name;

    return fd >= 0 && fstat(fd, &by_fd) == 0 && lstat(path, &by_name) == 0 && by_fd.st_dev == by_name.st_dev &&
           by_fd.st_ino == by_name.st_ino;
}

static enum nb_status
fail_in_use(const char *partial, bool readers_only, struct nb_error *err)
{
    return nb_fail(err, NB_SYSTEM,
                   readers_only ? "%s: is being read, and would be overwritten; give the output another name"
                                : "%s: another process is writing it",
                   partial);
}

static enum nb_status
fail_in_the_way(const char *partial, struct nb_error *err)
{
    return nb_fail(err, nb_status_of_errno(errno, NB_SYSTEM), "%s: is in the way, and cannot be removed: %s", partial,
                   strerror(errno));
}

/*
 * Takes the name NAME.partial away from whatever has it: what a killed process left, or anything that
 * somebody else made under this name. It is only unlinked, never written to: it may be another name of
 * a file that is needed. The lock of a writer or reader goes with its process, so a locked file is in use.
 */
static enum nb_status
remove_stale(const char *partial, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    struct stat st;
    int fd = -1;

    if (lstat(partial, &st) == 0 && S_ISREG(st.st_mode)) {
        fd = nb_open(partial, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0); /* NFS locks only what can be written */
        if (fd < 0)
            fd = nb_open(partial, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0)
            return errno == ENOENT ? NB_OK : fail_in_the_way(partial, err);
        if (!nb_file_lock(fd, LOCK_EX))
            status = fail_in_use(partial, nb_file_lock(fd, LOCK_SH), err);
        else if (!is_name_of(fd, partial)) /* another file by now, which the next round looks at */
            partial = NULL;
    }
    if (status == NB_OK && partial != NULL && unlink(partial) != 0 && errno != ENOENT)
        status = fail_in_the_way(partial, err);
    if (fd >= 0)
        close(fd);
    return status;
}

/* Makes and locks NAME.partial, which must be a new file. */
static enum nb_status
open_partial(struct nb_file_out *file, struct nb_error *err)
{
    for (int tries = 0; tries < 10; tries++) {
        enum nb_status status = NB_OK;

        file->fd = nb_open(file->partial, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
        if (file->fd < 0 && errno != EEXIST)
            return nb_fail(err, nb_status_of_errno(errno, NB_SYSTEM), "%s: cannot be created: %s", file->partial,
                           strerror(errno));
        if (file->fd < 0)
            status = remove_stale(file->partial, err);
        else if (nb_file_lock(file->fd, LOCK_EX) && is_name_of(file->fd, file->partial))
            return NB_OK;
        else /* another writer took it for stale between open and lock */
            close(file->fd);
        file->fd = -1;
        if (status != NB_OK)
            return status;
    }
    return fail_in_use(file->partial, false, err);
}

static enum nb_status
fail_to_look(const char *name, struct nb_error *err)
{
    return nb_fail(err, NB_SYSTEM, "%s: cannot be examined: %s", name, strerror(errno));
}

/* The name of the file that is replaced: where NAME is a link, of the file that it leads to. From malloc. */
static enum nb_status
find_place(const char *name, bool follow, char **place, struct nb_error *err)
{
    struct stat st;
    const bool there = lstat(name, &st) == 0;

    *place = NULL;
    if (!there && nb_errno_is_of_system(errno))
        return fail_to_look(name, err);
    *place = there && S_ISLNK(st.st_mode) && follow ? realpath(name, NULL) : strdup(name);
    if (*place != NULL)
        return NB_OK;
    if (errno == ENOMEM)
        return nb_fail_memory(err);
    return nb_fail(err, nb_status_of_errno(errno, NB_USAGE), "%s: is a link that cannot be followed: %s", name,
                   strerror(errno));
}

/* Whether FILE may take its name, as far as can be told before the work. */
static enum nb_status
check_place(const struct nb_file_out *file, bool replace, struct nb_error *err)
{
    struct stat st;

    if (stat(file->name, &st) != 0) {
        if (nb_errno_is_of_system(errno))
            return fail_to_look(file->name, err);
    } else if (!S_ISREG(st.st_mode)) { /* a folder; or /dev/null, which root could replace */
        return nb_fail(err, NB_USAGE, "%s: is there already and is no file that could be replaced", file->name);
    }
    return !replace && lstat(file->name, &st) == 0 ? exists_error(file->name, err) : NB_OK;
}

static enum nb_status
create(struct nb_file_out *file, const char *name, uint64_t size, bool replace, bool follow, struct nb_error *err)
{
    enum nb_status status;
    struct stat st;
    int code;

    *file = (struct nb_file_out){ .fd = -1 };
    status = find_place(name, replace && follow, &file->name, err);
    if (status != NB_OK)
        return status;
    file->partial = nb_joined(file->name, NB_PARTIAL);
    status = file->partial == NULL ? nb_fail_memory(err) : check_place(file, replace, err);
    if (status == NB_OK)
        status = open_partial(file, err);
    if (status == NB_OK && lstat(file->name, &st) == 0 && S_ISREG(st.st_mode))
        (void)fchmod(file->fd, st.st_mode & 0777); /* a file that is replaced keeps its permissions */
    if (status == NB_OK && (code = nb_system_reserve(file->fd, size)) != 0)
        status = nb_fail(err, nb_status_of_errno(code, NB_SYSTEM), "%s: no room for %" PRIu64 " bytes: %s", name, size,
                         strerror(code));
    if (status != NB_OK)
        nb_out_abort(file, err);
    return status;
}

enum nb_status
nb_out_adopt(struct nb_file_out *file, const char *name, const char *path, bool replace, struct nb_error *err)
{
    enum nb_status status;

    *file = (struct nb_file_out){ .fd = -1 };
    status = find_place(name, replace, &file->name, err);
    if (status == NB_OK)
        status = check_place(file, replace, err);
    if (status == NB_OK && path != NULL) {
        file->partial = strdup(path);
        file->fd = file->partial == NULL ? -1 : nb_open(path, O_RDWR | O_CLOEXEC, 0);
        if (file->partial == NULL)
            status = nb_fail_memory(err);
        else if (file->fd < 0)
            status = nb_fail(err, nb_status_of_errno(errno, NB_SYSTEM), "%s: %s", path, strerror(errno));
    }
    if (status != NB_OK || path == NULL)
        nb_out_abort(file, err);
    return status;
}

enum nb_status
nb_out_create(struct nb_file_out *file, const char *name, uint64_t size, bool replace, struct nb_error *err)
{
    return create(file, name, size, replace, true, err);
}

enum nb_status
nb_out_create_own(struct nb_file_out *file, const char *name, uint64_t size, struct nb_error *err)
{
    return create(file, name, size, true, false, err);
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
    fd = nb_open(dirname(copy), O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        (void)nb_system_sync(fd);
        close(fd);
    }
    free(copy);
}

/* Makes the data safe under the partial name. */
static enum nb_status
finish(const struct nb_file_out *file, struct nb_error *err)
{
    const int code = nb_system_sync(file->fd);

    if (code != 0)
        return fail_with(file, "writing failed", code, err);
    return is_name_of(file->fd, file->partial)
               ? NB_OK
               : nb_fail(err, NB_SYSTEM, "%s: somebody has removed or replaced it", file->partial);
}

/* Renames FILE, which is finished, and closes it. */
static enum nb_status
give_name(struct nb_file_out *file, bool replace, struct nb_error *err)
{
    const int code = replace ? (rename(file->partial, file->name) == 0 ? 0 : errno)
                             : nb_system_rename_to_new(file->partial, file->name);

    if (code == EEXIST)
        return exists_error(file->name, err);
    if (code != 0)
        return fail_with(file, "cannot be given its name", code, err);
    sync_folder_of(file->name);
    close(file->fd);
    file->fd = -1;
    return NB_OK;
}

enum nb_status
nb_out_commit(struct nb_file_out *file, bool replace, struct nb_error *err)
{
    return nb_out_commit_all(file, 1, replace, err);
}

enum nb_status
nb_out_commit_all(struct nb_file_out *files, size_t count, bool replace, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    size_t named = 0;

    for (size_t i = 0; i < count && status == NB_OK; i++)
        status = finish(&files[i], err);
    for (; named < count && status == NB_OK; named += status == NB_OK)
        status = give_name(&files[named], replace, err);
    if (status != NB_OK && !replace) /* what they replaced would not come back */
        for (size_t i = 0; i < named; i++)
            unlink(files[i].name);
    for (size_t i = 0; i < count; i++)
        nb_out_abort(&files[i], err); /* frees the names; removes a file that is still open */
    return status;
}

enum nb_status
nb_out_discard(struct nb_file_out *file, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    if (file->fd >= 0) {
        errno = 0; /* stays so if it is another file's name by now */
        if (is_name_of(file->fd, file->partial) ? unlink(file->partial) != 0 : errno != 0 && errno != ENOENT)
            status = nb_fail(err, NB_SYSTEM, "%s: cannot be removed: %s", file->partial, strerror(errno));
        close(file->fd);
        file->fd = -1;
    }
    free(file->name);
    free(file->partial);
    file->name = file->partial = NULL;
    return status;
}

void
nb_out_abort(struct nb_file_out *file, struct nb_error *err)
{
    struct nb_error own;
    size_t length;

    if (nb_out_discard(file, &own) == NB_OK || err == NULL)
        return;
    length = strlen(err->message);
    snprintf(err->message + length, sizeof err->message - length, "; %s", own.message);
}
