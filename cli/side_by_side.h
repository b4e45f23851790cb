/* Texts to compare, printed beside each other. */
#ifndef NB_SIDE_BY_SIDE_H
#define NB_SIDE_BY_SIDE_H

#include <stddef.h>

struct cli_side {
    const char *title;
    const char *text;
    size_t length;
    size_t from, to; /* what is marked, as >>this<<; FROM is LENGTH: nothing */
};

/*
 * COUNT texts in as many columns that are together WIDTH wide, broken at blanks, or one after the other where a column would
 * be too narrow to read. Printed to the standard output as cli_show prints. Returns an exit code.
 */
int cli_side_by_side(const struct cli_side *sides, size_t count, int width);

#endif
