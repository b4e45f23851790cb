/*
 * Importance from text: what flows into the matrices of a model, gathered in the
 * reference inference path. Chunks and statistic are llama-imatrix's (tools/imatrix):
 * sums of squares for each input column, over every token.
 */
#ifndef NB_CALIBRATE_H
#define NB_CALIBRATE_H

#include "calib/sums.h"
#include "formats/base/status.h"
#include "verify/run/model.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_calibrate_options {
    uint32_t chunk_tokens;  /* 512 is the usual number */
    uint32_t from_chunk;    /* leaves out so many at the front */
    uint32_t max_chunks;    /* 0: all there are */
    unsigned threads;       /* 0: one for each core */
    int64_t bos;            /* replaces the first token of every chunk; -1: nothing does */
    bool process_output;    /* also the output matrix, and the embedding where the two are tied */
    /*
     * A file that keeps the sums as they are, so that a run that was stopped can
     * go on to the same end; NULL: none. It is written after every SAVE_EVERY chunks
     * and when STOP is seen, read at the start if it is there, and removed in the end.
     */
    const char *state;
    uint32_t save_every;    /* 0: only when stopped */
    /* Called ten times a second from the calling thread, with the chunks that are done; may be NULL. */
    void (*progress)(void *context, uint32_t chunks, uint32_t of);
    void *context;
    /* Not zero asks for a stop: NB_INTERRUPTED, with a state at the end of a batch. May be NULL. */
    const volatile sig_atomic_t *stop;
};

/* Chunks that COUNT tokens make under OPTIONS; 0 where they are too few. */
uint32_t nb_calibrate_chunks(size_t count, const struct nb_calibrate_options *options);

/* Runs COUNT tokens through MODEL and adds to SUMS, which is empty or of runs of the same model. */
enum nb_status nb_calibrate(const struct nb_model *model, const int32_t *tokens, size_t count,
                            const struct nb_calibrate_options *options, struct nb_sums *sums, struct nb_error *err)
    NB_MUST_CHECK;

#endif
