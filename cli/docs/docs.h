/*
 * Manual pages and completions for shells, written from the tables of cli/options.h by
 * make_docs.c while the program is built.
 */
#ifndef NB_DOCS_H
#define NB_DOCS_H

#include "cli/options.h"

#include <stdio.h>

/* nibble(1) and nibble-COMMAND(1), in the man macros. DATE is YYYY-MM-DD. */
void docs_man_program(FILE *f, const char *date);
void docs_man_command(FILE *f, const struct cli_command *command, const char *date);

void docs_bash(FILE *f);
void docs_zsh(FILE *f);
void docs_fish(FILE *f);

/* --- what the completions of several shells share --- */

/* Every name of an option, one after the other: "-t", "--type". NAME has room for 64 bytes; false after the last. */
bool docs_next_name(const struct cli_option *option, unsigned *at, char *name);
/* The names of the types that can be written, and of the recipes, by numbers from 0 on; NULL after the last. */
const char *docs_type(unsigned *at);
const char *docs_recipe(unsigned *at, const char **description);

#endif
