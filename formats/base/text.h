/* Tests of text, and names of files made from others. */
#ifndef NB_TEXT_H
#define NB_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* True if the LENGTH bytes at S are well-formed UTF-8 (no surrogates, no overlong forms). */
bool nb_utf8_valid(const char *s, size_t length);
/* True if they are valid as a name: not empty, UTF-8, no control characters, as names are printed on terminals. */
bool nb_is_name(const char *s, size_t length);
bool nb_ends_with(const char *s, const char *end);
/* PATH without the folders before its last part: what may go into files for others. "a/b/" is "b/". */
const char *nb_base_name(const char *path);
/* TEXT with U+FFFD for each byte that is not part of UTF-8, from malloc; NULL if out of memory. */
char *nb_utf8_repaired(const char *text);
/* A followed by B, from malloc; NULL if out of memory. */
char *nb_joined(const char *a, const char *b);

#endif
