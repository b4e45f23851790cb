/*
 * Which keys of tokenizer.ggml.* the loader of llama.cpp asks for, and which values it knows. Source:
 * llama_vocab::impl::load in llama-vocab.cpp, v0.5.0.
 */
#include "verify/check/parts.h"

#include <string.h>

#define PREFIX "tokenizer.ggml."

/* Kinds of tokenizers. */
struct kind {
    const char *name;
    bool without_tokens, is_bpe;
};
static const struct kind kinds[] = {
    { "llama", false, false }, { "gpt2", false, true },      { "bert", false, false },
    { "t5", false, false },    { "rwkv", false, false },     { "plamo2", false, false },
    { "gemma4", false, true }, { "hybriddna", false, true }, { "whitespace", false, true },
    { "none", true, false },   { "no_vocab", true, false },
};

/* Pre-tokenizers of BPE tokenizers. */
static const char *const pre_tokenizers[] = {
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "whitespace",
    "youtu",
};

static bool
is_pre_tokenizer(const char *name)
{
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof pre_tokenizers[0]; i++)
        if (strcmp(name, pre_tokenizers[i]) == 0)
            return true;
    return false;
}

static const struct kind *
find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return &kinds[i];
    return NULL;
}

static enum nb_status
missing(struct nb_checking *c, const char *file, const char *key)
{
    return CHECK_FOUND(c, NB_BAD_TOKENS_MISSING, nb_in_file(file),
                       "has no %s, without which llama.cpp does not load it", key);
}

/* A BPE tokenizer has merges, except for one that is known not to need them. */
static enum nb_status
check_bpe(struct nb_checking *c, const char *file, const struct nb_metadata *meta, bool fixed_pre)
{
    const char *pre = nb_meta_get_string(meta, PREFIX "pre");
    const struct nb_place place = nb_at_key(file, PREFIX "pre", NB_NO_OFFSET);
    enum nb_status status = NB_OK;

    if (nb_meta_find(meta, PREFIX "merges") == NULL && (pre == NULL || strcmp(pre, "kimi-k2") != 0))
        status = missing(c, file, PREFIX "merges");
    if (status != NB_OK || fixed_pre)
        return status;
    if (pre == NULL || *pre == '\0')
        return CHECK_FOUND(c, NB_BAD_TOKENS_NO_PRE, nb_in_file(file),
                           "has no %s: llama.cpp divides texts in a way that the model may not know", PREFIX "pre");
    if (!is_pre_tokenizer(pre))
        return CHECK_FOUND(c, NB_BAD_TOKENS_PRE, place, "'%.40s' is no pre-tokenizer of llama.cpp, which refuses it",
                           pre);
    return NB_OK;
}

enum nb_status
nb_check_vocabulary_keys(struct nb_checking *c, const char *file, const struct nb_metadata *meta)
{
    const char *name = nb_meta_get_string(meta, PREFIX "model");
    const struct kind *kind;
    enum nb_status status = NB_OK;

    if (name == NULL)
        return missing(c, file, PREFIX "model");
    kind = find_kind(name);
    if (kind == NULL)
        return CHECK_FOUND(c, NB_BAD_TOKENS_KIND, nb_at_key(file, PREFIX "model", NB_NO_OFFSET),
                           "'%.40s' is no kind of tokenizer that llama.cpp knows", name);
    if (!kind->without_tokens && nb_meta_find(meta, PREFIX "tokens") == NULL)
        status = missing(c, file, PREFIX "tokens");
    if (status == NB_OK && kind->is_bpe)
        status = check_bpe(c, file, meta, strcmp(name, "gemma4") == 0);
    return status;
}
