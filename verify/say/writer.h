/*
 * Texts that a model writes by itself, many side by side: what it has learned, for calibration without any text (as in
 * "LLM-QAT", Liu et al. 2023). They are no texts to read: each begins with a random token.
 */
#ifndef NB_WRITER_H
#define NB_WRITER_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "verify/run/model.h"
#include "verify/tokenize/tokenize.h"

#include <stddef.h>
#include <stdint.h>

struct nb_writing {
    uint32_t texts, length; /* to be written, and the tokens of each */
    uint64_t seed;
    volatile size_t *done; /* receives the number of tokens that were written; may be NULL */
};

/* How many of these texts are written side by side: it depends on MODEL alone. */
uint32_t nb_texts_at_once(const struct nb_model *model, const struct nb_writing *writing);
/* About how much memory that takes. */
uint64_t nb_writing_bytes(const struct nb_model *model, const struct nb_writing *writing);
/*
 * IDS receives the tokens, text after text. A text begins with the token that begins all texts, if TOKENIZER, which is that
 * of MODEL, adds one; then a random token of words; the others are drawn by the probabilities that the model gives them.
 */
enum nb_status nb_write_texts(const struct nb_model *model, const struct nb_tokenizer *tokenizer, struct nb_pool *pool,
                              const struct nb_writing *writing, int32_t *ids, struct nb_error *err) NB_MUST_CHECK;

#endif
