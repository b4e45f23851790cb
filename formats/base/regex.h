/* Regular expressions, with PCRE2. */
#ifndef NB_REGEX_H
#define NB_REGEX_H

#include "formats/base/status.h"

#include <stdbool.h>

struct nb_regex;

/* Compiles PATTERN, case-insensitive. NULL on error; the message gives the reason and the position in PATTERN. */
struct nb_regex *nb_regex_new(const char *pattern, struct nb_error *err);
/* True if REGEX matches anywhere in TEXT. If out of memory, false, and *OUT_OF_MEMORY becomes true. */
bool nb_regex_search(const struct nb_regex *regex, const char *text, bool *out_of_memory);
void nb_regex_free(struct nb_regex *regex);

/*
 * True if PATTERN, case-insensitive, matches all of TEXT. For patterns in the
 * source code, which are valid. *OUT_OF_MEMORY is only ever set to true.
 */
bool nb_regex_is(const char *pattern, const char *text, bool *out_of_memory);

#endif
