/* Tests of text. */
#ifndef NB_TEXT_H
#define NB_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* True if the LENGTH bytes at S are well-formed UTF-8 (no surrogates, no overlong forms). */
bool nb_utf8_valid(const char *s, size_t length);
/* True if they are valid as a name: not empty, UTF-8, no control characters, as names are printed on terminals. */
bool nb_is_name(const char *s, size_t length);
bool nb_ends_with(const char *s, const char *end);

#endif
