#include "formats/base/json.h"

#include "formats/base/file_in.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

enum nb_status
nb_json_load(const char *name, int flags, json_t **object, struct nb_error *err)
{
    char *text;
    size_t length;
    json_error_t why;
    enum nb_status status = nb_file_load(name, NB_JSON_FILE_LIMIT, &text, &length, err);

    *object = NULL;
    if (status != NB_OK)
        return status;
    *object = json_loadb(text, length,
                         JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES |
                             (flags & NB_JSON_BIG_INTEGERS ? JSON_DECODE_INT_AS_REAL : 0),
                         &why);
    free(text);
    if (*object == NULL && (why.line < 1 || json_error_code(&why) == json_error_out_of_memory))
        return nb_fail_memory(err); /* a syntax error would have a line number */
    if (*object == NULL)
        return nb_fail(err, NB_INPUT, "%s: not valid JSON at line %d, column %d: %s", name, why.line, why.column,
                       why.text);
    if (!json_is_object(*object)) {
        json_decref(*object);
        *object = NULL;
        return nb_fail(err, NB_INPUT, "%s: holds no JSON object", name);
    }
    return NB_OK;
}

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* P points to a quote; returns the byte after the closing quote, or NULL. */
static const char *
skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return NULL;
}

/*
 * Returns the byte after the value at P, or NULL. Only finds the end of the
 * value: brackets are matched and strings skipped; the decoder of the span
 * checks the rest.
 */
static const char *
skip_value(const char *p, const char *end)
{
    char closers[MAX_DEPTH];
    size_t depth = 0;

    do {
        p = skip_space(p, end);
        if (p >= end)
            return NULL;
        switch (*p) {
        case '"':
            p = skip_string(p, end);
            if (p == NULL)
                return NULL;
            break;
        case '{':
        case '[':
            if (depth == MAX_DEPTH)
                return NULL;
            closers[depth++] = *p++ == '{' ? '}' : ']';
            break;
        case '}':
        case ']':
            if (depth == 0 || closers[--depth] != *p++)
                return NULL;
            break;
        case ',':
        case ':':
            if (depth == 0)
                return NULL;
            p++;
            break;
        default: /* a number or a word */
            while (p < end && strchr(" \t\n\r,:]}[{\"", *p) == NULL)
                p++;
            if (p < end && *p == '\0')
                return NULL;
            break;
        }
    } while (depth > 0);
    return p;
}

bool
nb_json_value(struct nb_json_span text, struct nb_json_span *value)
{
    const char *end = text.at + text.length;
    const char *from = skip_space(text.at, end);
    const char *after = skip_value(from, end);

    if (after == NULL || skip_space(after, end) != end)
        return false;
    value->at = from;
    value->length = (size_t)(after - from);
    return true;
}

bool
nb_json_enter(struct nb_json_cursor *cursor, struct nb_json_span value)
{
    if (value.length < 2 || (*value.at != '{' && *value.at != '['))
        return false;
    cursor->close = *value.at == '{' ? '}' : ']';
    cursor->at = value.at + 1;
    cursor->end = value.at + value.length;
    cursor->first = true;
    return true;
}

int
nb_json_next(struct nb_json_cursor *cursor, struct nb_json_span *key, struct nb_json_span *value)
{
    const char *p = skip_space(cursor->at, cursor->end);

    if (p < cursor->end && *p == cursor->close && p + 1 == cursor->end)
        return 0;
    if (!cursor->first) {
        if (p >= cursor->end || *p != ',')
            return -1;
        p = skip_space(p + 1, cursor->end);
    }
    cursor->first = false;
    if (cursor->close == '}') {
        if (p >= cursor->end || *p != '"')
            return -1;
        key->at = p;
        p = skip_string(p, cursor->end);
        if (p == NULL)
            return -1;
        key->length = (size_t)(p - key->at);
        p = skip_space(p, cursor->end);
        if (p >= cursor->end || *p != ':')
            return -1;
        p = skip_space(p + 1, cursor->end);
    }
    value->at = p;
    p = skip_value(p, cursor->end);
    if (p == NULL || p == value->at)
        return -1;
    value->length = (size_t)(p - value->at);
    cursor->at = p;
    return 1;
}

json_t *
nb_json_tree(struct nb_json_span span)
{
    return json_loadb(span.at, span.length, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
}

/* Most strings are plain ASCII without escapes, and need no decoder. */
static bool
is_plain(struct nb_json_span span)
{
    for (size_t i = 1; i + 1 < span.length; i++) {
        unsigned char c = (unsigned char)span.at[i];

        if (c < 0x20 || c > 0x7E || c == '\\' || c == '"')
            return false;
    }
    return true;
}

char *
nb_json_string(struct nb_arena *arena, struct nb_json_span span, size_t *length)
{
    char *copy = NULL;
    json_t *tree;

    if (span.length < 2 || *span.at != '"')
        return NULL;
    if (is_plain(span)) {
        *length = span.length - 2;
        return nb_arena_strndup(arena, span.at + 1, *length);
    }
    tree = nb_json_tree(span);
    if (json_is_string(tree)) {
        *length = json_string_length(tree);
        copy = nb_arena_strndup(arena, json_string_value(tree), *length);
    }
    json_decref(tree);
    return copy;
}

bool
nb_json_is(struct nb_json_span span, const char *text)
{
    size_t n = strlen(text);

    return span.length == n + 2 && *span.at == '"' && memcmp(span.at + 1, text, n) == 0;
}

bool
nb_json_unsigned(struct nb_json_span span, uint64_t limit, uint64_t *out)
{
    uint64_t value = 0;

    if (span.length == 0 || span.length > 20 || (span.length > 1 && *span.at == '0'))
        return false;
    for (size_t i = 0; i < span.length; i++) {
        if (span.at[i] < '0' || span.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(span.at[i] - '0'), &value))
            return false;
    }
    *out = value;
    return value <= limit;
}
