#include "cli/command_line.h"

#include "cli/cli.h"
#include "cli/suggest.h"
#include "formats/base/file_in.h"
#include "formats/base/hub.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/elements/types.h"
#include "quantize/policy/mlx_recipe.h"
#include "quantize/policy/recipe.h"
#include "quantize/search/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN 64 /* bytes of an option's name in a sentence */

/* --- finding options -------------------------------------------------------------------------------------- */

/* Whether NAME is one of LIST, which is separated by blanks and may be NULL, or with PREFIX begins one of them. */
static bool
is_listed(const char *list, const char *name, size_t length, bool prefix)
{
    for (const char *at = list; at != NULL && *at != '\0';) {
        const size_t n = strcspn(at, " ");

        if (n >= length && (prefix || n == length) && strncmp(at, name, length) == 0)
            return true;
        at += n + strspn(at + n, " ");
    }
    return false;
}

static bool
is_called(const struct cli_option *o, const char *name, size_t length, bool prefix)
{
    return is_listed(o->name, name, length, prefix) || is_listed(o->other_names, name, length, prefix);
}

/* Says that TYPED is no option of COMMAND, and what it may have been meant to be. */
static int
unknown_option(const struct cli_command *command, const char *typed)
{
    struct cli_suggestion s;

    cli_suggest_start(&s, typed);
    for (size_t i = 0; i < cli_n_options; i++)
        if (cli_has_option(command, &cli_options[i]))
            cli_suggest_offer(&s, cli_options[i].name);
    return cli_usage(command->name, "'%s' is not an option of %s%s", typed, command->name, cli_suggest_text(&s, "--"));
}

/* The same for a letter: a long option may have been meant that begins with it, or one that begins with one dash. */
static int
unknown_letter(const struct cli_command *command, const char *typed, char letter)
{
    const struct cli_option *found = NULL;
    size_t count = 0;

    if (strlen(typed) > 2 && typed[1] == letter)
        return unknown_option(command, typed);
    for (size_t i = 0; i < cli_n_options; i++) {
        if (cli_has_option(command, &cli_options[i]) && *cli_options[i].name == letter) {
            found = &cli_options[i];
            count++;
        }
    }
    if (count == 1)
        return cli_usage(command->name, "'-%c' is not an option of %s; did you mean '--%s'?", letter, command->name,
                         found->name);
    return cli_usage(command->name, "'-%c' is not an option of %s", letter, command->name);
}

static int
find_long(const struct cli_command *command, const char *typed, const struct cli_option **out)
{
    const char *name = typed + 2;
    const size_t length = strcspn(name, "=");
    char shown[SHOWN];

    *out = NULL;
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];

        if (!cli_has_option(command, o))
            continue;
        if (is_called(o, name, length, false)) {
            *out = o;
            return NB_OK;
        }
    }
    snprintf(shown, sizeof shown, "%.*s", (int)(length + 2), typed);
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];

        if (!cli_has_option(command, o) || !is_called(o, name, length, true))
            continue;
        if (*out != NULL)
            return cli_usage(command->name, "'%s' is ambiguous: it could be '--%s' or '--%s'", shown, (*out)->name,
                             o->name);
        *out = o;
    }
    return *out != NULL ? NB_OK : unknown_option(command, shown);
}

static const struct cli_option *
find_letter(const struct cli_command *command, char letter)
{
    for (size_t i = 0; i < cli_n_options; i++)
        if (cli_has_option(command, &cli_options[i]) && cli_options[i].letter == letter)
            return &cli_options[i];
    return NULL;
}

/* --- arguments -------------------------------------------------------------------------------------------------- */

/* "f32, f16 or bf16" */
static const char *
list_words(const char *words)
{
    static char text[256];
    size_t at = 0;

    while (*words != '\0' && at < sizeof text) {
        const size_t n = strcspn(words, " ");
        const char *rest = words + n + strspn(words + n, " ");

        at += (size_t)snprintf(text + at, sizeof text - at, "%.*s%s", (int)n, words,
                               *rest == '\0'               ? ""
                               : strchr(rest, ' ') == NULL ? " or "
                                                           : ", ");
        words = rest;
    }
    return text;
}

static int
read_word(const struct cli_command *command, const char *what, struct cli_given *g)
{
    const char *at = g->option->words;
    unsigned i = 0;

    for (; *at != '\0'; i++) {
        const size_t n = strcspn(at, " ");

        if (strlen(g->text) == n && strncmp(at, g->text, n) == 0) {
            g->value.word = i;
            return NB_OK;
        }
        at += n + strspn(at + n, " ");
    }
    return cli_usage(command->name, "%s: '%s' is not %s", what, g->text, list_words(g->option->words));
}

int
cli_read_type(const struct cli_command *command, const char *what, const char *text, enum nb_type *out)
{
    struct cli_suggestion s;

    *out = nb_type_by_name(text);
    if (*out != NB_TYPE_NONE && nb_can_encode(*out))
        return NB_OK;
    if (*out != NB_TYPE_NONE)
        return cli_usage(command->name, "%s: this version cannot write %s", what, text);
    cli_suggest_start(&s, text);
    for (unsigned t = 0; t < NB_GGUF_TYPES; t++)
        if (nb_can_encode((enum nb_type)t))
            cli_suggest_offer(&s, nb_type_info((enum nb_type)t)->name);
    return cli_usage(command->name, "%s: '%s' is not a tensor type%s", what, text, cli_suggest_text(&s, ""));
}

/* One of a few types: the words are in lower case, as the names of these types are. */
static int
read_listed_type(const struct cli_command *command, const char *what, struct cli_given *g)
{
    const char *name;

    g->value.type = nb_type_by_name(g->text);
    name = nb_type_info(g->value.type)->name;
    if (g->value.type != NB_TYPE_NONE && is_listed(g->option->words, name, strlen(name), false))
        return NB_OK;
    return cli_usage(command->name, "%s: '%s' is not %s", what, g->text, list_words(g->option->words));
}

static int
check_recipe(const struct cli_command *command, const char *what, const char *name)
{
    struct cli_suggestion s;
    size_t n, n_mlx;
    const struct nb_recipe *recipes = nb_recipes(&n);
    const struct nb_mlx_recipe *of_mlx = nb_mlx_recipes(&n_mlx);

    if (nb_recipe_by_name(name) != NULL || nb_mlx_recipe_by_name(name) != NULL)
        return NB_OK;
    cli_suggest_start(&s, name);
    for (size_t i = 0; i < n; i++)
        cli_suggest_offer(&s, recipes[i].name);
    for (size_t i = 0; nb_recipe_aliases[i][0] != NULL; i++)
        cli_suggest_offer(&s, nb_recipe_aliases[i][0]);
    for (size_t i = 0; i < n_mlx; i++)
        cli_suggest_offer(&s, of_mlx[i].name);
    return cli_usage(command->name, "%s: '%s' is not a recipe%s 'nibble types' lists them", what, name,
                     s.best == NULL ? ";" : cli_suggest_text(&s, ""));
}

/* Names, separated by commas. */
static int
check_recipes(const struct cli_command *command, const char *what, const char *text)
{
    char *list = strdup(text), *rest, *word = list == NULL ? NULL : strtok_r(list, ",", &rest);
    int code = list == NULL ? cli_fail_memory() : word == NULL ? check_recipe(command, what, text) : NB_OK;

    for (; word != NULL && code == NB_OK; word = strtok_r(NULL, ",", &rest))
        code = check_recipe(command, what, word);
    free(list);
    return code;
}

static int
read_number(const struct cli_command *command, const char *what, struct cli_given *g)
{
    const struct cli_option *o = g->option;

    if (cli_parse_count(g->text, o->low, o->high == 0 ? UINT32_MAX : o->high, &g->value.number))
        return NB_OK;
    if (o->high == 0)
        return cli_usage(command->name, "%s: '%s' is not a whole number of %u or more", what, g->text,
                         (unsigned)o->low);
    return cli_usage(command->name, "%s: '%s' is not a whole number from %u to %u", what, g->text, (unsigned)o->low,
                     (unsigned)o->high);
}

static int
read_real(const struct cli_command *command, const char *what, struct cli_given *g)
{
    char *end;

    g->value.real = strtod(g->text, &end);
    if (end != g->text && *end == '\0' && g->value.real >= 0)
        return NB_OK;
    return cli_usage(command->name, "%s: '%s' is not a number of 0 or more", what, g->text);
}

/* "300M", "2G" as gguf-split takes them, in powers of 1000; also "2g", "2GB", and "2GiB" in powers of 1024. */
static int
read_size(const struct cli_command *command, const char *what, struct cli_given *g)
{
    char *end;
    const double value = strtod(g->text, &end);
    const size_t digits = strspn(g->text, "0123456789."); /* neither hexadecimal nor with an exponent */
    const bool giga = *end == 'G' || *end == 'g', mega = *end == 'M' || *end == 'm';
    const char *rest = giga || mega ? end + 1 : "?";
    const bool binary = strcasecmp(rest, "iB") == 0;
    const double step = binary ? 1024 : 1000;

    if (*g->text >= '0' && *g->text <= '9' && end == g->text + digits &&
        (binary || *rest == '\0' || strcasecmp(rest, "B") == 0) && value > 0 && value <= 1000000) {
        g->value.size = (uint64_t)(value * step * step * (giga ? step : 1));
        return NB_OK;
    }
    return cli_usage(command->name, "%s: '%s' is not a number followed by M or G, such as 300M or 4.5GB", what,
                     g->text);
}

static int
read_argument(const struct cli_command *command, const char *what, struct cli_given *g)
{
    switch (g->option->argument) {
    case ARG_NUMBER:
        return read_number(command, what, g);
    case ARG_REAL:
        return read_real(command, what, g);
    case ARG_SIZE:
        return read_size(command, what, g);
    case ARG_WORD:
        return read_word(command, what, g);
    case ARG_RECIPE:
        return check_recipes(command, what, g->text);
    case ARG_TYPE:
        return g->option->words != NULL ? read_listed_type(command, what, g)
                                        : cli_read_type(command, what, g->text, &g->value.type);
    default:
        return NB_OK;
    }
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

#define WRITES_TEXT IN(hash) /* to what -o names, and so also to "-" */

/* The arguments that are not read yet. */
struct rest {
    char **argv;
    int at, count;
};

/* Whether O, of which one counts, was given before with another argument. */
static bool
is_given_otherwise(const struct cli_line *line, const struct cli_option *o, const char *text)
{
    for (size_t i = 0; i < line->n_given && !o->repeats && text != NULL; i++)
        if (line->given[i].option->id == o->id && strcmp(line->given[i].text, text) != 0)
            return true;
    return false;
}

/* Adds O, whose argument is TEXT or, if that is NULL and there must be one, the next of REST. */
static int
add(struct cli_line *line, const struct cli_option *o, const char *what, char *text, struct rest *rest)
{
    struct cli_given *g = &line->given[line->n_given];

    if (o->argument == ARG_NONE && text != NULL)
        return cli_usage(line->command->name, "%s takes no argument", what);
    if (o->argument != ARG_NONE && text == NULL) {
        if (rest->at == rest->count)
            return cli_usage(line->command->name, "%s needs an argument: %s", what, o->placeholder);
        text = rest->argv[rest->at++];
    }
    if (is_given_otherwise(line, o, text))
        return cli_usage(line->command->name, "%s is given twice, with different arguments", what);
    if (o->id == OPT_OUTPUT && (o->commands & WRITES_TEXT) == 0 && text != NULL && strcmp(text, "-") == 0)
        return cli_usage(line->command->name,
                         "%s -: the standard output cannot be written to at any place; name a file", what);
    line->wants_help |= o->id == OPT_HELP;
    line->wants_version |= o->id == OPT_VERSION;
    *g = (struct cli_given){ .option = o, .text = text };
    line->n_given++;
    return read_argument(line->command, what, g);
}

/* "--name", "--name=ARGUMENT" */
static int
add_long(struct cli_line *line, char *typed, struct rest *rest)
{
    const struct cli_option *o;
    char what[SHOWN], *equals = strchr(typed, '=');
    const int code = find_long(line->command, typed, &o);

    if (code != NB_OK)
        return code;
    snprintf(what, sizeof what, "--%s", o->name);
    return add(line, o, what, equals == NULL ? NULL : equals + 1, rest);
}

/* "-j4", "-qj", "4": flags, of which the last may be an option with an argument */
static int
add_letters(struct cli_line *line, char *typed, struct rest *rest)
{
    int code = NB_OK;

    for (char *at = typed + 1; *at != '\0' && code == NB_OK && !line->wants_help && !line->wants_version; at++) {
        const struct cli_option *o = find_letter(line->command, *at);
        const char what[] = { '-', *at, '\0' };

        if (o == NULL)
            return unknown_letter(line->command, typed, *at);
        if (o->argument != ARG_NONE)
            return add(line, o, what, at[1] == '\0' ? NULL : at + 1, rest);
        code = add(line, o, what, NULL, rest);
    }
    return code;
}

/* Room for every option: a word has no more of them than letters. */
static struct cli_given *
new_given(int argc, char **argv)
{
    size_t n = 1;

    for (int i = 1; i < argc; i++)
        n += strlen(argv[i]);
    return calloc(n, sizeof(struct cli_given));
}

/* The order of llama-quantize, MODEL [OUTPUT] TYPE: says how it is written here. False if it is not that. */
static bool
is_positional_recipe(const struct cli_line *line, int *code)
{
    const char *last = line->operands[line->n_operands - 1];

    if (line->command != &cli_commands[CMD_quantize] || line->n_operands > 3 || cli_has(line, OPT_TYPE) ||
        nb_recipe_by_name(last) == NULL)
        return false;
    *code = line->n_operands == 2 ? cli_usage("quantize", "write 'nibble quantize %s -t %s'", line->operands[0], last)
                                  : cli_usage("quantize", "write 'nibble quantize %s -t %s -o %s'", line->operands[0],
                                              last, line->operands[1]);
    return true;
}

static int
check_operands(const struct cli_line *line)
{
    const struct cli_command *c = line->command;
    int code;

    if (line->n_operands < c->min_operands)
        return cli_usage(c->name, "%s", c->missing);
    if (line->n_operands > c->max_operands && is_positional_recipe(line, &code))
        return code;
    if (line->n_operands > c->max_operands)
        return cli_usage(c->name, "'%s' is one argument too many%s%s", line->operands[c->max_operands],
                         c->missing == NULL ? "" : ": ", c->missing == NULL ? "" : c->missing);
    return NB_OK;
}

int
cli_line_read(struct cli_line *line, const struct cli_command *command, int argc, char **argv)
{
    struct rest rest = { argv, 1, argc };
    bool options_end = false;
    int code = NB_OK;

    *line = (struct cli_line){ .command = command, .given = new_given(argc, argv), .operands = argv };
    if (line->given == NULL)
        return cli_fail_memory();
    while (rest.at < argc && code == NB_OK && !line->wants_help && !line->wants_version) {
        char *word = argv[rest.at++];

        if (options_end || word[0] != '-' || word[1] == '\0')
            argv[line->n_operands++] = word; /* never beyond what has been read */
        else if (strcmp(word, "--") == 0)
            options_end = true;
        else if (word[1] == '-')
            code = add_long(line, word, &rest);
        else
            code = add_letters(line, word, &rest);
    }
    if (code != NB_OK || line->wants_help || line->wants_version)
        return code;
    argv[line->n_operands] = NULL;
    return check_operands(line);
}

int
cli_line_find_models(struct cli_line *line)
{
    struct nb_error err;
    size_t n = 0;

    if (line->command->operand != ARG_MODEL)
        return NB_OK;
    line->found = calloc(line->n_operands + 1, sizeof *line->found);
    if (line->found == NULL)
        return cli_fail_memory();
    for (size_t i = 0; i < line->n_operands; i++) {
        char **operand = &line->operands[i];

        if (nb_exists(*operand) || !nb_is_hub_name(*operand) || nb_ends_with(*operand, ".gguf") ||
            nb_ends_with(*operand, ".safetensors") || nb_ends_with(*operand, ".json"))
            continue;
        if (nb_hub_find(*operand, &line->found[n], &err) != NB_OK)
            return cli_fail(&err);
        *operand = line->found[n++];
    }
    return NB_OK;
}

void
cli_line_free(struct cli_line *line)
{
    for (char **found = line->found; found != NULL && *found != NULL; found++)
        free(*found);
    free(line->found);
    free(line->given);
}

/* --- what was given --------------------------------------------------------------------------------------------- */

const struct cli_given *
cli_find(const struct cli_line *line, enum cli_option_id id)
{
    for (size_t i = line->n_given; i > 0; i--)
        if (line->given[i - 1].option->id == id)
            return &line->given[i - 1];
    return NULL;
}

bool
cli_has(const struct cli_line *line, enum cli_option_id id)
{
    return cli_find(line, id) != NULL;
}

char *
cli_text(const struct cli_line *line, enum cli_option_id id)
{
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? NULL : g->text;
}

uint32_t
cli_number(const struct cli_line *line, enum cli_option_id id, uint32_t otherwise)
{
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? otherwise : g->value.number;
}

double
cli_real(const struct cli_line *line, enum cli_option_id id, double otherwise)
{
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? otherwise : g->value.real;
}

uint64_t
cli_size(const struct cli_line *line, enum cli_option_id id, uint64_t otherwise)
{
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? otherwise : g->value.size;
}

unsigned
cli_word(const struct cli_line *line, enum cli_option_id id, unsigned otherwise)
{
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? otherwise : g->value.word;
}

enum nb_type
cli_float_type(const struct cli_line *line, enum cli_option_id id, enum nb_type otherwise)
{
    static const enum nb_type types[] = { NB_F16, NB_BF16, NB_F32 }; /* in the order of CLI_FLOAT_TYPES, twice */
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? otherwise : types[g->value.word % 3];
}

enum nb_type
cli_type(const struct cli_line *line, enum cli_option_id id, enum nb_type otherwise)
{
    const struct cli_given *g = cli_find(line, id);

    return g == NULL ? otherwise : g->value.type;
}
