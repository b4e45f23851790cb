/* A model with a text that it has read, token by token or many at once: it knows what may come next. */
#ifndef NB_SPEAKER_H
#define NB_SPEAKER_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "verify/run/model.h"

#include <stddef.h>
#include <stdint.h>

struct nb_speaker {
    const struct nb_model *model;
    struct nb_forward *forward;
    uint32_t batch, context; /* tokens: in one run of the model, and in the whole text */
    size_t count;            /* tokens that were read */
    float *logits;           /* of the last ones: as many rows as were asked for */
    size_t rows;             /* of which there is room */
};

/* What is said about each token that was read: ROW, one float for each token of the vocabulary, are the logits of the next. */
typedef enum nb_status nb_on_logits(void *context, size_t position, const float *row, struct nb_error *err);

/*
 * A text of up to CONTEXT tokens, of which up to LONGEST are read at once. If that is not all of it, matrices stay in memory
 * as they are stored, up to half of the machine's; what exceeds it is read from the file for each token. MODEL and POOL must
 * outlive the speaker, which is to be closed also after an error.
 */
enum nb_status nb_speaker_open(struct nb_speaker *speaker, const struct nb_model *model, struct nb_pool *pool,
                               size_t longest, size_t context, struct nb_error *err) NB_MUST_CHECK;
void nb_speaker_close(struct nb_speaker *speaker);
/*
 * Reads the next COUNT tokens of the text, at least one, and calls ON_LOGITS for each of them in their order; if it is NULL,
 * only the logits of the last are computed, which then stand in speaker->logits. Tokens that the vocabulary does not have,
 * and more of them than the context has room for, are refused, as are logits that are NaN or infinite.
 */
enum nb_status nb_speaker_read(struct nb_speaker *speaker, const int32_t *ids, size_t count, nb_on_logits *on_logits,
                               void *context, struct nb_error *err) NB_MUST_CHECK;

#endif
