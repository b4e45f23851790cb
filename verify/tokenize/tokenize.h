/*
 * Tokenizes text: like llama.cpp with the vocabulary of a GGUF file, like Hugging
 * Face's tokenizers library with that of a checkpoint.
 */
#ifndef NB_TOKENIZE_H
#define NB_TOKENIZE_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "formats/tokenizer/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_tokenizer;

struct nb_ids {
    int32_t *id;
    size_t count, room;
};

enum nb_tokenize_flags {
    NB_ADD_SPECIAL = 1,   /* add BOS and EOS if the model uses them */
    NB_PARSE_SPECIAL = 2, /* special tokens such as "<|eot|>" in the text are recognized */
};

/* SOURCE must stay open while the tokenizer is used. */
enum nb_status nb_tokenizer_open(struct nb_tokenizer **tokenizer, const struct nb_source *source,
                                 struct nb_error *err) NB_MUST_CHECK;
void nb_tokenizer_close(struct nb_tokenizer *tokenizer);
const struct nb_vocabulary *nb_tokenizer_vocabulary(const struct nb_tokenizer *tokenizer);

/*
 * Appends the ids of TEXT (LENGTH bytes, less than 2 GiB) to IDS. Invalid UTF-8
 * is an error for a checkpoint's tokenizer; with a GGUF file it becomes U+FFFD
 * or byte tokens, as in llama.cpp.
 */
enum nb_status nb_tokenize(const struct nb_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                           struct nb_ids *ids, struct nb_error *err) NB_MUST_CHECK;
void nb_ids_free(struct nb_ids *ids);

/*
 * Writes the text of token ID to BUFFER, truncated to SIZE bytes, and returns
 * its length. The text of a control token is its name.
 */
size_t nb_token_bytes(const struct nb_tokenizer *tokenizer, int32_t id, char *buffer, size_t size);

#endif
