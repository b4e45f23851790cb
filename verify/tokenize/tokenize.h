/*
 * Text to token ids: as llama.cpp does it with the vocabulary of a GGUF file, and
 * as Hugging Face's tokenizers library does it with that of a checkpoint.
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
    NB_ADD_SPECIAL = 1,   /* BOS and EOS where the model wants them */
    NB_PARSE_SPECIAL = 2, /* "<|eot|>" in the text is that token, not its letters */
};

/* SOURCE must stay open as long as the tokenizer is used. */
enum nb_status nb_tokenizer_open(struct nb_tokenizer **tokenizer, const struct nb_source *source,
                                 struct nb_error *err) NB_MUST_CHECK;
void nb_tokenizer_close(struct nb_tokenizer *tokenizer);
const struct nb_vocabulary *nb_tokenizer_vocabulary(const struct nb_tokenizer *tokenizer);

/*
 * Adds the ids of TEXT (LENGTH bytes, less than 2 GiB) to IDS. A text that is
 * not UTF-8 is refused by a checkpoint's tokenizer; a GGUF file's takes U+FFFD
 * or byte tokens for what is wrong, as llama.cpp does.
 */
enum nb_status nb_tokenize(const struct nb_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                           struct nb_ids *ids, struct nb_error *err) NB_MUST_CHECK;
void nb_ids_free(struct nb_ids *ids);

/*
 * The bytes that token ID stands for, in BUFFER (SIZE bytes, cut if need be);
 * returns how many. Control tokens stand for their own names.
 */
size_t nb_token_bytes(const struct nb_tokenizer *tokenizer, int32_t id, char *buffer, size_t size);

#endif
