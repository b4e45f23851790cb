#include "formats/base/folder_out.h"

#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/system.h"
#include "formats/base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

char *
nb_folder_path(const struct nb_folder_out *folder, const char *file)
{
    const size_t size = strlen(folder->partial) + strlen(file) + 2;
    char *path = malloc(size);

    if (path != NULL)
        snprintf(path, size, "%s/%s", folder->partial, file);
    return path;
}

/* Removes the regular files of the folder FD, then the folder itself; fails if there is anything else in it. */
static bool
remove_with_files(int fd, const char *path)
{
    const int own = dup(fd);
    DIR *list = own < 0 ? NULL : fdopendir(own);
    const struct dirent *entry;
    struct stat st;

    if (list == NULL) {
        if (own >= 0)
            close(own);
        return false;
    }
    rewinddir(list);
    while ((entry = readdir(list)) != NULL)
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            (void)unlinkat(fd, entry->d_name, 0);
    closedir(list);
    return rmdir(path) == 0;
}

static int
open_locked(const char *path, bool *locked)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    *locked = fd >= 0 && nb_file_lock(fd, LOCK_EX);
    return fd;
}

static enum nb_status
remove_stale(const char *partial, struct nb_error *err)
{
    bool locked, gone;
    const int fd = open_locked(partial, &locked);

    if (fd >= 0 && !locked) {
        close(fd);
        return nb_fail(err, NB_SYSTEM, "%s: another process is writing it", partial);
    }
    gone = fd >= 0 && remove_with_files(fd, partial);
    if (fd >= 0)
        close(fd);
    return gone ? NB_OK
                : nb_fail(err, NB_SYSTEM, "%s: is in the way, and is no folder with nothing but files", partial);
}

/* Whether PATH is the folder of a model, and has nothing but files: what --force may replace. */
static bool
is_of_model(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    bool has_config = false, good = list != NULL;
    struct stat st;

    if (list == NULL && fd >= 0)
        close(fd);
    while (good && (entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        good = fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
        has_config = has_config || strcmp(entry->d_name, "config.json") == 0;
    }
    if (list != NULL)
        closedir(list);
    return good && has_config;
}

/* Sets the names, where the folder can have its own. */
static enum nb_status
find_place(struct nb_folder_out *folder, const char *name, bool replace, struct nb_error *err)
{
    size_t length = strlen(name);

    *folder = (struct nb_folder_out){ .fd = -1, .replace = replace };
    while (length > 1 && name[length - 1] == '/')
        length--;
    folder->name = strndup(name, length);
    if (folder->name == NULL)
        return nb_fail_memory(err);
    if (!nb_exists(folder->name))
        return NB_OK;
    if (!replace)
        return nb_fail(err, NB_EXISTS, "%s: exists already; remove it, or choose another name for the folder",
                       folder->name);
    return is_of_model(folder->name)
               ? NB_OK
               : nb_fail(err, NB_EXISTS,
                         "%s: exists already, and is not replaced, because it is no folder with a config.json and "
                         "nothing but files",
                         folder->name);
}

enum nb_status
nb_folder_create(struct nb_folder_out *folder, const char *name, bool replace, struct nb_error *err)
{
    enum nb_status status = find_place(folder, name, replace, err);
    bool locked;

    if (status == NB_OK) {
        folder->partial = nb_joined(folder->name, NB_PARTIAL);
        if (folder->partial == NULL)
            status = nb_fail_memory(err);
        else if (nb_exists(folder->partial))
            status = remove_stale(folder->partial, err);
    }
    if (status == NB_OK && mkdir(folder->partial, 0777) != 0)
        status = nb_fail(err, nb_status_of_errno(errno, NB_SYSTEM), "%s: cannot be created: %s", folder->partial,
                         strerror(errno));
    if (status == NB_OK) {
        folder->fd = open_locked(folder->partial, &locked);
        if (folder->fd < 0 || !locked)
            status = nb_fail(err, NB_SYSTEM, "%s: another process is writing it", folder->partial);
    }
    if (status != NB_OK)
        nb_folder_abort(folder, err);
    return status;
}

enum nb_status
nb_folder_adopt(struct nb_folder_out *folder, const char *name, const char *path, bool replace, struct nb_error *err)
{
    enum nb_status status = find_place(folder, name, replace, err);
    bool locked;

    if (status == NB_OK && path != NULL) {
        folder->partial = strdup(path);
        if (folder->partial == NULL)
            status = nb_fail_memory(err);
        else if ((folder->fd = open_locked(path, &locked)) < 0)
            status = nb_fail(err, nb_status_of_errno(errno, NB_SYSTEM), "%s: %s", path, strerror(errno));
    }
    if (status != NB_OK || path == NULL)
        nb_folder_abort(folder, err);
    return status;
}

static void
sync_folder_of(const char *name)
{
    char *copy = strdup(name);
    const int fd = copy == NULL ? -1 : open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

enum nb_status
nb_folder_commit(struct nb_folder_out *folder, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    bool replaces;
    int code;

    fsync(folder->fd);
    replaces = folder->replace && is_of_model(folder->name);
    code = replaces ? nb_system_exchange(folder->partial, folder->name)
                    : nb_system_rename_to_new(folder->partial, folder->name);
    if (code == EEXIST || code == ENOTEMPTY || code == ENOTDIR)
        status = nb_fail(err, NB_EXISTS, "%s: exists already; choose another name for the folder", folder->name);
    else if (code != 0)
        status = nb_fail(err, nb_status_of_errno(code, NB_SYSTEM), "%s: cannot be given its name: %s", folder->name,
                         strerror(code));
    if (status == NB_OK) {
        sync_folder_of(folder->name);
        if (replaces) /* what was there has the name of the new one */
            nb_folder_remove(folder->partial);
        close(folder->fd);
        folder->fd = -1;
    }
    nb_folder_abort(folder, err);
    return status;
}

void
nb_folder_remove(const char *path)
{
    bool locked;
    const int fd = open_locked(path, &locked);

    if (fd >= 0 && locked)
        (void)remove_with_files(fd, path);
    if (fd >= 0)
        close(fd);
}

void
nb_folder_abort(struct nb_folder_out *folder, struct nb_error *err)
{
    if (folder->fd >= 0) {
        if (!remove_with_files(folder->fd, folder->partial) && err != NULL) {
            const size_t length = strlen(err->message);

            snprintf(err->message + length, sizeof err->message - length, "; %s: cannot be removed: %s",
                     folder->partial, strerror(errno));
        }
        close(folder->fd);
        folder->fd = -1;
    }
    free(folder->name);
    free(folder->partial);
    folder->name = folder->partial = NULL;
}
