/* Regular expressions, by PCRE2. */
#ifndef NB_REGEX_H
#define NB_REGEX_H

#include "formats/base/status.h"

#include <stdbool.h>

struct nb_regex;

/* Compiles PATTERN, which matches in any case; NULL and an error that says what is wrong with it and where. */
struct nb_regex *nb_regex_new(const char *pattern, struct nb_error *err);
/* True if REGEX matches anywhere in TEXT. Where memory is out it is false, and *OUT_OF_MEMORY becomes true. */
bool nb_regex_search(const struct nb_regex *regex, const char *text, bool *out_of_memory);
void nb_regex_free(struct nb_regex *regex);

/*
 * True if PATTERN, in any case, matches all of TEXT. For patterns of our own.
 * Sets *OUT_OF_MEMORY, and leaves it alone otherwise.
 */
bool nb_regex_is(const char *pattern, const char *text, bool *out_of_memory);

#endif
