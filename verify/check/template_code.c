#include "verify/check/template_code.h"

#include "formats/base/checked.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    const char *at, *end;
    char *code, *numbers; /* where the next character goes */
};

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && isspace((unsigned char)*p))
        p++;
    return p;
}

static void
put(struct reading *r, char c)
{
    *r->code++ = c;
}

/* The number of N digits in BASE at P, a byte or the lowest one of a character; -1 if there is none. */
static int
digits(const char *p, const char *end, int n, int base)
{
    char text[9] = "", *stop;
    long value;

    if (end - p < n)
        return -1;
    memcpy(text, p, (size_t)n);
    value = strtol(text, &stop, base);
    return isxdigit((unsigned char)*text) && stop == text + n ? (int)(value & 0xFF) : -1;
}

/* Puts the character that is written as an escape at r->at, a backslash, and goes on behind it. */
static void
take_escape(struct reading *r)
{
    static const struct {
        char letter;
        int n, base;
    } forms[] = { { 'x', 2, 16 }, { 'u', 4, 16 }, { 'U', 8, 16 } };
    const char *p = r->at + 1;
    int value = -1;

    for (size_t i = 0; i < sizeof forms / sizeof forms[0] && p < r->end && value < 0; i++) {
        if (*p != forms[i].letter)
            continue;
        value = digits(p + 1, r->end, forms[i].n, forms[i].base);
        r->at = value < 0 ? r->at : p + 1 + forms[i].n;
    }
    if (value < 0 && p < r->end && *p >= '0' && *p <= '7') {
        for (int n = 3; n > 0 && value < 0; n--) {
            value = digits(p, r->end, n, 8);
            r->at = value < 0 ? r->at : p + n;
        }
    }
    if (value < 0) {
        r->at = p < r->end ? p + 1 : r->end;
        value = p < r->end && *p != '\n' ? *p : ' ';
    }
    put(r, value == '\'' || value == '\0' ? '"' : (char)value);
}

/* Puts the string that begins at r->at with a quote, and those that are joined to it. */
static void
take_string(struct reading *r)
{
    *r->numbers++ = '\'';
    *r->numbers++ = '\'';
    put(r, '\'');
    for (const char *next;;) {
        const char quote = *r->at++;

        while (r->at < r->end && *r->at != quote) {
            if (*r->at == '\\')
                take_escape(r);
            else
                put(r, *r->at == '\'' ? '"' : *r->at), r->at++;
        }
        r->at += r->at < r->end;
        next = skip_space(r->at, r->end);
        if (next < r->end && (*next == '~' || *next == '+' || *next == ','))
            next = skip_space(next + 1, r->end);
        if (next >= r->end || (*next != '\'' && *next != '"'))
            break;
        r->at = next;
    }
    put(r, '\'');
}

/* Puts the code from r->at on, to the two characters CLOSE outside of strings. */
static void
take_code(struct reading *r, const char *close)
{
    while (r->at < r->end) {
        const char c = *r->at;

        if (c == '\'' || c == '"') {
            take_string(r);
            continue;
        }
        if (c == close[0] && r->end - r->at > 1 && r->at[1] == close[1])
            break;
        put(r, c == '\0' ? ' ' : c);
        if (c != '_' || !isdigit((unsigned char)r->at[-1]))
            *r->numbers++ = c == '\0' ? ' ' : c;
        r->at++;
    }
}

/* What begins with a brace at r->at: code and its braces, or a comment, which is skipped. */
static void
take_braces(struct reading *r)
{
    const char kind = r->at[1];

    if (kind == '#') {
        r->at += 2;
        while (r->at < r->end && (*r->at != '#' || r->end - r->at < 2 || r->at[1] != '}'))
            r->at++;
    } else if (kind == '{' || kind == '%') {
        put(r, '{');
        put(r, kind);
        *r->numbers++ = ' ';
        r->at += 2;
        take_code(r, kind == '{' ? "}}" : "%}");
        put(r, '\n');
        *r->numbers++ = '\n';
    } else {
        r->at++;
    }
}

enum nb_status
nb_template_code(const char *text, size_t size, struct nb_template_code *out, struct nb_error *err)
{
    struct reading r = { .at = text, .end = text + size };

    /* A string of one character, its end missing, is three: nothing else is longer than what it is made from. */
    r.code = out->code = nb_malloc(2 * (uint64_t)size + 4);
    r.numbers = out->numbers = nb_malloc(2 * (uint64_t)size + 4);
    if (out->code == NULL || out->numbers == NULL) {
        nb_template_code_free(out);
        return nb_fail_memory(err);
    }
    while (r.end - r.at > 1) {
        if (*r.at == '{')
            take_braces(&r);
        else
            r.at++;
    }
    *r.code = *r.numbers = '\0';
    return NB_OK;
}

void
nb_template_code_free(struct nb_template_code *code)
{
    free(code->code);
    free(code->numbers);
    *code = (struct nb_template_code){ 0 };
}
