/* tokenizer.json, the format of Hugging Face's tokenizers library. */
#include "formats/base/file_in.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NB_TEKKEN "tekken.json"
#define FILE_LIMIT ((uint64_t)256 << 20)

static enum nb_status
malformed(const struct nb_tokenizer_json *tj, const char *at, struct nb_error *err)
{
    size_t line, column;

    nb_json_place(tj->text, at, &line, &column);
    return nb_fail(err, NB_INPUT, "%s: not valid JSON at line %zu, column %zu", tj->path, line, column);
}

static enum nb_status
read_model(struct nb_tokenizer_json *tj, struct nb_json_span model, struct nb_error *err)
{
    struct nb_json_cursor members;
    struct nb_json_span key, value;
    int more;

    if (*model.at != '{' || !nb_json_enter(&members, model))
        return nb_fail(err, NB_INPUT, "%s: its model is not an object", tj->path);
    while ((more = nb_json_next(&members, &key, &value)) > 0) {
        if (nb_json_is(key, "vocab"))
            tj->vocab = value;
        else if (nb_json_is(key, "merges"))
            tj->merges = value;
        else if (nb_json_is(key, "byte_fallback"))
            tj->byte_fallback = value.length == 4 && memcmp(value.at, "true", 4) == 0;
        else if (nb_json_is(key, "ignore_merges"))
            tj->ignore_merges = value.length == 4 && memcmp(value.at, "true", 4) == 0;
        else if (nb_json_is(key, "fuse_unk"))
            tj->fuse_unknown = value.length == 4 && memcmp(value.at, "true", 4) == 0;
        else if (nb_json_is(key, "unk_token"))
            tj->unknown = value;
        else if (nb_json_is(key, "type") && value.length >= 2 && value.length - 2 < sizeof tj->model_type)
            memcpy(tj->model_type, value.at + 1, value.length - 2);
    }
    /* Older files have no type; what else they have tells it. */
    if (*tj->model_type == '\0' && tj->vocab.at != NULL)
        snprintf(tj->model_type, sizeof tj->model_type, "%s",
                 tj->merges.at != NULL  ? "BPE"
                 : *tj->vocab.at == '[' ? "Unigram"
                                        : "WordPiece");
    return more < 0 ? malformed(tj, members.at, err) : NB_OK;
}

char *
nb_tokenizer_json_path(struct nb_checkpoint *cp)
{
    static const char *const names[] = { "tokenizer.json", NB_TEKKEN };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = nb_checkpoint_path(cp, names[i]);

        if (path == NULL || nb_exists(path))
            return path;
    }
    return NULL;
}

bool
nb_is_tekken(const char *path)
{
    return strcmp(nb_base_name(path), NB_TEKKEN) == 0;
}

/* One member of the file; MODEL receives that of this name. */
static enum nb_status
read_member(struct nb_tokenizer_json *tj, struct nb_json_span key, struct nb_json_span value,
            struct nb_json_span *model, struct nb_error *err)
{
    json_t **tree = nb_json_is(key, "added_tokens")     ? &tj->added_tokens
                    : nb_json_is(key, "normalizer")     ? &tj->normalizer
                    : nb_json_is(key, "pre_tokenizer")  ? &tj->pre_tokenizer
                    : nb_json_is(key, "post_processor") ? &tj->post_processor
                    : nb_json_is(key, "decoder")        ? &tj->decoder
                                                        : NULL;
    bool no_memory;

    if (nb_json_is(key, "model"))
        *model = value;
    if (tree == NULL)
        return NB_OK;
    json_decref(*tree);
    *tree = nb_json_tree(value, &no_memory);
    if (*tree != NULL)
        return NB_OK;
    if (no_memory)
        return nb_fail_memory(err);
    return nb_json_fits(value) ? malformed(tj, value.at, err)
                               : nb_fail(err, NB_INPUT, "%s: its %.*s has more values than a tokenizer may have",
                                         tj->path, (int)key.length, key.at);
}

static enum nb_status
read_members(struct nb_tokenizer_json *tj, struct nb_json_span text, struct nb_error *err)
{
    struct nb_json_span root, key, value, model = { 0 };
    struct nb_json_cursor members;
    char what[NB_MISTAKEN];
    enum nb_status status = NB_OK;
    int more = 0;

    if (!nb_json_value(text, &root) || *root.at != '{' || !nb_json_enter(&members, root))
        return nb_json_text_mistaken(text, what) ? nb_fail(err, NB_INPUT, "%s: no tokenizer, but %s", tj->path, what)
                                                 : malformed(tj, text.at + nb_json_fault(text), err);
    while (status == NB_OK && (more = nb_json_next(&members, &key, &value)) > 0)
        status = read_member(tj, key, value, &model, err);
    if (status != NB_OK)
        return status;
    if (more < 0)
        return malformed(tj, members.at, err);
    if (model.at == NULL)
        return nb_json_text_mistaken(text, what) ? nb_fail(err, NB_INPUT, "%s: no tokenizer, but %s", tj->path, what)
                                                 : nb_fail(err, NB_INPUT, "%s: has no model", tj->path);
    return read_model(tj, model, err);
}

enum nb_status
nb_tokenizer_json_read(const char *path, struct nb_tokenizer_json *tj, struct nb_error *err)
{
    size_t length;
    enum nb_status status;

    if (nb_is_tekken(path))
        return nb_tekken_read(path, tj, err);
    *tj = (struct nb_tokenizer_json){ .path = path };
    status = nb_file_load(path, FILE_LIMIT, &tj->text, &length, err);
    if (status == NB_OK)
        status = read_members(tj, nb_json_after_mark((struct nb_json_span){ tj->text, length }), err);
    if (status != NB_OK)
        nb_tokenizer_json_free(tj);
    return status;
}

void
nb_tokenizer_json_free(struct nb_tokenizer_json *tj)
{
    json_decref(tj->added_tokens);
    json_decref(tj->normalizer);
    json_decref(tj->pre_tokenizer);
    json_decref(tj->post_processor);
    json_decref(tj->decoder);
    free(tj->text);
    *tj = (struct nb_tokenizer_json){ 0 };
}

enum nb_status
nb_tokenizer_json_vocab(const struct nb_tokenizer_json *tj, struct nb_arena *arena, struct nb_vocab *vocab,
                        struct nb_error *err)
{
    struct nb_json_cursor members;
    struct nb_json_span key, value;
    int more;

    if (tj->vocab.at == NULL || *tj->vocab.at != '{' || !nb_json_enter(&members, tj->vocab))
        return nb_fail(err, NB_INPUT, "%s: has no vocabulary", tj->path);
    while ((more = nb_json_next(&members, &key, &value)) > 0) {
        uint64_t id;
        size_t length;
        char *text = nb_json_string(arena, key, &length);

        if (text == NULL)
            return arena->exhausted
                       ? nb_fail_memory(err)
                       : nb_fail(err, NB_INPUT, "%s: a token in its vocabulary is not valid text", tj->path);
        if (!nb_json_unsigned(value, UINT32_MAX, &id))
            return nb_fail(err, NB_INPUT, "%s: token '%s' has an id that is not a number", tj->path, text);
        if (id >= vocab->size)
            return nb_fail(err, NB_INPUT, "%s: token '%s' has id %" PRIu64 ", but the embedding only %" PRIu64 " rows",
                           tj->path, text, id, vocab->size);
        if (vocab->tokens[id].text != NULL)
            return nb_fail(err, NB_INPUT, "%s: tokens '%s' and '%s' have the same id %" PRIu64, tj->path,
                           vocab->tokens[id].text, text, id);
        vocab->tokens[id].text = text;
        vocab->tokens[id].length = (uint32_t)length;
        vocab->tokens[id].type = NB_TOKEN_NORMAL;
    }
    return more < 0 ? malformed(tj, members.at, err) : NB_OK;
}

/*
 * One side of a merge. GGUF joins the two with a space, so a space inside one
 * is written as its byte-level character, U+0120.
 */
static bool
append_side(char *line, size_t *at, size_t room, const char *side, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const bool space = side[i] == ' ';

        if (*at + 2 > room)
            return false;
        if (space) {
            line[(*at)++] = (char)0xC4;
            line[(*at)++] = (char)0xA0;
        } else {
            line[(*at)++] = side[i];
        }
    }
    return true;
}

/* Writes the merge VALUE, "a b" or ["a", "b"], as one line of at most NB_MERGE_BYTES; false if it is neither. */
static bool
merge_line(struct nb_json_span value, char *line, size_t *length, bool *no_memory)
{
    struct nb_arena arena = { 0 };
    struct nb_json_cursor sides;
    struct nb_json_span unused, side;
    char *text;
    size_t n, parts = 0;
    bool good = true;

    *length = 0;
    if (*value.at == '"') {
        text = nb_json_string(&arena, value, length);
        good = text != NULL && *length <= NB_MERGE_BYTES;
        if (good)
            memcpy(line, text, *length);
    } else if (*value.at == '[' && nb_json_enter(&sides, value)) {
        int more;

        while ((more = nb_json_next(&sides, &unused, &side)) > 0 && good) {
            text = nb_json_string(&arena, side, &n);
            if (parts++ == 1 && *length < NB_MERGE_BYTES)
                line[(*length)++] = ' ';
            good = text != NULL && append_side(line, length, NB_MERGE_BYTES, text, n);
        }
        good = good && more == 0 && parts == 2;
    } else {
        good = false;
    }
    *no_memory = arena.exhausted;
    nb_arena_free(&arena);
    return good;
}

enum nb_status
nb_tokenizer_json_merges(const struct nb_tokenizer_json *tj, struct nb_metadata *meta, struct nb_error *err)
{
    struct nb_strings lines = { 0 };
    struct nb_json_cursor cursor;
    struct nb_json_span unused, value;
    char line[NB_MERGE_BYTES];
    size_t length;
    bool no_memory;
    int more;

    if (tj->merges.at == NULL || *tj->merges.at != '[' || !nb_json_enter(&cursor, tj->merges))
        return nb_fail(err, NB_INPUT, "%s: has no merges", tj->path);
    while ((more = nb_json_next(&cursor, &unused, &value)) > 0) {
        if (!merge_line(value, line, &length, &no_memory)) {
            free(lines.data);
            if (no_memory)
                return nb_fail_memory(err);
            return nb_fail(err, NB_INPUT, "%s: merge %" PRIu64 " is not a pair of strings", tj->path, lines.count);
        }
        nb_strings_add(&lines, line, length);
    }
    if (more < 0) {
        free(lines.data);
        return malformed(tj, cursor.at, err);
    }
    nb_meta_set_strings(meta, "tokenizer.ggml.merges", &lines);
    return nb_meta_status(meta, err);
}
