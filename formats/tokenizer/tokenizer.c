#include "formats/tokenizer/tokenizer.h"

#include "formats/base/checked.h"
#include "formats/base/file_in.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define META_SPACE "\xE2\x96\x81"        /* U+2581, SentencePiece's character for a space */
#define HOLDER "place\xE2\x96\x81holder" /* in DeepSeek's unused tokens */
#define ADDED_SCORE (-1000.0f)
#define PAD_SCORE (-10000.0f)

/* Added tokens that are special but not marked so. */
static bool
looks_special(const char *text)
{
    static const char *const exact[] = { "<pad>", "<mask>", "<2mass>", "[@BOS@]" };
    static const struct {
        const char *from, *to;
    } brackets[] = { { "<|", "|>" }, { "<\xEF\xBD\x9C", "\xEF\xBD\x9C>" }, { "<unused", ">" } };
    const size_t n = strlen(text);

    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        if (strcmp(text, exact[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof brackets / sizeof brackets[0]; i++) {
        const size_t a = strlen(brackets[i].from), b = strlen(brackets[i].to);

        if (n >= a && n >= b && memcmp(text, brackets[i].from, a) == 0 && memcmp(text + n - b, brackets[i].to, b) == 0)
            return true;
    }
    return false;
}

/* TEXT with U+2581 replaced by spaces. */
static char *
with_spaces(struct nb_arena *arena, const char *text)
{
    char *copy = nb_arena_strdup(arena, text), *to = copy;

    if (copy == NULL)
        return NULL;
    for (const char *p = copy; *p != '\0';) {
        if (strncmp(p, META_SPACE, 3) == 0) {
            *to++ = ' ';
            p += 3;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
    return copy;
}

static enum nb_status
set_token(struct nb_vocab *vocab, struct nb_arena *arena, uint64_t id, const char *text, enum nb_token_type type,
          struct nb_error *err)
{
    struct nb_token *t = &vocab->tokens[id];

    t->text = type == NB_TOKEN_USER_DEFINED ? with_spaces(arena, text) : nb_arena_strdup(arena, text);
    if (t->text == NULL)
        return nb_fail_memory(err);
    t->length = (uint32_t)strlen(t->text);
    t->type = type;
    t->score = ADDED_SCORE;
    return NB_OK;
}

/* Whether TEXT is what T was made of, by set_token or by the vocabulary. */
static bool
is_text_of(const struct nb_token *t, const char *text)
{
    size_t at = 0;

    if (strlen(text) == t->length && memcmp(t->text, text, t->length) == 0)
        return true;
    while (*text != '\0' && at < t->length) { /* with spaces for U+2581 */
        const bool space = strncmp(text, META_SPACE, 3) == 0;

        if (t->text[at++] != (space ? ' ' : *text))
            return false;
        text += space ? 3 : 1;
    }
    return *text == '\0' && at == t->length;
}

/* Whether T only keeps an id free, as "<unused7>": models that are trained further give such ids new names. */
static bool
is_placeholder(const struct nb_token *t)
{
    static const char *const words[] = { "unused", "reserved", "placeholder", HOLDER, "extra_", "dummy", "special_" };

    if (t->type == NB_TOKEN_UNUSED)
        return true;
    if (t->length < 2 || (*t->text != '<' && *t->text != '['))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const size_t n = strlen(words[i]);

        for (size_t at = 1; at + n <= t->length; at++)
            if (strncasecmp(t->text + at, words[i], n) == 0)
                return true;
    }
    return false;
}

/* Refuses TEXT of FILE for an id that has another text: no file says which of the two the model was trained with. */
static enum nb_status
check_id(const struct nb_vocab *vocab, uint64_t id, const char *text, const char *folder, const char *file,
         struct nb_error *err)
{
    const struct nb_token *t = &vocab->tokens[id];

    if (t->text == NULL || is_text_of(t, text) || is_placeholder(t))
        return NB_OK;
    return nb_fail(err, NB_INPUT, "%s/%s: added token '%s' has the id %" PRIu64 ", which is that of '%.*s'", folder,
                   file, text, id, (int)(t->length < 100 ? t->length : 100), t->text);
}

static enum nb_status
vocab_new(struct nb_vocab *vocab, struct nb_arena *arena, uint64_t rows, float score, struct nb_error *err)
{
    vocab->size = rows;
    vocab->tokens = nb_arena_calloc(arena, rows, sizeof *vocab->tokens);
    if (vocab->tokens == NULL)
        return nb_fail_memory(err);
    for (uint64_t i = 0; i < rows; i++) {
        vocab->tokens[i].type = NB_TOKEN_UNUSED;
        vocab->tokens[i].score = score;
    }
    return NB_OK;
}

static enum nb_status
write_vocab(const struct nb_vocab *vocab, bool with_scores, struct nb_metadata *meta, struct nb_error *err)
{
    struct nb_strings texts = { 0 };
    int32_t *types = nb_calloc(vocab->size + 1, sizeof *types);
    float *scores = nb_calloc(vocab->size + 1, sizeof *scores);

    for (uint64_t i = 0; types != NULL && scores != NULL && i < vocab->size; i++) {
        const struct nb_token *t = &vocab->tokens[i];
        char pad[32];

        if (t->text != NULL)
            nb_strings_add(&texts, t->text, t->length);
        else
            nb_strings_add(&texts, pad, (uint64_t)snprintf(pad, sizeof pad, "[PAD%" PRIu64 "]", i));
        types[i] = (int32_t)t->type;
        scores[i] = t->score;
    }
    nb_meta_set_strings(meta, "tokenizer.ggml.tokens", &texts);
    if (types == NULL || scores == NULL)
        meta->out_of_memory = true;
    if (scores != NULL && with_scores)
        nb_meta_set(meta, "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F32, vocab->size, scores,
                    vocab->size * sizeof *scores);
    if (types != NULL)
        nb_meta_set(meta, "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_I32, vocab->size, types,
                    vocab->size * sizeof *types);
    free(types);
    free(scores);
    return nb_meta_status(meta, err);
}

/* Parses KEY as a decimal id; false if it is not a number below LIMIT. */
static bool
parse_id(const char *key, uint64_t limit, uint64_t *id)
{
    return nb_json_unsigned((struct nb_json_span){ key, strlen(key) }, UINT32_MAX, id) && *id < limit;
}

/* added_tokens.json, {"text": id}: used before tokenizer_config.json contained them. */
static enum nb_status
add_legacy_tokens(struct nb_checkpoint *cp, struct nb_vocab *vocab, struct nb_error *err)
{
    json_t *added, *id;
    const char *text;
    enum nb_status status = nb_checkpoint_json(cp, "added_tokens.json", &added, err);

    json_object_foreach(added, text, id) {
        const double value = json_number_value(id);

        if (status != NB_OK)
            break;
        if (!json_is_number(id) || !(value >= 0 && value <= UINT32_MAX) || value != floor(value))
            status = nb_fail(err, NB_INPUT, "%s/added_tokens.json: token '%s' has no id", cp->folder, text);
        else if (value < (double)vocab->size)
            status = check_id(vocab, (uint64_t)value, text, cp->folder, "added_tokens.json", err);
        if (status == NB_OK && value < (double)vocab->size)
            status = set_token(vocab, &cp->arena, (uint64_t)value, text, NB_TOKEN_USER_DEFINED, err);
    }
    json_decref(added);
    return status;
}

static enum nb_token_type
added_type(json_t *token, const char *text)
{
    return json_is_true(json_object_get(token, "special")) || looks_special(text) ? NB_TOKEN_CONTROL
                                                                                  : NB_TOKEN_USER_DEFINED;
}

/* tokenizer_config.json's added_tokens_decoder, {"id": {"content": ...}}; REPLACE: also for ids that have a token. */
static enum nb_status
add_decoder_tokens(struct nb_checkpoint *cp, json_t *config, struct nb_vocab *vocab, bool replace, struct nb_error *err)
{
    json_t *token;
    const char *key;

    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, token) {
        const char *text = nb_token_content(token);
        uint64_t id;
        enum nb_status status;

        if (text == NULL)
            return nb_fail(err, NB_INPUT, "%s/tokenizer_config.json: added token %s has no content", cp->folder, key);
        if (!parse_id(key, vocab->size, &id))
            continue;
        status = check_id(vocab, id, text, cp->folder, "tokenizer_config.json", err);
        if (status == NB_OK && (replace || vocab->tokens[id].text == NULL))
            status = set_token(vocab, &cp->arena, id, text, added_type(token, text), err);
        if (status != NB_OK)
            return status;
    }
    return NB_OK;
}

/* What happens to an added token whose id has a token already, or is beyond the vocabulary. */
enum adding {
    REPLACE, /* it replaces it; beyond: an error */
    KEEP,    /* it is skipped; beyond: an error */
    FIT,     /* it is skipped in both cases, but gives placeholders their names */
};

/* The added tokens of tokenizer.json. */
static enum nb_status
add_json_tokens(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, struct nb_vocab *vocab,
                enum adding adding, struct nb_error *err)
{
    json_t *token;
    size_t i;

    json_array_foreach(tj->added_tokens, i, token) {
        const char *text = nb_token_content(token);
        json_t *number = json_object_get(token, "id");
        enum nb_status status;
        bool other; /* a new name for an id that was kept free */
        uint64_t id;

        if (text == NULL || !json_is_integer(number) || json_integer_value(number) < 0)
            return nb_fail(err, NB_INPUT, "%s: added token %zu has no text or no id", tj->path, i);
        id = (uint64_t)json_integer_value(number);
        if (id >= vocab->size && adding == FIT)
            continue;
        if (id >= vocab->size)
            return nb_fail(err, NB_INPUT, "%s: token '%s' has id %" PRIu64 ", but the embedding only %" PRIu64 " rows",
                           tj->path, text, id, vocab->size);
        status = check_id(vocab, id, text, cp->folder, "tokenizer.json", err);
        other = status == NB_OK && vocab->tokens[id].text != NULL && !is_text_of(&vocab->tokens[id], text);
        if (status == NB_OK && (adding == REPLACE || (adding == FIT && other) || vocab->tokens[id].text == NULL))
            status = set_token(vocab, &cp->arena, id, text, added_type(token, text), err);
        if (status != NB_OK)
            return status;
    }
    return NB_OK;
}

/* TJ: a tokenizer.json beside the model, or NULL. */
static enum nb_status
sentencepiece_vocab(struct nb_checkpoint *cp, const char *path, const struct nb_tokenizer_json *tj, json_t *config,
                    uint64_t rows, const struct nb_tokenizer_habits *habits, struct nb_metadata *meta,
                    struct nb_error *err)
{
    struct nb_vocab vocab;
    bool prefix = false;
    enum nb_status status = vocab_new(&vocab, &cp->arena, rows, PAD_SCORE, err);

    if (status == NB_OK)
        status = nb_sentencepiece_read(path, &cp->arena, &vocab, &prefix, err);
    if (status == NB_OK)
        status = add_legacy_tokens(cp, &vocab, err);
    if (status == NB_OK)
        status = add_decoder_tokens(cp, config, &vocab, true, err);
    if (status == NB_OK && tj != NULL) /* such as an end token that only tokenizer.json knows */
        status = add_json_tokens(cp, tj, &vocab, habits->added_verbatim ? REPLACE : FIT, err);
    if (status != NB_OK)
        return status;
    nb_meta_set_string(meta, "tokenizer.ggml.model", "llama");
    nb_meta_set_string(meta, "tokenizer.ggml.pre", "default");
    status = write_vocab(&vocab, true, meta, err);
    if (habits->space_prefix == NB_PREFIX_OF_SENTENCEPIECE)
        nb_meta_set_bool(meta, "tokenizer.ggml.add_space_prefix", prefix);
    return status;
}

static bool
is_byte_token(const struct nb_token *t)
{
    static const char hex[] = "0123456789abcdefABCDEF";

    return t->text != NULL && t->length == 6 && memcmp(t->text, "<0x", 3) == 0 && strchr(hex, t->text[3]) != NULL &&
           strchr(hex, t->text[4]) != NULL && t->text[5] == '>';
}

static bool
is_token(json_t *token, const char *text)
{
    const char *content = nb_token_content(token);

    return content != NULL && strcmp(content, text) == 0;
}

/* Whether tokenizer_config.json or special_tokens_map.json names TEXT as a special token. */
static bool
is_named_special(json_t *config, const char *text)
{
    static const char *const names[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token" };
    json_t *token;
    const char *name;
    size_t i;

    for (i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_token(json_object_get(config, names[i]), text))
            return true;
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i, token)
        if (is_token(token, text))
            return true;
    json_object_foreach(json_object_get(config, "extra_special_tokens"), name, token)
        if (is_token(token, text))
            return true;
    return false;
}

static void
mark_bytes_and_specials(struct nb_vocab *vocab, json_t *config, json_t *map)
{
    for (uint64_t i = 0; i < vocab->size; i++) {
        struct nb_token *t = &vocab->tokens[i];

        if (t->text == NULL)
            continue;
        if (is_byte_token(t))
            t->type = NB_TOKEN_BYTE;
        else if (is_named_special(config, t->text) || is_named_special(map, t->text))
            t->type = NB_TOKEN_CONTROL;
    }
}

/* Tokens of Gemma 4 that are part of its answers, so that programs see where thoughts and calls of tools begin. */
static void
show_marks(struct nb_vocab *vocab)
{
    static const char *const marks[] = { "<|channel>",       "<channel|>",       "<|tool_call>", "<tool_call|>",
                                         "<|tool_response>", "<tool_response|>", "<|\"|>" };

    for (uint64_t i = 0; i < vocab->size; i++)
        for (size_t k = 0; k < sizeof marks / sizeof marks[0]; k++)
            if (vocab->tokens[i].text != NULL && is_text_of(&vocab->tokens[i], marks[k]))
                vocab->tokens[i].type = NB_TOKEN_USER_DEFINED;
}

/*
 * Gemma 4's vocabulary: the same kind, but llama.cpp merges by the list of merges. As in the reference, tokens
 * of the vocabulary stay plain where tokenizer.json adds them, too.
 */
static enum nb_status
gemma4_vocab(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, json_t *config, json_t *map, uint64_t rows,
             struct nb_metadata *meta, struct nb_error *err)
{
    struct nb_vocab vocab;
    enum nb_status status = vocab_new(&vocab, &cp->arena, rows, ADDED_SCORE, err);

    if (status == NB_OK)
        status = nb_tokenizer_json_vocab(tj, &cp->arena, &vocab, err);
    for (uint64_t i = 0; status == NB_OK && i < rows; i++)
        vocab.tokens[i].score = ADDED_SCORE;
    if (status == NB_OK)
        status = add_json_tokens(cp, tj, &vocab, KEEP, err);
    if (status != NB_OK)
        return status;
    mark_bytes_and_specials(&vocab, config, map);
    show_marks(&vocab);
    nb_meta_set_string(meta, "tokenizer.ggml.model", "gemma4");
    status = write_vocab(&vocab, true, meta, err);
    return status == NB_OK ? nb_tokenizer_json_merges(tj, meta, err) : status;
}

/*
 * A SentencePiece BPE that is stored only as tokenizer.json (Llama 2's kind:
 * merges of characters, with byte fallback). llama.cpp merges such tokens by
 * score. The reference converter writes equal scores, with which texts become
 * other tokens than the model was trained on; nibble writes those of the merges.
 */
static enum nb_status
byte_fallback_vocab(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, json_t *config, json_t *map,
                    uint64_t rows, struct nb_metadata *meta, struct nb_error *err)
{
    struct nb_vocab vocab;
    enum nb_status status = vocab_new(&vocab, &cp->arena, rows, ADDED_SCORE, err);

    if (status == NB_OK)
        status = nb_tokenizer_json_vocab(tj, &cp->arena, &vocab, err);
    if (status == NB_OK)
        status = add_json_tokens(cp, tj, &vocab, REPLACE, err);
    if (status == NB_OK)
        status = add_decoder_tokens(cp, config, &vocab, false, err);
    if (status == NB_OK)
        status = nb_score_by_merges(tj, &vocab, err);
    if (status != NB_OK)
        return status;
    mark_bytes_and_specials(&vocab, config, map);
    nb_meta_set_string(meta, "tokenizer.ggml.model", "llama");
    nb_meta_set_string(meta, "tokenizer.ggml.pre", "default");
    return write_vocab(&vocab, true, meta, err);
}

/* TEXT, if there is such a token and it is not NULL, is a control token. */
static void
mark_control(struct nb_vocab *vocab, const char *text)
{
    for (uint64_t i = 0; i < vocab->size && text != NULL; i++)
        if (vocab->tokens[i].text != NULL && is_text_of(&vocab->tokens[i], text))
            vocab->tokens[i].type = NB_TOKEN_CONTROL;
}

static enum nb_status
byte_level_vocab(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, json_t *config, uint64_t rows,
                 const char *pre, const char *control, struct nb_metadata *meta, struct nb_error *err)
{
    struct nb_vocab vocab;
    enum nb_status status = vocab_new(&vocab, &cp->arena, rows, 0, err);

    if (pre == NULL)
        pre = nb_pre_tokenizer_name(tj->pre_tokenizer, tj->ignore_merges);
    if (pre == NULL)
        return nb_fail(err, NB_UNSUPPORTED,
                       "%s: its pre-tokenizer is none that llama.cpp is known to have (if you know which one it is: "
                       "--pre-tokenizer NAME)",
                       tj->path);
    if (status == NB_OK)
        status = nb_tokenizer_json_vocab(tj, &cp->arena, &vocab, err);
    if (status == NB_OK)
        status = add_json_tokens(cp, tj, &vocab, REPLACE, err);
    if (status == NB_OK)
        status = add_decoder_tokens(cp, config, &vocab, false, err);
    if (status != NB_OK)
        return status;
    mark_control(&vocab, control);
    nb_meta_set_string(meta, "tokenizer.ggml.model", "gpt2");
    nb_meta_set_string(meta, "tokenizer.ggml.pre", pre);
    status = write_vocab(&vocab, false, meta, err);
    return status == NB_OK ? nb_tokenizer_json_merges(tj, meta, err) : status;
}

static enum nb_status
json_vocab(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, json_t *config, uint64_t rows, const char *pre,
           const struct nb_tokenizer_habits *habits, struct nb_metadata *meta, struct nb_error *err)
{
    const char *decoder = json_string_value(json_object_get(tj->decoder, "type"));
    json_t *map;
    enum nb_status status;

    if (strcmp(tj->model_type, "BPE") != 0)
        return nb_fail(err, NB_UNSUPPORTED, "%s: a tokenizer of type '%s'; BPE and SentencePiece can be converted",
                       tj->path, tj->model_type);
    if (!tj->byte_fallback || decoder == NULL || strcmp(decoder, "Sequence") != 0)
        return byte_level_vocab(cp, tj, config, rows, pre, habits->control, meta, err);
    status = nb_checkpoint_json(cp, "special_tokens_map.json", &map, err);
    if (status == NB_OK)
        status = habits->keeps_merges ? gemma4_vocab(cp, tj, config, map, rows, meta, err)
                                      : byte_fallback_vocab(cp, tj, config, map, rows, meta, err);
    json_decref(map);
    return status;
}

/* Special cases of the reference converter, recognized by the vocabulary size. */
static void
vocabulary_quirks(uint64_t rows, struct nb_metadata *meta)
{
    if (rows == 32016) { /* Code Llama's infilling tokens */
        nb_meta_set_u32(meta, "tokenizer.ggml.prefix_token_id", 32007);
        nb_meta_set_u32(meta, "tokenizer.ggml.suffix_token_id", 32008);
        nb_meta_set_u32(meta, "tokenizer.ggml.middle_token_id", 32009);
        nb_meta_set_u32(meta, "tokenizer.ggml.eot_token_id", 32010);
    }
    if (rows == 49152) /* Granite's small models, and SmolLM */
        nb_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", false);
}

/* Writes add_prefix_space if its place is PLACE. */
static void
set_space_prefix(const struct nb_tokenizer_habits *habits, enum nb_space_prefix place, json_t *config,
                 struct nb_metadata *meta)
{
    json_t *prefix = json_object_get(config, "add_prefix_space");

    if (habits->space_prefix == place && json_is_boolean(prefix))
        nb_meta_set_bool(meta, "tokenizer.ggml.add_space_prefix", json_is_true(prefix));
}

/* Makes the added token TEXT the end token, if there is one. */
static void
set_end_of_turn(const char *text, const struct nb_tokenizer_json *tj, json_t *config, uint64_t rows,
                struct nb_metadata *meta)
{
    json_t *token;
    const char *key;
    uint64_t id;
    size_t i;

    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, token)
        if (is_token(token, text) && parse_id(key, rows, &id))
            nb_meta_set_u32(meta, "tokenizer.ggml.eos_token_id", (uint32_t)id);
    json_array_foreach(tj != NULL ? tj->added_tokens : NULL, i, token) {
        const json_int_t number = json_integer_value(json_object_get(token, "id"));

        if (is_token(token, text) && number > 0 && (uint64_t)number < rows)
            nb_meta_set_u32(meta, "tokenizer.ggml.eos_token_id", (uint32_t)number);
    }
}

static void
write_last_eot(const struct nb_tokenizer_json *tj, const char *text, uint64_t rows, struct nb_metadata *meta)
{
    json_t *token;
    size_t i;

    json_array_foreach(tj->added_tokens, i, token) {
        const double id = json_number_value(json_object_get(token, "id"));

        if (is_token(token, text) && id >= 0 && id < (double)rows)
            nb_meta_set_u32(meta, "tokenizer.ggml.eot_token_id", (uint32_t)id);
    }
}

/* TJ: what is read of JSON, or NULL; MODEL: the path of tokenizer.model. */
static enum nb_status
vocab_of(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, const char *model, json_t *config, uint64_t rows,
         const char *pre, const struct nb_tokenizer_habits *habits, struct nb_metadata *meta, struct nb_error *err)
{
    const bool has_model = nb_exists(model) && (tj == NULL || !nb_is_tekken(tj->path));
    const bool tiktoken = has_model && nb_is_tiktoken(model);

    if (tiktoken && tj == NULL)
        return nb_fail(err, NB_UNSUPPORTED, "%s: a vocabulary of tiktoken: the tokenizer.json of the model is needed",
                       model);
    if (has_model && !tiktoken && !(habits->keeps_merges && tj != NULL))
        return sentencepiece_vocab(cp, model, tj, config, rows, habits, meta, err);
    if (tj != NULL)
        return json_vocab(cp, tj, config, rows, pre, habits, meta, err);
    return nb_fail(err, NB_INPUT, "%s: has none of tokenizer.json, tokenizer.model and tekken.json", cp->folder);
}

/* What is known of every tekken.json, where CONFIG, tokenizer_config.json or NULL, does not say it. */
static json_t *
tekken_config(json_t *config)
{
    json_t *known = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "bos_token", "<s>", "eos_token", "</s>", "unk_token",
                              "<unk>", "pad_token", "<pad>", "add_bos_token", 1, "add_eos_token", 0);

    if (known != NULL && config != NULL && json_object_update(known, config) != 0) {
        json_decref(known);
        known = NULL;
    }
    return known;
}

static enum nb_status
vocab_and_specials(struct nb_checkpoint *cp, json_t *config, uint64_t rows, const char *pre,
                   const struct nb_tokenizer_habits *habits, struct nb_metadata *meta, struct nb_error *err)
{
    char *json = nb_tokenizer_json_path(cp), *model = nb_checkpoint_path(cp, "tokenizer.model");
    struct nb_tokenizer_json read = { 0 };
    const struct nb_tokenizer_json *tj = json == NULL ? NULL : &read;
    json_t *known = NULL;
    enum nb_status status = NB_OK;

    if (cp->arena.exhausted)
        return nb_fail_memory(err);
    if (json != NULL)
        status = nb_tokenizer_json_read(json, &read, err);
    if (status == NB_OK && json != NULL && nb_is_tekken(json)) {
        config = known = tekken_config(config);
        status = known == NULL ? nb_fail_memory(err) : NB_OK;
    }
    if (status == NB_OK)
        status = vocab_of(cp, tj, model, config, rows, pre, habits, meta, err);
    set_space_prefix(habits, NB_PREFIX_AFTER_TOKENS, config, meta);
    if (status == NB_OK)
        status = nb_special_tokens(cp, tj, config, habits->named, rows, meta, err);
    if (status == NB_OK && habits->end_of_turn != NULL)
        set_end_of_turn(habits->end_of_turn, tj, config, rows, meta);
    if (status == NB_OK && habits->last_eot != NULL)
        write_last_eot(&read, habits->last_eot, rows, meta);
    json_decref(known);
    nb_tokenizer_json_free(&read);
    return status;
}

enum nb_status
nb_tokenizer_metadata(struct nb_checkpoint *cp, uint64_t rows, const char *pre,
                      const struct nb_tokenizer_habits *habits, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *config;
    const char *written;
    enum nb_status status = nb_checkpoint_json(cp, "tokenizer_config.json", &config, err);

    if (status != NB_OK)
        return status;
    set_space_prefix(habits, NB_PREFIX_FIRST, config, meta);
    status = vocab_and_specials(cp, config, rows, pre, habits, meta, err);
    set_space_prefix(habits, NB_PREFIX_LAST, config, meta);
    json_decref(config);
    if (status != NB_OK)
        return status;
    if (habits->eot_token > 0)
        nb_meta_set_u32(meta, "tokenizer.ggml.eot_token_id", habits->eot_token);
    if (habits->bos_token > 0)
        nb_meta_set_u32(meta, "tokenizer.ggml.bos_token_id", habits->bos_token);
    if (habits->adds_bos)
        nb_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", true);
    if (habits->no_space_prefix)
        nb_meta_set_bool(meta, "tokenizer.ggml.add_space_prefix", false);
    if (habits->size_quirks)
        vocabulary_quirks(rows, meta);
    /* A tokenizer that does not mention BOS adds none, but llama.cpp would by default. */
    written = nb_meta_get_string(meta, "tokenizer.ggml.pre");
    if (written != NULL && nb_pre_tokenizer_adds_bos(written) &&
        nb_meta_find(meta, "tokenizer.ggml.add_bos_token") == NULL)
        nb_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", false);
    return nb_meta_status(meta, err);
}
