#include "cli/docs/docs.h"

#include <stddef.h>
#include <string.h>

static const char functions[] =
    "# Completion of nibble for bash. Made from the table of nibble's options.\n"
    "\n"
    "# _nibble_words WORDS: those that begin with $cur, in upper or lower case\n"
    "_nibble_words()\n"
    "{\n"
    "    local word IFS=$' \\t\\n'\n"
    "    for word in $1; do\n"
    "        [[ ${word,,} == \"${cur,,}\"* ]] && COMPREPLY+=(\"$word\")\n"
    "    done\n"
    "}\n"
    "\n"
    "# _nibble_files PATTERN: files that match it, or else any, and folders\n"
    "_nibble_files()\n"
    "{\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen -f -X \"!$1\" -- \"$cur\"; compgen -d -- \"$cur\")\n"
    "    [[ ${#COMPREPLY[@]} -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "}\n"
    "\n"
    "_nibble_models()\n"
    "{\n"
    "    local extglob\n"
    "    extglob=$(shopt -p extglob)\n"
    "    shopt -s extglob\n"
    "    _nibble_files '*.@(gguf|safetensors|imatrix|dat)'\n"
    "    $extglob\n"
    "}\n"
    "\n";

static const char start[] =
    "_nibble()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} at=$((COMP_CWORD - 1)) command=${COMP_WORDS[1]} option i\n"
    "    COMPREPLY=()\n";

/* "--option=value" and "REGEX=TYPE" are three words each, as "=" is one of those that COMP_WORDBREAKS divides at. */
static const char find_option[] =
    "    if [[ $cur == = ]]; then\n"
    "        cur=\n"
    "    elif [[ ${COMP_WORDS[at]} == = ]]; then\n"
    "        at=$((at - 1))\n"
    "    fi\n"
    "    option=${COMP_WORDS[at]}\n"
    "    if [[ $at -lt $((COMP_CWORD - 1)) || ${COMP_WORDS[COMP_CWORD]} == = ]] && [[ $option != -* ]]; then\n"
    "        at=$((at - 1))\n"
    "        [[ $at -gt 1 && ${COMP_WORDS[at]} == = ]] && at=$((at - 1))\n"
    "        option=\"${COMP_WORDS[at]} =\"\n"
    "    fi\n"
    "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
    "        [[ ${COMP_WORDS[i]} == -- ]] && option= command=\"$command --\"\n"
    "    done\n";

/* What fills COMPREPLY with what an argument of this kind may be. */
static void
action(FILE *f, enum cli_argument kind, const char *words)
{
    const char *name, *description, *separator = "";
    unsigned at = 0;

    switch (kind) {
    case ARG_FILE:
        fputs("_nibble_files '*'", f);
        break;
    case ARG_GGUF:
        fputs("_nibble_files '*.gguf'", f);
        break;
    case ARG_MODEL:
        fputs("_nibble_models", f);
        break;
    case ARG_WORD:
        fprintf(f, "_nibble_words '%s'", words != NULL ? words : "");
        break;
    case ARG_RECIPE:
        fputs("_nibble_words '", f);
        for (; (name = docs_recipe(&at, &description)) != NULL; separator = " ")
            fprintf(f, "%s%s", separator, name);
        fputc('\'', f);
        break;
    case ARG_TYPE:
        fprintf(f, "_nibble_words '%s", words != NULL ? words : "");
        for (; words == NULL && (name = docs_type(&at)) != NULL; separator = " ")
            fprintf(f, "%s%s", separator, name);
        fputc('\'', f);
        break;
    case ARG_COMMAND:
        fputs("_nibble_words '", f);
        for (; at < CLI_N_COMMANDS; at++)
            fprintf(f, "%s%s", at == 0 ? "" : " ", cli_commands[at].name);
        fputc('\'', f);
        break;
    default:
        fputc(':', f);
    }
}

/* The pattern of all commands and names that O goes by, each with AFTER. */
static void
pattern(FILE *f, const struct cli_option *o, const char *after)
{
    const char *separator = "    ";
    char name[64];

    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        unsigned at = 0;

        if (!cli_has_option(&cli_commands[c], o))
            continue;
        while (docs_next_name(o, &at, name)) {
            fprintf(f, "%s'%s %s%s'", separator, cli_commands[c].name, name, after);
            separator = " | \\\n        ";
        }
    }
    fputs(") ", f);
}

static void
arguments(FILE *f)
{
    fputs("    case \"$command $option\" in\n", f);
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];

        if (o->argument == ARG_NONE)
            continue;
        pattern(f, o, "");
        action(f, o->argument, o->words);
        fputs("; return ;;\n", f);
        if (o->argument != ARG_TYPE_RULE)
            continue;
        pattern(f, o, " =");
        action(f, ARG_TYPE, NULL);
        fputs("; return ;;\n", f);
    }
    fputs("    esac\n", f);
}

static void
names(FILE *f)
{
    char name[64];

    fputs("    if [[ $cur == -* ]]; then\n        case $command in\n", f);
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        const char *separator = "";

        fprintf(f, "        %s) _nibble_words '", cli_commands[c].name);
        for (size_t i = 0; i < cli_n_options; i++) {
            unsigned at = 0;

            while (cli_has_option(&cli_commands[c], &cli_options[i]) && docs_next_name(&cli_options[i], &at, name)) {
                fprintf(f, "%s%s", separator, name);
                separator = " ";
            }
        }
        fputs("' ;;\n", f);
    }
    fputs("        esac\n        return\n    fi\n", f);
}

void
docs_bash(FILE *f)
{
    fputs(functions, f);
    fputs(start, f);
    fputs("    if [[ $COMP_CWORD -eq 1 ]]; then\n        ", f);
    action(f, ARG_COMMAND, NULL);
    fputs("\n        [[ $cur == -* ]] && _nibble_words '-h --help -V --version'\n        return\n    fi\n", f);
    fputs(find_option, f);
    arguments(f);
    names(f);
    fputs("    case ${command% --} in\n", f);
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        fprintf(f, "    %s) ", cli_commands[c].name);
        action(f, cli_commands[c].operand, NULL);
        fputs(" ;;\n", f);
    }
    fputs("    esac\n}\ncomplete -F _nibble nibble\n", f);
}
