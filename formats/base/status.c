#include "formats/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum nb_status
nb_status_kind(enum nb_status status)
{
    switch (status) {
    case NB_EXISTS:
        return NB_USAGE;
    case NB_NOT_FOUND:
    case NB_UNSUPPORTED:
        return NB_INPUT;
    case NB_NO_SPACE:
    case NB_NO_MEMORY:
    case NB_INTERRUPTED:
        return NB_SYSTEM;
    case NB_OK:
    case NB_NO:
    case NB_USAGE:
    case NB_INPUT:
    case NB_SYSTEM:
    default:
        return status;
    }
}

bool
nb_status_is(enum nb_status status, enum nb_status kind)
{
    return nb_status_kind(status) == kind;
}

enum nb_status
nb_status_of_errno(int code, enum nb_status otherwise)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
        return NB_NO_SPACE;
    case ENOMEM:
        return NB_NO_MEMORY;
    case EMFILE:
    case ENFILE:
        return NB_SYSTEM;
    case ENOENT:
    case ENOTDIR:
        return nb_status_is(otherwise, NB_INPUT) ? NB_NOT_FOUND : otherwise;
    default:
        return otherwise;
    }
}

/* Cuts a UTF-8 sequence that vsnprintf left unfinished at the end of the buffer. */
static void
drop_partial_character(char *s)
{
    size_t n = strlen(s);
    size_t back = 0;

    while (back < 3 && back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0xC0)
        s[n - 1 - back] = '\0';
}

/* The bytes of the character at S, if it is a whole one that UTF-8 has (RFC 3629); 0 if not. */
static size_t
character_length(const char *s)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char first = (unsigned char)*s;
    const size_t n = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint32_t character = n < 2 ? first : first & (0x7Fu >> n);

    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xC0) != 0x80) /* also where the text ends */
            return 0;
        character = character << 6 | ((unsigned char)s[i] & 0x3Fu);
    }
    return n > 0 && character >= least[n] && character <= 0x10FFFF && (character & 0xFFFFF800) != 0xD800 ? n : 0;
}

/* Names in the sentence may come from a hostile file: what is no character, or controls a terminal, becomes '?'. */
static void
make_printable(char *s)
{
    while (*s != '\0') {
        const unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
        const size_t n = character_length(s);
        const bool control = c < 0x20 || c == 0x7F || (c == 0xC2 && next < 0xA0); /* C0, DEL, C1 */

        if (n == 0 || control)
            *s = '?';
        if (n == 2 && control)
            s[1] = '?';
        s += n == 0 ? 1 : n;
    }
}

enum nb_status
nb_fail(struct nb_error *err, enum nb_status status, const char *format, ...)
{
    va_list args;
    int written;

    if (err == NULL)
        return status;
    err->status = status;
    va_start(args, format);
    written = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (written < 0)
        err->message[0] = '\0';
    else if ((size_t)written >= sizeof err->message)
        drop_partial_character(err->message);
    make_printable(err->message);
    return status;
}

enum nb_status
nb_fail_memory(struct nb_error *err)
{
    return nb_fail(err, NB_NO_MEMORY, "out of memory");
}
