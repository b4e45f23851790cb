#include "cli/docs/docs.h"
#include "cli/help.h"

#include <ctype.h>
#include <string.h>

#define LINE 60 /* columns of a line of the source before it is escaped; about 80 after that */

/* --- text ------------------------------------------------------------------------------------------------ */

/* N bytes of TEXT, so that they come out as they are and can be copied from the page. */
static void
escape(FILE *f, const char *text, int n)
{
    for (int i = 0; i < n; i++) {
        switch (text[i]) {
        case '-':
            fputs("\\-", f);
            break;
        case '\\':
            fputs("\\e", f);
            break;
        case '\'':
            fputs("\\(aq", f);
            break;
        case '`':
            fputs("\\(ga", f);
            break;
        case '^':
            fputs("\\(ha", f);
            break;
        case '~':
            fputs("\\(ti", f);
            break;
        case '.':
            fputs(i == 0 ? "\\&." : ".", f); /* would be a macro at the beginning of a line */
            break;
        default:
            fputc(text[i], f);
        }
    }
}

/* Paragraphs that are separated by "\n\n", with the macro BETWEEN between them. */
static void
paragraphs(FILE *f, const char *text, const char *between)
{
    int at = 0;

    while (*text != '\0') {
        const int n = (int)strcspn(text, " \n");

        if (at > 0 && at + 1 + n > LINE) {
            fputc('\n', f);
            at = 0;
        }
        at += n + (at > 0 ? fprintf(f, " ") : 0);
        escape(f, text, n);
        text += n;
        if (strncmp(text, "\n\n", 2) == 0) {
            fprintf(f, "\n%s\n", between);
            at = 0;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', f);
}

static void
bold(FILE *f, const char *text, int n)
{
    fputs("\\fB", f);
    escape(f, text, n);
    fputs("\\fR", f);
}

/* A line of usage: options are bold, what stands for something else is italic. */
static void
usage(FILE *f, const char *text, int length)
{
    const char *end = text + length;

    while (text < end) {
        int n = (int)strcspn(text, " []\n");

        if (n == 0) {
            fputc(*text++, f);
            continue;
        }
        if (text + n > end)
            n = (int)(end - text);
        if (isupper((unsigned char)*text)) {
            fputs("\\fI", f);
            escape(f, text, n);
            fputs("\\fR", f);
        } else if (*text == '.') {
            escape(f, text, n);
        } else {
            bold(f, text, n);
        }
        text += n;
    }
    fputc('\n', f);
}

/* --- parts ------------------------------------------------------------------------------------------------- */

/* NAME is a command or NULL. */
static void
head(FILE *f, const char *name, const char *summary, const char *date)
{
    fputs(".\\\" Made from the table of nibble's options.\n.TH NIBBLE", f);
    for (const char *c = name; c != NULL && *c != '\0'; c++)
        fprintf(f, "%s%c", c == name ? "\\-" : "", toupper((unsigned char)*c));
    fprintf(f, " 1 %s \"nibble " NB_VERSION "\" \"nibble manual\"\n.nh\n.ad l\n.SH NAME\nnibble", date);
    fprintf(f, "%s%s \\- ", name == NULL ? "" : "\\-", name == NULL ? "" : name);
    escape(f, summary, (int)strlen(summary));
    fputc('\n', f);
}

static void
rows(FILE *f, const char *heading, const struct cli_text_row *row, size_t count)
{
    fprintf(f, ".SH %s\n", heading);
    for (size_t i = 0; i < count; i++) {
        fputs(".TP\n", f);
        bold(f, row[i].name, (int)strlen(row[i].name));
        fputc('\n', f);
        paragraphs(f, row[i].text, ".IP");
    }
}

static void
exit_codes(FILE *f, const struct cli_command *c)
{
    struct cli_text_row row[5];

    memcpy(row, cli_exit_codes, sizeof row);
    if (c == NULL || c->answered_no != NULL) {
        row[0].text = c != NULL ? c->succeeded : row[0].text;
        row[1].text = c != NULL ? c->answered_no : row[1].text;
    } else {
        memmove(&row[1], &row[2], 3 * sizeof row[0]);
    }
    rows(f, "\"EXIT STATUS\"", row, c == NULL || c->answered_no != NULL ? 5 : 4);
}

static void
option(FILE *f, const struct cli_option *o)
{
    char text[CLI_OPTION_TEXT];

    fputs(".TP\n", f);
    if (o->letter != '\0')
        fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", f);
    escape(f, o->name, (int)strlen(o->name));
    fputs("\\fR", f);
    if (o->placeholder != NULL) {
        fputs(" \\fI", f);
        escape(f, o->placeholder, (int)strlen(o->placeholder));
        fputs("\\fR", f);
    }
    fputc('\n', f);
    paragraphs(f, cli_option_text(text, sizeof text, o), ".IP");
}

static void
options(FILE *f, const struct cli_command *command)
{
    const char *group = NULL;

    fputs(".SH OPTIONS\n", f);
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];

        if (!cli_has_option(command, o))
            continue;
        if (o->group != NULL && o->group != group)
            fprintf(f, ".SS \"%s\"\n", o->group);
        group = o->group;
        option(f, o);
    }
}

static void
examples(FILE *f, const char *text)
{
    fputs(".SH EXAMPLES\n.nf\n", f);
    while (*text != '\0') {
        const int n = (int)strcspn(text, "\n");

        escape(f, text, n);
        fputc('\n', f);
        text += n + (text[n] == '\n');
    }
    fputs(".fi\n", f);
}

static void
see_also(FILE *f, const struct cli_command *command)
{
    fputs(".SH \"SEE ALSO\"\n", f);
    if (command != NULL)
        fputs(".BR nibble (1),\n", f);
    for (size_t i = 0, last = CLI_N_COMMANDS - 1; i <= last; i++) {
        if (&cli_commands[i] == command)
            continue;
        fprintf(f, ".BR nibble\\-%s (1)%s\n", cli_commands[i].name,
                i == last || (i + 1 == last && &cli_commands[last] == command) ? "" : ",");
    }
}

/* --- pages ------------------------------------------------------------------------------------------------- */

void
docs_man_command(FILE *f, const struct cli_command *c, const char *date)
{
    head(f, c->name, c->summary, date);
    fputs(".SH SYNOPSIS\n", f);
    for (const char *line = c->usage; *line != '\0';) {
        const int n = (int)strcspn(line, "\n");

        if (line != c->usage)
            fputs(".br\n", f);
        fprintf(f, "\\fBnibble %s\\fR ", c->name);
        usage(f, line, n);
        line += n + (line[n] == '\n');
    }
    fputs(".SH DESCRIPTION\n", f);
    paragraphs(f, c->description, ".PP");
    options(f, c);
    exit_codes(f, c);
    examples(f, c->examples);
    see_also(f, c);
}

void
docs_man_program(FILE *f, const char *date)
{
    head(f, NULL, cli_summary, date);
    fputs(".SH SYNOPSIS\n\\fBnibble\\fR ", f);
    usage(f, "COMMAND [OPTIONS] ...", 21);
    fputs(".br\n\\fBnibble\\fR [\\fB\\-\\-help\\fR] [\\fB\\-\\-version\\fR]\n.SH DESCRIPTION\n", f);
    paragraphs(f, cli_description, ".PP");
    fputs(".SH COMMANDS\n", f);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++) {
        fprintf(f, ".TP\n.BR nibble\\-%s (1)\n", cli_commands[i].name);
        paragraphs(f, cli_commands[i].summary, ".IP");
    }
    rows(f, "ENVIRONMENT", cli_environment, sizeof cli_environment / sizeof cli_environment[0]);
    exit_codes(f, NULL);
    examples(f, "nibble quantize Llama-3.2-1B -t Q4_K_M -o llama.gguf\n"
                "nibble verify Llama-3.2-1B llama.gguf");
    see_also(f, NULL);
}
