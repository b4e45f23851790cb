#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    for (char *p = err->message; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    return status;
}

enum nb_status
nb_fail_memory(struct nb_error *err)
{
    return nb_fail(err, NB_SYSTEM, "out of memory");
}
