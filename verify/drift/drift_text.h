/* A text as the tokens that models are measured on. */
#ifndef NB_DRIFT_TEXT_H
#define NB_DRIFT_TEXT_H

#include "formats/base/status.h"
#include "verify/drift/drift.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <stddef.h>

/*
 * IDS receives the tokens of TEXT by the tokenizer of the first of MODELS models, and OPTIONS its BOS.
 * Refused: models whose vocabularies differ, since their numbers could not be compared, and a text that
 * has too few tokens for OPTIONS. TOKENIZER receives that tokenizer, for the caller to close, unless it
 * is NULL.
 */
enum nb_status nb_drift_tokens(const struct nb_model *const *model, size_t models, const struct nb_text *text,
                               struct nb_drift_options *options, struct nb_ids *ids, struct nb_tokenizer **tokenizer,
                               struct nb_error *err) NB_MUST_CHECK;

/*
 * The same with the saved base of OPTIONS, whose tokens IDS receives, in the place of the first of the models, which is NULL.
 * TEXT may be NULL; if not, those must be its tokens. TOKENIZER is that of the next model.
 */
enum nb_status nb_drift_saved_tokens(const struct nb_model *const *model, size_t models, const struct nb_text *text,
                                     struct nb_drift_options *options, struct nb_ids *ids,
                                     struct nb_tokenizer **tokenizer, struct nb_error *err) NB_MUST_CHECK;

#endif
