/* Texts to be read whole: files, plain or gzip, or bytes that are in memory already. */
#ifndef NB_TEXT_FILE_H
#define NB_TEXT_FILE_H

#include "formats/base/status.h"

#include <stddef.h>

/*
 * The text of the file NAME ("-" is the standard input) in memory from malloc, with a NUL behind it. A
 * text of more than 1 GiB is refused.
 */
enum nb_status nb_text_file_load(const char *name, char **text, size_t *length, struct nb_error *err) NB_MUST_CHECK;

struct nb_text {
    const char *name;  /* of the file, or what to call BYTES */
    const char *bytes; /* NULL: the file is read */
    size_t length;
};

/*
 * *BYTES and *LENGTH receive the text, which must be UTF-8. *OWN receives what is to be freed after its
 * use: NULL, or the text.
 */
enum nb_status nb_text_open(const struct nb_text *text, const char **bytes, size_t *length, char **own,
                            struct nb_error *err) NB_MUST_CHECK;

#endif
