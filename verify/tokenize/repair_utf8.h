/*
 * Repairs text that may not be valid UTF-8 like llama.cpp's byte-level
 * tokenizers: an invalid byte becomes U+FFFD, everything else is re-encoded.
 */
#ifndef NB_REPAIR_UTF8_H
#define NB_REPAIR_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * CLEAN receives the text. SEEN receives the same for a matcher that accepts only
 * valid UTF-8: each surrogate is replaced by a private-use character of the same
 * length, so that offsets agree. Both are from malloc and have *OUT bytes. False
 * if out of memory.
 */
bool nb_repair_utf8(const char *text, size_t length, char **clean, char **seen, size_t *out);

#endif
