#include "formats/base/json.h"

#include "formats/base/file_in.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64
#define SMALL ((size_t)1 << 16) /* bytes: no error that a server sends is larger */

struct nb_json_span
nb_json_after_mark(struct nb_json_span text)
{
    if (text.length >= 3 && memcmp(text.at, "\xEF\xBB\xBF", 3) == 0)
        return (struct nb_json_span){ text.at + 3, text.length - 3 };
    return text;
}

/* What stands for the literal at P, of *LENGTH characters; NULL if there is none. */
static const char *
finite_literal(const char *p, const char *end, size_t *length)
{
    static const struct {
        const char *literal, *instead;
    } literals[] = { { "NaN", "null" }, { "Infinity", "1e308" } };

    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        *length = strlen(literals[i].literal);
        if ((size_t)(end - p) >= *length && memcmp(p, literals[i].literal, *length) == 0)
            return literals[i].instead;
    }
    return NULL;
}

/*
 * Python writes and reads NaN and Infinity, which JSON and jansson do not have: *TEXT, from malloc, is
 * replaced by a copy that has null and a number beyond any float instead. False if out of memory.
 */
static bool
make_finite(char **text, struct nb_json_span *span)
{
    const char *end = span->at + span->length, *instead;
    size_t n, at = 0;
    bool in_string = false;
    char *copy;

    if (strstr(span->at, "NaN") == NULL && strstr(span->at, "Infinity") == NULL) /* a NUL is invalid JSON anyway */
        return true;
    copy = malloc(span->length + span->length / 3 + 1);
    if (copy == NULL)
        return false;
    for (const char *p = span->at; p < end;) {
        if (in_string && *p == '\\' && p + 1 < end)
            copy[at++] = *p++;
        else if (*p == '"')
            in_string = !in_string;
        instead = in_string ? NULL : finite_literal(p, end, &n);
        if (instead == NULL) {
            copy[at++] = *p++;
            continue;
        }
        memcpy(copy + at, instead, strlen(instead));
        at += strlen(instead);
        p += n;
    }
    free(*text);
    *text = copy;
    *span = (struct nb_json_span){ copy, at };
    return true;
}

/* About the bytes that jansson takes for a value that C begins, or that follows it. */
static unsigned
cost_of(char c)
{
    return c == '{' ? 200 : c == ':' ? 110 : c == '[' ? 90 : c == ',' ? 50 : 0;
}

bool
nb_json_fits(struct nb_json_span text)
{
    const char *end = text.at + text.length;
    uint64_t cost = 0;
    bool in_string = false;

    for (const char *p = text.at; p < end; p++) {
        if (in_string && *p == '\\')
            p++;
        else if (*p == '"')
            in_string = !in_string;
        else if (!in_string)
            cost += cost_of(*p);
    }
    return cost <= NB_JSON_TREE_LIMIT;
}

/* Whether jansson had no memory, by what it says of a failure: a syntax error has a line number. */
static bool
is_memory(const json_error_t *why)
{
    return why->line < 1 || json_error_code(why) == json_error_out_of_memory;
}

/*
 * Parses TEXT. A token that jansson has no memory for is an invalid one to it, so what is invalid is looked at twice:
 * only what is so both times is.
 */
static json_t *
parse(struct nb_json_span text, size_t flags, json_error_t *why)
{
    json_t *tree = json_loadb(text.at, text.length, flags | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, why);

    return tree != NULL || is_memory(why)
               ? tree
               : json_loadb(text.at, text.length, flags | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, why);
}

enum nb_status
nb_json_load(const char *name, int flags, json_t **object, struct nb_error *err)
{
    char *text, what[NB_MISTAKEN];
    size_t length;
    struct nb_json_span span;
    json_error_t why;
    enum nb_status status = nb_file_load(name, NB_JSON_FILE_LIMIT, &text, &length, err);

    *object = NULL;
    if (status != NB_OK)
        return status;
    span = nb_json_after_mark((struct nb_json_span){ text, length });
    if (!make_finite(&text, &span)) {
        free(text);
        return nb_fail_memory(err);
    }
    if (!nb_json_fits(span)) {
        free(text);
        return nb_fail(err, NB_INPUT, "%s: has more values than such a file may have", name);
    }
    *object = parse(span, flags & NB_JSON_BIG_INTEGERS ? JSON_DECODE_INT_AS_REAL : 0, &why);
    if (*object == NULL ? nb_json_text_mistaken(span, what) : nb_json_mistaken(*object, what))
        status = nb_fail(err, NB_INPUT, "%s: not what it should be, but %s", name, what);
    free(text);
    if (status != NB_OK) {
        json_decref(*object);
        *object = NULL;
        return status;
    }
    if (*object == NULL && is_memory(&why))
        return nb_fail_memory(err);
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
 * checks the rest. *STOP receives the place of the fault.
 */
static const char *
find_end(const char *p, const char *end, const char **stop)
{
    char closers[MAX_DEPTH];
    size_t depth = 0;

    do {
        *stop = p = skip_space(p, end);
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

static const char *
skip_value(const char *p, const char *end)
{
    const char *stop;

    return find_end(p, end, &stop);
}

size_t
nb_json_fault(struct nb_json_span text)
{
    const char *end = text.at + text.length, *stop, *after = find_end(text.at, end, &stop);

    return (size_t)((after == NULL ? stop : skip_space(after, end)) - text.at);
}

bool
nb_json_text_mistaken(struct nb_json_span text, char what[NB_MISTAKEN])
{
    const char *first = skip_space(text.at, text.at + text.length);
    bool mistaken;
    json_t *tree;

    *what = '\0';
    if (first < text.at + text.length && *first == '[')
        return false;
    if (first == text.at + text.length || *first != '{')
        return nb_mistaken(text.at, text.length, text.length, what);
    tree = text.length > SMALL ? NULL : nb_json_tree(text, NULL);
    mistaken = nb_json_mistaken(tree, what);
    json_decref(tree);
    return mistaken;
}

void
nb_json_place(const char *text, const char *at, size_t *line, size_t *column)
{
    *line = *column = 1;
    for (; text < at; text++) {
        *column = *text == '\n' ? 1 : *column + 1;
        *line += *text == '\n';
    }
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
nb_json_tree(struct nb_json_span span, bool *no_memory)
{
    json_error_t why;
    json_t *tree;

    if (no_memory != NULL)
        *no_memory = false;
    if (!nb_json_fits(span))
        return NULL;
    tree = parse(span, JSON_DECODE_ANY, &why);
    if (no_memory != NULL)
        *no_memory = tree == NULL && is_memory(&why);
    return tree;
}

char *
nb_json_dump(const json_t *value, size_t flags)
{
    const size_t size = json_dumpb(value, NULL, 0, flags);
    char *text = size == 0 ? NULL : malloc(size + 1);

    if (text != NULL && json_dumpb(value, text, size, flags) != size) {
        free(text);
        text = NULL;
    }
    if (text != NULL)
        text[size] = '\0';
    return text;
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
    bool no_memory;

    if (span.length < 2 || *span.at != '"')
        return NULL;
    if (is_plain(span)) {
        *length = span.length - 2;
        return nb_arena_strndup(arena, span.at + 1, *length);
    }
    tree = nb_json_tree(span, &no_memory);
    arena->exhausted |= no_memory;
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
