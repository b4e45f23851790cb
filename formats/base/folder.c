#include "formats/base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

static enum nb_status
fail_to(const char *what, const struct nb_folder *folder, struct nb_error *err)
{
    return nb_fail(err, nb_status_of_errno(errno, NB_INPUT), "%s: cannot be %s: %s", folder->path, what,
                   strerror(errno));
}

enum nb_status
nb_folder_open(struct nb_folder *folder, const char *path, struct nb_error *err)
{
    *folder = (struct nb_folder){ .path = path };
    do
        folder->stream = opendir(path);
    while (folder->stream == NULL && errno == EINTR);
    return folder->stream != NULL || errno == ENOENT || errno == ENOTDIR ? NB_OK : fail_to("opened", folder, err);
}

enum nb_status
nb_folder_next(struct nb_folder *folder, const char **name, struct nb_error *err)
{
    struct dirent *entry = NULL;

    errno = 0;
    if (folder->stream != NULL)
        entry = readdir(folder->stream);
    *name = entry == NULL ? NULL : entry->d_name;
    return entry != NULL || errno == 0 ? NB_OK : fail_to("read", folder, err);
}

void
nb_folder_close(struct nb_folder *folder)
{
    if (folder->stream != NULL)
        closedir(folder->stream);
    folder->stream = NULL;
}
