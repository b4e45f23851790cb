#include "cli/sandbox.h"

#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/system.h"
#include "formats/base/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { AUTO, YES, NO }; /* in the order of the option's words */

struct folders {
    char **path;
    size_t count;
    bool out_of_memory;
};

/* Takes PATH, which is from malloc or NULL where there is no such folder. */
static void
add(struct folders *f, char *path)
{
    char **grown = path == NULL ? NULL : realloc(f->path, (f->count + 1) * sizeof *grown);

    if (grown == NULL) {
        f->out_of_memory |= path != NULL;
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

    if (nb_is_folder(path)) {
        if (real != NULL)
            add(f, nb_joined(real, "/../../blobs")); /* of Hugging Face's cache, where there is such a folder */
        add(f, real);
        return;
    }
    parent = parent_of(path);
    f->out_of_memory |= parent == NULL;
    if (parent != NULL)
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
    bool inside = false;

    if (when == NO)
        return NB_OK;
    if (cli_has(line, OPT_FOLLOW_LINKS))
        add(&f, strdup("/"));
    for (size_t i = 0; i < line->n_operands; i++)
        add_model(&f, line->operands[i]);
    if (!f.out_of_memory)
        inside = nb_system_sandbox((const char *const *)f.path, f.count);
    for (size_t i = 0; i < f.count; i++)
        free(f.path[i]);
    free(f.path);
    if (f.out_of_memory)
        return cli_fail_memory();
    if (inside || when == AUTO)
        return NB_OK;
    (void)nb_fail(&err, NB_SYSTEM, "this system has no sandbox that nibble knows; --sandbox auto goes on without one");
    return cli_fail(&err);
}
