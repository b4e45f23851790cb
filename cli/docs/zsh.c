#include "cli/docs/docs.h"

#include <string.h>

/* TEXT inside single quotes, with a backslash before each of SPECIAL. */
static void
quoted(FILE *f, const char *text, const char *special)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\''", f);
        else
            fprintf(f, "%s%c", strchr(special, *text) != NULL ? "\\" : "", *text);
    }
}

/* The lists, as functions that complete one word; case does not count. */
static void
lists(FILE *f)
{
    const char *name, *description;
    unsigned at = 0;

    fputs("_nibble_recipes() {\n    local -a list\n    list=(\n", f);
    while ((name = docs_recipe(&at, &description)) != NULL) {
        fprintf(f, "        '%s:", name);
        quoted(f, description, ":\\");
        fputs("'\n", f);
    }
    fputs("    )\n    _describe -t recipes recipe list -M 'm:{a-zA-Z}={A-Za-z}'\n}\n\n"
          "_nibble_types() {\n    local -a list\n    list=(",
          f);
    for (at = 0; (name = docs_type(&at)) != NULL;)
        fprintf(f, "%s%s", at > 1 ? " " : "", name);
    fputs(")\n    _wanted types expl type compadd -M 'm:{a-zA-Z}={A-Za-z}' -a list\n}\n\n"
          "# REGEX=TYPE\n"
          "_nibble_type_rules() {\n    compset -P '*=' && _nibble_types\n}\n\n"
          "_nibble_models() {\n    _files -g '*.(gguf|safetensors|imatrix|dat)' || _files\n}\n\n"
          "_nibble_gguf() {\n    _files -g '*.gguf' || _files\n}\n\n"
          "_nibble_commands() {\n    local -a list\n    list=(\n",
          f);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++) {
        fprintf(f, "        '%s:", cli_commands[i].name);
        quoted(f, cli_commands[i].summary, ":\\");
        fputs("'\n", f);
    }
    fputs("    )\n    _describe -t commands command list\n}\n\n", f);
}

/* What completes an argument, for _arguments. */
static void
action(FILE *f, enum cli_argument kind, const char *words)
{
    switch (kind) {
    case ARG_FILE:
        fputs("_files", f);
        break;
    case ARG_GGUF:
        fputs("_nibble_gguf", f);
        break;
    case ARG_MODEL:
        fputs("_nibble_models", f);
        break;
    case ARG_RECIPE:
        fputs("_nibble_recipes", f);
        break;
    case ARG_COMMAND:
        fputs("_nibble_commands", f);
        break;
    case ARG_TYPE_RULE:
        fputs("_nibble_type_rules", f);
        break;
    case ARG_WORD:
        fprintf(f, "(%s)", words);
        break;
    case ARG_TYPE:
        if (words == NULL)
            fputs("_nibble_types", f);
        else
            fprintf(f, "(%s)", words);
        break;
    default:
        fputc(' ', f);
    }
}

/* One of the names of an option, "-t" or "--type", as a line for _arguments. */
static void
spec(FILE *f, const struct cli_option *o, const char *name)
{
    const bool is_long = name[1] == '-';

    fputs("            '", f);
    if (o->repeats)
        fputc('*', f);
    else if (o->letter != '\0')
        fprintf(f, "(-%c --%s)", o->letter, o->name);
    fprintf(f, "%s%s[", name, o->argument == ARG_NONE ? "" : is_long ? "=" : "+");
    quoted(f, o->help, "]\\");
    fputc(']', f);
    if (o->argument != ARG_NONE) {
        fputc(':', f);
        quoted(f, o->placeholder, ":\\");
        fputc(':', f);
        action(f, o->argument, o->words);
    }
    fputs("' \\\n", f);
}

static void
command(FILE *f, const struct cli_command *c)
{
    char name[64];

    fprintf(f, "    %s)\n        _arguments -s -S \\\n", c->name);
    for (size_t i = 0; i < cli_n_options; i++) {
        unsigned at = 0;

        while (cli_has_option(c, &cli_options[i]) && docs_next_name(&cli_options[i], &at, name))
            spec(f, &cli_options[i], name);
    }
    if (c->max_operands > 0) {
        fputs("            '*: :", f);
        action(f, c->operand, NULL);
        fputs("' \\\n", f);
    }
    fputs("            && return\n        ;;\n", f);
}

void
docs_zsh(FILE *f)
{
    fputs("#compdef nibble\n# Completion of nibble for zsh. Made from the table of nibble's options.\n\n", f);
    lists(f);
    fputs("_nibble() {\n    local curcontext=$curcontext state line expl\n    typeset -A opt_args\n\n"
          "    _arguments -C '(- *)'{-h,--help}'[show help]' '(- *)'{-V,--version}'[show the version of nibble]' \\\n"
          "        '1: :_nibble_commands' '*:: :->arguments' && return\n"
          "    [[ $state == arguments ]] || return\n"
          "    curcontext=\"${curcontext%:*}-$words[1]:\"\n"
          "    case $words[1] in\n",
          f);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++)
        command(f, &cli_commands[i]);
    fputs("    esac\n    return 1\n}\n\n_nibble \"$@\"\n", f);
}
