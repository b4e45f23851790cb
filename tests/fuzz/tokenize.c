/*
 * A text with the tokenizers of llama.cpp, by each pre-tokenizer, and of a checkpoint with each normal form. The first
 * byte is the tokenizer, the second the flags, the rest the text. Every byte is a token, so what is cut by a byte-level
 * tokenizer must be the text when it is put together.
 */
#include "fuzz.h"

#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"
#include "formats/models/source.h"
#include "formats/tokenizer/byte_level.h"
#include "verify/tokenize/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char *const pre_tokenizers[] = {
    "llama-bpe", "smaug-bpe", "qwen2", "qwen35", "gpt-2", "gpt-4o", "tekken", "smollm", "deepseek-v3",
};
#define N_PRE (sizeof pre_tokenizers / sizeof pre_tokenizers[0])
static const char *const forms[] = { "NFC", "NFD", "NFKC", "NFKD" };
#define N_FORMS (sizeof forms / sizeof forms[0])
#define N_KINDS (N_PRE + 1 + N_FORMS) /* the one in the middle is SentencePiece's */

static const char *const words[] = { "<s>", "<|x|>", "ab", "abab", " a", "  ", "\n\n", "it", "'s", "\xC3\xA9", "12" };
#define N_WORDS (sizeof words / sizeof words[0])

/* The 256 bytes, as characters or with SCORES as <0x00>, and the words: the first two control tokens, the next two the user's. */
static void
set_tokens(struct nb_metadata *meta, bool scores)
{
    struct nb_strings texts = { 0 };
    int32_t types[256 + N_WORDS];
    float ranks[256 + N_WORDS];

    for (unsigned i = 0; i < 256 + N_WORDS; i++) {
        char text[64] = "";
        size_t n = 0;

        if (i < 256 && scores)
            n = (size_t)snprintf(text, sizeof text, "<0x%02X>", i);
        else if (i < 256)
            n = (size_t)utf8proc_encode_char((utf8proc_int32_t)nb_byte_level_character((unsigned char)i),
                                             (utf8proc_uint8_t *)text);
        else if (scores || i < 256 + 4)
            n = (size_t)snprintf(text, sizeof text, "%s", words[i - 256]);
        for (const char *p = i < 256 + 4 || scores ? "" : words[i - 256]; *p != '\0'; p++)
            n += (size_t)utf8proc_encode_char((utf8proc_int32_t)nb_byte_level_character((unsigned char)*p),
                                              (utf8proc_uint8_t *)text + n);
        nb_strings_add(&texts, text, n);
        types[i] = i < 256       ? (scores ? NB_TOKEN_BYTE : NB_TOKEN_NORMAL)
                   : i < 256 + 2 ? NB_TOKEN_CONTROL
                   : i < 256 + 4 ? NB_TOKEN_USER_DEFINED
                                 : NB_TOKEN_NORMAL;
        ranks[i] = -(float)i;
    }
    nb_meta_set(meta, "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_I32, 256 + N_WORDS, types, sizeof types);
    nb_meta_set(meta, "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F32, 256 + N_WORDS, ranks, sizeof ranks);
    nb_meta_set_strings(meta, "tokenizer.ggml.tokens", &texts);
}

/* The bytes of a GGUF file of this kind. */
static unsigned char *
make_gguf(const char *pre, uint64_t *size)
{
    struct nb_metadata meta = { 0 };
    struct nb_strings merges = { 0 };
    unsigned char *header = NULL;

    nb_meta_set_string(&meta, "general.architecture", "llama");
    nb_meta_set_string(&meta, "tokenizer.ggml.model", pre == NULL ? "llama" : "gpt2");
    nb_meta_set_string(&meta, "tokenizer.ggml.pre", pre == NULL ? "default" : pre);
    nb_meta_set_bool(&meta, "tokenizer.ggml.add_bos_token", false);
    set_tokens(&meta, pre == NULL);
    nb_strings_add(&merges, "a b", 3);
    nb_strings_add(&merges, "ab ab", 5);
    nb_strings_add(&merges, "i t", 3);
    nb_strings_add(&merges, "\xC4\xA0 a", 4);
    nb_meta_set_strings(&meta, "tokenizer.ggml.merges", &merges);
    if (nb_meta_status(&meta, NULL) != NB_OK || nb_gguf_header(&meta, NULL, 0, &header, size, NULL) != NB_OK)
        header = NULL;
    nb_meta_free(&meta);
    return header;
}

/* The source with tokenizer KIND, which stays open; false if out of memory. */
static bool
open_kind(size_t kind, struct nb_source *source)
{
    char path[1024], name[32] = "";

    if (kind <= N_PRE) {
        uint64_t size;
        unsigned char *bytes = make_gguf(kind < N_PRE ? pre_tokenizers[kind] : NULL, &size);

        if (bytes == NULL)
            return false;
        snprintf(name, sizeof name, "%zu.gguf", kind);
        snprintf(path, sizeof path, "%s/%s", fuzz_checkpoint(), name);
        fuzz_put(name, bytes, (size_t)size);
        free(bytes);
    } else {
        char text[512];
        const int n =
            snprintf(text, sizeof text,
                     "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"<s>\": 3}, "
                     "\"merges\": [\"a b\"]}, \"added_tokens\": [{\"id\": 3, \"content\": \"<s>\", \"special\": "
                     "true, \"lstrip\": true}], \"normalizer\": {\"type\": \"%s\"}, \"pre_tokenizer\": {\"type\": "
                     "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}}",
                     forms[kind - N_PRE - 1]);

        snprintf(path, sizeof path, "%s", fuzz_checkpoint());
        fuzz_put("tokenizer.json", text, (size_t)n);
    }
    return nb_source_open(source, path, NULL, NULL) == NB_OK;
}

static void
put_together(const struct nb_tokenizer *t, const struct nb_ids *ids, const char *text, size_t length)
{
    size_t at = 0;

    for (size_t i = 0; i < ids->count; i++) {
        char piece[64];
        const size_t n = nb_token_bytes(t, ids->id[i], piece, sizeof piece);

        fuzz_claim(n <= length - at && memcmp(piece, text + at, n) == 0, "a token is the text at its place");
        at += n;
    }
    fuzz_claim(at == length, "tokens make all of the text");
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    static struct nb_source sources[N_KINDS];
    static struct nb_tokenizer *tokenizers[N_KINDS];
    const size_t kind = size > 0 ? data[0] % N_KINDS : 0;
    struct nb_ids ids = { 0 };
    const char *text;

    if (size < 2)
        return;
    if (tokenizers[kind] == NULL) {
        if (!open_kind(kind, &sources[kind]))
            return;
        if (nb_tokenizer_open(&tokenizers[kind], &sources[kind], NULL) != NB_OK) {
            tokenizers[kind] = NULL;
            nb_source_close(&sources[kind]);
            return;
        }
    }
    text = (const char *)data + 2;
    if (nb_tokenize(tokenizers[kind], text, size - 2, data[1] & 3, &ids, NULL) == NB_OK) {
        for (size_t i = 0; i < ids.count; i++)
            fuzz_claim(ids.id[i] >= 0 && (uint32_t)ids.id[i] < nb_tokenizer_vocabulary(tokenizers[kind])->size,
                       "ids are of the vocabulary");
        if (kind < N_PRE && nb_utf8_valid(text, size - 2))
            put_together(tokenizers[kind], &ids, text, size - 2);
    }
    nb_ids_free(&ids);
}
