#include "verify/tokenize/added_tokens.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/*
 * An automaton of Aho and Corasick (Communications of the ACM 18, 1975) over the tokens read backwards. Run from the
 * end of a text to its beginning it says at every position which tokens begin there, in time that depends on neither
 * their number nor their lengths. Node 0 is the root; a node is a text that tokens end with.
 */
struct node {
    const struct nb_added_token *token; /* whose text this is; NULL: none */
    int32_t child, sibling;             /* longer texts, by the byte before; 0: none */
    int32_t fail;                       /* the longest other node that this text begins with */
    int32_t shorter;                    /* the longest token that this text begins with, other than TOKEN; 0: none */
    unsigned char byte;                 /* the first of the text */
};

struct nb_added_tokens {
    struct node *node;
    int32_t count, room;
    int32_t first[256]; /* the root's children by their byte; 0: none */
};

static int32_t
child_of(const struct nb_added_tokens *t, int32_t node, unsigned char byte)
{
    int32_t child = node == 0 ? t->first[byte] : t->node[node].child;

    while (child != 0 && t->node[child].byte != byte)
        child = t->node[child].sibling;
    return child;
}

/* The child of NODE for BYTE, made if there is none; 0 if out of memory. */
static int32_t
grown_child(struct nb_added_tokens *t, int32_t node, unsigned char byte)
{
    const int32_t known = child_of(t, node, byte), new = t->count;

    if (known != 0)
        return known;
    if (t->count == t->room) {
        struct node *grown = t->room > INT32_MAX / 2 ? NULL : realloc(t->node, 2 * (size_t)t->room * sizeof *grown);

        if (grown == NULL)
            return 0;
        t->node = grown;
        t->room *= 2;
    }
    t->node[new] = (struct node){ .byte = byte, .sibling = node == 0 ? 0 : t->node[node].child };
    if (node == 0)
        t->first[byte] = new;
    else
        t->node[node].child = new;
    t->count++;
    return new;
}

/* The node after NODE when BYTE is read. */
static int32_t
next_node(const struct nb_added_tokens *t, int32_t node, unsigned char byte)
{
    int32_t next;

    while ((next = child_of(t, node, byte)) == 0 && node != 0)
        node = t->node[node].fail;
    return next;
}

/* Sets the links of all nodes, shorter texts first; false if out of memory. */
static bool
link_nodes(struct nb_added_tokens *t)
{
    int32_t *queue = malloc((size_t)t->count * sizeof *queue), at = 0, end = 0;

    if (queue == NULL)
        return false;
    for (unsigned byte = 0; byte < 256; byte++)
        if (t->first[byte] != 0)
            queue[end++] = t->first[byte];
    for (; at < end; at++) {
        const struct node *node = &t->node[queue[at]];

        for (int32_t child = node->child; child != 0; child = t->node[child].sibling) {
            const int32_t fail = next_node(t, node->fail, t->node[child].byte);

            t->node[child].fail = fail;
            t->node[child].shorter = t->node[fail].token != NULL ? fail : t->node[fail].shorter;
            queue[end++] = child;
        }
    }
    free(queue);
    return true;
}

struct nb_added_tokens *
nb_added_tokens_new(const struct nb_added_token *token, size_t count)
{
    struct nb_added_tokens *t = calloc(1, sizeof *t);

    if (t == NULL || (t->node = calloc(64, sizeof *t->node)) == NULL) {
        nb_added_tokens_free(t);
        return NULL;
    }
    t->count = 1;
    t->room = 64;
    for (size_t i = 0; i < count; i++) {
        int32_t node = 0;

        for (uint32_t k = token[i].length; k-- > 0;) {
            node = grown_child(t, node, (unsigned char)token[i].text[k]);
            if (node == 0) {
                nb_added_tokens_free(t);
                return NULL;
            }
        }
        if (node != 0 && t->node[node].token == NULL)
            t->node[node].token = &token[i];
    }
    if (!link_nodes(t)) {
        nb_added_tokens_free(t);
        return NULL;
    }
    return t;
}

void
nb_added_tokens_free(struct nb_added_tokens *t)
{
    if (t != NULL)
        free(t->node);
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
 * Adds the places of TEXT from FROM to TO where tokens begin, from the last to the first; the id of a place is the
 * node of the longest of them. False if out of memory.
 */
static bool
find_places(const struct nb_added_tokens *t, const char *text, size_t from, size_t to, struct nb_fragments *places)
{
    int32_t node = 0;

    for (size_t at = to; at-- > from;) {
        node = next_node(t, node, (unsigned char)text[at]);
        if (node == 0)
            continue;
        if (!nb_fragments_add(places, at, 0, t->node[node].token != NULL ? node : t->node[node].shorter))
            return false;
        if (places->item[places->count - 1].id == 0)
            places->count--;
    }
    return true;
}

/* --- longest first ---------------------------------------------------------------------------------- */

/* Whether the token at place A is cut out of the text before that at B. */
static bool
comes_before(const struct nb_added_tokens *t, const struct nb_fragment *a, const struct nb_fragment *b)
{
    const struct nb_added_token *x = t->node[a->id].token, *y = t->node[b->id].token;

    if (x->length != y->length)
        return x->length > y->length;
    return x->id != y->id ? x->id < y->id : a->at < b->at;
}

/* Moves the place at the root of the heap of COUNT places, which may be too far up, down to where it belongs. */
static void
sink(const struct nb_added_tokens *t, struct nb_fragment *heap, size_t count, size_t i)
{
    const struct nb_fragment place = heap[i];

    for (size_t child = 2 * i + 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && comes_before(t, &heap[child + 1], &heap[child]))
            child++;
        if (!comes_before(t, &heap[child], &place))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = place;
}

/* NODE, or the next shorter token that may be found at its place; 0: none. */
static int32_t
allowed(const struct nb_added_tokens *t, int32_t node, bool special)
{
    while (node != 0 && t->node[node].token->special && !special)
        node = t->node[node].shorter;
    return node;
}

/*
 * Cuts the tokens at PLACES, a heap, out of the text: TAKEN has a byte for each of the text's, and those of tokens
 * become 1. As no token is longer than those before it, one overlaps them only with its first or its last byte.
 */
static bool
take_longest(const struct nb_added_tokens *t, struct nb_fragments *places, bool special, unsigned char *taken,
             struct nb_fragments *out)
{
    while (places->count > 0) {
        struct nb_fragment *top = &places->item[0];
        const struct nb_added_token *token = t->node[top->id].token;
        const size_t at = top->at, length = token->length;
        int32_t other = 0;

        if (!taken[at] && !taken[at + length - 1]) {
            if (!nb_fragments_add(out, at, length, (int32_t)token->id))
                return false;
            memset(taken + at, 1, length);
        } else if (!taken[at]) {
            other = allowed(t, t->node[top->id].shorter, special);
        }
        if (other != 0)
            top->id = other;
        else
            *top = places->item[--places->count];
        sink(t, places->item, places->count, 0);
    }
    return true;
}

static int
by_place(const void *a, const void *b)
{
    const size_t x = ((const struct nb_fragment *)a)->at, y = ((const struct nb_fragment *)b)->at;

    return x < y ? -1 : x > y;
}

/* TOKENS, in any order, and between them the plain parts of a text of LENGTH bytes. */
static bool
with_plain(struct nb_fragments *tokens, size_t length, struct nb_fragments *out)
{
    size_t at = 0;
    bool good = true;

    if (tokens->count > 0)
        qsort(tokens->item, tokens->count, sizeof *tokens->item, by_place);
    for (size_t i = 0; i < tokens->count && good; i++) {
        const struct nb_fragment *f = &tokens->item[i];

        good = (f->at == at || nb_fragments_add(out, at, f->at - at, -1)) &&
               nb_fragments_add(out, f->at, f->length, f->id);
        at = f->at + f->length;
    }
    return good && (at == length || nb_fragments_add(out, at, length - at, -1));
}

bool
nb_added_tokens_longest_first(const struct nb_added_tokens *t, const char *text, size_t length, bool special,
                              struct nb_fragments *out)
{
    struct nb_fragments places = { 0 }, tokens = { 0 };
    unsigned char *taken = NULL;
    size_t n = 0;
    bool good = find_places(t, text, 0, length, &places);

    out->count = 0;
    for (size_t i = 0; i < places.count; i++) {
        places.item[n] = places.item[i];
        places.item[n].id = allowed(t, places.item[n].id, special);
        n += places.item[n].id != 0;
    }
    places.count = n;
    for (size_t i = n / 2; i-- > 0;)
        sink(t, places.item, n, i);
    if (good && n > 0)
        good = (taken = calloc(length, 1)) != NULL && take_longest(t, &places, special, taken, &tokens);
    good = good && with_plain(&tokens, length, out);
    free(taken);
    free(tokens.item);
    free(places.item);
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
fits(const struct place *p, const struct nb_added_token *token)
{
    if (token->special && !p->special)
        return false;
    return !token->single_word || (!is_word(p, p->at, false) && !is_word(p, p->at + token->length, true));
}

/* The longest token that begins at P, NODE or a shorter one, and fits there; NULL if there is none. */
static const struct nb_added_token *
fitting(const struct nb_added_tokens *t, const struct place *p, int32_t node)
{
    while (node != 0 && !fits(p, t->node[node].token))
        node = t->node[node].shorter;
    return node == 0 ? NULL : t->node[node].token;
}

bool
nb_added_tokens_leftmost(const struct nb_added_tokens *t, const char *text, size_t from, size_t to, bool special,
                         struct nb_fragments *out)
{
    struct place p = { text, from, from, to, special };
    struct nb_fragments places = { 0 };
    size_t plain = from; /* where the plain text that is not yet added begins */
    bool good = find_places(t, text, from, to, &places);

    for (size_t i = places.count; i-- > 0 && good;) {
        const struct nb_added_token *token;
        size_t start = p.at = places.item[i].at, end;

        token = p.at < plain ? NULL : fitting(t, &p, places.item[i].id);
        if (token == NULL)
            continue;
        end = p.at + token->length;
        while (token->strip_left && start > plain && isspace((unsigned char)text[start - 1]))
            start--;
        while (token->strip_right && end < to && isspace((unsigned char)text[end]))
            end++;
        if (start > plain)
            good = nb_fragments_add(out, plain, start - plain, -1);
        good = good && nb_fragments_add(out, start, end - start, (int32_t)token->id);
        plain = end;
    }
    if (good && plain < to)
        good = nb_fragments_add(out, plain, to - plain, -1);
    free(places.item);
    return good;
}
