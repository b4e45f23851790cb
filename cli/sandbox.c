#include "cli/sandbox.h"

#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/system.h"
#include "formats/base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { AUTO, YES, NO }; /* in the order of the option's words */

struct folders {
    char **path;
    size_t count;
    int code; /* the errno of what went wrong */
};

/* Takes PATH, which is from malloc or NULL where there is no such folder. */
static void
add(struct folders *f, char *path)
{
    char **grown = path == NULL ? NULL : realloc(f->path, (f->count + 1) * sizeof *grown);

    if (grown == NULL) {
        f->code = path != NULL ? ENOMEM : f->code;
        free(path);
        return;
    }
    f->path = grown;
    f->path[f->count++] = path;
}

/* The folder that PATH is in, from malloc; NULL if out of memory. */
static char *
parent_of(const char *path)
{
    char *copy = strdup(path), *name = copy == NULL ? NULL : copy + (nb_base_name(path) - path);

    if (copy != NULL && name == copy)
        strcpy(copy, *path == '\0' ? "" : "."); /* a name has at least one character */
    else if (copy != NULL)
        *name = '\0';
    return copy;
}

/* Adds what the model PATH may be read from, as formats/base/links.h allows it. */
static void
add_model(struct folders *f, const char *path)
{
    char *real = realpath(path, NULL), *parent;

    if (real == NULL && nb_errno_is_of_system(errno))
        f->code = errno;
    if (nb_is_folder(path)) {
        if (real != NULL)
            add(f, nb_joined(real, "/../../blobs")); /* of Hugging Face's cache, where there is such a folder */
        add(f, real);
        return;
    }
    parent = parent_of(path);
    if (parent == NULL)
        f->code = ENOMEM;
    else
        add(f, nb_joined(parent, "../../blobs"));
    add(f, parent);
    if (real != NULL)
        add(f, parent_of(real));
    free(real);
}

int
cli_sandbox(const struct cli_line *line)
{
    const unsigned when = cli_word(line, OPT_SANDBOX, AUTO);
    struct folders f = { 0 };
    struct nb_error err;

    if (when == NO)
        return NB_OK;
    if (cli_has(line, OPT_FOLLOW_LINKS))
        add(&f, strdup("/"));
    for (size_t i = 0; i < line->n_operands; i++)
        add_model(&f, line->operands[i]);
    for (size_t i = 0; i < line->n_given; i++)
        if (line->given[i].option->argument == ARG_FILE)
            add_model(&f, line->given[i].text);
    if (f.code == 0)
        f.code = nb_system_sandbox((const char *const *)f.path, f.count);
    for (size_t i = 0; i < f.count; i++)
        free(f.path[i]);
    free(f.path);
    if (f.code == 0 || (f.code == ENOSYS && when == AUTO))
        return NB_OK;
    if (f.code == ENOMEM)
        return cli_fail_memory();
    if (f.code == ENOSYS)
        (void)nb_fail(&err, NB_SYSTEM,
                      "this system has no sandbox that nibble knows; --sandbox auto goes on without one");
    else
        (void)nb_fail(&err, NB_SYSTEM, "the folders that the sandbox leaves open cannot be examined: %s",
                      strerror(f.code));
    return cli_fail(&err);
}
