/*
 * The code of a Jinja template, in the form in which patterns find in it what they look for: without the text and the
 * comments around it, escapes in strings decoded ('\x5f' is '_'), and strings that are put together one string
 * ('__cl' ~ 'ass__', and so with +, with nothing, and in lists and calls with a comma between).
 */
#ifndef NB_TEMPLATE_CODE_H
#define NB_TEMPLATE_CODE_H

#include "formats/base/status.h"

#include <stddef.h>

struct nb_template_code {
    char *code;    /* with strings, each between ' */
    char *numbers; /* strings left empty, and no underscores in numbers */
};

/* Takes the SIZE bytes at TEXT apart; with NB_OK both texts are from malloc and end with a NUL. */
enum nb_status nb_template_code(const char *text, size_t size, struct nb_template_code *out,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_template_code_free(struct nb_template_code *code);

#endif
