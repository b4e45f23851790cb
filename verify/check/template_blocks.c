/*
 * Tags: Jinja's documentation, and the extensions that transformers and llama.cpp know
 * ("generation", "break", "continue").
 */
#include "verify/check/template_blocks.h"

#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 256u /* of blocks inside one another; llama.cpp's interpreter recurses, too */
#define SHOWN 24       /* bytes of a tag's name in a sentence */

static const char *const block_tags[] = { "for",  "if",         "macro",      "call", "filter", "set", "block",
                                          "with", "autoescape", "generation", "raw",  "trans",  NULL };

/* A part of the text. */
struct part {
    const char *text;
    size_t size;
};

struct scan {
    const char *text;
    size_t size, at;
    struct part open[MAX_DEPTH]; /* the names of the blocks that are open */
    size_t depth;
    char *fault;
};

static bool
is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool
is(struct part p, const char *word)
{
    return p.size == strlen(word) && memcmp(p.text, word, p.size) == 0;
}

static int
shown(struct part p)
{
    return p.size < SHOWN ? (int)p.size : SHOWN;
}

/* Where TWO characters occur next, from AT on; the size of the text if nowhere. */
static size_t
find(const struct scan *s, size_t at, const char *two)
{
    while (at + 1 < s->size && (s->text[at] != two[0] || s->text[at + 1] != two[1]))
        at++;
    return at + 1 < s->size ? at : s->size;
}

/* The end of an expression or a tag from AT on: the two characters CLOSE outside of strings and brackets. */
static size_t
find_close(const struct scan *s, size_t at, const char *close)
{
    size_t brackets = 0;
    char quote = '\0';

    for (; at + 1 < s->size; at++) {
        const char c = s->text[at];

        if (quote != '\0') {
            if (c == '\\')
                at++;
            else if (c == quote)
                quote = '\0';
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '(' || c == '[' || c == '{') {
            brackets++;
        } else if (brackets > 0) {
            brackets -= c == ')' || c == ']' || c == '}';
        } else if (c == close[0] && s->text[at + 1] == close[1]) {
            return at;
        }
    }
    return s->size;
}

static bool
not_closed(struct scan *s, size_t at)
{
    snprintf(s->fault, NB_TEMPLATE_FAULT, "'%.2s' at byte %zu is not closed", s->text + at, at);
    return false;
}

/* The name at the beginning of a tag, after the dash and spaces; the rest goes to *REST. */
static struct part
tag_name(struct part tag, struct part *rest)
{
    size_t from = 0, to;

    while (from < tag.size && !is_name(tag.text[from]))
        from++;
    for (to = from; to < tag.size && is_name(tag.text[to]);)
        to++;
    *rest = (struct part){ tag.text + to, tag.size - to };
    return (struct part){ tag.text + from, to - from };
}

static bool
begins_block(struct part name, struct part rest)
{
    if (is(name, "set")) { /* "set x = 1" is complete; "set x" and "set x | upper" have an end */
        const char *equal = memchr(rest.text, '=', rest.size), *filter = memchr(rest.text, '|', rest.size);

        return equal == NULL || (filter != NULL && filter < equal);
    }
    for (const char *const *b = block_tags; *b != NULL; b++)
        if (is(name, *b))
            return true;
    return false;
}

static bool
end_block(struct scan *s, struct part name, size_t at)
{
    const struct part ends = { name.text + 3, name.size - 3 };
    const struct part open = s->depth > 0 ? s->open[s->depth - 1] : (struct part){ "", 0 };

    if (open.size == ends.size && memcmp(open.text, ends.text, ends.size) == 0) {
        s->depth--;
        return true;
    }
    if (s->depth == 0)
        snprintf(s->fault, NB_TEMPLATE_FAULT, "'%.*s' at byte %zu ends nothing", shown(name), name.text, at);
    else
        snprintf(s->fault, NB_TEMPLATE_FAULT, "'%.*s' at byte %zu stands inside of '%.*s' at byte %zu", shown(name),
                 name.text, at, shown(open), open.text, (size_t)(open.text - s->text));
    return false;
}

static bool
begin_block(struct scan *s, struct part name)
{
    if (s->depth == MAX_DEPTH) {
        snprintf(s->fault, NB_TEMPLATE_FAULT, "more than %u blocks are inside one another", MAX_DEPTH);
        return false;
    }
    s->open[s->depth++] = name;
    return true;
}

/* Goes on to the tag {% endraw %}: nothing before it counts. */
static bool
skip_raw(struct scan *s, size_t begun)
{
    for (size_t at = find(s, s->at, "{%"); at < s->size; at = find(s, at + 2, "{%")) {
        const size_t end = find(s, at, "%}");
        struct part rest;

        if (end < s->size && is(tag_name((struct part){ s->text + at + 2, end - at - 2 }, &rest), "endraw")) {
            s->depth--;
            s->at = end + 2;
            return true;
        }
    }
    return not_closed(s, begun);
}

/* A tag that begins at s->at. */
static bool
read_tag(struct scan *s)
{
    const size_t begun = s->at, end = find_close(s, begun + 2, "%}");
    struct part name, rest;

    if (end == s->size)
        return not_closed(s, begun);
    name = tag_name((struct part){ s->text + begun + 2, end - begun - 2 }, &rest);
    s->at = end + 2;
    if (begins_block(name, rest))
        return begin_block(s, name) && (!is(name, "raw") || skip_raw(s, begun));
    if (name.size > 3 && memcmp(name.text, "end", 3) == 0)
        return end_block(s, name, begun);
    if ((is(name, "else") || is(name, "elif")) && s->depth == 0) {
        snprintf(s->fault, NB_TEMPLATE_FAULT, "'%.*s' at byte %zu stands in no block", shown(name), name.text, begun);
        return false;
    }
    return true;
}

/* What begins with a brace at s->at. */
static bool
read_braces(struct scan *s)
{
    const size_t begun = s->at;
    size_t end;

    switch (s->text[begun + 1]) {
    case '%':
        return read_tag(s);
    case '{':
        end = find_close(s, begun + 2, "}}");
        break;
    case '#':
        end = find(s, begun + 2, "#}");
        break;
    default:
        s->at++;
        return true;
    }
    s->at = end + 2;
    return end < s->size || not_closed(s, begun);
}

bool
nb_template_is_balanced(const char *text, size_t size, char fault[NB_TEMPLATE_FAULT])
{
    struct scan s = { .text = text, .size = size, .fault = fault };
    struct part open;

    while (s.at + 1 < size) {
        if (text[s.at] != '{')
            s.at++;
        else if (!read_braces(&s))
            return false;
    }
    if (s.depth == 0)
        return true;
    open = s.open[s.depth - 1];
    snprintf(fault, NB_TEMPLATE_FAULT, "'%.*s' at byte %zu has no end", shown(open), open.text,
             (size_t)(open.text - text));
    return false;
}
