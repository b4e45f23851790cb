/*
 * make_docs FOLDER DATE
 *
 * Writes the manual pages of nibble and its completions for bash, zsh and fish into FOLDER, in
 * the layout of a "share" folder.
 */
#include "cli/docs/docs.h"
#include "formats/elements/types.h"
#include "quantize/policy/mlx_recipe.h"
#include "quantize/policy/recipe.h"
#include "quantize/search/encode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH 1024

/* Makes the folders that PATH goes through. */
static void
make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            perror(path);
            exit(1);
        }
        *slash = '/';
    }
}

/* FOLDER/NAME for writing, with the folders that it needs. */
static FILE *
create(const char *folder, const char *name)
{
    char path[PATH];
    FILE *f;

    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH) {
        fprintf(stderr, "%s: too long a path\n", folder);
        exit(1);
    }
    make_folders(path);
    f = fopen(path, "w");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    return f;
}

static void
finish(FILE *f)
{
    const bool failed = ferror(f) != 0;

    if (fclose(f) != 0 || failed) {
        perror("make_docs");
        exit(1);
    }
}

bool
docs_next_name(const struct cli_option *o, unsigned *at, char *name)
{
    const unsigned which = (*at)++ + (o->letter == '\0');

    if (which == 0)
        snprintf(name, 64, "-%c", o->letter);
    else
        snprintf(name, 64, "--%s", o->name);
    return which <= 1;
}

const char *
docs_type(unsigned *at)
{
    while (*at < NB_GGUF_TYPES) {
        const enum nb_type type = (enum nb_type)(*at)++;

        if (nb_can_encode(type))
            return nb_type_info(type)->name;
    }
    return NULL;
}

const char *
docs_recipe(unsigned *at, const char **description)
{
    size_t n, n_mlx;
    const struct nb_recipe *recipes = nb_recipes(&n);
    const struct nb_mlx_recipe *of_mlx = nb_mlx_recipes(&n_mlx);

    while (*at >= n && *at - n < n_mlx && nb_recipe_by_name(of_mlx[*at - n].name) != NULL)
        ++*at; /* a name that both have */
    if (*at >= n + n_mlx)
        return NULL;
    *description = *at < n ? recipes[*at].description : of_mlx[*at - n].description;
    return *at < n ? recipes[(*at)++].name : of_mlx[(*at)++ - n].name;
}

int
main(int argc, char **argv)
{
    char name[64];
    FILE *f;

    if (argc != 3) {
        fputs("usage: make_docs FOLDER DATE\n", stderr);
        return 2;
    }
    f = create(argv[1], "man/man1/nibble.1");
    docs_man_program(f, argv[2]);
    finish(f);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++) {
        snprintf(name, sizeof name, "man/man1/nibble-%s.1", cli_commands[i].name);
        f = create(argv[1], name);
        docs_man_command(f, &cli_commands[i], argv[2]);
        finish(f);
    }
    f = create(argv[1], "bash-completion/completions/nibble");
    docs_bash(f);
    finish(f);
    f = create(argv[1], "zsh/site-functions/_nibble");
    docs_zsh(f);
    finish(f);
    f = create(argv[1], "fish/vendor_completions.d/nibble.fish");
    docs_fish(f);
    finish(f);
    return 0;
}
