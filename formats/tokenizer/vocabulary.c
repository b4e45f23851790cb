#include "formats/tokenizer/vocabulary.h"

#include "formats/safetensors/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define META_SPACE "\xE2\x96\x81" /* U+2581, SentencePiece's character for a space */

/* --- arrays of metadata ----------------------------------------------------------------------- */

/* The next string of an array; token ids and lengths have 32 bits. */
static const char *
next_string(const unsigned char **at, uint32_t *length)
{
    uint64_t n;
    const char *text = nb_kv_next_string(at, &n);

    *length = (uint32_t)n;
    return text;
}

static const struct nb_kv *
find_array(const struct nb_vocabulary_origin *from, const char *key, enum nb_kv_type element)
{
    const struct nb_kv *kv = nb_meta_find(from->meta, key);

    return kv != NULL && kv->type == NB_KV_ARRAY && kv->element == element ? kv : NULL;
}

static enum nb_status
read_tokens(struct nb_vocabulary *v, const struct nb_vocabulary_origin *from, struct nb_error *err)
{
    const struct nb_kv *texts = find_array(from, "tokenizer.ggml.tokens", NB_KV_STRING);
    const struct nb_kv *types = find_array(from, "tokenizer.ggml.token_type", NB_KV_I32);
    const struct nb_kv *scores = find_array(from, "tokenizer.ggml.scores", NB_KV_F32);
    const unsigned char *at;

    if (texts == NULL || texts->count == 0 || texts->count > INT32_MAX)
        return nb_fail(err, NB_INPUT, "%s: has no vocabulary (tokenizer.ggml.tokens)", from->path);
    if ((types != NULL && types->count != texts->count) || (scores != NULL && scores->count != texts->count))
        return nb_fail(err, NB_INPUT, "%s: has %" PRIu64 " tokens, but %" PRIu64 " types or scores for them",
                       from->path, texts->count,
                       types != NULL && types->count != texts->count ? types->count : scores->count);
    if (v->model == NB_VOCABULARY_SCORES && scores == NULL)
        return nb_fail(err, NB_INPUT, "%s: its tokens have no scores (tokenizer.ggml.scores)", from->path);
    v->texts = texts;
    v->size = (uint32_t)texts->count;
    v->tokens = nb_arena_calloc(&v->arena, v->size, sizeof *v->tokens);
    if (v->tokens == NULL)
        return nb_fail_memory(err);
    at = texts->data;
    for (uint32_t i = 0; i < v->size; i++) {
        struct nb_token *t = &v->tokens[i];
        int32_t type = NB_TOKEN_NORMAL;

        t->text = next_string(&at, &t->length);
        if (types != NULL)
            memcpy(&type, types->data + 4 * (size_t)i, sizeof type);
        t->type = (enum nb_token_type)type;
        if (scores != NULL)
            memcpy(&t->score, scores->data + 4 * (size_t)i, sizeof t->score);
    }
    return NB_OK;
}

const char *
nb_merge_space(const char *line, uint64_t length)
{
    return length < 3 ? NULL : memchr(line + 1, ' ', (size_t)length - 2);
}

static enum nb_status
read_merges(struct nb_vocabulary *v, const struct nb_kv *lines, const char *path, struct nb_error *err)
{
    const unsigned char *at;

    if (lines == NULL || lines->count > INT32_MAX)
        return nb_fail(err, NB_INPUT, "%s: has no merges (tokenizer.ggml.merges)", path);
    v->merges = nb_arena_calloc(&v->arena, lines->count + 1, sizeof *v->merges);
    if (v->merges == NULL)
        return nb_fail_memory(err);
    at = lines->data;
    for (uint64_t i = 0; i < lines->count; i++) {
        uint32_t length;
        const char *line = next_string(&at, &length);
        const char *space = nb_merge_space(line, length);
        struct nb_merge *m = &v->merges[v->n_merges];

        if (space == NULL)
            return nb_fail(err, NB_INPUT, "%s: merge %" PRIu64 " is not a pair of tokens", path, i);
        *m = (struct nb_merge){ line, space + 1, (uint32_t)(space - line), length - 1 - (uint32_t)(space - line) };
        v->n_merges++;
    }
    return NB_OK;
}

static int64_t
token_id(const struct nb_vocabulary_origin *from, const char *key, uint32_t size, int64_t otherwise)
{
    uint64_t id;

    if (nb_meta_get_u64(from->meta, key, &id) && id < size)
        return (int64_t)id;
    return otherwise < (int64_t)size ? otherwise : -1;
}

/* --- llama.cpp's rules -------------------------------------------------------------------------- */

/* Defaults for absent keys, from llama-vocab.cpp. */
static void
set_defaults(struct nb_vocabulary *v, const struct nb_vocabulary_origin *from)
{
    const bool scores = v->model == NB_VOCABULARY_SCORES;

    v->add_bos = scores || nb_pre_tokenizer_adds_bos(v->pre);
    nb_meta_get_bool(from->meta, "tokenizer.ggml.add_bos_token", &v->add_bos);
    nb_meta_get_bool(from->meta, "tokenizer.ggml.add_eos_token", &v->add_eos);
    v->space_prefix = scores;
    nb_meta_get_bool(from->meta, "tokenizer.ggml.add_space_prefix", &v->space_prefix);
    v->meta_space = scores;
    if (!scores)
        v->space_prefix = false; /* llama.cpp reads it, but it has no effect */
    v->ignore_merges = !scores && (strcmp(v->pre, "llama-bpe") == 0 || strcmp(v->pre, "tekken") == 0);
    v->bos = token_id(from, "tokenizer.ggml.bos_token_id", v->size, scores ? 1 : 11);
    v->eos = token_id(from, "tokenizer.ggml.eos_token_id", v->size, scores ? 2 : 11);
    v->unknown = token_id(from, "tokenizer.ggml.unknown_token_id", v->size, scores ? 0 : -1);
}

#define BAR_OPEN "<\xEF\xBD\x9C" /* U+FF5C, a wide bar */
#define BAR_CLOSE "\xEF\xBD\x9C>"

/*
 * Tokens that llama.cpp always treats as control tokens because of their names:
 * ends of turns, and markers of code infilling.
 */
static bool
is_control_by_name(const struct nb_token *t)
{
    /* clang-format off */
    static const char *const names[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
        "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
        "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
        BAR_OPEN "end\xE2\x96\x81of" META_SPACE "sentence" BAR_CLOSE, "[e~[", "<|fim_prefix|>", "<fim-prefix>",
        "<fim_prefix>", BAR_OPEN "fim" META_SPACE "begin" BAR_CLOSE, "<PRE>", META_SPACE "<PRE>", "<|code_prefix|>",
        "<|prefix|>", "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", BAR_OPEN "fim" META_SPACE "hole" BAR_CLOSE,
        "<SUF>", META_SPACE "<SUF>", "<|code_suffix|>", "<|suffix|>", "<|fim_middle|>", "<fim-middle>",
        "<fim_middle>", BAR_OPEN "fim" META_SPACE "end" BAR_CLOSE, "<MID>", META_SPACE "<MID>", "<|code_middle|>",
        "<|middle|>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>",
        "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
    };
    /* clang-format on */

    if (t->length == 0 || strchr("<[_\xE2", t->text[0]) == NULL)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (t->length == strlen(names[i]) && memcmp(t->text, names[i], t->length) == 0)
            return true;
    return false;
}

/* Control, unknown and user-defined tokens are searched for in the text. */
static enum nb_status
added_by_type(struct nb_vocabulary *v, struct nb_error *err)
{
    uint32_t n = 0;

    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && (v->added = nb_arena_calloc(&v->arena, n + 1, sizeof *v->added)) == NULL)
            return nb_fail_memory(err);
        for (uint32_t i = 0; i < v->size; i++) {
            const struct nb_token *t = &v->tokens[i];
            const bool special = t->type == NB_TOKEN_CONTROL || t->type == NB_TOKEN_UNKNOWN || is_control_by_name(t);

            if ((!special && t->type != NB_TOKEN_USER_DEFINED) || t->length == 0)
                continue;
            if (pass == 1)
                v->added[v->n_added++] =
                    (struct nb_added_token){ .id = i, .text = t->text, .length = t->length, .special = special };
            n++;
        }
    }
    return NB_OK;
}

static enum nb_status
read_by_metadata(struct nb_vocabulary *v, const struct nb_vocabulary_origin *from, struct nb_error *err)
{
    const char *model = nb_meta_get_string(from->meta, "tokenizer.ggml.model");
    enum nb_status status;

    if (model == NULL)
        return nb_fail(err, NB_INPUT, "%s: has no tokenizer (tokenizer.ggml.model)", from->path);
    if (strcmp(model, "gpt2") != 0 && strcmp(model, "llama") != 0)
        return nb_fail(err, NB_UNSUPPORTED,
                       "%s: a tokenizer of kind '%s'; 'gpt2' (BPE) and 'llama' (SentencePiece) can be used", from->path,
                       model);
    v->model = strcmp(model, "llama") == 0 ? NB_VOCABULARY_SCORES : NB_VOCABULARY_BYTE_BPE;
    v->pre = nb_pre_tokenizer_known_as(nb_meta_get_string(from->meta, "tokenizer.ggml.pre"));
    if (v->model == NB_VOCABULARY_BYTE_BPE && (v->pre == NULL || nb_pre_tokenizer_steps(v->pre) == NULL))
        return nb_fail(err, NB_UNSUPPORTED, "%s: its pre-tokenizer '%s' is not supported", from->path,
                       v->pre == NULL ? "" : v->pre);
    status = read_tokens(v, from, err);
    if (status == NB_OK && v->model == NB_VOCABULARY_BYTE_BPE)
        status = read_merges(v, find_array(from, "tokenizer.ggml.merges", NB_KV_STRING), from->path, err);
    if (status != NB_OK)
        return status;
    set_defaults(v, from);
    return added_by_type(v, err);
}

/* --- Hugging Face's rules --------------------------------------------------------------------------- */

static bool
has_type(json_t *step, const char *type)
{
    const char *found = json_string_value(json_object_get(step, "type"));

    return found != NULL && strcmp(found, type) == 0;
}

static bool
is_text(json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Reads one step of the normalizer; false if it is unknown. */
static bool
read_normalizer(struct nb_vocabulary *v, json_t *step)
{
    static const struct {
        const char *type;
        enum nb_normal_form form;
    } forms[] = {
        { "NFC", NB_NORMAL_NFC }, { "NFD", NB_NORMAL_NFD }, { "NFKC", NB_NORMAL_NFKC }, { "NFKD", NB_NORMAL_NFKD }
    };
    json_t *inner;
    size_t i;

    if (step == NULL || json_is_null(step))
        return true;
    for (i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (has_type(step, forms[i].type)) {
            v->normal_form = forms[i].form;
            return true;
        }
    }
    if (has_type(step, "Prepend") && is_text(json_object_get(step, "prepend"), META_SPACE)) {
        v->space_prefix = true;
        return true;
    }
    if (has_type(step, "Replace") && is_text(json_object_get(json_object_get(step, "pattern"), "String"), " ") &&
        is_text(json_object_get(step, "content"), META_SPACE)) {
        v->meta_space = true;
        return true;
    }
    if (!has_type(step, "Sequence"))
        return false;
    json_array_foreach(json_object_get(step, "normalizers"), i, inner)
        if (has_type(inner, "Sequence") || !read_normalizer(v, inner))
            return false;
    return true;
}

static bool
flag(json_t *object, const char *key, bool otherwise)
{
    json_t *value = json_object_get(object, key);

    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

enum nb_meta_prefix
nb_meta_prefix(json_t *step)
{
    json_t *scheme = json_object_get(step, "prepend_scheme"); /* older versions have a flag */

    if (!has_type(step, "Metaspace"))
        return NB_META_NO;
    if (scheme == NULL)
        return flag(step, "add_prefix_space", true) ? NB_META_ALWAYS : NB_META_NEVER;
    return is_text(scheme, "first") ? NB_META_FIRST : is_text(scheme, "never") ? NB_META_NEVER : NB_META_ALWAYS;
}

/* Reads the pre-tokenizer Metaspace; false if STEP is another one, or has another replacement. */
static bool
read_meta_space(struct nb_vocabulary *v, json_t *step)
{
    if (nb_meta_prefix(step) == NB_META_NO || !is_text(json_object_get(step, "replacement"), META_SPACE))
        return false;
    v->meta_prefix = nb_meta_prefix(step);
    v->meta_split = flag(step, "split", true);
    return true;
}

/* A character-level BPE does not split the text; a split at spaces has no effect, as these are already replaced. */
static bool
cuts_nothing(json_t *step)
{
    return step == NULL || json_is_null(step) ||
           (has_type(step, "Split") && is_text(json_object_get(json_object_get(step, "pattern"), "String"), " "));
}

static enum nb_status
read_added(struct nb_vocabulary *v, const struct nb_tokenizer_json *tj, struct nb_error *err)
{
    json_t *token;
    size_t i;

    v->added = nb_arena_calloc(&v->arena, json_array_size(tj->added_tokens) + 1, sizeof *v->added);
    if (v->added == NULL)
        return nb_fail_memory(err);
    json_array_foreach(tj->added_tokens, i, token) {
        const char *text = nb_token_content(token);
        const json_int_t id = json_integer_value(json_object_get(token, "id"));
        struct nb_added_token *a = &v->added[v->n_added];

        if (text == NULL || *text == '\0' || id < 0 || id >= v->size)
            return nb_fail(err, NB_INPUT, "%s: added token %zu has no text, or an id that no token has", tj->path, i);
        *a = (struct nb_added_token){
            .id = (uint32_t)id,
            .text = nb_arena_strdup(&v->arena, text),
            .length = (uint32_t)strlen(text),
            .special = flag(token, "special", false),
            .normalized = flag(token, "normalized", false),
            .strip_left = flag(token, "lstrip", false),
            .strip_right = flag(token, "rstrip", false),
            .single_word = flag(token, "single_word", false),
        };
        if (a->text == NULL)
            return nb_fail_memory(err);
        v->n_added++;
    }
    return NB_OK;
}

/* Reads tokens and merges from tokenizer.json; the metadata has GGUF's versions. */
static enum nb_status
read_json_model(struct nb_vocabulary *v, const struct nb_tokenizer_json *tj, struct nb_error *err)
{
    struct nb_vocab tokens = { .size = v->size, .tokens = nb_arena_calloc(&v->arena, v->size, sizeof *v->tokens) };
    struct nb_metadata meta = { 0 };
    struct nb_kv *lines;
    enum nb_status status;

    if (tokens.tokens == NULL)
        return nb_fail_memory(err);
    status = nb_tokenizer_json_vocab(tj, &v->arena, &tokens, err);
    if (status == NB_OK)
        status = nb_tokenizer_json_merges(tj, &meta, err);
    if (status != NB_OK) {
        nb_meta_free(&meta);
        return status;
    }
    for (uint32_t i = 0; i < v->size; i++) {
        if (tokens.tokens[i].text != NULL) {
            v->tokens[i].text = tokens.tokens[i].text;
            v->tokens[i].length = tokens.tokens[i].length;
        }
    }
    lines = (struct nb_kv *)nb_meta_find(&meta, "tokenizer.ggml.merges");
    if (lines != NULL) { /* the merges point into it, so the vocabulary takes ownership */
        unsigned char *copy = nb_arena_alloc(&v->arena, lines->size + 1);

        if (copy == NULL) {
            nb_meta_free(&meta);
            return nb_fail_memory(err);
        }
        memcpy(copy, lines->data, (size_t)lines->size);
        lines->data = copy;
        status = read_merges(v, lines, tj->path, err);
    }
    nb_meta_free(&meta);
    return status;
}

static enum nb_status
find_unknown(struct nb_vocabulary *v, const struct nb_tokenizer_json *tj, struct nb_error *err)
{
    size_t length;
    char *text;

    v->unknown = -1;
    if (tj->unknown.at == NULL || *tj->unknown.at != '"')
        return NB_OK;
    text = nb_json_string(&v->arena, tj->unknown, &length);
    if (text == NULL)
        return nb_fail_memory(err);
    for (uint32_t i = 0; i < v->size && v->unknown < 0; i++)
        if (v->tokens[i].length == length && memcmp(v->tokens[i].text, text, length) == 0)
            v->unknown = i;
    return NB_OK;
}

static enum nb_status
read_by_json(struct nb_vocabulary *v, const struct nb_vocabulary_origin *from, const struct nb_tokenizer_json *tj,
             struct nb_error *err)
{
    enum nb_status status;

    v->by_checkpoint = true;
    v->pre = nb_meta_get_string(from->meta, "tokenizer.ggml.pre");
    v->model = tj->byte_fallback ? NB_VOCABULARY_CHARACTER_BPE : NB_VOCABULARY_BYTE_BPE;
    v->ignore_merges = tj->ignore_merges;
    v->fuse_unknown = tj->fuse_unknown;
    if (strcmp(tj->model_type, "BPE") != 0)
        return nb_fail(err, NB_UNSUPPORTED, "%s: a tokenizer of type '%s'; BPE can be used", tj->path, tj->model_type);
    if (!read_normalizer(v, tj->normalizer) ||
        (v->model == NB_VOCABULARY_CHARACTER_BPE && !cuts_nothing(tj->pre_tokenizer) &&
         !read_meta_space(v, tj->pre_tokenizer)) ||
        (v->model == NB_VOCABULARY_BYTE_BPE && (v->meta_space || v->space_prefix)))
        return nb_fail(err, NB_UNSUPPORTED, "%s: its normalizer or pre-tokenizer has a step that is not supported",
                       tj->path);
    if (v->model == NB_VOCABULARY_BYTE_BPE && (v->pre == NULL || nb_pre_tokenizer_steps(v->pre) == NULL))
        return nb_fail(err, NB_UNSUPPORTED, "%s: its pre-tokenizer '%s' is not supported", tj->path,
                       v->pre == NULL ? "" : v->pre);
    status = read_tokens(v, from, err);
    if (status == NB_OK)
        status = read_json_model(v, tj, err);
    if (status == NB_OK)
        status = read_added(v, tj, err);
    if (status == NB_OK)
        status = find_unknown(v, tj, err);
    if (status != NB_OK)
        return status;
    v->bos = token_id(from, "tokenizer.ggml.bos_token_id", v->size, -1);
    v->add_bos = v->model == NB_VOCABULARY_CHARACTER_BPE && v->bos >= 0; /* LlamaTokenizer's default, and llama.cpp's */
    nb_meta_get_bool(from->meta, "tokenizer.ggml.add_bos_token", &v->add_bos);
    nb_meta_get_bool(from->meta, "tokenizer.ggml.add_eos_token", &v->add_eos);
    v->eos = token_id(from, "tokenizer.ggml.eos_token_id", v->size, -1);
    return NB_OK;
}

/* --- both ------------------------------------------------------------------------------------------- */

static enum nb_status
check_ends(struct nb_vocabulary *v, const struct nb_vocabulary_origin *from, struct nb_error *err)
{
    if ((v->add_bos && v->bos < 0) || (v->add_eos && v->eos < 0))
        return nb_fail(err, NB_INPUT, "%s: its tokenizer adds a token at the %s of a text, but does not say which",
                       from->path, v->add_bos && v->bos < 0 ? "beginning" : "end");
    return NB_OK;
}

enum nb_status
nb_vocabulary_read(struct nb_vocabulary *v, const struct nb_vocabulary_origin *from, struct nb_error *err)
{
    struct nb_tokenizer_json tj = { 0 };
    char *path = NULL;
    enum nb_status status = NB_OK;

    *v = (struct nb_vocabulary){ .bos = -1, .eos = -1, .unknown = -1 };
    if (from->checkpoint != NULL) {
        path = nb_tokenizer_json_path(from->checkpoint);
        if (path == NULL && from->checkpoint->arena.exhausted)
            return nb_fail_memory(err);
    }
    if (path != NULL) {
        status = nb_tokenizer_json_read(path, &tj, err);
        if (status == NB_OK)
            status = read_by_json(v, from, &tj, err);
        nb_tokenizer_json_free(&tj);
    } else {
        status = read_by_metadata(v, from, err);
    }
    if (status == NB_OK)
        status = check_ends(v, from, err);
    if (status != NB_OK)
        nb_vocabulary_free(v);
    return status;
}

void
nb_vocabulary_free(struct nb_vocabulary *v)
{
    nb_arena_free(&v->arena);
    *v = (struct nb_vocabulary){ 0 };
}

bool
nb_vocabulary_same(const struct nb_vocabulary *a, const struct nb_vocabulary *b, uint32_t *where)
{
    const uint32_t n = a->size < b->size ? a->size : b->size;
    const unsigned char *x = a->texts->data, *y = b->texts->data;

    for (*where = 0; *where < n; ++*where) {
        uint32_t x_length, y_length;
        const char *x_text = next_string(&x, &x_length), *y_text = next_string(&y, &y_length);

        if (x_length != y_length || memcmp(x_text, y_text, x_length) != 0)
            return false;
    }
    return a->size == b->size;
}
