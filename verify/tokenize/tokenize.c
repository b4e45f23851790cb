#include "verify/tokenize/tokenize.h"

#include "formats/base/checked.h"
#include "formats/base/text.h"
#include "formats/tokenizer/byte_level.h"
#include "verify/tokenize/added_tokens.h"
#include "verify/tokenize/bpe_merges.h"
#include "verify/tokenize/normal_form.h"
#include "verify/tokenize/pre_tokenizer_split.h"
#include "verify/tokenize/repair_utf8.h"
#include "verify/tokenize/text_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define META_SPACE "\xE2\x96\x81"
#define META_SPACE_LENGTH 3u

/* A merge: two symbols, its rank and the merged symbol. */
struct pair_slot {
    int32_t left, right; /* LEFT is -1 in a free slot */
    int32_t merged;
    uint32_t rank;
};

/*
 * A symbol identifies a piece of text during merging: numbers below the
 * vocabulary size are tokens, higher ones are texts that occur only in merges.
 */
struct nb_tokenizer {
    struct nb_vocabulary vocabulary;
    struct nb_arena arena;
    struct nb_text_index symbols; /* by their bytes */
    int32_t n_symbols;
    const char **other_text; /* texts of symbols that are not tokens */
    uint32_t *other_length;
    size_t other_room;
    struct pair_slot *pairs;
    size_t pair_mask;
    uint64_t pair_seed;       /* random, so that no vocabulary makes all pairs collide */
    int32_t byte_symbol[256]; /* -1: none */
    struct nb_splitter *splitter;
    struct nb_added_tokens *added, *added_normalized;
};

/* The state of one call. */
struct run {
    const struct nb_tokenizer *t;
    struct nb_ids *ids;
    struct nb_error *err;
    struct nb_merging merging;
    struct nb_cuts cuts;
    const char *text; /* the text of the pieces being merged */
};

/* --- building ------------------------------------------------------------------------------------------ */

static bool
grow_others(struct nb_tokenizer *t)
{
    const size_t room = t->other_room == 0 ? 256 : 2 * t->other_room;
    const char **texts = realloc(t->other_text, room * sizeof *texts);
    uint32_t *lengths;

    if (texts == NULL)
        return false;
    t->other_text = texts;
    lengths = realloc(t->other_length, room * sizeof *lengths);
    if (lengths == NULL)
        return false;
    t->other_length = lengths;
    t->other_room = room;
    return true;
}

/* The symbol of TEXT, added if it is new; -1 if out of memory. */
static int32_t
intern(struct nb_tokenizer *t, const char *text, size_t length)
{
    const size_t k = (size_t)t->n_symbols - t->vocabulary.size;
    const int32_t known = nb_text_index_find(&t->symbols, text, length);

    if (known >= 0)
        return known;
    text = nb_arena_strndup(&t->arena, text, length);
    if (text == NULL || t->n_symbols == INT32_MAX || (k == t->other_room && !grow_others(t)) ||
        nb_text_index_add(&t->symbols, text, length, t->n_symbols) < 0)
        return -1;
    t->other_text[k] = text;
    t->other_length[k] = (uint32_t)length;
    return t->n_symbols++;
}

/* Tokens are added from the last to the first: of several with the same text, llama.cpp uses the last. */
static enum nb_status
index_tokens(struct nb_tokenizer *t, struct nb_error *err)
{
    const struct nb_vocabulary *v = &t->vocabulary;

    if (!nb_text_index_new(&t->symbols, v->size))
        return nb_fail_memory(err);
    t->n_symbols = (int32_t)v->size;
    for (uint32_t i = v->size; i-- > 0;) {
        const char *text = v->tokens[i].text;
        size_t length = v->tokens[i].length;

        if (v->model == NB_VOCABULARY_BYTE_BPE) {
            char *bytes = nb_arena_alloc(&t->arena, length + 1);

            if (bytes == NULL)
                return nb_fail_memory(err);
            if (!nb_byte_level_decode(text, length, bytes, &length))
                continue; /* an added token, which is not produced by merges */
            text = bytes;
        }
        if (length > 0 && nb_text_index_add(&t->symbols, text, length, (int32_t)i) < 0)
            return nb_fail_memory(err);
    }
    return NB_OK;
}

static enum nb_status
find_bytes(struct nb_tokenizer *t, struct nb_error *err)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        const char raw = (char)byte;
        char name[8];

        if (t->vocabulary.model == NB_VOCABULARY_BYTE_BPE) {
            t->byte_symbol[byte] = intern(t, &raw, 1);
            if (t->byte_symbol[byte] < 0)
                return nb_fail_memory(err);
            continue;
        }
        snprintf(name, sizeof name, "<0x%02X>", byte);
        t->byte_symbol[byte] = nb_text_index_find(&t->symbols, name, 6);
        if (t->byte_symbol[byte] < 0 && t->vocabulary.model == NB_VOCABULARY_SCORES)
            t->byte_symbol[byte] = nb_text_index_find(&t->symbols, &raw, 1);
    }
    return NB_OK;
}

static struct pair_slot *
find_pair(const struct nb_tokenizer *t, int32_t left, int32_t right)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)XXH3_64bits_withSeed(&key, sizeof key, t->pair_seed) & t->pair_mask;

    while (t->pairs[i].left >= 0 && (t->pairs[i].left != left || t->pairs[i].right != right))
        i = (i + 1) & t->pair_mask;
    return &t->pairs[i];
}

/* Decodes one side of a merge to bytes in OUT; false if it is not valid. */
static bool
merge_side(const struct nb_tokenizer *t, const char *text, size_t length, char *out, size_t *n)
{
    if (t->vocabulary.model == NB_VOCABULARY_BYTE_BPE)
        return nb_byte_level_decode(text, length, out, n);
    memcpy(out, text, length);
    *n = length;
    return true;
}

/* ROOM is a buffer for both sides. */
static enum nb_status
add_merge(struct nb_tokenizer *t, uint32_t rank, char *room, struct nb_error *err)
{
    const struct nb_merge *m = &t->vocabulary.merges[rank];
    size_t left, right;
    int32_t a, b, merged;
    struct pair_slot *slot;

    if (!merge_side(t, m->left, m->left_length, room, &left) ||
        !merge_side(t, m->right, m->right_length, room + left, &right))
        return NB_OK; /* such a merge can never apply */
    a = intern(t, room, left);
    b = intern(t, room + left, right);
    merged = intern(t, room, left + right);
    if (a < 0 || b < 0 || merged < 0)
        return nb_fail_memory(err);
    slot = find_pair(t, a, b);
    if (slot->left < 0)
        *slot = (struct pair_slot){ a, b, merged, rank };
    return NB_OK;
}

static enum nb_status
index_merges(struct nb_tokenizer *t, struct nb_error *err)
{
    const struct nb_vocabulary *v = &t->vocabulary;
    size_t slots = 16, longest = 0;
    enum nb_status status = NB_OK;
    char *room;

    while (slots < 2 * (size_t)v->n_merges)
        slots *= 2;
    t->pairs = malloc(slots * sizeof *t->pairs);
    t->pair_mask = slots - 1;
    t->pair_seed = t->symbols.seed;
    for (uint32_t i = 0; i < v->n_merges; i++)
        if (v->merges[i].left_length + (size_t)v->merges[i].right_length > longest)
            longest = v->merges[i].left_length + (size_t)v->merges[i].right_length;
    room = malloc(longest + 1);
    if (t->pairs == NULL || room == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < slots && status == NB_OK; i++)
        t->pairs[i].left = -1;
    for (uint32_t i = 0; i < v->n_merges && status == NB_OK; i++)
        status = add_merge(t, i, room, err);
    free(room);
    return status;
}

/*
 * llama.cpp splits like tokenizer.json's patterns except for these two: it has no
 * classes for upper and lower case and uses "not a lower-case ASCII letter"
 * instead (llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_TEKKEN and _GPT4O). They are plain classes, which PCRE2 repeats
 * without a stack; repeated groups end at some thousand letters.
 */
#define NOT_LOWER "[^\\P{L}a-z]"
#define NOT_UPPER "[^\\P{L}A-Z]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define ENDING "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"

static const char *
llama_cpp_steps(const char *pre)
{
    if (strcmp(pre, "tekken") == 0)
        return "split:" LEAD NOT_LOWER "*" NOT_UPPER "+|" LEAD NOT_LOWER "+" NOT_UPPER "*|\\p{N}" REST;
    if (strcmp(pre, "gpt-4o") == 0)
        return "split:" LEAD NOT_LOWER "*" NOT_UPPER "+" ENDING "|" LEAD NOT_LOWER "+" NOT_UPPER "*" ENDING
               "|\\p{N}{1,3}" REST;
    return nb_pre_tokenizer_steps(pre);
}

static char *normalize(const struct nb_vocabulary *v, const char *text, size_t length, size_t *out);

/* Separates the added tokens that are searched for in the original text from those in the normalized text. */
static enum nb_status
sort_added(struct nb_tokenizer *t, struct nb_error *err)
{
    struct nb_vocabulary *v = &t->vocabulary;
    struct nb_added_token *first = nb_arena_calloc(&t->arena, (size_t)v->n_added + 1, sizeof *first);
    struct nb_added_token *second = nb_arena_calloc(&t->arena, (size_t)v->n_added + 1, sizeof *second);
    size_t n = 0, m = 0, bytes = 0;

    if (first == NULL || second == NULL)
        return nb_fail_memory(err);
    for (uint32_t i = 0; i < v->n_added; i++) {
        struct nb_added_token a = v->added[i];
        size_t length;
        char *text;

        bytes += a.length;
        if (bytes > NB_ADDED_TOKENS_LIMIT)
            return nb_fail(err, NB_UNSUPPORTED, "the added tokens of the vocabulary have more than %zu MiB of text",
                           NB_ADDED_TOKENS_LIMIT >> 20);
        if (!a.normalized) {
            first[n++] = a;
            continue;
        }
        text = normalize(v, a.text, a.length, &length);
        if (text == NULL)
            return nb_fail_memory(err);
        bytes += length;
        a.text = nb_arena_strndup(&t->arena, text, length);
        a.length = (uint32_t)length;
        free(text);
        if (a.text == NULL)
            return nb_fail_memory(err);
        if (length > 0)
            second[m++] = a;
    }
    t->added = nb_added_tokens_new(first, n);
    t->added_normalized = nb_added_tokens_new(second, m);
    return t->added == NULL || t->added_normalized == NULL ? nb_fail_memory(err) : NB_OK;
}

enum nb_status
nb_tokenizer_open(struct nb_tokenizer **tokenizer, const struct nb_source *source, struct nb_error *err)
{
    struct nb_tokenizer *t = calloc(1, sizeof *t);
    const struct nb_vocabulary *v;
    enum nb_status status;

    if (t == NULL)
        return nb_fail_memory(err);
    v = &t->vocabulary;
    status = nb_source_vocabulary(source, &t->vocabulary, err);
    if (status == NB_OK)
        status = index_tokens(t, err);
    if (status == NB_OK)
        status = find_bytes(t, err);
    if (status == NB_OK)
        status = index_merges(t, err);
    if (status == NB_OK)
        status = sort_added(t, err);
    if (status == NB_OK && v->model == NB_VOCABULARY_BYTE_BPE)
        status = nb_splitter_new(&t->splitter,
                                 v->by_checkpoint ? nb_pre_tokenizer_steps(v->pre) : llama_cpp_steps(v->pre), err);
    if (status != NB_OK)
        nb_tokenizer_close(t);
    else
        *tokenizer = t;
    return status;
}

void
nb_tokenizer_close(struct nb_tokenizer *t)
{
    if (t == NULL)
        return;
    nb_added_tokens_free(t->added);
    nb_added_tokens_free(t->added_normalized);
    nb_splitter_free(t->splitter);
    nb_text_index_free(&t->symbols);
    free(t->pairs);
    free(t->other_text);
    free(t->other_length);
    nb_arena_free(&t->arena);
    nb_vocabulary_free(&t->vocabulary);
    free(t);
}

const struct nb_vocabulary *
nb_tokenizer_vocabulary(const struct nb_tokenizer *t)
{
    return &t->vocabulary;
}

/* --- ids ------------------------------------------------------------------------------------------------- */

static enum nb_status
emit(struct run *r, int64_t id)
{
    struct nb_ids *ids = r->ids;

    if (ids->count == ids->room) {
        const size_t room = ids->room == 0 ? 256 : 2 * ids->room;
        int32_t *grown = realloc(ids->id, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(r->err);
        ids->id = grown;
        ids->room = room;
    }
    ids->id[ids->count++] = (int32_t)id;
    return NB_OK;
}

void
nb_ids_free(struct nb_ids *ids)
{
    free(ids->id);
    *ids = (struct nb_ids){ 0 };
}

/* A symbol that is not a token, byte by byte: llama.cpp finds the tokens of printable ASCII and drops the others. */
static enum nb_status
emit_bytes(struct run *r, const char *text, size_t length)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < length && status == NB_OK; i++) {
        const unsigned char byte = (unsigned char)text[i];
        const int32_t symbol = r->t->byte_symbol[byte];

        if (byte > ' ' && byte < 0x7F && symbol < (int32_t)r->t->vocabulary.size)
            status = emit(r, symbol);
    }
    return status;
}

static enum nb_status
emit_merged(struct run *r)
{
    const int32_t size = (int32_t)r->t->vocabulary.size;
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < r->merging.count && status == NB_OK; i++) {
        const int32_t symbol = r->merging.pieces[i].symbol;

        if (symbol < 0)
            continue;
        status = symbol < size ? emit(r, symbol)
                               : emit_bytes(r, r->t->other_text[symbol - size], r->t->other_length[symbol - size]);
    }
    return status;
}

/* --- merging by rank --------------------------------------------------------------------------------------- */

static bool
rule_of_ranks(const void *context, const struct nb_bpe_piece *left, const struct nb_bpe_piece *right, float *rank,
              int32_t *merged)
{
    const struct run *r = context;
    const struct pair_slot *slot = find_pair(r->t, left->symbol, right->symbol);

    *rank = (float)slot->rank; /* exact, since there are fewer than 2^24 merges */
    *merged = slot->merged;
    return slot->left >= 0;
}

static enum nb_status
merge_and_emit(struct run *r, nb_merge_rule *rule)
{
    return nb_merging_run(&r->merging, rule, r) ? emit_merged(r) : nb_fail_memory(r->err);
}

/* Tokenizes a word with byte-level BPE. */
static enum nb_status
byte_word(struct run *r, const char *word, size_t length)
{
    const int32_t whole = r->t->vocabulary.ignore_merges ? nb_text_index_find(&r->t->symbols, word, length) : -1;

    if (whole >= 0 && whole < (int32_t)r->t->vocabulary.size)
        return emit(r, whole);
    nb_merging_clear(&r->merging);
    for (size_t i = 0; i < length; i++)
        if (!nb_merging_add(&r->merging, r->t->byte_symbol[(unsigned char)word[i]], (uint32_t)i, 1))
            return nb_fail_memory(r->err);
    return merge_and_emit(r, rule_of_ranks);
}

/* SEEN is TEXT in the form that the pre-tokenizer's patterns are matched against. */
static enum nb_status
byte_level(struct run *r, const char *text, const char *seen, size_t length)
{
    enum nb_status status = nb_split(r->t->splitter, seen, length, &r->cuts, r->err);
    size_t from = 0;

    for (size_t i = 0; i < r->cuts.count && status == NB_OK; i++) {
        status = byte_word(r, text + from, r->cuts.end[i] - from);
        from = r->cuts.end[i];
    }
    return status;
}

static enum nb_status
byte_level_llama_cpp(struct run *r, const char *text, size_t length)
{
    char *clean, *seen;
    size_t n;
    enum nb_status status;

    if (nb_utf8_valid(text, length))
        return byte_level(r, text, text, length);
    if (!nb_repair_utf8(text, length, &clean, &seen, &n))
        return nb_fail_memory(r->err);
    status = byte_level(r, clean, seen, n);
    free(clean);
    free(seen);
    return status;
}

/* The length of the character that begins with BYTE, judged by this byte alone. */
static size_t
character_length(unsigned char byte)
{
    return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/* Adds a character that is not a token: as byte tokens if the vocabulary has all of them, else as the unknown token. */
static bool
add_unknown(struct run *r, const char *text, size_t at, size_t n, bool *after_unknown)
{
    const struct nb_vocabulary *v = &r->t->vocabulary;
    bool bytes = true, good = true;

    for (size_t i = 0; i < n; i++)
        bytes &= r->t->byte_symbol[(unsigned char)text[at + i]] >= 0;
    for (size_t i = 0; i < n && bytes && good; i++)
        good = nb_merging_add(&r->merging, r->t->byte_symbol[(unsigned char)text[at + i]], (uint32_t)(at + i), 1);
    if (bytes || v->unknown < 0 || (*after_unknown && v->fuse_unknown))
        return good;
    *after_unknown = true;
    return nb_merging_add(&r->merging, (int32_t)v->unknown, (uint32_t)at, (uint32_t)n);
}

/* Tokenizes plain text with character-level BPE, like the tokenizers library. */
static enum nb_status
character_level(struct run *r, const char *text, size_t length)
{
    bool after_unknown = false, good = true;

    nb_merging_clear(&r->merging);
    for (size_t at = 0, n; at < length && good; at += n) {
        int32_t symbol;

        n = character_length((unsigned char)text[at]);
        symbol = nb_text_index_find(&r->t->symbols, text + at, n);
        if (symbol >= 0) {
            after_unknown = false;
            good = nb_merging_add(&r->merging, symbol, (uint32_t)at, (uint32_t)n);
        } else {
            good = add_unknown(r, text, at, n, &after_unknown);
        }
    }
    return good ? merge_and_emit(r, rule_of_ranks) : nb_fail_memory(r->err);
}

/* --- merging by score ------------------------------------------------------------------------------------------ */

static bool
rule_of_scores(const void *context, const struct nb_bpe_piece *left, const struct nb_bpe_piece *right, float *rank,
               int32_t *merged)
{
    const struct run *r = context;

    *merged = nb_text_index_find(&r->t->symbols, r->text + left->at, left->length + right->length);
    if (*merged < 0)
        return false;
    *rank = -r->t->vocabulary.tokens[*merged].score;
    return true;
}

/* The symbol of a character that is not a token; it is written as byte tokens at the end. */
#define NO_TOKEN INT32_MAX

static enum nb_status
emit_scored(struct run *r)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < r->merging.count && status == NB_OK; i++) {
        const struct nb_bpe_piece *p = &r->merging.pieces[i];

        if (p->symbol < 0)
            continue;
        if (p->symbol != NO_TOKEN) {
            status = emit(r, p->symbol);
            continue;
        }
        for (uint32_t k = 0; k < p->length && status == NB_OK; k++) {
            const unsigned char byte = (unsigned char)r->text[p->at + k];

            status = r->t->byte_symbol[byte] >= 0
                         ? emit(r, r->t->byte_symbol[byte])
                         : nb_fail(r->err, NB_INPUT, "the vocabulary has no token for byte 0x%02X", byte);
        }
    }
    return status;
}

/* TEXT with U+2581 for each space, and one before it if PREFIX, from malloc; *N is its length. NULL if out of memory. */
static char *
with_meta_spaces(const char *text, size_t length, bool prefix, size_t *n)
{
    char *spaced = nb_malloc(META_SPACE_LENGTH * ((uint64_t)length + 1) + 1);

    *n = 0;
    for (size_t i = prefix ? 0 : 1; i <= length && spaced != NULL; i++) {
        const char c = i == 0 ? ' ' : text[i - 1];

        if (c == ' ') {
            memcpy(spaced + *n, META_SPACE, META_SPACE_LENGTH);
            *n += META_SPACE_LENGTH;
        } else {
            spaced[(*n)++] = c;
        }
    }
    return spaced;
}

/* Tokenizes plain text with SentencePiece, like llama.cpp; PREFIX adds a space before it. */
static enum nb_status
by_scores(struct run *r, const char *text, size_t length, bool prefix)
{
    size_t n;
    char *spaced = with_meta_spaces(text, length, prefix, &n);
    bool good = spaced != NULL;
    enum nb_status status;

    nb_merging_clear(&r->merging);
    r->text = spaced;
    for (size_t at = 0, size; at < n && good; at += size) {
        int32_t symbol;

        size = character_length((unsigned char)spaced[at]);
        size = size < n - at ? size : n - at;
        symbol = nb_text_index_find(&r->t->symbols, spaced + at, size);
        good = nb_merging_add(&r->merging, symbol < 0 ? NO_TOKEN : symbol, (uint32_t)at, (uint32_t)size);
    }
    good = good && nb_merging_run(&r->merging, rule_of_scores, r);
    status = good ? emit_scored(r) : nb_fail_memory(r->err);
    free(spaced);
    return status;
}

/* The next word of the LENGTH bytes at TEXT, which ends before the next U+2581. */
static size_t
word_length(const char *text, size_t length)
{
    for (size_t i = 1; i + META_SPACE_LENGTH <= length; i++)
        if (memcmp(text + i, META_SPACE, META_SPACE_LENGTH) == 0)
            return i;
    return length;
}

/* The pre-tokenizer Metaspace, then merges; BEGINS: TEXT is the beginning of the whole text. */
static enum nb_status
by_meta_space(struct run *r, const char *text, size_t length, bool begins)
{
    const struct nb_vocabulary *v = &r->t->vocabulary;
    const bool has_prefix = length == 0 || *text == ' ' ||
                            (length >= META_SPACE_LENGTH && memcmp(text, META_SPACE, META_SPACE_LENGTH) == 0);
    const bool prefix = v->meta_prefix == NB_META_ALWAYS || (v->meta_prefix == NB_META_FIRST && begins);
    size_t n;
    char *spaced = with_meta_spaces(text, length, prefix && !has_prefix, &n);
    enum nb_status status = spaced == NULL ? nb_fail_memory(r->err) : NB_OK;

    for (size_t at = 0, size; at < n && status == NB_OK; at += size) {
        size = v->meta_split ? word_length(spaced + at, n - at) : n;
        status = character_level(r, spaced + at, size);
    }
    free(spaced);
    return status;
}

/* --- the rules of the two libraries ---------------------------------------------------------------------------- */

static enum nb_status
as_llama_cpp(struct run *r, const char *text, size_t length, bool special)
{
    const struct nb_vocabulary *v = &r->t->vocabulary;
    struct nb_fragments f = { 0 };
    bool after_special = true;
    enum nb_status status = NB_OK;

    if (!nb_added_tokens_longest_first(r->t->added, text, length, special, &f))
        status = nb_fail_memory(r->err);
    for (size_t i = 0; i < f.count && status == NB_OK; i++) {
        const struct nb_fragment *part = &f.item[i];

        if (part->id >= 0)
            status = emit(r, part->id);
        else if (v->model == NB_VOCABULARY_SCORES)
            status = by_scores(r, text + part->at, part->length, v->space_prefix && after_special);
        else
            status = byte_level_llama_cpp(r, text + part->at, part->length);
        after_special = part->id >= 0;
    }
    free(f.item);
    return status;
}

/* TEXT in the vocabulary's normal form, from malloc; *OUT is its length. NULL if out of memory. */
static char *
normal_form(enum nb_normal_form form, const char *text, size_t length, size_t *out)
{
    char *copy;

    if (form != NB_NORMAL_NONE)
        return nb_normal_form(form, text, length, out);
    copy = malloc(length + 1);
    if (copy != NULL)
        memcpy(copy, text, length);
    *out = length;
    return copy;
}

/* The normalized TEXT, from malloc; NULL if out of memory. */
static char *
normalize(const struct nb_vocabulary *v, const char *text, size_t length, size_t *out)
{
    size_t n = 0, m;
    char *formed = normal_form(v->normal_form, text, length, &m), *result;

    if (formed == NULL || (!v->meta_space && !v->space_prefix)) {
        *out = m;
        return formed;
    }
    result = nb_malloc(META_SPACE_LENGTH * ((uint64_t)m + 1) + 1);
    if (result != NULL) {
        if (v->space_prefix && m > 0) {
            memcpy(result, META_SPACE, META_SPACE_LENGTH);
            n = META_SPACE_LENGTH;
        }
        for (size_t i = 0; i < m; i++) {
            if (formed[i] == ' ' && v->meta_space) {
                memcpy(result + n, META_SPACE, META_SPACE_LENGTH);
                n += META_SPACE_LENGTH;
            } else {
                result[n++] = formed[i];
            }
        }
    }
    free(formed);
    *out = n;
    return result;
}

/* Normalizes a text between unnormalized added tokens, and splits it at the normalized ones. BEGINS: nothing is before. */
static enum nb_status
normalized_stretch(struct run *r, const char *text, size_t length, bool special, bool begins)
{
    const struct nb_vocabulary *v = &r->t->vocabulary;
    struct nb_fragments f = { 0 };
    size_t n;
    char *normal = normalize(v, text, length, &n);
    enum nb_status status = NB_OK;

    if (normal == NULL || !nb_added_tokens_leftmost(r->t->added_normalized, normal, 0, n, special, &f))
        status = nb_fail_memory(r->err);
    for (size_t i = 0; i < f.count && status == NB_OK; i++) {
        const struct nb_fragment *part = &f.item[i];

        if (part->id >= 0)
            status = emit(r, part->id);
        else if (v->model == NB_VOCABULARY_CHARACTER_BPE && v->meta_prefix != NB_META_NO)
            status = by_meta_space(r, normal + part->at, part->length, begins && part->at == 0);
        else if (v->model == NB_VOCABULARY_CHARACTER_BPE)
            status = character_level(r, normal + part->at, part->length);
        else
            status = byte_level(r, normal + part->at, normal + part->at, part->length);
    }
    free(f.item);
    free(normal);
    return status;
}

static enum nb_status
as_tokenizers(struct run *r, const char *text, size_t length, bool special)
{
    struct nb_fragments f = { 0 };
    enum nb_status status = NB_OK;

    if (!nb_utf8_valid(text, length))
        return nb_fail(r->err, NB_INPUT, "the text is not valid UTF-8");
    if (!nb_added_tokens_leftmost(r->t->added, text, 0, length, special, &f))
        status = nb_fail_memory(r->err);
    for (size_t i = 0; i < f.count && status == NB_OK; i++)
        status = f.item[i].id >= 0
                     ? emit(r, f.item[i].id)
                     : normalized_stretch(r, text + f.item[i].at, f.item[i].length, special, f.item[i].at == 0);
    free(f.item);
    return status;
}

enum nb_status
nb_tokenize(const struct nb_tokenizer *t, const char *text, size_t length, unsigned flags, struct nb_ids *ids,
            struct nb_error *err)
{
    struct run r = { .t = t, .ids = ids, .err = err };
    const struct nb_vocabulary *v = &t->vocabulary;
    const bool special = (flags & NB_PARSE_SPECIAL) != 0, ends = (flags & NB_ADD_SPECIAL) != 0;
    enum nb_status status = NB_OK;

    if (length > INT32_MAX / META_SPACE_LENGTH)
        return nb_fail(err, NB_USAGE, "a text of %zu bytes is too long to be tokenized at once", length);
    if (ends && v->add_bos)
        status = emit(&r, v->bos);
    if (status == NB_OK)
        status = v->by_checkpoint ? as_tokenizers(&r, text, length, special) : as_llama_cpp(&r, text, length, special);
    if (status == NB_OK && ends && v->add_eos)
        status = emit(&r, v->eos);
    nb_merging_free(&r.merging);
    free(r.cuts.end);
    return status;
}

size_t
nb_token_bytes(const struct nb_tokenizer *t, int32_t id, char *buffer, size_t size)
{
    const struct nb_token *token = &t->vocabulary.tokens[id];
    const bool own_name = token->type == NB_TOKEN_CONTROL || token->type == NB_TOKEN_USER_DEFINED;
    size_t n = 0;

    if (t->vocabulary.model == NB_VOCABULARY_BYTE_BPE) {
        if (!own_name && token->length <= size && nb_byte_level_decode(token->text, token->length, buffer, &n))
            return n;
        n = token->length < size ? token->length : size;
        memcpy(buffer, token->text, n);
        return n;
    }
    for (unsigned byte = 0; byte < 256 && size > 0; byte++) {
        if (t->byte_symbol[byte] == id) {
            *buffer = (char)byte;
            return 1;
        }
    }
    for (uint32_t i = 0; i < token->length && n < size;) {
        if (token->length - i >= META_SPACE_LENGTH && memcmp(token->text + i, META_SPACE, META_SPACE_LENGTH) == 0) {
            buffer[n++] = ' ';
            i += META_SPACE_LENGTH;
        } else {
            buffer[n++] = token->text[i++];
        }
    }
    return n;
}
