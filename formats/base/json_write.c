#include "formats/base/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define READ_INFINITY 1e308 /* what nb_json_load makes of it */

struct writer {
    char *text;
    size_t length, room;
    bool compact, failed;
};

static void
put(struct writer *w, const char *bytes, size_t n)
{
    if (w->length + n + 1 > w->room && !w->failed) {
        const size_t room = 2 * w->room + n + 256;
        char *grown = realloc(w->text, room);

        w->failed = grown == NULL;
        w->text = grown == NULL ? w->text : grown;
        w->room = grown == NULL ? w->room : room;
    }
    if (w->failed)
        return;
    memcpy(w->text + w->length, bytes, n);
    w->length += n;
    w->text[w->length] = '\0';
}

static void
put_text(struct writer *w, const char *text)
{
    put(w, text, strlen(text));
}

static void
put_line(struct writer *w, int level)
{
    if (w->compact)
        return;
    put_text(w, "\n");
    for (int i = 0; i < level; i++)
        put_text(w, "    ");
}

/* --- numbers ------------------------------------------------------------------------------------------------- */

/* Digits without a point, and where it belongs among them: 0.0012 is "12" and -2. */
struct decimal {
    char digits[32];
    int point;
};

static struct decimal
shortest(double v)
{
    struct decimal d = { .point = 0 };
    char text[64];
    size_t n = 0;

    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    for (const char *at = text; *at != 'e'; at++)
        if (*at >= '0' && *at <= '9' && n + 1 < sizeof d.digits)
            d.digits[n++] = *at;
    d.digits[n] = '\0';
    d.point = (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
    return d;
}

/* As Python's repr: with an exponent below 1e-4 and from 1e16 on. */
static void
put_real(struct writer *w, double v)
{
    const struct decimal d = shortest(fabs(v));
    const int n = (int)strlen(d.digits);
    char text[96];

    if (signbit(v))
        put_text(w, "-");
    if (v == 0)
        snprintf(text, sizeof text, "0.0");
    else if (d.point > 16 || d.point < -3)
        snprintf(text, sizeof text, "%.1s%s%se%c%02d", d.digits, n > 1 ? "." : "", d.digits + 1,
                 d.point > 0 ? '+' : '-', abs(d.point - 1));
    else if (d.point <= 0)
        snprintf(text, sizeof text, "0.%.*s%s", -d.point, "0000", d.digits);
    else if (n <= d.point)
        snprintf(text, sizeof text, "%s%.*s.0", d.digits, d.point - n, "0000000000000000");
    else
        snprintf(text, sizeof text, "%.*s.%s", d.point, d.digits, d.digits + d.point);
    put_text(w, text);
}

/* --- strings ------------------------------------------------------------------------------------------------- */

static void
put_character(struct writer *w, utf8proc_int32_t c)
{
    static const char escaped[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *at = c > 0 && c < 0x80 ? strchr(escaped, (int)c) : NULL;
    char text[16];

    if (at != NULL)
        snprintf(text, sizeof text, "\\%c", letters[at - escaped]);
    else if (c >= 0x20 && c < 0x7F)
        snprintf(text, sizeof text, "%c", (char)c);
    else if (c < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    else
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + (unsigned)(c - 0x10000) / 0x400,
                 0xDC00 + (unsigned)(c - 0x10000) % 0x400);
    put_text(w, text);
}

static void
put_string(struct writer *w, const char *s, size_t length)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)s, *end = at + length;

    put_text(w, "\"");
    while (at < end) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = utf8proc_iterate(at, end - at, &c);

        put_character(w, n > 0 ? c : 0xFFFD);
        at += n > 0 ? n : 1;
    }
    put_text(w, "\"");
}

/* --- values -------------------------------------------------------------------------------------------------- */

static void put_value(struct writer *w, const json_t *value, int level);

static void
put_object(struct writer *w, const json_t *object, int level)
{
    json_t *whole = (json_t *)(uintptr_t)object, *value; /* jansson's iterators take no constant */
    const char *key, *separator = "";

    put_text(w, "{");
    json_object_foreach(whole, key, value) {
        put_text(w, separator);
        put_line(w, level + 1);
        put_string(w, key, strlen(key));
        put_text(w, w->compact ? ":" : ": ");
        put_value(w, value, level + 1);
        separator = ",";
    }
    if (*separator != '\0')
        put_line(w, level);
    put_text(w, "}");
}

static void
put_array(struct writer *w, const json_t *array, int level)
{
    put_text(w, "[");
    for (size_t i = 0; i < json_array_size(array); i++) {
        put_text(w, i > 0 ? "," : "");
        put_line(w, level + 1);
        put_value(w, json_array_get(array, i), level + 1);
    }
    if (json_array_size(array) > 0)
        put_line(w, level);
    put_text(w, "]");
}

static void
put_infinity(struct writer *w, bool negative, int level)
{
    put_text(w, "{");
    put_line(w, level + 1);
    put_text(w, w->compact ? "\"__float__\":" : "\"__float__\": ");
    put_text(w, negative ? "\"-Infinity\"" : "\"Infinity\"");
    put_line(w, level);
    put_text(w, "}");
}

static void
put_value(struct writer *w, const json_t *value, int level)
{
    char text[32];

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_object(w, value, level);
        break;
    case JSON_ARRAY:
        put_array(w, value, level);
        break;
    case JSON_STRING:
        put_string(w, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        put_text(w, text);
        break;
    case JSON_REAL:
        if (fabs(json_real_value(value)) == READ_INFINITY)
            put_infinity(w, json_real_value(value) < 0, level);
        else
            put_real(w, json_real_value(value));
        break;
    default:
        put_text(w, json_is_null(value) ? "null" : json_is_true(value) ? "true" : "false");
        break;
    }
}

char *
nb_json_write(const json_t *value, enum nb_json_form form)
{
    struct writer w = { .compact = form == NB_JSON_COMPACT };

    put_value(&w, value, 0);
    if (!w.failed)
        return w.text;
    free(w.text);
    return NULL;
}
