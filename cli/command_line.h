/* A command line, checked against the tables of options.h before the command runs. */
#ifndef NB_COMMAND_LINE_H
#define NB_COMMAND_LINE_H

#include "cli/options.h"
#include "formats/elements/types.h"
#include "quantize/policy/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One option as it was given. */
struct cli_given {
    const struct cli_option *option;
    char *text;          /* its argument; NULL for a flag */
    union {              /* the argument's value */
        uint32_t number; /* ARG_NUMBER */
        unsigned word;   /* ARG_WORD: which of the words */
        double real;     /* ARG_REAL */
        uint64_t size;   /* ARG_SIZE */
        enum nb_type type;
    } value;
};

struct cli_line {
    const struct cli_command *command;
    struct cli_given *given; /* in their order */
    size_t n_given;
    char **operands; /* the other arguments, in their order; ends with NULL */
    size_t n_operands;
    char **found;                   /* operands in Hugging Face's cache, from malloc; ends with NULL */
    bool wants_help, wants_version; /* the rest of the line was then not looked at */
};

/*
 * Reads the arguments of COMMAND, ARGV[0] being its name; ARGV is rearranged and LINE points
 * into it. Returns an exit code; with anything but NB_OK the sentence is printed. Long options
 * may be shortened as long as they stay unambiguous, and "--" ends the options. LINE is to be
 * freed in any case.
 */
int cli_line_read(struct cli_line *line, const struct cli_command *command, int argc, char **argv);
/*
 * Puts the path in Hugging Face's cache in the place of each operand that names a model, "OWNER/NAME", and no file or
 * folder here. Returns an exit code, as above.
 */
int cli_line_find_models(struct cli_line *line);
void cli_line_free(struct cli_line *line);

/* The last option with this id; NULL if it was not given. */
const struct cli_given *cli_find(const struct cli_line *line, enum cli_option_id id);
bool cli_has(const struct cli_line *line, enum cli_option_id id);
/* Its argument, or OTHERWISE. */
char *cli_text(const struct cli_line *line, enum cli_option_id id);
uint32_t cli_number(const struct cli_line *line, enum cli_option_id id, uint32_t otherwise);
double cli_real(const struct cli_line *line, enum cli_option_id id, double otherwise);
uint64_t cli_size(const struct cli_line *line, enum cli_option_id id, uint64_t otherwise);
unsigned cli_word(const struct cli_line *line, enum cli_option_id id, unsigned otherwise);
/* The float type that the word of an OPT_DTYPE names. */
enum nb_type cli_float_type(const struct cli_line *line, enum cli_option_id id, enum nb_type otherwise);
enum nb_type cli_type(const struct cli_line *line, enum cli_option_id id, enum nb_type otherwise);

/* TEXT, the argument of WHAT ("--via"), as a type that can be written. Returns an exit code. */
int cli_read_type(const struct cli_command *command, const char *what, const char *text, enum nb_type *out);

/* Prints that there is no command NAME; returns the exit code. */
int cli_unknown_command(const char *name);

#endif
