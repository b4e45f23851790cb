#include "cli/help.h"

#include <stdbool.h>
#include <string.h>

#define OPTION_COLUMN 33 /* where the sentences begin at most */

/* --- filling lines --------------------------------------------------------------------------------------- */

void
cli_fill(FILE *f, const char *text, int at, int indent)
{
    bool first = true;

    while (*text != '\0') {
        const int n = (int)strcspn(text, " \n");

        if (!first && at + 1 + n > HELP_WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(f, "%s%.*s", first ? "" : " ", n, text);
        first = false;
        text += n;
        if (strncmp(text, "\n\n", 2) == 0) {
            fprintf(f, "\n\n%*s", indent, "");
            at = indent;
            first = true;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', f);
}

/* NAME in column 2 and TEXT from column COLUMN on, below NAME if that is too long. */
static void
row(FILE *f, const char *name, const char *text, int column)
{
    int at = fprintf(f, "  %s", name);

    if (at + 2 > column) {
        fputc('\n', f);
        at = 0;
    }
    fprintf(f, "%*s", column - at, "");
    cli_fill(f, text, column, column);
}

/* --- options ----------------------------------------------------------------------------------------------- */

const char *
cli_option_form(char *text, size_t size, const struct cli_option *o)
{
    const char letter[] = { '-', o->letter, ',', ' ', '\0' };

    snprintf(text, size, "%s--%s%s%s", o->letter == '\0' ? "" : letter, o->name, o->placeholder == NULL ? "" : " ",
             o->placeholder == NULL ? "" : o->placeholder);
    return text;
}

/* Long forms without a letter are set as far in as those with one. */
static const char *
form(char *text, size_t size, const struct cli_option *o)
{
    memset(text, ' ', 4);
    cli_option_form(text + (o->letter == '\0' ? 4 : 0), size - 4, o);
    return text;
}

static int
option_column(const struct cli_command *command)
{
    char text[80];
    int column = 0;

    for (size_t i = 0; i < cli_n_options; i++) {
        const int needed =
            cli_has_option(command, &cli_options[i]) ? 4 + (int)strlen(form(text, sizeof text, &cli_options[i])) : 0;

        if (needed > column && needed <= OPTION_COLUMN)
            column = needed;
    }
    return column;
}

const char *
cli_option_text(char *text, size_t size, const struct cli_option *o)
{
    snprintf(text, size, "%s%s%s%s", o->help, o->repeats ? "; may be repeated" : "",
             o->other_names == NULL ? "" : "; also --", o->other_names == NULL ? "" : o->other_names);
    return text;
}

static void
print_option(FILE *f, const struct cli_option *o, int column)
{
    char name[80], text[CLI_OPTION_TEXT];

    row(f, form(name, sizeof name, o), cli_option_text(text, sizeof text, o), column);
}

static void
print_options(FILE *f, const struct cli_command *command)
{
    const int column = option_column(command);
    const char *group = "";

    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];
        const char *heading = o->group == NULL ? "Options" : o->group;

        if (!cli_has_option(command, o))
            continue;
        if (strcmp(heading, group) != 0)
            fprintf(f, "\n%s:\n", heading);
        group = heading;
        print_option(f, o, column);
    }
}

/* --- commands ---------------------------------------------------------------------------------------------- */

/* The lines of TEXT, each after BEFORE and the first after FIRST. */
static void
print_lines(FILE *f, const char *text, const char *first, const char *before)
{
    for (const char *lead = first; *text != '\0'; lead = before) {
        const int n = (int)strcspn(text, "\n");

        fprintf(f, "%s%.*s\n", lead, n, text);
        text += n + (text[n] == '\n');
    }
}

void
cli_help_command(FILE *f, const struct cli_command *c)
{
    char first[64], next[64];

    snprintf(first, sizeof first, "Usage: nibble %s ", c->name);
    snprintf(next, sizeof next, "       nibble %s ", c->name);
    print_lines(f, c->usage, first, next);
    fputc('\n', f);
    cli_fill(f, c->description, 0, 0);
    print_options(f, c);
    if (c->answered_no != NULL) {
        fputs("\nExit codes:\n", f);
        row(f, "0", c->succeeded, 5);
        row(f, "1", c->answered_no, 5);
        for (size_t i = 2; i < sizeof cli_exit_codes / sizeof cli_exit_codes[0]; i++)
            row(f, cli_exit_codes[i].name, cli_exit_codes[i].text, 5);
    }
    fprintf(f, "\n%s:\n", strchr(c->examples, '\n') == NULL ? "Example" : "Examples");
    print_lines(f, c->examples, "  ", "  ");
}

void
cli_help_program(FILE *f)
{
    fprintf(f, "nibble: %s\n\nUsage: nibble COMMAND [OPTIONS] ...\n\n", cli_summary);
    cli_fill(f, cli_description, 0, 0);
    fputs("\nCommands:\n", f);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++)
        row(f, cli_commands[i].name, cli_commands[i].summary, 13);
    fputs("\n'nibble COMMAND --help' shows the options of a command, with an example.\n\nExit codes:\n", f);
    for (size_t i = 0; i < sizeof cli_exit_codes / sizeof cli_exit_codes[0]; i++)
        row(f, cli_exit_codes[i].name, cli_exit_codes[i].text, 5);
    fputs("\nEnvironment:\n", f);
    for (size_t i = 0; i < sizeof cli_environment / sizeof cli_environment[0]; i++)
        row(f, cli_environment[i].name, cli_environment[i].text, 14);
}
