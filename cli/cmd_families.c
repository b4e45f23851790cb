#include "cli/cli.h"
#include "cli/command_line.h"

#include "formats/models/family.h"

#include <stdio.h>
#include <string.h>

static const char *
yes_no(bool yes)
{
    return yes ? "yes" : "no";
}

static int
print_json(void)
{
    json_t *list = cli_json_array();

    for (const struct nb_family *const *f = nb_families; *f != NULL; f++) {
        json_t *classes = cli_json_array();

        for (const char *const *name = (*f)->classes; *name != NULL; name++)
            cli_json_add(classes, cli_json_text(*name));
        cli_json_add(list,
                     cli_json("{s:o, s:s, s:b, s:b, s:b, s:b}", "classes", classes, "architecture", (*f)->arch->name,
                              "converts", (int)((*f)->n_to_gguf > 0), "runs", (int)((*f)->arch->n_blocks > 0), "mlx",
                              (int)((*f)->mlx != NULL), "written_back", (int)((*f)->model_type != NULL)));
    }
    return cli_print_json(cli_json("{s:o}", "families", list));
}

/* The columns of the longest class name. */
static int
name_width(void)
{
    size_t width = 0;

    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *name = (*f)->classes; *name != NULL; name++)
            if (strlen(*name) > width)
                width = strlen(*name);
    return (int)width;
}

/* Whether a GGUF file of FAMILY can be written back as a checkpoint of class NAME. */
static bool
is_written_back(const struct nb_family *family, const char *name)
{
    return family->model_type != NULL &&
           strcmp(name, family->model_class == NULL ? family->classes[0] : family->model_class) == 0;
}

static int
print_table(void)
{
    const int width = name_width();

    cli_print("%-*s %-14s %-9s %-5s %-4s %s\n", width, "model class", "architecture", "converts", "runs", "MLX",
              "back");
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *name = (*f)->classes; *name != NULL; name++)
            cli_print("%-*s %-14s %-9s %-5s %-4s %s\n", width, *name, (*f)->arch->name, yes_no((*f)->n_to_gguf > 0),
                      yes_no((*f)->arch->n_blocks > 0), yes_no((*f)->mlx != NULL), yes_no(is_written_back(*f, *name)));
    return cli_finish();
}

int
cmd_families(const struct cli_line *line)
{
    return cli_has(line, OPT_JSON) ? print_json() : print_table();
}
