#include "cli/side_by_side.h"

#include "cli/cli.h"
#include "formats/base/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NARROWEST 24 /* columns of a text that can be read */
#define GAP 3
#define MARK_BEFORE ">>"
#define MARK_AFTER "<<"

/* A text that is printed line by line. */
struct column {
    char *text; /* with its marks */
    size_t length, at;
};

static bool
begin(struct column *c, const struct cli_side *s)
{
    const size_t before = strlen(MARK_BEFORE), after = strlen(MARK_AFTER);
    char *to = c->text = malloc(s->length + before + after + 1);

    c->at = 0;
    c->length = s->length;
    if (to == NULL)
        return false;
    memcpy(to, s->text, s->from);
    to += s->from;
    if (s->from < s->length) {
        memcpy(to, MARK_BEFORE, before);
        memcpy(to + before, s->text + s->from, s->to - s->from);
        to += before + s->to - s->from;
        memcpy(to, MARK_AFTER, after);
        memcpy(to + after, s->text + s->to, s->length - s->to);
        c->length += before + after;
    }
    return true;
}

/* The next line of C, of at most WIDTH columns: from *FROM on, as many bytes as are returned. */
static size_t
next_line(struct column *c, int width, size_t *from)
{
    char shown[NB_SHOWN];
    size_t end = c->at, blank = 0;
    int columns = 0;

    *from = c->at;
    while (end < c->length && c->text[end] != '\n') {
        const size_t n = nb_show_character(c->text + end, c->length - end, shown);

        columns += cli_columns_of(c->text + end, n);
        if (columns > width)
            break;
        if (c->text[end] == ' ')
            blank = end;
        end += n;
    }
    if (columns > width && blank > *from)
        end = blank;
    /* The blank or the end of the line is not printed. */
    c->at = end + (end < c->length && (c->text[end] == '\n' || c->text[end] == ' '));
    return end - *from;
}

static bool
has_more(const struct column *columns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (columns[i].at < columns[i].length)
            return true;
    return false;
}

/* What is left of the texts, line by line. */
static void
print_lines(struct column *columns, size_t count, int width)
{
    while (has_more(columns, count)) {
        int owed = 0; /* blanks that are printed only if something follows */

        for (size_t i = 0; i < count; i++) {
            size_t from;
            const size_t n = next_line(&columns[i], width, &from);

            if (n > 0) {
                cli_print("%*s", owed, "");
                cli_show(stdout, columns[i].text + from, n);
                owed = 0;
            }
            owed += width + GAP - cli_columns_of(columns[i].text + from, n);
        }
        cli_print("\n");
    }
}

/* TITLE in at most WIDTH columns. */
static void
print_title(const char *title, int width)
{
    const int columns = cli_columns_of(title, strlen(title));

    cli_print_name(stdout, title, columns < width ? columns : width);
    cli_print("\n");
}

static void
print_beside(const struct cli_side *sides, struct column *columns, size_t count, int width)
{
    for (size_t i = 0; i + 1 < count; i++) {
        cli_print_name(stdout, sides[i].title, width);
        cli_print("%*s", GAP, "");
    }
    print_title(sides[count - 1].title, width);
    print_lines(columns, count, width);
}

static void
print_in_turn(const struct cli_side *sides, struct column *columns, size_t count, int width)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            cli_print("\n");
        print_title(sides[i].title, width);
        print_lines(&columns[i], 1, width);
    }
}

int
cli_side_by_side(const struct cli_side *sides, size_t count, int width)
{
    struct column *columns = calloc(count, sizeof *columns);
    const int each = (width - GAP * ((int)count - 1)) / (int)count;
    bool good = columns != NULL;

    for (size_t i = 0; i < count && good; i++)
        good = begin(&columns[i], &sides[i]);
    if (good && each >= NARROWEST)
        print_beside(sides, columns, count, each);
    else if (good)
        print_in_turn(sides, columns, count, width);
    for (size_t i = 0; columns != NULL && i < count; i++)
        free(columns[i].text);
    free(columns);
    return good ? NB_OK : cli_fail_memory();
}
