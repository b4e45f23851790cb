#include "cli/print.h"

#include "formats/base/file_out.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

/* --- texts ------------------------------------------------------------------------------------------------ */

void
cli_show(FILE *f, const char *text, size_t length)
{
    char shown[NB_SHOWN];

    for (size_t i = 0; i < length;) {
        i += nb_show_character(text + i, length - i, shown);
        fputs(shown, f);
    }
}

void
cli_show_lines(FILE *f, const char *text, size_t length)
{
    for (size_t i = 0, n; i < length; i += n) {
        for (n = 0; i + n < length && text[i + n] != '\n' && text[i + n] != '\t';)
            n++;
        cli_show(f, text + i, n);
        if (i + n < length)
            fputc(text[i + n++], f);
    }
}

int
cli_columns_of(const char *text, size_t length)
{
    char shown[NB_SHOWN];
    int columns = 0;

    for (size_t i = 0; i < length;) {
        const char *at = shown;
        utf8proc_int32_t c;

        i += nb_show_character(text + i, length - i, shown);
        while (*at != '\0') {
            at += utf8proc_iterate((const utf8proc_uint8_t *)at, -1, &c);
            columns += utf8proc_charwidth(c);
        }
    }
    return columns;
}

void
cli_print_piece(const char *piece, size_t length)
{
    char shown[NB_SHOWN];

    for (size_t i = 0, n; i < length; i += n) {
        n = nb_show_character(piece + i, length - i, shown);
        if (nb_utf8_valid(piece + i, n))
            cli_show(stdout, piece + i, n);
        else
            cli_print("<0x%02X>", (unsigned char)piece[i]);
    }
}

enum nb_status
cli_write_file(const char *name, const void *bytes, size_t size, struct nb_error *err)
{
    struct nb_file_out out;
    enum nb_status status;

    if (strcmp(name, "-") == 0) {
        fwrite(bytes, 1, size, stdout);
        return NB_OK; /* cli_finish tells what went wrong */
    }
    status = nb_out_create(&out, name, size, true, err);
    if (status != NB_OK)
        return status;
    status = nb_out_write(&out, 0, bytes, size, err);
    if (status == NB_OK)
        return nb_out_commit(&out, true, err);
    nb_out_abort(&out, err);
    return status;
}

void
cli_print_name(FILE *f, const char *text, int width)
{
    const char *from = text;
    size_t length = strlen(text);
    char shown[NB_SHOWN];

    if (cli_columns_of(text, length) > width) {
        while (length > 0 && cli_columns_of(from, length) > width - 2) {
            const size_t n = nb_show_character(from, length, shown);

            from += n;
            length -= n;
        }
        fputs("..", f);
        width -= 2;
    }
    cli_show(f, from, length);
    fprintf(f, "%*s", width > cli_columns_of(from, length) ? width - cli_columns_of(from, length) : 0, "");
}

void
cli_print_start(FILE *f, const char *text, int width)
{
    size_t length = strlen(text);
    const bool whole = cli_columns_of(text, length) <= width;

    while (!whole && length > 0 && cli_columns_of(text, length) > width - 3)
        do
            length--;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80);
    cli_show(f, text, length);
    fputs(whole ? "" : "...", f);
}

/* --- formats ---------------------------------------------------------------------------------------------- */

/* One conversion, "%-8.3lu": its flags, and what follows them. */
struct conversion {
    char flags[8];
    int width, precision; /* a precision of -1: none */
    char length[3];
    char kind;
};

/* The number at *AT, which moves behind it, or the next argument for '*'. */
static int
take_number(const char **at, va_list *args)
{
    int value = 0;

    if (**at == '*') {
        ++*at;
        return va_arg(*args, int);
    }
    while (isdigit((unsigned char)**at))
        value = 10 * value + (*(*at)++ - '0');
    return value;
}

/* Reads the conversion behind the '%' before AT; returns where it ends. */
static const char *
take_conversion(const char *at, struct conversion *c, va_list *args)
{
    size_t n = 0;

    memset(c, 0, sizeof *c);
    while (*at != '\0' && strchr("-+ #0", *at) != NULL && n < sizeof c->flags - 2)
        c->flags[n++] = *at++;
    c->width = take_number(&at, args);
    if (c->width < 0) { /* as C has it */
        c->flags[n] = '-';
        c->width = -c->width;
    }
    c->precision = -1;
    if (*at == '.') {
        at++;
        c->precision = take_number(&at, args);
    }
    for (n = 0; (*at == 'l' || *at == 'z') && n < sizeof c->length - 1; n++)
        c->length[n] = *at++;
    c->kind = *at;
    return *at == '\0' ? at : at + 1;
}

static void
print_text(FILE *f, const struct conversion *c, const char *text)
{
    const size_t length = c->precision < 0 ? strlen(text) : strnlen(text, (size_t)c->precision);
    const int pad = c->width - cli_columns_of(text, length);
    const bool left = strchr(c->flags, '-') != NULL;

    fprintf(f, "%*s", left || pad < 0 ? 0 : pad, "");
    cli_show(f, text, length);
    fprintf(f, "%*s", !left || pad < 0 ? 0 : pad, "");
}

/* The conversion C for fprintf, with LENGTH as its length. */
static const char *
format_of(const struct conversion *c, const char *length, char format[64])
{
    size_t n = (size_t)snprintf(format, 64, "%%%s", c->flags);

    if (c->width > 0)
        n += (size_t)snprintf(format + n, 64 - n, "%d", c->width);
    if (c->precision >= 0)
        n += (size_t)snprintf(format + n, 64 - n, ".%d", c->precision);
    snprintf(format + n, 64 - n, "%s%c", length, c->kind);
    return format;
}

static void
print_signed(FILE *f, const struct conversion *c, va_list *args)
{
    char format[64];
    intmax_t value;

    if (strcmp(c->length, "ll") == 0)
        value = va_arg(*args, long long);
    else if (strcmp(c->length, "l") == 0)
        value = va_arg(*args, long);
    else
        value = va_arg(*args, int);
    fprintf(f, format_of(c, "j", format), value);
}

static void
print_unsigned(FILE *f, const struct conversion *c, va_list *args)
{
    char format[64];
    uintmax_t value;

    if (strcmp(c->length, "ll") == 0)
        value = va_arg(*args, unsigned long long);
    else if (strcmp(c->length, "l") == 0)
        value = va_arg(*args, unsigned long);
    else if (strcmp(c->length, "z") == 0)
        value = va_arg(*args, size_t);
    else
        value = va_arg(*args, unsigned);
    fprintf(f, format_of(c, "j", format), value);
}

static void
print_conversion(FILE *f, const struct conversion *c, va_list *args)
{
    char format[64], letter;

    switch (c->kind) {
    case 's':
        print_text(f, c, va_arg(*args, const char *));
        break;
    case 'c':
        letter = (char)va_arg(*args, int);
        cli_show(f, &letter, 1);
        break;
    case 'd':
    case 'i':
        print_signed(f, c, args);
        break;
    case 'u':
    case 'x':
    case 'X':
        print_unsigned(f, c, args);
        break;
    case 'e':
    case 'f':
    case 'g':
        fprintf(f, format_of(c, "", format), va_arg(*args, double));
        break;
    case '%':
    default:
        fputc(c->kind, f);
        break;
    }
}

void
cli_print_list(FILE *f, const char *format, va_list args)
{
    struct conversion c;
    va_list rest;

    va_copy(rest, args);
    while (*format != '\0') {
        const size_t n = strcspn(format, "%");

        fwrite(format, 1, n, f);
        format += n;
        if (*format == '\0')
            break;
        format = take_conversion(format + 1, &c, &rest);
        print_conversion(f, &c, &rest);
    }
    va_end(rest);
}

void
cli_print_to(FILE *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_print_list(f, format, args);
    va_end(args);
}

void
cli_print(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cli_print_list(stdout, format, args);
    va_end(args);
}

/* --- terminals -------------------------------------------------------------------------------------------- */

bool
cli_is_terminal(FILE *f)
{
    const char *term = getenv("TERM");

    return isatty(fileno(f)) != 0 && (term == NULL || strcmp(term, "dumb") != 0);
}

int
cli_columns(FILE *f)
{
    struct winsize size;

    return ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void
cli_color(FILE *f, enum cli_color color)
{
    static const char *const codes[] = {
        [CLI_PLAIN] = "0", [CLI_BAD] = "31", [CLI_GOOD] = "32", [CLI_CARE] = "33", [CLI_FAINT] = "2"
    };
    const char *none = getenv("NO_COLOR");

    if (cli_is_terminal(f) && (none == NULL || *none == '\0'))
        fprintf(f, "\033[%sm", codes[color]);
}

void
cli_colored(FILE *f, enum cli_color color, const char *text)
{
    cli_color(f, color);
    fputs(text, f);
    cli_color(f, CLI_PLAIN);
}
