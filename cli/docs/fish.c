#include "cli/docs/docs.h"

static const char functions[] = "# Completion of nibble for fish. Made from the table of nibble's options.\n"
                                "\n"
                                "function __nibble_using -d 'Whether this is a command line of nibble COMMAND'\n"
                                "    set -l words (commandline -opc)\n"
                                "    test (count $words) -ge 2; and test $words[2] = $argv[1]\n"
                                "end\n"
                                "\n"
                                "function __nibble_type_rules -d 'REGEX=TYPE for the REGEX= that has been typed'\n"
                                "    set -l rule (string match -r '.*=' -- (commandline -ct))\n"
                                "    test -n \"$rule\"; and printf '%s\\n' $rule(__nibble_types)\n"
                                "end\n"
                                "\n";

/* TEXT inside single quotes. */
static void
quoted(FILE *f, const char *text)
{
    for (; *text != '\0'; text++)
        fprintf(f, "%s%c", *text == '\'' || *text == '\\' ? "\\" : "", *text);
}

static void
lists(FILE *f)
{
    const char *name, *description;
    unsigned at = 0;

    fputs("function __nibble_types\n    printf '%s\\n'", f);
    while ((name = docs_type(&at)) != NULL)
        fprintf(f, " %s", name);
    fputs("\nend\n\nfunction __nibble_recipes\n    printf '%s\\t%s\\n'", f);
    for (at = 0; (name = docs_recipe(&at, &description)) != NULL;) {
        fprintf(f, " \\\n        %s '", name);
        quoted(f, description);
        fputc('\'', f);
    }
    fputs("\nend\n\n", f);
}

/* The options of "complete" for an argument of this kind; those of operands do not end with a word. */
static void
action(FILE *f, enum cli_argument kind, const char *words, bool operand)
{
    const char *exclusive = operand ? "" : " -x";

    switch (kind) {
    case ARG_NONE:
        break;
    case ARG_FILE:
        fputs(operand ? " -F" : " -r -F", f);
        break;
    case ARG_GGUF:
    case ARG_MODEL: /* GGUF files first, then all others */
        fprintf(f, "%s -k -a '(__fish_complete_suffix .gguf)'", exclusive);
        break;
    case ARG_WORD:
        fprintf(f, "%s -a '%s'", exclusive, words);
        break;
    case ARG_RECIPE:
        fprintf(f, "%s -a '(__nibble_recipes)'", exclusive);
        break;
    case ARG_TYPE:
        fprintf(f, "%s -a '%s'", exclusive, words != NULL ? words : "(__nibble_types)");
        break;
    case ARG_TYPE_RULE:
        fprintf(f, "%s -a '(__nibble_type_rules)'", exclusive);
        break;
    case ARG_COMMAND:
        fprintf(f, "%s -a '", exclusive);
        for (size_t i = 0; i < CLI_N_COMMANDS; i++)
            fprintf(f, "%s%s", i == 0 ? "" : " ", cli_commands[i].name);
        fputc('\'', f);
        break;
    default:
        fputs(exclusive, f);
    }
}

static void
command(FILE *f, const struct cli_command *c)
{
    fprintf(f, "\ncomplete -c nibble -n 'test (count (commandline -opc)) -eq 1' -a %s -d '", c->name);
    quoted(f, c->summary);
    fputs("'\n", f);
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];

        if (!cli_has_option(c, o))
            continue;
        fprintf(f, "complete -c nibble -n '__nibble_using %s'", c->name);
        if (o->letter != '\0')
            fprintf(f, " -s %c", o->letter);
        fprintf(f, " -l %s", o->name);
        action(f, o->argument, o->words, false);
        fputs(" -d '", f);
        quoted(f, o->help);
        fputs("'\n", f);
    }
    if (c->max_operands == 0)
        return;
    fprintf(f, "complete -c nibble -n '__nibble_using %s'", c->name);
    action(f, c->operand, NULL, true);
    fputc('\n', f);
}

void
docs_fish(FILE *f)
{
    fputs(functions, f);
    lists(f);
    fputs("complete -c nibble -f\n"
          "complete -c nibble -n 'test (count (commandline -opc)) -eq 1' -s h -l help -d 'show help'\n"
          "complete -c nibble -n 'test (count (commandline -opc)) -eq 1' -s V -l version -d 'show the version of "
          "nibble'\n",
          f);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++)
        command(f, &cli_commands[i]);
}
