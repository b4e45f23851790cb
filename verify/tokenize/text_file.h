/* A text to be read whole: plain or gzip. */
#ifndef NB_TEXT_FILE_H
#define NB_TEXT_FILE_H

#include "formats/base/status.h"

#include <stddef.h>

/*
 * The text of the file NAME ("-" is the standard input) in memory from malloc, with a NUL behind it. A
 * text of more than 1 GiB is refused.
 */
enum nb_status nb_text_file_load(const char *name, char **text, size_t *length, struct nb_error *err) NB_MUST_CHECK;

#endif
