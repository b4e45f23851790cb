/*
 * Refines the blocks of a quantized file, or folder, by what flows through the model. Layer by layer, the calibration tokens run
 * through the original model and through the quantized one as far as it is refined; each matrix gets the blocks that do
 * best what the original one does with the original inputs, and that make up for the error that is in the residual
 * stream already. A part of the tokens is held out: blocks are fitted to the others, and replaced only where that lowers
 * the error on the held-out ones.
 */
#ifndef NB_CALIB_REFINE_H
#define NB_CALIB_REFINE_H

#include "calib/refine_matrix.h"
#include "formats/base/status.h"
#include "verify/run/model.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

struct nb_refine_options {
    uint32_t chunk_tokens; /* usually 512 */
    uint32_t max_chunks;   /* spread over the text; 0: all */
    unsigned threads;      /* 0: one per core */
    int64_t bos;           /* replaces the first token of every chunk; -1: not replaced */
    /*
     * A file that stores how far a stopped run came, so that it can be taken up again, with the same PATH and to the same
     * bytes; NULL: none. It is written before each layer, read at the start if it exists, and removed at the end.
     */
    const char *state;
    const char *scratch; /* a folder for the streams of all tokens; NULL: they are in memory */
    /* Called ten times a second from the calling thread: what is being done, and the share (0 to 1) that is done. */
    void (*progress)(void *context, const char *what, double share); /* may be NULL */
    /* Called for each matrix, or part of one, that was looked at. May be NULL. */
    void (*refined)(void *context, const char *name, const struct nb_refine_result *result);
    void *context; /* of both */
    /* Not zero asks for a stop, within half a second: NB_INTERRUPTED. May be NULL. */
    const volatile sig_atomic_t *stop;
};

struct nb_refine_summary {
    size_t matrices, refined; /* that could be refined, and that were */
    size_t tokens;            /* that were used */
    double kld_before, kld;   /* mean KL divergence on at most 16 of the held-out chunks; 0 if there is only one */
};

/* The chunks of COUNT tokens that are used. */
uint32_t nb_refine_chunks(size_t count, const struct nb_refine_options *options);
/*
 * About how many BYTES of memory, beside those of two passes (nb_forward), and SECONDS a run on COUNT tokens takes on this
 * machine, which is timed for a moment.
 */
enum nb_status nb_refine_needs(const struct nb_model *original, size_t count, const struct nb_refine_options *options,
                               uint64_t *bytes, double *seconds, struct nb_error *err) NB_MUST_CHECK;
/*
 * Changes PATH, a GGUF file or an MLX folder that is ORIGINAL quantized, in place. Texts of less than two chunks are refused.
 */
enum nb_status nb_refine_file(const struct nb_model *original, const char *path, const int32_t *tokens, size_t count,
                              const struct nb_refine_options *options, struct nb_refine_summary *summary,
                              struct nb_error *err) NB_MUST_CHECK;

#endif
