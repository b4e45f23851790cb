#include "verify/tokenize/normal_form.h"

#include "formats/base/checked.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/*
 * utf8proc_map puts marks in order by exchanging neighbours, which takes minutes for some 100,000 marks in a row. So
 * only its tables and its composition are used, and the marks are sorted here.
 */

/* Decomposes TEXT to OUT, and returns the number of characters; with OUT NULL only that. */
static size_t
decompose(const char *text, size_t length, utf8proc_option_t options, utf8proc_int32_t *out)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    size_t n = 0;
    int boundary = 0;

    while (length > 0) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t used = utf8proc_iterate(at, length > 4 ? 4 : (utf8proc_ssize_t)length, &c);
        utf8proc_int32_t parts[32];
        const utf8proc_ssize_t k = used < 1 ? 0 : utf8proc_decompose_char(c, parts, 32, options, &boundary);

        if (used < 1) /* TEXT is UTF-8 */
            break;
        for (utf8proc_ssize_t i = 0; i < k && out != NULL; i++)
            out[n + (size_t)i] = parts[i];
        n += k > 0 ? (size_t)k : 0;
        at += used;
        length -= (size_t)used;
    }
    return n;
}

static unsigned
class_of(utf8proc_int32_t c)
{
    return (unsigned)utf8proc_get_property(c)->combining_class & 0xFF;
}

/* Sorts N marks by their combining class; equal ones keep their order. ROOM has as many. */
static void
sort_marks(utf8proc_int32_t *marks, size_t n, utf8proc_int32_t *room)
{
    size_t start[257] = { 0 };

    for (size_t i = 0; i < n; i++)
        start[class_of(marks[i]) + 1]++;
    for (unsigned k = 1; k < 257; k++)
        start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++)
        room[start[class_of(marks[i])]++] = marks[i];
    memcpy(marks, room, n * sizeof *marks);
}

/* Puts the marks after each character in canonical order (Unicode Standard, D109). */
static void
put_in_order(utf8proc_int32_t *c, size_t n, utf8proc_int32_t *room)
{
    for (size_t i = 0, end; i < n; i = end) {
        bool sorted = true;

        end = i + 1;
        if (class_of(c[i]) == 0)
            continue;
        for (; end < n && class_of(c[end]) != 0; end++)
            sorted &= class_of(c[end - 1]) <= class_of(c[end]);
        if (!sorted)
            sort_marks(c + i, end - i, room);
    }
}

char *
nb_normal_form(enum nb_normal_form form, const char *text, size_t length, size_t *out)
{
    static const utf8proc_option_t options[] = {
        [NB_NORMAL_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [NB_NORMAL_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [NB_NORMAL_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [NB_NORMAL_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    const utf8proc_option_t how = options[form];
    const size_t n = decompose(text, length, how, NULL);
    utf8proc_int32_t *c = nb_malloc((n + 1) * (uint64_t)sizeof *c), *room = nb_malloc((n + 1) * (uint64_t)sizeof *c);
    utf8proc_ssize_t size = -1;

    if (c != NULL && room != NULL) {
        decompose(text, length, how, c);
        put_in_order(c, n, room);
        size = utf8proc_reencode(c, (utf8proc_ssize_t)n, how);
    }
    free(room);
    if (size < 0) {
        free(c);
        return NULL;
    }
    *out = (size_t)size;
    return (char *)c;
}
