#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool
nb_utf8_valid(const char *s, size_t length)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s;

    while (length > 0) {
        utf8proc_int32_t codepoint;
        utf8proc_ssize_t n;

        if (*p < 0x80) {
            p++, length--;
            continue;
        }
        n = utf8proc_iterate(p, length > 4 ? 4 : (utf8proc_ssize_t)length, &codepoint);
        if (n < 1)
            return false;
        p += n;
        length -= (size_t)n;
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
        utf8proc_int32_t codepoint;
        const size_t left = length - at;
        const utf8proc_ssize_t size = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                       left > 4 ? 4 : (utf8proc_ssize_t)left, &codepoint);

        n = size < 1 ? 1 : (size_t)size;
        memcpy(to, size < 1 ? replacement : text + at, size < 1 ? 3 : n);
        to += size < 1 ? 3 : n;
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
