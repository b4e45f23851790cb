#include "formats/tokenizer/write.h"

#include "formats/base/json.h"
#include "formats/base/json_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
nb_token_is_filling(const struct nb_token *t, uint32_t id)
{
    char name[32];
    const int n = snprintf(name, sizeof name, "[PAD%" PRIu32 "]", id);

    return t->text == NULL ||
           (t->type == NB_TOKEN_UNUSED && t->length == (uint32_t)n && memcmp(t->text, name, (size_t)n) == 0);
}

/* Adds the file NAME of SIZE bytes, from malloc or NULL if there was no memory for it. */
static enum nb_status
add_file(struct nb_checkpoint *cp, const char *name, char *bytes, size_t size, struct nb_error *err)
{
    if (bytes == NULL)
        return nb_fail_memory(err);
    cp->made[cp->n_made++] = (struct nb_made_file){ name, bytes, size };
    return NB_OK;
}

static enum nb_status
add_json(struct nb_checkpoint *cp, const char *name, json_t *object, struct nb_error *err)
{
    char *text = object == NULL ? NULL : nb_json_write(object, NB_JSON_INDENTED);

    json_decref(object);
    return add_file(cp, name, text, text == NULL ? 0 : strlen(text), err);
}

/* --- tokenizer_config.json ----------------------------------------------------------------------------------- */

static const struct {
    const char *entry, *key;
} tokens[] = {
    { "bos_token", "tokenizer.ggml.bos_token_id" },     { "eos_token", "tokenizer.ggml.eos_token_id" },
    { "unk_token", "tokenizer.ggml.unknown_token_id" }, { "sep_token", "tokenizer.ggml.seperator_token_id" },
    { "pad_token", "tokenizer.ggml.padding_token_id" }, { "mask_token", "tokenizer.ggml.mask_token_id" },
};

static const struct {
    const char *entry, *key;
} flags[] = {
    { "add_bos_token", "tokenizer.ggml.add_bos_token" },
    { "add_eos_token", "tokenizer.ggml.add_eos_token" },
    { "add_sep_token", "tokenizer.ggml.add_sep_token" },
    { "add_prefix_space", "tokenizer.ggml.add_space_prefix" },
};

/* The special tokens by their texts, and the flags, that the file has keys for. */
static bool
set_keys(json_t *config, const struct nb_vocabulary *v, const struct nb_metadata *meta)
{
    const char *template = nb_meta_get_string(meta, "tokenizer.chat_template");
    bool good = true, flag;
    uint64_t id;

    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0] && good; i++)
        if (nb_meta_get_u64(meta, tokens[i].key, &id) && id < v->size && v->tokens[id].text != NULL)
            good = json_object_set_new(config, tokens[i].entry,
                                       json_stringn(v->tokens[id].text, v->tokens[id].length)) == 0;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && good; i++)
        if (nb_meta_get_bool(meta, flags[i].key, &flag))
            good = json_object_set_new(config, flags[i].entry, json_boolean(flag)) == 0;
    return good && (template == NULL || json_object_set_new(config, "chat_template", json_string(template)) == 0);
}

#define ADDED_SCORE (-1000.0f) /* of tokens that were added to SentencePiece's */

/* Whether T is listed as an added token: of SentencePiece's own control tokens, its model says it. */
static bool
is_listed(const struct nb_vocabulary *v, const struct nb_token *t)
{
    return t->type == NB_TOKEN_USER_DEFINED ||
           (t->type == NB_TOKEN_CONTROL && (v->model != NB_VOCABULARY_SCORES || t->score == ADDED_SCORE));
}

/* The added tokens by their ids. */
static json_t *
decoder(const struct nb_vocabulary *v)
{
    json_t *object = json_object();

    for (uint32_t i = 0; i < v->size && object != NULL; i++) {
        char id[16];

        if (!is_listed(v, &v->tokens[i]))
            continue;
        snprintf(id, sizeof id, "%" PRIu32, i);
        if (json_object_set_new(object, id, nb_added_token_json(&v->tokens[i])) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

static json_t *
config_json(const struct nb_vocabulary *v, const struct nb_metadata *meta)
{
    json_t *config = json_pack("{s:o, s:b, s:s}", "added_tokens_decoder", decoder(v), "clean_up_tokenization_spaces", 0,
                               "tokenizer_class",
                               v->model == NB_VOCABULARY_SCORES ? "LlamaTokenizer" : "PreTrainedTokenizerFast");

    if (config == NULL || set_keys(config, v, meta))
        return config;
    json_decref(config);
    return NULL;
}

/* --- generation_config.json ---------------------------------------------------------------------------------- */

/* Tokens that are never to be written. */
static bool
add_suppressed(json_t *object, const struct nb_metadata *meta)
{
    const struct nb_kv *kv = nb_meta_find(meta, "tokenizer.ggml.suppress_tokens");
    json_t *list;
    bool good;

    if (kv == NULL || kv->type != NB_KV_ARRAY || kv->element != NB_KV_I32)
        return true;
    list = json_array();
    good = list != NULL;
    for (uint64_t i = 0; i < kv->count && good; i++) {
        int32_t id;

        memcpy(&id, (const unsigned char *)kv->data + i * sizeof id, sizeof id);
        good = json_array_append_new(list, json_integer(id)) == 0;
    }
    if (good)
        return json_object_set_new(object, "suppress_tokens", list) == 0;
    json_decref(list);
    return false;
}

/* Every token that ends a text or a turn. */
static json_t *
generation_json(const struct nb_vocabulary *v, const struct nb_metadata *meta)
{
    static const char *const ends[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    json_t *list = json_array(), *object = json_pack("{s:b}", "_from_model_config", 1);
    uint64_t ids[3], id;
    size_t n = 0;
    bool good = list != NULL && object != NULL;

    for (size_t i = 0; i < 3 && good; i++) {
        if (!nb_meta_get_u64(meta, ends[i], &id) || id >= v->size || (n > 0 && ids[0] == id) || (n > 1 && ids[1] == id))
            continue;
        ids[n++] = id;
        good = json_array_append_new(list, json_integer((json_int_t)id)) == 0;
    }
    if (good && v->bos >= 0)
        good = json_object_set_new(object, "bos_token_id", json_integer(v->bos)) == 0;
    if (good && n > 0)
        good = json_object_set(object, "eos_token_id", n > 1 ? list : json_array_get(list, 0)) == 0;
    json_decref(list);
    if (good && add_suppressed(object, meta))
        return object;
    json_decref(object);
    return NULL;
}

/* --- all files ----------------------------------------------------------------------------------------------- */

static enum nb_status
add_files(struct nb_checkpoint *cp, const struct nb_vocabulary *v, const struct nb_metadata *meta, struct nb_error *err)
{
    size_t size = 0;
    char *bytes = v->model == NB_VOCABULARY_SCORES ? nb_sentencepiece_model(v, &size) : nb_tokenizer_json_text(v);
    enum nb_status status;

    if (v->model == NB_VOCABULARY_SCORES)
        status = add_file(cp, "tokenizer.model", bytes, size, err);
    else
        status = add_file(cp, "tokenizer.json", bytes, bytes == NULL ? 0 : strlen(bytes), err);
    if (status == NB_OK)
        status = add_json(cp, "tokenizer_config.json", config_json(v, meta), err);
    return status == NB_OK ? add_json(cp, "generation_config.json", generation_json(v, meta), err) : status;
}

enum nb_status
nb_tokenizer_write(struct nb_checkpoint *cp, const struct nb_metadata *meta, const char *path, struct nb_error *err)
{
    const struct nb_vocabulary_origin from = { path, meta, NULL };
    const char *model = nb_meta_get_string(meta, "tokenizer.ggml.model");
    struct nb_vocabulary v;
    enum nb_status status;

    if (model == NULL || (strcmp(model, "gpt2") != 0 && strcmp(model, "llama") != 0))
        return nb_fail(err, NB_UNSUPPORTED, "%s: its tokenizer%s%.64s%s cannot be written back", path,
                       model == NULL ? "" : " of kind '", model == NULL ? "" : model, model == NULL ? "" : "'");
    status = nb_vocabulary_read(&v, &from, err);
    if (status != NB_OK)
        return status;
    status = add_files(cp, &v, meta, err);
    nb_vocabulary_free(&v);
    return status;
}
