/*
 * Computes importance from text: statistics of the inputs of a model's matrices,
 * gathered in the reference inference path. Chunks and statistics are those of
 * llama-imatrix (tools/imatrix): sums of squares per input column, over all tokens.
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
    uint32_t chunk_tokens; /* usually 512 */
    uint32_t from_chunk;   /* number of chunks to skip at the start */
    uint32_t max_chunks;   /* 0: all */
    unsigned threads;      /* 0: one per core */
    int64_t bos;           /* replaces the first token of every chunk; -1: not replaced */
    bool process_output;   /* also for the output matrix (the embedding if the two are tied) */
    /*
     * A file that stores the exact sums, so that a stopped run can be resumed with
     * the same result; NULL: none. It is written after every SAVE_EVERY chunks,
     * every ten seconds and on STOP, always after a whole batch; read at the start if
     * it exists, and removed at the end.
     */
    const char *state;
    uint32_t save_every; /* 0: only by time */
    /* Called ten times a second from the calling thread, with the chunks and the share (0 to 1) that are done. */
    void (*progress)(void *context, uint32_t chunks, uint32_t of, double share); /* may be NULL */
    void *context;
    /* Not zero asks for a stop, within half a second: NB_INTERRUPTED. May be NULL. */
    const volatile sig_atomic_t *stop;
};

/* The number of chunks of COUNT tokens under OPTIONS; 0 if there are too few tokens. */
uint32_t nb_calibrate_chunks(size_t count, const struct nb_calibrate_options *options);

/* Runs COUNT tokens through MODEL and adds to SUMS, which is empty or from runs of the same model. */
enum nb_status nb_calibrate(const struct nb_model *model, const int32_t *tokens, size_t count,
                            const struct nb_calibrate_options *options, struct nb_sums *sums,
                            struct nb_error *err) NB_MUST_CHECK;

#endif
