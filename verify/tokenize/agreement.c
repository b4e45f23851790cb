#include "verify/tokenize/agreement.h"

#include "formats/safetensors/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts in which tokenizers differ: spaces, digits, contractions, code, scripts of every kind. */
static const char *const plain[] = {
    "Once upon a time there was a little cat. She didn't like the rain, and I'm sure she'd rather sleep.",
    "spaces  and   more of them    and at the end ",
    "line one\nline two\n\nline four\r\n\ttab\t\ttabs",
    "1234567890 3.14159 1,000,000 0x7f 2nd 10:45",
    "for (int i = 0; i < n; i++) {\n\tx[i] >>= 3; /* half */\n}\n",
    "def f(x):\n    return {'a': [x**2, None]}\n\n\n# end",
    "https://example.org/path?q=a&b=%20#top user@example.com",
    "{\"key\": [1, 2.5e-3, true, null], \"text\": \"\\u00e9\"}",
    "x = \\frac{a+b}{2\\pi} \\sum_{i=0}^{n} i^2",
    "WE'LL SEE, You'Ve been WARNED... \"quoted\" -- (really?!)",
    "caf\u00E9 na\u00EFve \u00C5ngstr\u00F6m stra\u00DFe \u0130stanbul ma\u00F1ana",
    "\u041F\u0440\u0438\u0432\u0435\u0442, \u043C\u0438\u0440! \u0393\u03B5\u03B9\u03AC \u03C3\u03BF\u03C5",
    "\u4ECA\u5929\u5929\u6C14\u5F88\u597D\uFF0C\u6211\u4EEC\u53BB\u516C\u56ED\u3002",
    "\u65E5\u672C\u8A9E\u306E\u30C6\u30AD\u30B9\u30C8 \uD55C\uAD6D\uC5B4",
    "\u0645\u0631\u062D\u0628\u0627 \u05E9\u05DC\u05D5\u05DD",
    "\U0001F600 \u2764 \u20AC100 \u2192 \u00B1\u221E \u201Cquotes\u201D \u2014 \u2026",
};

/* A space at the beginning, characters that normal forms compose or replace, marks that some patterns keep with a letter. */
static const char *const rare[] = {
    " here is a space",
    "cafe\u0301 A\u030Angstro\u0308m",
    "\uFB01ne \u00BD \uFF21\uFF22",
    "\u0928\u092E\u0938\u094D\u0924\u0947 \u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35",
    "\u212B \u1112\u1161\u11AB",
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define CONTROL_TOKENS 32u /* so many of them are tried */

struct pair {
    struct nb_tokenizer *folder, *gguf;
    struct nb_ids a, b;
    size_t compared; /* texts */
    struct nb_error *err;
};

/* --- words ------------------------------------------------------------------------------------------------------ */

#define CONTEXT 3u      /* tokens that are shown before a difference, and from it on */
#define TOKEN_TEXT 100u /* bytes of a token and its brackets at most */

/* Appends up to COUNT tokens of T from token AT on to TEXT, each in brackets. */
static void
print_tokens(const struct nb_tokenized *t, size_t at, size_t count, char text[NB_DIFFERENCE_TEXT])
{
    size_t used = strlen(text);

    for (size_t i = at; i < t->ids->count && i < at + count && used + TOKEN_TEXT < NB_DIFFERENCE_TEXT; i++) {
        char piece[TOKEN_TEXT / 4 - 1];
        const size_t n = nb_token_bytes(t->tokenizer, t->ids->id[i], piece, sizeof piece);

        text[used++] = '[';
        for (size_t k = 0; k < n; k++) {
            const unsigned char c = (unsigned char)piece[k];

            used += (size_t)snprintf(text + used, NB_DIFFERENCE_TEXT - used, c < 0x20 || c >= 0x7F ? "\\x%02x" : "%c",
                                     c);
        }
        text[used++] = ']';
        text[used] = '\0';
    }
    if (at >= t->ids->count)
        snprintf(text + used, NB_DIFFERENCE_TEXT - used, "no more");
}

bool
nb_ids_differ(const struct nb_tokenized *a, const struct nb_tokenized *b, char what[NB_DIFFERENCE_TEXT])
{
    const struct nb_ids *x = a->ids, *y = b->ids;
    size_t at = 0, used;

    while (at < x->count && at < y->count && x->id[at] == y->id[at])
        at++;
    if (at == x->count && at == y->count)
        return false;
    *what = '\0';
    if (at > 0) {
        snprintf(what, NB_DIFFERENCE_TEXT, "after ");
        print_tokens(a, at - (at < CONTEXT ? at : CONTEXT), at < CONTEXT ? at : CONTEXT, what);
    }
    used = strlen(what);
    snprintf(what + used, NB_DIFFERENCE_TEXT - used, "%s%s has ", used > 0 ? " " : "", a->name);
    print_tokens(a, at, CONTEXT, what);
    used = strlen(what);
    snprintf(what + used, NB_DIFFERENCE_TEXT - used, ", but %s has ", b->name);
    print_tokens(b, at, CONTEXT, what);
    return true;
}

/* --- comparing -------------------------------------------------------------------------------------------------- */

/* Sets *DIFFERS, and WHAT, if TEXT becomes other tokens. A vocabulary that cannot say TEXT at all proves nothing. */
static enum nb_status
compare_text(struct pair *p, const char *text, bool *differs, char what[NB_DIFFERENCE_TEXT])
{
    const size_t length = strlen(text);
    enum nb_status status;

    p->a.count = p->b.count = 0;
    status = nb_tokenize(p->folder, text, length, NB_PARSE_SPECIAL, &p->a, p->err);
    if (status == NB_OK)
        status = nb_tokenize(p->gguf, text, length, NB_PARSE_SPECIAL, &p->b, p->err);
    if (nb_status_is(status, NB_INPUT)) {
        *differs = false;
        return NB_OK;
    }
    p->compared += status == NB_OK && p->a.count > 0;
    *differs = status == NB_OK && nb_ids_differ(&(struct nb_tokenized){ p->folder, &p->a, "tokenizer.json" },
                                                &(struct nb_tokenized){ p->gguf, &p->b, "llama.cpp" }, what);
    return status;
}

static enum nb_status
compare_list(struct pair *p, const char *const *texts, size_t n, bool *differs, char what[NB_DIFFERENCE_TEXT])
{
    enum nb_status status = NB_OK;

    *differs = false;
    for (size_t i = 0; i < n && status == NB_OK && !*differs; i++)
        status = compare_text(p, texts[i], differs, what);
    return status;
}

/* Each control token between words and at a line's end. */
static enum nb_status
compare_control_tokens(struct pair *p, bool *differs, char what[NB_DIFFERENCE_TEXT])
{
    const struct nb_vocabulary *v = nb_tokenizer_vocabulary(p->folder);
    enum nb_status status = NB_OK;

    *differs = false;
    for (uint32_t i = 0; i < v->n_added && i < CONTROL_TOKENS && status == NB_OK && !*differs; i++) {
        char text[256];

        snprintf(text, sizeof text, "user%.*s\nhello %.*s", (int)v->added[i].length, v->added[i].text,
                 (int)v->added[i].length, v->added[i].text);
        status = compare_text(p, text, differs, what);
    }
    return status;
}

static enum nb_status
compare(struct pair *p, enum nb_agreement *agreement, char what[NB_DIFFERENCE_TEXT])
{
    bool differs;
    enum nb_status status = compare_list(p, plain, COUNT(plain), &differs, what);

    if (status != NB_OK || differs || p->compared == 0) {
        *agreement = differs ? NB_DIFFERS : NB_AGREEMENT_UNKNOWN;
        return status;
    }
    if (status == NB_OK)
        status = compare_list(p, rare, COUNT(rare), &differs, what);
    if (status == NB_OK && !differs)
        status = compare_control_tokens(p, &differs, what);
    *agreement = differs ? NB_DIFFERS_IN_RARE_TEXT : NB_AGREES;
    return status;
}

/* --- the two tokenizers ------------------------------------------------------------------------------------------ */

enum nb_status
nb_agreement_of(const struct nb_source *source, enum nb_agreement *agreement, char what[NB_DIFFERENCE_TEXT],
                struct nb_error *err)
{
    struct nb_source as_gguf = *source; /* only the metadata are used */
    struct pair p = { .err = err };
    char *path = source->checkpoint == NULL ? NULL : nb_tokenizer_json_path(source->checkpoint);
    enum nb_status status;

    *agreement = NB_AGREEMENT_UNKNOWN;
    snprintf(what, NB_DIFFERENCE_TEXT, "there is no tokenizer.json, nor tekken.json");
    if (path == NULL)
        return NB_OK;
    snprintf(what, NB_DIFFERENCE_TEXT, "its vocabulary lacks the letters of all texts that nibble compares");
    as_gguf.checkpoint = NULL;
    status = nb_tokenizer_open(&p.folder, source, err);
    if (status == NB_OK)
        status = nb_tokenizer_open(&p.gguf, &as_gguf, err);
    if (status == NB_OK)
        status = compare(&p, agreement, what);
    if (nb_status_is(status, NB_INPUT)) { /* a tokenizer that nibble cannot follow */
        *agreement = NB_AGREEMENT_UNKNOWN;
        snprintf(what, NB_DIFFERENCE_TEXT, "%.*s", (int)NB_DIFFERENCE_TEXT - 1, err->message);
        status = NB_OK;
    }
    nb_tokenizer_close(p.folder);
    nb_tokenizer_close(p.gguf);
    nb_ids_free(&p.a);
    nb_ids_free(&p.b);
    return status;
}
