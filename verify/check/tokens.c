/* Checks the vocabulary in tokenizer.ggml.* for what llama.cpp's loader (llama-vocab.cpp) relies on. */
#include "verify/check/parts.h"

#include "formats/base/checked.h"
#include "formats/tokenizer/vocabulary.h"
#include "verify/tokenize/text_index.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "tokenizer.ggml."
#define FEW_TOKENS 64u /* a vocabulary of so few is no language model's */

struct token {
    const char *text;
    uint32_t length;
};

struct tokens {
    struct nb_checking *c;
    const char *file;
    const struct nb_metadata *meta;
    struct token *items;
    uint32_t count;
    struct nb_text_index index;
};

static struct nb_place
at(const struct tokens *t, const char *key)
{
    return nb_at_key(t->file, key, NB_NO_OFFSET);
}

static struct token
next_string(const unsigned char **bytes)
{
    struct token token;
    uint64_t length;

    token.text = nb_kv_next_string(bytes, &length);
    token.length = (uint32_t)length;
    return token;
}

/* --- types and lengths -------------------------------------------------------------------------------- */

static enum nb_status
check_types(const struct tokens *t)
{
    static const struct {
        const char *key;
        enum nb_kv_type type, element, also;
    } keys[] = {
        { PREFIX "model", NB_KV_STRING, NB_KV_STRING, NB_KV_STRING },
        { PREFIX "pre", NB_KV_STRING, NB_KV_STRING, NB_KV_STRING },
        { PREFIX "tokens", NB_KV_ARRAY, NB_KV_STRING, NB_KV_STRING },
        { PREFIX "merges", NB_KV_ARRAY, NB_KV_STRING, NB_KV_STRING },
        { PREFIX "scores", NB_KV_ARRAY, NB_KV_F32, NB_KV_I32 },
        { PREFIX "token_type", NB_KV_ARRAY, NB_KV_I32, NB_KV_I32 },
        { PREFIX "token_type_count", NB_KV_U32, NB_KV_U32, NB_KV_U32 },
        { PREFIX "suppress_tokens", NB_KV_ARRAY, NB_KV_I32, NB_KV_I32 },
        { PREFIX "precompiled_charsmap", NB_KV_ARRAY, NB_KV_U8, NB_KV_I8 },
        { PREFIX "add_bos_token", NB_KV_BOOL, NB_KV_BOOL, NB_KV_BOOL },
        { PREFIX "add_eos_token", NB_KV_BOOL, NB_KV_BOOL, NB_KV_BOOL },
        { PREFIX "add_sep_token", NB_KV_BOOL, NB_KV_BOOL, NB_KV_BOOL },
        { PREFIX "add_space_prefix", NB_KV_BOOL, NB_KV_BOOL, NB_KV_BOOL },
        { PREFIX "remove_extra_whitespaces", NB_KV_BOOL, NB_KV_BOOL, NB_KV_BOOL },
        { "tokenizer.chat_template", NB_KV_STRING, NB_KV_STRING, NB_KV_STRING },
    };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && status == NB_OK; i++) {
        const struct nb_kv *kv = nb_meta_find(t->meta, keys[i].key);

        if (kv != NULL && (kv->type != keys[i].type || (kv->element != keys[i].element && kv->element != keys[i].also)))
            status = CHECK_FOUND(t->c, NB_BAD_TOKENS_TYPE, at(t, kv->key), "is %s%s, should be %s%s",
                                 kv->type == NB_KV_ARRAY ? "an array of " : "", nb_kv_type_name(kv->element),
                                 keys[i].type == NB_KV_ARRAY ? "an array of " : "", nb_kv_type_name(keys[i].element));
    }
    return status;
}

/* The array KEY with elements of type ELEMENT (signed or unsigned), or NULL. */
static const struct nb_kv *
find_array(const struct tokens *t, const char *key, enum nb_kv_type element)
{
    const struct nb_kv *kv = nb_meta_find(t->meta, key);

    return kv != NULL && kv->type == NB_KV_ARRAY &&
                   (kv->element == element || (element == NB_KV_I32 && kv->element == NB_KV_U32))
               ? kv
               : NULL;
}

static enum nb_status
check_length(const struct tokens *t, const struct nb_kv *array)
{
    if (array == NULL || array->count == t->count)
        return NB_OK;
    return CHECK_FOUND(t->c, NB_BAD_TOKENS_LENGTH, at(t, array->key), "has %" PRIu64 " elements for %" PRIu32 " tokens",
                       array->count, t->count);
}

static enum nb_status
check_scores(const struct tokens *t, const struct nb_kv *scores)
{
    for (uint64_t i = 0; scores != NULL && i < scores->count; i++) {
        float score;

        memcpy(&score, scores->data + 4 * i, sizeof score);
        if (isnan(score))
            return CHECK_FOUND(t->c, NB_BAD_TOKENS_SCORE, at(t, scores->key), "the score of token %" PRIu64 " is NaN",
                               i);
    }
    return NB_OK;
}

/*
 * Converters that have no scores write one for all tokens. Merges then go from left to right, whatever the model was
 * trained with, and nothing but its answers tells.
 */
static enum nb_status
check_ranks(const struct tokens *t, const struct nb_kv *scores, const struct nb_kv *types)
{
    uint64_t normal = 0;
    float score, first = 0;
    int32_t type;

    if (scores == NULL || types == NULL || scores->count != types->count)
        return NB_OK;
    for (uint64_t i = 0; i < scores->count; i++) {
        memcpy(&score, scores->data + 4 * i, sizeof score);
        memcpy(&type, types->data + 4 * i, sizeof type);
        if (type != NB_TOKEN_NORMAL)
            continue;
        if (normal++ > 0 && score != first)
            return NB_OK;
        first = score;
    }
    return normal < FEW_TOKENS
               ? NB_OK
               : CHECK_FOUND(t->c, NB_BAD_TOKENS_EQUAL_SCORES, at(t, scores->key),
                             "all %" PRIu64 " normal tokens have the score %g, so texts may become other "
                             "tokens than those the model knows",
                             normal, (double)first);
}

/* --- tokens -------------------------------------------------------------------------------------------- */

static bool
is_byte_token(const struct token *token)
{
    static const char digits[] = "0123456789ABCDEF";

    return token->length == 6 && memcmp(token->text, "<0x", 3) == 0 && token->text[5] == '>' &&
           memchr(digits, token->text[3], 16) != NULL && memchr(digits, token->text[4], 16) != NULL;
}

static enum nb_status
check_token_types(const struct tokens *t, const struct nb_kv *types)
{
    bool type_reported = false, byte_reported = false;
    enum nb_status status = NB_OK;

    for (uint32_t i = 0; types != NULL && i < types->count && i < t->count && status == NB_OK; i++) {
        int32_t type;

        memcpy(&type, types->data + 4 * (size_t)i, sizeof type);
        if ((type < 0 || type > NB_TOKEN_BYTE) && !type_reported) {
            type_reported = true;
            status = CHECK_FOUND(t->c, NB_BAD_TOKENS_TOKEN_TYPE, at(t, types->key),
                                 "token %" PRIu32 " has type %" PRId32, i, type);
        }
        if (type == NB_TOKEN_BYTE && !is_byte_token(&t->items[i]) && !byte_reported) {
            byte_reported = true;
            status = CHECK_FOUND(t->c, NB_BAD_TOKENS_BYTE, at(t, PREFIX "tokens"),
                                 "token %" PRIu32 ", '%.*s', has the type of a byte token, but not its form", i,
                                 (int)(t->items[i].length < 32 ? t->items[i].length : 32), t->items[i].text);
        }
    }
    return status;
}

/* Adds the tokens to the index; duplicate texts are reported once. */
static enum nb_status
index_tokens(struct tokens *t, const struct nb_kv *texts)
{
    const unsigned char *bytes = texts->data;
    uint32_t doubles = 0, one = 0, other = 0;

    t->count = (uint32_t)texts->count;
    t->items = calloc((size_t)t->count + 1, sizeof *t->items);
    if (t->items == NULL || !nb_text_index_new(&t->index, t->count))
        return nb_fail_memory(t->c->err);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct token *token = &t->items[i];
        int32_t number;

        t->items[i] = next_string(&bytes);
        number = nb_text_index_add(&t->index, token->text, token->length, (int32_t)i);
        if (number < 0)
            return nb_fail_memory(t->c->err);
        /* llama.cpp gives a name with the id to each token without a text */
        if ((uint32_t)number != i && token->length > 0 && doubles++ == 0) {
            one = (uint32_t)number;
            other = i;
        }
    }
    if (doubles == 0)
        return NB_OK;
    return CHECK_FOUND(t->c, NB_BAD_TOKENS_DUPLICATE, at(t, texts->key),
                       "token %" PRIu32 " has the text of token %" PRIu32 " (%" PRIu32 " such tokens)", other, one,
                       doubles);
}

/* --- merges -------------------------------------------------------------------------------------------- */

static bool
is_token(const struct tokens *t, const char *text, size_t length)
{
    return nb_text_index_find(&t->index, text, length) >= 0;
}

/* Whether both sides of the merge LINE and the result are tokens. SPACE separates the sides. */
static bool
makes_token(const struct tokens *t, const struct token *line, const char *space, char *joined)
{
    const size_t left = (size_t)(space - line->text), right = line->length - left - 1;

    memcpy(joined, line->text, left);
    memcpy(joined + left, space + 1, right);
    return is_token(t, line->text, left) && is_token(t, space + 1, right) && is_token(t, joined, left + right);
}

static enum nb_status
check_merges(const struct tokens *t, const struct nb_kv *merges)
{
    uint64_t malformed = 0, first_malformed = 0, foreign = 0, first_foreign = 0;
    const unsigned char *bytes = merges->data;
    char *joined = nb_malloc(merges->size + 1);
    enum nb_status status = NB_OK;

    if (joined == NULL)
        return nb_fail_memory(t->c->err);
    for (uint64_t i = 0; i < merges->count; i++) {
        const struct token line = next_string(&bytes);
        const char *space = nb_merge_space(line.text, line.length);

        if (space == NULL && malformed++ == 0)
            first_malformed = i;
        if (space != NULL && !makes_token(t, &line, space, joined) && foreign++ == 0)
            first_foreign = i;
    }
    free(joined);
    if (malformed > 0)
        status = CHECK_FOUND(t->c, NB_BAD_TOKENS_MERGE, at(t, merges->key),
                             "merge %" PRIu64 " is not a pair of texts (%" PRIu64 " such merges)", first_malformed,
                             malformed);
    if (status == NB_OK && foreign > 0)
        status = CHECK_FOUND(t->c, NB_BAD_TOKENS_MERGE_TOKEN, at(t, merges->key),
                             "merge %" PRIu64 ": a side or the result is not a token (%" PRIu64 " such merges)",
                             first_foreign, foreign);
    return status;
}

/* --- special tokens -------------------------------------------------------------------------------------- */

static bool
is_id_key(const char *key)
{
    const size_t n = strlen(key), end = strlen("_token_id");

    return strncmp(key, PREFIX, strlen(PREFIX)) == 0 && n > end && strcmp(key + n - end, "_token_id") == 0;
}

static enum nb_status
check_special(const struct tokens *t)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < t->meta->count && status == NB_OK; i++) {
        const struct nb_kv *kv = &t->meta->items[i];
        uint32_t id;

        if (!is_id_key(kv->key))
            continue;
        if (kv->type != NB_KV_U32) {
            status = CHECK_FOUND(t->c, NB_BAD_TOKENS_TYPE, at(t, kv->key), "is %s, should be u32",
                                 nb_kv_type_name(kv->type));
            continue;
        }
        memcpy(&id, kv->data, sizeof id);
        if (id >= t->count)
            status = CHECK_FOUND(t->c, NB_BAD_TOKENS_SPECIAL, at(t, kv->key),
                                 "is %" PRIu32 ", but there are %" PRIu32 " tokens", id, t->count);
    }
    return status;
}

/* --- all of it --------------------------------------------------------------------------------------------- */

static enum nb_status
check_vocabulary(struct tokens *t, const struct nb_kv *texts, const char *kind)
{
    const struct nb_kv *types = find_array(t, PREFIX "token_type", NB_KV_I32);
    const struct nb_kv *scores = find_array(t, PREFIX "scores", NB_KV_F32);
    const struct nb_kv *merges = find_array(t, PREFIX "merges", NB_KV_STRING);
    enum nb_status status = index_tokens(t, texts);

    if (status == NB_OK)
        status = check_length(t, types);
    if (status == NB_OK)
        status = check_length(t, scores);
    if (status == NB_OK)
        status = check_scores(t, scores);
    if (status == NB_OK && kind != NULL && strcmp(kind, "llama") == 0)
        status = check_ranks(t, scores, types);
    if (status == NB_OK)
        status = check_token_types(t, types);
    if (status == NB_OK && merges != NULL && kind != NULL && strcmp(kind, "gpt2") == 0)
        status = check_merges(t, merges);
    return status == NB_OK ? check_special(t) : status;
}

enum nb_status
nb_check_tokens(struct nb_checking *c, const char *file, const struct nb_metadata *meta)
{
    struct tokens t = { .c = c, .file = file, .meta = meta };
    const struct nb_kv *texts = find_array(&t, PREFIX "tokens", NB_KV_STRING);
    const char *kind = nb_meta_get_string(meta, PREFIX "model");
    enum nb_status status = check_types(&t);

    if (status == NB_OK)
        status = nb_check_vocabulary_keys(c, file, meta);
    if (status == NB_OK && texts != NULL && texts->count > INT32_MAX)
        status = CHECK_FOUND(c, NB_BAD_TOKENS_LENGTH, nb_at_key(file, texts->key, NB_NO_OFFSET),
                             "%" PRIu64 " tokens, more than ids can tell apart", texts->count);
    else if (status == NB_OK && texts != NULL)
        status = check_vocabulary(&t, texts, kind);
    nb_text_index_free(&t.index);
    free(t.items);
    return status;
}
