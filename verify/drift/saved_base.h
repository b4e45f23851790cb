/*
 * The predictions of a base model, saved for comparing others with it: a base that is too large to be run each time, or on
 * another machine. With a vocabulary of 32000 tokens and more the file has at most a 20th of the size of llama-perplexity's
 * logits, and a mean divergence from it is within 1e-5 of that from the base itself, or 1 % where that is more.
 */
#ifndef NB_SAVED_BASE_H
#define NB_SAVED_BASE_H

#include "formats/base/status.h"
#include "formats/tokenizer/vocabulary.h"
#include "verify/drift/prediction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a file says of itself. */
struct nb_saved_base {
    uint32_t vocab, chunk_tokens, chunks;
    int64_t bos;            /* see nb_drift_options */
    uint64_t vocabulary;    /* nb_vocabulary_hash */
    uint64_t file_bytes;    /* of the model */
    double bits_per_weight; /* of the model */
    char *model, *text;     /* names of files, without folders */
    const int32_t *tokens;  /* CHUNKS x CHUNK_TOKENS */
};

/* XXH64 of the texts of all tokens: equal for a checkpoint and its GGUF file. */
uint64_t nb_vocabulary_hash(const struct nb_vocabulary *vocabulary);

struct nb_base_writer;

/* Begins PATH. ABOUT's tokens and names are only used until the call returns. */
enum nb_status nb_base_writer_new(struct nb_base_writer **writer, const char *path, bool replace,
                                  const struct nb_saved_base *about, struct nb_error *err) NB_MUST_CHECK;
/* Writes the predictions of the next COUNT scored tokens. */
enum nb_status nb_base_writer_put(struct nb_base_writer *writer, const struct nb_prediction *predictions, size_t count,
                                  struct nb_error *err) NB_MUST_CHECK;
/* Completes the file, which needs the predictions of all scored tokens, and frees WRITER. */
enum nb_status nb_base_writer_end(struct nb_base_writer *writer, struct nb_error *err) NB_MUST_CHECK;
/* Removes the file and frees WRITER, which may be NULL, after the error in ERR. */
void nb_base_writer_abort(struct nb_base_writer *writer, struct nb_error *err);

struct nb_base_reader;

/* PATH must outlive READER. */
enum nb_status nb_base_reader_open(struct nb_base_reader **reader, const char *path,
                                   struct nb_error *err) NB_MUST_CHECK;
void nb_base_reader_close(struct nb_base_reader *reader);
const struct nb_saved_base *nb_base_reader_about(const struct nb_base_reader *reader);
/* Reads the next COUNT predictions, into arrays of nb_prediction_capacity elements. */
enum nb_status nb_base_reader_next(struct nb_base_reader *reader, struct nb_prediction *predictions, size_t count,
                                   struct nb_error *err) NB_MUST_CHECK;

#endif
