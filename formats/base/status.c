#include "formats/base/status.h"

#include "formats/base/text.h"

#include <errno.h>
#include <stdarg.h>
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
    case EIO: /* a disk or a network fails: it is not the file's fault */
    case ESTALE:
    case ETIMEDOUT:
    case EINTR:
        return NB_SYSTEM;
    case ENOENT:
    case ENOTDIR:
        return nb_status_is(otherwise, NB_INPUT) ? NB_NOT_FOUND : otherwise;
    default:
        return otherwise;
    }
}

bool
nb_errno_is_of_system(int code)
{
    return nb_status_is(nb_status_of_errno(code, NB_INPUT), NB_SYSTEM);
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

enum nb_status
nb_fail(struct nb_error *err, enum nb_status status, const char *format, ...)
{
    char text[NB_ERROR_SIZE];
    va_list args;
    int written;

    if (err == NULL)
        return status;
    err->status = status;
    va_start(args, format);
    written = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (written < 0)
        text[0] = '\0';
    else if ((size_t)written >= sizeof text)
        drop_partial_character(text);
    nb_show(err->message, sizeof err->message, text, strlen(text));
    return status;
}

enum nb_status
nb_fail_memory(struct nb_error *err)
{
    return nb_fail(err, NB_NO_MEMORY, "out of memory");
}
