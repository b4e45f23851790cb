#include "verify/tokenize/added_tokens.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/*
 * Sorted by first byte, then longest first. Tokens START[b] to START[b + 1]
 * begin with byte b.
 */
struct nb_added_tokens {
    const struct nb_added_token **sorted;
    size_t start[257];
};

static int
by_first_byte(const void *a, const void *b)
{
    const struct nb_added_token *x = *(const struct nb_added_token *const *)a;
    const struct nb_added_token *y = *(const struct nb_added_token *const *)b;
    const unsigned char p = (unsigned char)*x->text, q = (unsigned char)*y->text;

    if (p != q)
        return p < q ? -1 : 1;
    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return memcmp(x->text, y->text, x->length);
}

struct nb_added_tokens *
nb_added_tokens_new(const struct nb_added_token *token, size_t count)
{
    struct nb_added_tokens *t = calloc(1, sizeof *t);
    size_t i = 0;

    if (t == NULL || (t->sorted = calloc(count + 1, sizeof *t->sorted)) == NULL) {
        nb_added_tokens_free(t);
        return NULL;
    }
    for (i = 0; i < count; i++)
        t->sorted[i] = &token[i];
    qsort(t->sorted, count, sizeof *t->sorted, by_first_byte);
    i = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        t->start[byte] = i;
        while (i < count && (unsigned char)*t->sorted[i]->text == byte)
            i++;
    }
    t->start[256] = i;
    return t;
}

void
nb_added_tokens_free(struct nb_added_tokens *t)
{
    if (t != NULL)
        free(t->sorted);
    free(t);
}

bool
nb_fragments_add(struct nb_fragments *f, size_t at, size_t length, int32_t id)
{
    if (f->count == f->room) {
        const size_t room = f->room == 0 ? 16 : 2 * f->room;
        struct nb_fragment *grown = realloc(f->item, room * sizeof *grown);

        if (grown == NULL)
            return false;
        f->item = grown;
        f->room = room;
    }
    f->item[f->count++] = (struct nb_fragment){ at, length, id };
    return true;
}

/*
 * The token among FIRST to LAST, all of one length, that TEXT begins with, or
 * NULL; a binary search, as tokens of equal length are sorted.
 */
static const struct nb_added_token *
find_equal(const struct nb_added_token *const *sorted, size_t first, size_t last, const char *text)
{
    while (first < last) {
        const size_t middle = first + (last - first) / 2;
        const int order = memcmp(text, sorted[middle]->text, sorted[middle]->length);

        if (order == 0)
            return sorted[middle];
        if (order < 0)
            last = middle;
        else
            first = middle + 1;
    }
    return NULL;
}

/* Calls FOUND for every token that TEXT begins with, longest first, until it returns true. */
static const struct nb_added_token *
each_at(const struct nb_added_tokens *t, const char *text, size_t room,
        bool (*found)(void *context, const struct nb_added_token *token), void *context)
{
    const unsigned char byte = (unsigned char)*text;

    for (size_t i = t->start[byte], end; i < t->start[byte + 1]; i = end) {
        const uint32_t length = t->sorted[i]->length;
        const struct nb_added_token *token;

        for (end = i + 1; end < t->start[byte + 1] && t->sorted[end]->length == length;)
            end++;
        token = length > room ? NULL : find_equal(t->sorted, i, end, text);
        if (token != NULL && found(context, token))
            return token;
    }
    return NULL;
}

/* --- longest first ---------------------------------------------------------------------------------- */

struct present {
    const struct nb_added_token **token;
    size_t count, room;
    bool special, out_of_memory;
};

static bool
note_present(void *context, const struct nb_added_token *token)
{
    struct present *p = context;

    if (token->special && !p->special)
        return false;
    for (size_t i = 0; i < p->count; i++)
        if (p->token[i] == token)
            return false;
    if (p->count == p->room) {
        const size_t room = p->room == 0 ? 16 : 2 * p->room;
        const struct nb_added_token **grown = realloc(p->token, room * sizeof *grown);

        if (grown == NULL) {
            p->out_of_memory = true;
            return true;
        }
        p->token = grown;
        p->room = room;
    }
    p->token[p->count++] = token;
    return false;
}

static int
by_length(const void *a, const void *b)
{
    const struct nb_added_token *x = *(const struct nb_added_token *const *)a;
    const struct nb_added_token *y = *(const struct nb_added_token *const *)b;

    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Splits every plain text in IN at TOKEN. */
static bool
cut_at(const struct nb_added_token *token, const char *text, const struct nb_fragments *in, struct nb_fragments *out)
{
    bool good = true;

    out->count = 0;
    for (size_t i = 0; i < in->count && good; i++) {
        size_t at = in->item[i].at, left = in->item[i].length;
        const char *found;

        if (in->item[i].id >= 0) {
            good = nb_fragments_add(out, at, left, in->item[i].id);
            continue;
        }
        while (good && (found = memmem(text + at, left, token->text, token->length)) != NULL) {
            const size_t before = (size_t)(found - text) - at;

            if (before > 0)
                good = nb_fragments_add(out, at, before, -1);
            good = good && nb_fragments_add(out, at + before, token->length, (int32_t)token->id);
            at += before + token->length;
            left -= before + token->length;
        }
        if (good && left > 0)
            good = nb_fragments_add(out, at, left, -1);
    }
    return good;
}

bool
nb_added_tokens_longest_first(const struct nb_added_tokens *t, const char *text, size_t length, bool special,
                              struct nb_fragments *out)
{
    struct present p = { .special = special };
    struct nb_fragments other = { 0 };
    bool good;

    for (size_t i = 0; i < length && !p.out_of_memory; i++)
        each_at(t, text + i, length - i, note_present, &p);
    if (p.count > 0)
        qsort(p.token, p.count, sizeof *p.token, by_length);
    out->count = 0;
    good = !p.out_of_memory && (length == 0 || nb_fragments_add(out, 0, length, -1));
    for (size_t i = 0; i < p.count && good; i++) {
        struct nb_fragments before = *out;

        good = cut_at(p.token[i], text, &before, &other);
        *out = other;
        other = before;
    }
    free(other.item);
    free(p.token);
    return good;
}

/* --- leftmost ------------------------------------------------------------------------------------------- */

struct place {
    const char *text;
    size_t from, at, to;
    bool special;
};

/* Whether the character that ends before AT, or with FORWARD begins at AT, is part of a word. */
static bool
is_word(const struct place *p, size_t at, bool forward)
{
    utf8proc_int32_t c = -1;
    utf8proc_category_t category;

    if (!forward) {
        do {
            if (at == p->from)
                return false;
            at--;
        } while ((p->text[at] & 0xC0) == 0x80);
    }
    if (at >= p->to)
        return false;
    utf8proc_iterate((const utf8proc_uint8_t *)p->text + at, (utf8proc_ssize_t)(p->to - at), &c);
    category = utf8proc_category(c);
    return c == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ND) ||
           category == UTF8PROC_CATEGORY_PC;
}

static bool
fits(void *context, const struct nb_added_token *token)
{
    const struct place *p = context;

    if (token->special && !p->special)
        return false;
    return !token->single_word || (!is_word(p, p->at, false) && !is_word(p, p->at + token->length, true));
}

bool
nb_added_tokens_leftmost(const struct nb_added_tokens *t, const char *text, size_t from, size_t to, bool special,
                         struct nb_fragments *out)
{
    struct place p = { text, from, from, to, special };
    size_t plain = from; /* where the plain text that is not yet added begins */
    bool good = true;

    while (p.at < to && good) {
        const struct nb_added_token *token = each_at(t, text + p.at, to - p.at, fits, &p);
        size_t start = p.at, end;

        if (token == NULL) {
            p.at++;
            continue;
        }
        end = p.at + token->length;
        while (token->strip_left && start > plain && isspace((unsigned char)text[start - 1]))
            start--;
        while (token->strip_right && end < to && isspace((unsigned char)text[end]))
            end++;
        if (start > plain)
            good = nb_fragments_add(out, plain, start - plain, -1);
        good = good && nb_fragments_add(out, start, end - start, (int32_t)token->id);
        plain = p.at = end;
    }
    if (good && plain < to)
        good = nb_fragments_add(out, plain, to - plain, -1);
    return good;
}
