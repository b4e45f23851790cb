/* Tests of text, and names of files made from others. */
#ifndef NB_TEXT_H
#define NB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* True if the LENGTH bytes at S are well-formed UTF-8 (no surrogates, no overlong forms). */
bool nb_utf8_valid(const char *s, size_t length);
/* How many of them are left without the beginning of a character at their end, whose other bytes may follow. */
size_t nb_utf8_whole(const char *s, size_t length);
/* True if they are valid as a name: not empty, UTF-8, no control characters, as names are printed on terminals. */
bool nb_is_name(const char *s, size_t length);
#define NB_SHOWN 16 /* room for one character as it is shown: "\u{10FFFF}" */
/*
 * The first character of the LENGTH bytes at TEXT, at least one, in a form that does no harm on a terminal, to SHOWN:
 * "\n" for a line feed, "\x1B" for other controls of ASCII and for a byte that is not UTF-8, "\u{202E}" for C1 controls,
 * separators of lines and marks that change the direction of text, and every other character as it is. Returns how many
 * bytes of TEXT it has.
 */
size_t nb_show_character(const char *text, size_t length, char shown[NB_SHOWN]);
/* The LENGTH bytes at TEXT in this form to TO, of SIZE bytes; what does not fit is left out. Ends with NUL. */
void nb_show(char *to, size_t size, const char *text, size_t length);
/* "1.23 GB" for a VALUE of 1.23e9 and the UNIT "B", to TEXT, of SIZE bytes, which is returned. */
const char *nb_scaled(char *text, size_t size, double value, const char *unit);
bool nb_ends_with(const char *s, const char *end);
/* PATH without the folders before its last part: what may go into files for others. "a/b/" is "b/". */
const char *nb_base_name(const char *path);
/* TEXT with U+FFFD for each byte that is not part of UTF-8, from malloc; NULL if out of memory. */
char *nb_utf8_repaired(const char *text);
/* A followed by B, from malloc; NULL if out of memory. */
char *nb_joined(const char *a, const char *b);

/*
 * Closes F, which open_memstream has made for *TEXT. False, and *TEXT is still to be freed, if memory was out for any of it:
 * fclose does not always say so.
 */
bool nb_close_text(FILE *f, char *const *text);

#endif
