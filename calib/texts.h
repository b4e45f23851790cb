/* Texts as the tokens that importance is gathered from. */
#ifndef NB_TEXTS_H
#define NB_TEXTS_H

#include "calib/calibrate.h"
#include "calib/sums.h"
#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

/* Tokens of a chunk: GIVEN, or if that is 0, 512, or the model's context length if that is less. */
uint32_t nb_calibration_chunk(const struct nb_source *source, uint32_t given);

/* Texts, and what is learned of them. */
struct nb_calibration_texts {
    const struct nb_text *text;
    size_t count;
    unsigned tokenize_flags; /* beside NB_ADD_SPECIAL */
    size_t *tokens;          /* receives those of each text; or NULL */
    size_t most_tokens;      /* in chunks from all over the texts; 0: all */
};

/*
 * IDS receives the complete chunks of all texts, one after another, by the tokenizer of SOURCE; OPTIONS
 * its BOS, and SUMS the names of the texts. Refused: a text of less than one chunk.
 */
enum nb_status nb_calibrate_tokens(const struct nb_source *source, const struct nb_calibration_texts *texts,
                                   struct nb_calibrate_options *options, struct nb_ids *ids, struct nb_sums *sums,
                                   struct nb_error *err) NB_MUST_CHECK;
/* The same for one TEXT, of which no matrix is made; *BOS is what nb_calibrate_options has. */
enum nb_status nb_calibration_chunks(const struct nb_source *source, const struct nb_text *text, uint32_t chunk_tokens,
                                     struct nb_ids *ids, int64_t *bos, struct nb_error *err) NB_MUST_CHECK;
/* Runs the texts through the model SOURCE and adds to SUMS. OPTIONS receives the BOS. */
enum nb_status nb_calibrate_texts(const struct nb_source *source, const struct nb_calibration_texts *texts,
                                  struct nb_calibrate_options *options, struct nb_sums *sums,
                                  struct nb_error *err) NB_MUST_CHECK;
/* Copies CHUNKS of the chunks of EACH tokens that COUNT tokens make, from all over them. TO may be TOKENS. */
void nb_spread_chunks(const int32_t *tokens, size_t count, uint32_t each, uint32_t chunks, int32_t *to);

#endif
