#ifndef NB_UTF8_H
#define NB_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True if the LENGTH bytes at S are well-formed UTF-8 (no surrogates, no overlong forms). */
bool nb_utf8_valid(const char *s, size_t length);

#endif
