/* --help, from the tables of options.h. */
#ifndef NB_HELP_H
#define NB_HELP_H

#include "cli/options.h"

#include <stdio.h>

#define HELP_WIDTH 80 /* columns; no line is longer, unless a word is */

/*
 * Words of TEXT, which is the program's own, to F from column AT on, which the cursor is in; further lines begin in column
 * INDENT. "\n\n" ends a paragraph. Ends the last line.
 */
void cli_fill(FILE *f, const char *text, int at, int indent);

void cli_help_program(FILE *f);
void cli_help_command(FILE *f, const struct cli_command *command);

/* "-t, --type RECIPE" or "--pure", in TEXT. */
const char *cli_option_form(char *text, size_t size, const struct cli_option *option);
#define CLI_OPTION_TEXT 400
/* Its sentence, with what the other fields of the row say of it, in TEXT. */
const char *cli_option_text(char *text, size_t size, const struct cli_option *option);

#endif
