/*
 * Text that may not be UTF-8, as llama.cpp's byte-level tokenizers take it: a byte
 * that begins no character becomes U+FFFD, and what is left is written anew.
 */
#ifndef NB_REPAIR_UTF8_H
#define NB_REPAIR_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * CLEAN receives the text; SEEN the same for a matcher that takes nothing but
 * UTF-8: with a private character for each surrogate, so that every place in one is
 * the same in the other. Both from malloc, of *OUT bytes. False when memory is out.
 */
bool nb_repair_utf8(const char *text, size_t length, char **clean, char **seen, size_t *out);

#endif
