#include "formats/base/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Whether PATH stands below the folder that the first N bytes of FOLDER name. */
static bool
is_below(const char *path, const char *folder, size_t n)
{
    if (n == 1 && *folder == '/')
        return true;
    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

/* Whether FOLDER is MODEL/snapshots/REVISION, or a folder in it, and PATH a file in MODEL/blobs. */
static bool
is_blob(const char *path, const char *folder)
{
    static const char snapshots[] = "/snapshots/", blobs[] = "/blobs";
    const char *at = NULL;

    for (const char *p = folder; (p = strstr(p, snapshots)) != NULL; p++)
        at = p; /* the last */
    if (at == NULL || strncmp(path, folder, (size_t)(at - folder)) != 0)
        return false;
    return is_below(path + (at - folder), blobs, sizeof blobs - 1);
}

/* 0 if CODE only means that a name or a link leads nowhere. */
static int
unless_nowhere(int code)
{
    return code == ENOENT || code == ENOTDIR || code == ELOOP ? 0 : code;
}

/* Where the link FOLDER/NAME leads, and FOLDER, both without links, from malloc. NULL: nowhere, or an errno of CODE. */
static char *
follow(const char *folder, const char *name, char **real_folder, int *code)
{
    const size_t a = strlen(folder), b = strlen(name);
    char *path = malloc(a + b + 2), *target = NULL;
    struct stat st;

    *code = 0;
    *real_folder = NULL;
    if (path == NULL) {
        *code = ENOMEM;
        return NULL;
    }
    memcpy(path, folder, a);
    path[a] = '/';
    memcpy(path + a + 1, name, b + 1);
    if (lstat(path, &st) != 0) {
        *code = unless_nowhere(errno);
    } else if (S_ISLNK(st.st_mode)) {
        target = realpath(path, NULL);
        *real_folder = target == NULL ? NULL : realpath(folder, NULL);
        if (target == NULL || *real_folder == NULL)
            *code = unless_nowhere(errno);
    }
    free(path);
    return target;
}

enum nb_status
nb_link_stays_inside(const char *folder, const char *name, bool *inside, struct nb_error *err)
{
    char *real, *target;
    int code;

    target = follow(folder, name, &real, &code);
    *inside = target == NULL || (real != NULL && (is_below(target, real, strlen(real)) || is_blob(target, real)));
    free(target);
    free(real);
    if (code == 0)
        return NB_OK;
    return code == ENOMEM ? nb_fail_memory(err)
                          : nb_fail(err, nb_status_of_errno(code, NB_INPUT), "%s/%s: cannot be followed: %s", folder,
                                    name, strerror(code));
}
