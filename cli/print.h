/*
 * What people read on the standard output and the standard error: all of it is printed here, so that no name or text
 * from a stranger's file can give orders to the terminal. What machines read is JSON, see json.h.
 */
#ifndef NB_PRINT_H
#define NB_PRINT_H

#include "formats/base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * Like printf to standard output. What %s inserts is shown as nb_show_character has it (formats/base/text.h), and widths
 * count columns, not bytes. The conversions are d, i, u, x, X, c, s, e, f, g and %, with l, ll and z.
 */
void cli_print(const char *format, ...) NB_PRINTF(1, 2);
/* The same to F. */
void cli_print_to(FILE *f, const char *format, ...) NB_PRINTF(2, 3);
void cli_print_list(FILE *f, const char *format, va_list args) NB_PRINTF(2, 0);
/* The text of a token, LENGTH bytes at PIECE, on standard output: bytes that are a part of a character as "<0xE2>". */
void cli_print_piece(const char *piece, size_t length);
/* The LENGTH bytes at TEXT as they are shown. */
void cli_show(FILE *f, const char *text, size_t length);
/* The same, but line feeds and tabs as they are. */
void cli_show_lines(FILE *f, const char *text, size_t length);
/* The columns that cli_show takes for them. */
int cli_columns_of(const char *text, size_t length);

/*
 * Writes the file NAME, which may exist, of SIZE bytes, whole or not at all; with "-" as NAME the bytes go to the standard
 * output, as they are.
 */
enum nb_status cli_write_file(const char *name, const void *bytes, size_t size, struct nb_error *err) NB_MUST_CHECK;
/* TEXT in WIDTH columns, filled with blanks; of one that takes more, its end after "..", as names differ in it. */
void cli_print_name(FILE *f, const char *text, int width);
/* TEXT in at most WIDTH columns: of one that takes more, its beginning before "...". */
void cli_print_start(FILE *f, const char *text, int width);

/* Whether F is a terminal that can move its cursor. */
bool cli_is_terminal(FILE *f);
/* Columns of the terminal F; 80 if it does not say. */
int cli_columns(FILE *f);

enum cli_color { CLI_PLAIN, CLI_BAD, CLI_GOOD, CLI_CARE, CLI_FAINT };
/*
 * What follows on F is in COLOR, until CLI_PLAIN. Does nothing unless F is such a terminal, nor if the environment
 * has NO_COLOR (no-color.org).
 */
void cli_color(FILE *f, enum cli_color color);
/* TEXT, which is the program's own, in COLOR. */
void cli_colored(FILE *f, enum cli_color color, const char *text);

#endif
