#include "verify/say/endings.h"

#include <string.h>

static const char *const keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                    "tokenizer.ggml.eom_token_id" };

static const char *const names[] = { "<|eot_id|>",    "<|im_end|>",      "<|end|>",         "<|return|>",
                                     "<|call|>",      "<|flush|>",       "<|calls|>",       "<end_of_turn>",
                                     "<|endoftext|>", "<|eom_id|>",      "<EOT>",           "_<EOT>",
                                     "[EOT]",         "[EOS]",           "<|end_of_text|>", "<end_of_utterance>",
                                     "<eos>",         "<|endofprompt|>", "<turn|>" };

bool
nb_ends(const struct nb_endings *e, int32_t id)
{
    for (unsigned i = 0; i < e->count; i++)
        if (e->id[i] == id)
            return true;
    return false;
}

static void
add(struct nb_endings *e, int32_t id)
{
    if (e->count < NB_MAX_ENDINGS && !nb_ends(e, id))
        e->id[e->count++] = id;
}

static bool
is_called(const struct nb_token *t, const char *name)
{
    return t->text != NULL && t->length == strlen(name) && memcmp(t->text, name, t->length) == 0;
}

static bool
is_name_of_ending(const struct nb_token *t)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_called(t, names[i]))
            return true;
    return false;
}

/* Models that answer in several messages (gpt-oss) end all but the last of them with <|end|>. */
static void
drop_ends_of_messages(struct nb_endings *e, const struct nb_vocabulary *v)
{
    bool returns = false;
    unsigned kept = 0;

    for (unsigned i = 0; i < e->count; i++)
        returns |= is_called(&v->tokens[e->id[i]], "<|return|>");
    for (unsigned i = 0; i < e->count; i++)
        if (!returns || !is_called(&v->tokens[e->id[i]], "<|end|>"))
            e->id[kept++] = e->id[i];
    e->count = kept;
}

void
nb_endings_find(struct nb_endings *e, const struct nb_metadata *meta, const struct nb_vocabulary *v)
{
    uint64_t id;

    e->count = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (nb_meta_get_u64(meta, keys[i], &id) && id < v->size && v->tokens[id].text != NULL)
            add(e, (int32_t)id);
    for (uint32_t i = 0; i < v->size; i++)
        if (is_name_of_ending(&v->tokens[i]))
            add(e, (int32_t)i);
    drop_ends_of_messages(e, v);
}
