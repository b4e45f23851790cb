/* Unicode's normal forms, in linear time for every text. */
#ifndef NB_NORMAL_FORM_H
#define NB_NORMAL_FORM_H

#include "formats/tokenizer/vocabulary.h"

#include <stddef.h>

/*
 * TEXT, which must be UTF-8, in its normal form FORM, from malloc, with a NUL behind it; *OUT is its length. NULL if
 * out of memory. Needs 4 bytes for every character of the decomposed text, of which one of TEXT makes at most 18.
 */
char *nb_normal_form(enum nb_normal_form form, const char *text, size_t length, size_t *out);

#endif
