/* The files of a checkpoint's tokenizer, of a GGUF file's keys. */
#ifndef NB_TOKENIZER_WRITE_H
#define NB_TOKENIZER_WRITE_H

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/tokenizer/vocabulary.h"

/*
 * Adds to the made files of CP what the keys META of the file PATH say: tokenizer.json of byte-level BPE, or
 * tokenizer.model of SentencePiece's kind; tokenizer_config.json with the chat template, and generation_config.json with
 * the tokens that end a text. NB_UNSUPPORTED, with nothing added: a tokenizer of another kind, or none.
 */
enum nb_status nb_tokenizer_write(struct nb_checkpoint *cp, const struct nb_metadata *meta, const char *path,
                                  struct nb_error *err) NB_MUST_CHECK;

/* The rest is private to the files that write. */

/* Whether the token only fills up the vocabulary to the size of the embedding. */
bool nb_token_is_filling(const struct nb_token *token, uint32_t id);
/* An entry of added tokens, as tokenizer.json and tokenizer_config.json have them; NULL if out of memory. */
json_t *nb_added_token_json(const struct nb_token *token);
/* tokenizer.json, from malloc; NULL if out of memory. */
char *nb_tokenizer_json_text(const struct nb_vocabulary *vocabulary);
/* tokenizer.model, of *SIZE bytes, from malloc; NULL if out of memory. */
char *nb_sentencepiece_model(const struct nb_vocabulary *vocabulary, size_t *size);

#endif
