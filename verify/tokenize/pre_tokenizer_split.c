#define PCRE2_CODE_UNIT_WIDTH 8
#include "verify/tokenize/pre_tokenizer_split.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 8
#define MAX_PATTERN 4096

struct nb_splitter {
    pcre2_code *steps[MAX_STEPS];
    size_t n_steps;
};

/* GPT-2's pattern for words, used for "bytes+words". */
#define WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/*
 * Unicode's White_Space, the meaning of \s in the libraries for which the
 * patterns were written. PCRE2's \s also includes U+180E.
 */
#define SPACE "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

static bool
append(char *to, size_t *at, const char *text, size_t length)
{
    if (*at + length >= MAX_PATTERN)
        return false;
    memcpy(to + *at, text, length);
    *at += length;
    to[*at] = '\0';
    return true;
}

/* Replaces \s and \S in REGEX by explicit classes. */
static bool
spell_out_space(const char *regex, size_t length, char *out)
{
    size_t at = 0;
    bool in_class = false, good = true;

    for (size_t i = 0; i < length && good; i++) {
        const char *text = regex + i;
        size_t n = 1;

        if (regex[i] == '\\' && i + 1 < length) {
            n = 2;
            i++;
            if (regex[i] == 's')
                text = in_class ? SPACE : "[" SPACE "]";
            else if (regex[i] == 'S' && !in_class)
                text = "[^" SPACE "]";
            if (text != regex + i - 1)
                n = strlen(text);
        } else if (regex[i] == '[') {
            in_class = true;
        } else if (regex[i] == ']') {
            in_class = false;
        }
        good = append(out, &at, text, n);
    }
    return good;
}

static enum nb_status
add_step(struct nb_splitter *s, const char *regex, size_t length, struct nb_error *err)
{
    char pattern[MAX_PATTERN];
    PCRE2_SIZE at;
    int why = 0;
    pcre2_code *code;

    if (s->n_steps == MAX_STEPS || !spell_out_space(regex, length, pattern))
        return nb_fail(err, NB_UNSUPPORTED, "a pre-tokenizer has more steps, or longer ones, than are supported");
    code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &why, &at, NULL);
    if (code == NULL)
        return why == PCRE2_ERROR_HEAP_FAILED
                   ? nb_fail_memory(err)
                   : nb_fail(err, NB_INPUT, "a pre-tokenizer's pattern is no regular expression, at character %zu", at);
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without JIT, matching is slower */
    s->steps[s->n_steps++] = code;
    return NB_OK;
}

static enum nb_status
add_line(struct nb_splitter *s, const char *line, size_t length, struct nb_error *err)
{
    if (length > 6 && strncmp(line, "split:", 6) == 0)
        return add_step(s, line + 6, length - 6, err);
    if (strncmp(line, "digits\n", 7) == 0)
        return add_step(s, "\\p{N}", 5, err);
    if (strncmp(line, "bytes+words\n", 12) == 0)
        return add_step(s, WORDS, sizeof WORDS - 1, err);
    return NB_OK; /* "bytes" does not split */
}

enum nb_status
nb_splitter_new(struct nb_splitter **splitter, const char *steps, struct nb_error *err)
{
    struct nb_splitter *s = calloc(1, sizeof *s);
    enum nb_status status = NB_OK;

    if (s == NULL)
        return nb_fail_memory(err);
    for (const char *line = steps, *end; status == NB_OK && (end = strchr(line, '\n')) != NULL; line = end + 1)
        status = add_line(s, line, (size_t)(end - line), err);
    if (status != NB_OK)
        nb_splitter_free(s);
    else
        *splitter = s;
    return status;
}

void
nb_splitter_free(struct nb_splitter *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_steps; i++)
        pcre2_code_free(s->steps[i]);
    free(s);
}

static bool
add_cut(struct nb_cuts *cuts, size_t end)
{
    if (cuts->count == cuts->room) {
        const size_t room = cuts->room == 0 ? 256 : 2 * cuts->room;
        uint32_t *grown = realloc(cuts->end, room * sizeof *grown);

        if (grown == NULL)
            return false;
        cuts->end = grown;
        cuts->room = room;
    }
    cuts->end[cuts->count++] = (uint32_t)end;
    return true;
}

/* Splits one piece, TEXT from FROM to TO, at both ends of every match, without looking outside the piece. */
static enum nb_status
split_piece(const pcre2_code *code, pcre2_match_data *match, const char *text, size_t from, size_t to,
            struct nb_cuts *out, struct nb_error *err)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
    PCRE2_SPTR piece = (PCRE2_SPTR)(text + from);
    size_t at = 0, start = 0;
    bool good = true;

    while (good && at < to - from) {
        const int n = pcre2_match(code, piece, to - from, at, PCRE2_NO_UTF_CHECK, match, NULL);

        if (n == PCRE2_ERROR_NOMATCH)
            break;
        if (n < 0)
            return n == PCRE2_ERROR_NOMEMORY ? nb_fail_memory(err)
                                             : nb_fail(err, NB_INPUT,
                                                       "the pre-tokenizer gives up on this text: it "
                                                       "has a stretch that is too long to match");
        if (found[1] == found[0]) { /* the known patterns never match an empty text, but one of a hostile file might */
            at = found[1] + 1;
            while (at < to - from && (piece[at] & 0xC0) == 0x80)
                at++;
            continue;
        }
        if (found[0] > start)
            good = add_cut(out, from + found[0]);
        start = at = found[1];
        good = good && add_cut(out, from + start);
    }
    if (good && start < to - from)
        good = add_cut(out, to);
    return good ? NB_OK : nb_fail_memory(err);
}

static enum nb_status
split_by(const pcre2_code *code, const char *text, const struct nb_cuts *in, struct nb_cuts *out, struct nb_error *err)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    enum nb_status status = match == NULL ? nb_fail_memory(err) : NB_OK;
    size_t from = 0;

    out->count = 0;
    for (size_t i = 0; i < in->count && status == NB_OK; i++) {
        status = split_piece(code, match, text, from, in->end[i], out, err);
        from = in->end[i];
    }
    pcre2_match_data_free(match);
    return status;
}

enum nb_status
nb_split(const struct nb_splitter *s, const char *text, size_t length, struct nb_cuts *cuts, struct nb_error *err)
{
    struct nb_cuts other = { 0 };
    enum nb_status status = NB_OK;

    cuts->count = 0;
    if (length > 0 && !add_cut(cuts, length))
        return nb_fail_memory(err);
    for (size_t i = 0; i < s->n_steps && status == NB_OK; i++) {
        struct nb_cuts before = *cuts;

        status = split_by(s->steps[i], text, &before, &other, err);
        *cuts = other;
        other = before;
    }
    free(other.end);
    return status;
}
