/* tokenizer.json of byte-level BPE, for Hugging Face's tokenizers library. */
#include "formats/base/json.h"
#include "formats/tokenizer/write.h"

#include <stdlib.h>
#include <string.h>

json_t *
nb_added_token_json(const struct nb_token *t)
{
    return json_pack("{s:o, s:b, s:b, s:b, s:b, s:b}", "content", json_stringn(t->text, t->length), "single_word", 0,
                     "lstrip", 0, "rstrip", 0, "normalized", 0, "special", t->type == NB_TOKEN_CONTROL);
}

static bool
is_added(const struct nb_token *t)
{
    return t->type == NB_TOKEN_CONTROL || t->type == NB_TOKEN_USER_DEFINED;
}

static json_t *
added_tokens(const struct nb_vocabulary *v)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < v->size && list != NULL; i++) {
        json_t *entry;

        if (!is_added(&v->tokens[i]))
            continue;
        entry = nb_added_token_json(&v->tokens[i]);
        if (entry == NULL || json_object_set_new(entry, "id", json_integer(i)) != 0 ||
            json_array_append(list, entry) != 0) {
            json_decref(list);
            list = NULL;
        }
        json_decref(entry);
    }
    return list;
}

/* Added tokens, too, so that their ids do not depend on where the others end. */
static json_t *
vocab(const struct nb_vocabulary *v)
{
    json_t *object = json_object();

    for (uint32_t i = 0; i < v->size && object != NULL; i++) {
        const struct nb_token *t = &v->tokens[i];

        if (nb_token_is_filling(t, i) || json_object_setn_new(object, t->text, t->length, json_integer(i)) == 0)
            continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *
merges(const struct nb_vocabulary *v)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < v->n_merges && list != NULL; i++) {
        const struct nb_merge *m = &v->merges[i];
        json_t *pair = json_pack("[o, o]", json_stringn(m->left, m->left_length),
                                 json_stringn(m->right, m->right_length));

        if (json_array_append_new(list, pair) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* The step that begins at TEXT, a line of nb_pre_tokenizer_steps. */
static json_t *
step(const char *text, size_t length)
{
    static const char split[] = "split:";
    const size_t n = sizeof split - 1;

    if (length > n && strncmp(text, split, n) == 0)
        return json_pack("{s:s, s:{s:s%}, s:s, s:b}", "type", "Split", "pattern", "Regex", text + n, length - n,
                         "behavior", "Isolated", "invert", 0);
    if (strncmp(text, "digits", length) == 0)
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     strncmp(text, "bytes+words", length) == 0 && length > strlen("bytes"));
}

static json_t *
pre_tokenizer(const char *name)
{
    const char *steps = nb_pre_tokenizer_steps(name);
    json_t *list = json_array();

    for (; *steps != '\0' && list != NULL; steps += strcspn(steps, "\n") + 1)
        if (json_array_append_new(list, step(steps, strcspn(steps, "\n"))) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list == NULL ? NULL : json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

/* Adds the token ID to TEMPLATE and to the list of its SPECIALS. */
static bool
add_special(const struct nb_vocabulary *v, int64_t id, json_t *template, json_t *specials)
{
    const struct nb_token *t = &v->tokens[id];
    json_t *entry = json_pack("{s:o, s:[I], s:[o]}", "id", json_stringn(t->text, t->length), "ids", (json_int_t)id,
                              "tokens", json_stringn(t->text, t->length));

    return json_array_append_new(template, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id",
                                                     json_stringn(t->text, t->length), "type_id", 0)) == 0 &&
           json_object_setn_new(specials, t->text, t->length, entry) == 0;
}

/* What puts the tokens of beginning and end around a text; null if there are none. */
static json_t *
post_processor(const struct nb_vocabulary *v)
{
    const bool begins = v->add_bos && v->bos >= 0, ends = v->add_eos && v->eos >= 0;
    json_t *single = json_array(), *specials = json_object(), *all = NULL;
    bool good = single != NULL && specials != NULL;

    if (begins)
        good = good && add_special(v, v->bos, single, specials);
    good = good && json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0)) == 0;
    if (ends)
        good = good && add_special(v, v->eos, single, specials);
    if (good)
        all = begins || ends ? json_pack("{s:s, s:O, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:O}", "type",
                                         "TemplateProcessing", "single", single, "pair", "Sequence", "id", "A",
                                         "type_id", 0, "Sequence", "id", "B", "type_id", 1, "special_tokens", specials)
                             : json_null();
    json_decref(single);
    json_decref(specials);
    return all;
}

static json_t *
model(const struct nb_vocabulary *v)
{
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", v->ignore_merges, "vocab", vocab(v), "merges", merges(v));
}

char *
nb_tokenizer_json_text(const struct nb_vocabulary *v)
{
    json_t *whole = json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0",
                              "truncation", "padding", "added_tokens", added_tokens(v), "normalizer", "pre_tokenizer",
                              pre_tokenizer(v->pre), "post_processor", post_processor(v), "decoder", "type",
                              "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "model", model(v));
    char *text = whole == NULL ? NULL : nb_json_dump(whole, JSON_COMPACT);

    json_decref(whole);
    return text;
}
