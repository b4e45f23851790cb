#include "cli/outputs.h"

#include "cli/cli.h"
#include "formats/base/file_out.h"
#include "formats/base/text.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool
is_output(const struct cli_given *g)
{
    return g->option->id == OPT_OUTPUT || g->option->id == OPT_HTML || g->option->id == OPT_SAVE_BASE;
}

/* The path of an output; NULL: the option names none. */
static const char *
output_of(const struct cli_given *g)
{
    const char *equals;

    if (g->option->id != OPT_ALSO_MLX)
        return is_output(g) ? g->text : NULL;
    equals = strchr(g->text, '='); /* RECIPE=FOLDER */
    return equals == NULL ? NULL : equals + 1;
}

static bool
is_path(enum cli_argument argument)
{
    return argument == ARG_FILE || argument == ARG_GGUF || argument == ARG_MODEL;
}

/* The path in the argument of an option that reads a file; NULL for others. */
static const char *
input_of(const struct cli_given *g)
{
    const char *colon;

    if (is_output(g))
        return NULL;
    if (g->option->id != OPT_SET_FILE)
        return is_path(g->option->argument) ? g->text : NULL;
    colon = strchr(g->text, ':'); /* KEY=TYPE:FILE */
    return colon == NULL ? NULL : colon + 1;
}

static bool
is_same(const struct stat *a, const char *path)
{
    struct stat b;

    return stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* Whether PATH is OUTPUT, or a file in it if OUTPUT is a folder. */
static bool
is_of(const struct stat *output, const char *path)
{
    char *copy = S_ISDIR(output->st_mode) ? strdup(path) : NULL;
    const bool found = is_same(output, path) || (copy != NULL && is_same(output, dirname(copy)));

    free(copy);
    return found;
}

/* Whether PATH, which is to be written, is there already and is a file or folder that LINE says to read, or has such files. */
static bool
is_read(const struct cli_line *line, const char *path)
{
    struct stat st;
    bool found = false;

    if (stat(path, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        return false;
    for (size_t i = 0; i < line->n_operands && is_path(line->command->operand); i++)
        found = found || is_of(&st, line->operands[i]);
    for (size_t i = 0; i < line->n_given; i++) {
        const char *input = input_of(&line->given[i]);

        found = found || (input != NULL && is_of(&st, input));
    }
    return found;
}

int
cli_check_named_output(const struct cli_line *line, const char *path)
{
    char *partial = nb_joined(path, NB_PARTIAL);
    int code = NB_OK;

    if (partial == NULL)
        return cli_fail_memory();
    if (is_read(line, path))
        code = cli_usage(line->command->name, "%s: is the source, or another file to be read, and would be overwritten",
                         path);
    else if (is_read(line, partial))
        code = cli_usage(line->command->name,
                         "%s: is a file to be read, but the output has this name until it is complete; give the "
                         "output another name",
                         partial);
    free(partial);
    return code;
}

int
cli_check_outputs(const struct cli_line *line)
{
    int code = NB_OK;

    for (size_t i = 0; i < line->n_given && code == NB_OK; i++) {
        const char *path = output_of(&line->given[i]);

        if (path != NULL && strcmp(path, "-") != 0) /* the standard output */
            code = cli_check_named_output(line, path);
    }
    return code;
}
