/* Folders, files and links of the places where other programs look; what is there already is never overwritten. */
#include "cli/install/install.h"

#include "cli/json.h"
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *
install_text(struct install *in, const char *format, ...)
{
    va_list args;
    int n;
    char *text;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    text = n < 0 ? NULL : nb_arena_alloc(&in->arena, (uint64_t)n + 1);
    if (text == NULL)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

enum nb_status
install_root(struct install *in, const char *names, const char *otherwise, const char **root)
{
    const char *home = getenv("HOME");

    for (const char *at = names; *at != '\0'; at += *at == ' ') {
        const size_t n = strcspn(at, " ");
        char name[64];
        const char *value;

        snprintf(name, sizeof name, "%.*s", (int)n, at);
        value = getenv(name);
        at += n;
        if (value != NULL && *value != '\0') {
            *root = value;
            return NB_OK;
        }
    }
    if (home == NULL || *home == '\0')
        return nb_fail(in->err, NB_USAGE, "HOME is not set, so that it is not known where models are kept");
    *root = install_text(in, "%s/%s", home, otherwise);
    return *root == NULL ? nb_fail_memory(in->err) : NB_OK;
}

const char *
install_base_name(struct install *in)
{
    const char *base = nb_base_name(in->source->path);
    char *name = install_text(in, "%s", base);

    if (name == NULL)
        return NULL;
    if (nb_ends_with(name, ".gguf"))
        name[strlen(name) - strlen(".gguf")] = '\0';
    for (char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            *p = '-';
    return name;
}

/* --- what was done --------------------------------------------------------------------------------------------- */

static void
note(struct install *in, const char *path, const char *how)
{
    cli_json_add(in->files, cli_json("{s:s, s:s}", "path", path, "how", how));
}

static enum nb_status
fail_with(struct install *in, const char *path, const char *what, int code)
{
    return nb_fail(in->err, nb_status_of_errno(code, NB_SYSTEM), "%s: %s: %s", path, what, strerror(code));
}

/* Makes the folder that PATH is in, and those that this is in. */
static enum nb_status
make_folder_of(struct install *in, const char *path)
{
    char *copy = install_text(in, "%s", path);

    if (copy == NULL)
        return nb_fail_memory(in->err);
    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST && !nb_is_folder(copy))
            return fail_with(in, copy, "cannot be created", errno);
        *slash = '/';
    }
    return NB_OK;
}

enum nb_status
install_look(struct install *in, const char *path, bool *there)
{
    struct stat st;

    *there = lstat(path, &st) == 0;
    return *there || !nb_errno_is_of_system(errno) ? NB_OK : fail_with(in, path, "cannot be examined", errno);
}

#define EXISTS "exists already (--force overwrites it)"

enum nb_status
install_check(struct install *in, const char *path, const char *exists)
{
    bool there;
    enum nb_status status = install_look(in, path, &there);

    return status == NB_OK && there && !in->force ? nb_fail(in->err, NB_EXISTS, "%s: %s", path, exists) : status;
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static enum nb_status
copy(struct install *in, const struct nb_file_in *from, const char *to)
{
    struct nb_file_out out;
    enum nb_status status = nb_out_create(&out, to, from->size, in->force, in->err);

    if (status != NB_OK)
        return status;
    status = nb_out_copy(&out, 0, from, 0, from->size, in->err);
    if (status == NB_OK)
        return nb_out_commit(&out, in->force, in->err);
    nb_out_abort(&out, in->err);
    return status;
}

/* A hard link TO; *DONE false where that cannot be done. One that replaces another file takes its place at once. */
static enum nb_status
hard_link(struct install *in, const char *from, const char *to, bool *done)
{
    bool there;
    enum nb_status status = install_look(in, to, &there);
    const char *name = there ? install_text(in, "%s" NB_PARTIAL, to) : to;

    *done = false;
    if (status != NB_OK)
        return status;
    if (name == NULL)
        return nb_fail_memory(in->err);
    if (linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW) != 0)
        return NB_OK;
    *done = true;
    if (!there || rename(name, to) == 0)
        return NB_OK;
    (void)unlink(name);
    return fail_with(in, to, "cannot be replaced", errno);
}

static enum nb_status
put(struct install *in, const struct nb_file_in *file, const char *to)
{
    bool linked = false;
    enum nb_status status = make_folder_of(in, to);

    if (status == NB_OK)
        status = hard_link(in, file->name, to, &linked);
    if (status == NB_OK && !linked)
        status = copy(in, file, to);
    if (status == NB_OK)
        note(in, to, linked ? "linked" : "copied");
    return status;
}

enum nb_status
install_file(struct install *in, const char *from, const char *to, bool same)
{
    struct nb_file_in file;
    struct stat st;
    bool there;
    enum nb_status status = nb_file_open(&file, from, in->err);

    if (status != NB_OK)
        return status;
    status = install_look(in, to, &there);
    if (status == NB_OK && there && stat(to, &st) == 0 &&
        ((same && (uint64_t)st.st_size == file.size) || nb_file_is(&file, to)))
        note(in, to, "there already");
    else if (status == NB_OK && (status = install_check(in, to, EXISTS)) == NB_OK) {
        if (in->dry_run)
            note(in, to, "to be linked or copied");
        else
            status = put(in, &file, to);
    }
    nb_file_close(&file);
    return status;
}

enum nb_status
install_bytes(struct install *in, const char *to, const void *bytes, size_t size, bool replace)
{
    struct nb_file_out out;
    enum nb_status status = replace ? NB_OK : install_check(in, to, EXISTS);

    if (status != NB_OK)
        return status;
    if (in->dry_run) {
        note(in, to, "to be written");
        return NB_OK;
    }
    status = make_folder_of(in, to);
    if (status == NB_OK)
        status = nb_out_create(&out, to, size, replace, in->err);
    if (status != NB_OK)
        return status;
    status = nb_out_write(&out, 0, bytes, size, in->err);
    if (status == NB_OK)
        status = nb_out_commit(&out, replace, in->err);
    else
        nb_out_abort(&out, in->err);
    if (status == NB_OK)
        note(in, to, "written");
    return status;
}

enum nb_status
install_link(struct install *in, const char *target, const char *to)
{
    char there[PATH_MAX];
    ssize_t n;
    enum nb_status status;

    if (in->dry_run) {
        note(in, to, "to be linked");
        return NB_OK;
    }
    status = make_folder_of(in, to);
    if (status != NB_OK)
        return status;
    if (symlink(target, to) == 0) {
        note(in, to, "linked");
        return NB_OK;
    }
    if (errno != EEXIST)
        return fail_with(in, to, "cannot be created", errno);
    n = readlink(to, there, sizeof there);
    if (n != (ssize_t)strlen(target) || memcmp(there, target, (size_t)n) != 0)
        return nb_fail(in->err, NB_EXISTS, "%s: exists already, and is something else", to);
    note(in, to, "there already");
    return NB_OK;
}
