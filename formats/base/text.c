#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The bytes of the character at S, of LENGTH at least 1, which goes to *CHARACTER; 0 if it is none. */
static size_t
take_character(const char *s, size_t length, uint32_t *character)
{
    utf8proc_int32_t c;
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, length > 4 ? 4 : (utf8proc_ssize_t)length,
                                                &c);

    *character = n < 1 ? (unsigned char)*s : (uint32_t)c;
    return n < 1 ? 0 : (size_t)n;
}

/* C1 controls, separators of lines, and marks that turn the order of what follows around (Unicode's Bidi_Control). */
static bool
is_treacherous(uint32_t c)
{
    return (c >= 0x80 && c < 0xA0) || c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

size_t
nb_show_character(const char *text, size_t length, char shown[NB_SHOWN])
{
    uint32_t c;
    const size_t n = take_character(text, length, &c);

    if (c == '\n')
        strcpy(shown, "\\n");
    else if (n == 0 || c < 0x20 || c == 0x7F)
        snprintf(shown, NB_SHOWN, "\\x%02X", (unsigned)c);
    else if (is_treacherous(c))
        snprintf(shown, NB_SHOWN, "\\u{%X}", (unsigned)c);
    else
        memcpy(shown, text, n), shown[n] = '\0';
    return n == 0 ? 1 : n;
}

void
nb_show(char *to, size_t size, const char *text, size_t length)
{
    char shown[NB_SHOWN];
    size_t at = 0, n;

    for (size_t i = 0; i < length && at < size; at += n) {
        i += nb_show_character(text + i, length - i, shown);
        n = strlen(shown);
        if (at + n >= size)
            break;
        memcpy(to + at, shown, n);
    }
    to[at < size ? at : size - 1] = '\0';
}

const char *
nb_scaled(char *text, size_t size, double value, const char *unit)
{
    static const char *const prefixes[] = { "", "k", "M", "G", "T", "P", "E" };
    size_t i = 0;

    while (value >= 999.5 && i + 1 < sizeof prefixes / sizeof prefixes[0]) {
        value /= 1000;
        i++;
    }
    snprintf(text, size,
             i == 0 || value >= 99.95 ? "%.0f %s%s"
             : value >= 9.995         ? "%.1f %s%s"
                                      : "%.2f %s%s",
             value, prefixes[i], unit);
    return text;
}

bool
nb_utf8_valid(const char *s, size_t length)
{
    while (length > 0) {
        uint32_t character;
        const size_t n = (unsigned char)*s < 0x80 ? 1 : take_character(s, length, &character);

        if (n == 0)
            return false;
        s += n;
        length -= n;
    }
    return true;
}

char *
nb_utf8_repaired(const char *text)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    const size_t length = strlen(text);
    char *clean = malloc(3 * length + 1), *to = clean;

    for (size_t at = 0, n; clean != NULL && at < length; at += n) {
        uint32_t character;

        n = take_character(text + at, length - at, &character);
        memcpy(to, n == 0 ? replacement : text + at, n == 0 ? 3 : n);
        to += n == 0 ? 3 : n;
        n = n == 0 ? 1 : n;
    }
    if (clean != NULL)
        *to = '\0';
    return clean;
}

bool
nb_ends_with(const char *s, const char *end)
{
    const size_t a = strlen(s), b = strlen(end);

    return a >= b && memcmp(s + a - b, end, b) == 0;
}

size_t
nb_utf8_whole(const char *s, size_t length)
{
    for (size_t back = 1; back < 4 && back <= length; back++) {
        const unsigned char byte = (unsigned char)s[length - back];
        const size_t needed = byte >= 0xF5 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1;

        if (byte >= 0x80 && byte < 0xC0)
            continue;
        return needed > back ? length - back : length;
    }
    return length;
}

bool
nb_is_name(const char *s, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)s[i], before = i > 0 ? (unsigned char)s[i - 1] : 0;

        if (c < 0x20 || c == 0x7F || (before == 0xC2 && c < 0xA0)) /* C0, DEL, C1 */
            return false;
    }
    return length > 0 && nb_utf8_valid(s, length);
}

const char *
nb_base_name(const char *path)
{
    size_t at = strlen(path);

    while (at > 0 && path[at - 1] == '/')
        at--;
    while (at > 0 && path[at - 1] != '/')
        at--;
    return path + at;
}

char *
nb_joined(const char *a, const char *b)
{
    const size_t n = strlen(a), end = strlen(b) + 1;
    char *joined = malloc(n + end);

    if (joined != NULL) {
        memcpy(joined, a, n);
        memcpy(joined + n, b, end);
    }
    return joined;
}

bool
nb_close_text(FILE *f, char *const *text)
{
    const bool whole = ferror(f) == 0;

    return fclose(f) == 0 && whole && *text != NULL;
}
