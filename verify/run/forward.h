/*
 * The reference inference path: a readable forward pass in float32 over the
 * weights of any source. A matrix is decoded panel by panel each time it is used
 * and never kept, so a model may be larger than memory; a batch of several chunks
 * shares the decoding.
 */
#ifndef NB_FORWARD_H
#define NB_FORWARD_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "verify/run/model.h"

#include <stdbool.h>
#include <stdint.h>

/* Tokens per batch: enough for fast products and to amortize the decoding. */
#define NB_BATCH_TOKENS 2048u

/* The memory of a pass, which models use in turn. */
struct nb_forward;

/*
 * For batches of up to CHUNKS chunks of CHUNK_TOKENS tokens. POOL must outlive the result.
 */
enum nb_status nb_forward_new(struct nb_forward **forward, struct nb_pool *pool, uint32_t chunks, uint32_t chunk_tokens,
                              struct nb_error *err) NB_MUST_CHECK;
/* For a text of up to CONTEXT tokens, which is run in batches of up to BATCH tokens, by nb_forward_continue. */
enum nb_status nb_forward_new_text(struct nb_forward **forward, struct nb_pool *pool, uint32_t batch, uint32_t context,
                                   struct nb_error *err) NB_MUST_CHECK;
/* The same for TEXTS texts that are run side by side, BATCH tokens of each. */
enum nb_status nb_forward_new_texts(struct nb_forward **forward, struct nb_pool *pool, uint32_t texts, uint32_t batch,
                                    uint32_t context, struct nb_error *err) NB_MUST_CHECK;
/* The bytes that a text of CONTEXT tokens leaves in MODEL for tokens that continue it. */
uint64_t nb_forward_text_bytes(const struct nb_model *model, uint32_t context);
/*
 * From the next model on, up to BYTES of the matrices that are multiplied with a few tokens stay in memory, as they are
 * stored: for a text that is continued token by token.
 */
void nb_forward_keep(struct nb_forward *forward, uint64_t bytes);
/*
 * Whether what is multiplied with matrices is rounded from now on as llama.cpp rounds it for the types of these matrices
 * (activations.h).
 */
void nb_forward_round(struct nb_forward *forward, bool rounds);
void nb_forward_free(struct nb_forward *forward);
/* The share of the current nb_forward_run that is done, from 0 to 1. For a watch of its pool. */
double nb_forward_share(const struct nb_forward *forward);
/* OBSERVE may be NULL. */
void nb_forward_observe(struct nb_forward *forward, nb_observe *observe, void *context);
/* The same for shares of attention. */
void nb_forward_observe_shares(struct nb_forward *forward, nb_observe_shares *observe, void *context);

/*
 * Runs CHUNKS chunks, which are contiguous in TOKENS, through MODEL, each from
 * position 0 and without attention to the others. BOS, if not negative, replaces
 * the first token of each. *HIDDEN receives the normalized state of every token
 * (rows of the model's embedding length), valid until the next call. NaN and
 * infinity in weights and results are an error.
 */
enum nb_status nb_forward_run(struct nb_forward *forward, const struct nb_model *model, const int32_t *tokens,
                              int64_t bos, uint32_t chunks, const float **hidden, struct nb_error *err) NB_MUST_CHECK;
/*
 * Runs the next N TOKENS of a text of nb_forward_new_text, or of each text: those of the first, then those of the second,
 * and so on. The first call, and one with another model, begin it. N must not exceed the batch, nor the text its context.
 * *HIDDEN is as above.
 */
enum nb_status nb_forward_continue(struct nb_forward *forward, const struct nb_model *model, const int32_t *tokens,
                                   uint32_t n, const float **hidden, struct nb_error *err) NB_MUST_CHECK;

/*
 * Texts that begin alike: TRUNKS beginnings, of TRUNK_TOKENS tokens each, and BRANCHES continuations, of BRANCH_TOKENS each.
 * Continuation I follows beginning number TRUNK[I], which is at most I, and not below that of the one before.
 */
struct nb_branches {
    const int32_t *trunk_token, *branch_token; /* those of the first text, then those of the second, ... */
    const uint32_t *trunk;
    uint32_t trunks, branches, trunk_tokens, branch_tokens;
};

/* For as many of them, or fewer, by nb_forward_run_branches, which runs what they have in common once. */
enum nb_status nb_forward_new_branches(struct nb_forward **forward, struct nb_pool *pool,
                                       const struct nb_branches *most, struct nb_error *err) NB_MUST_CHECK;
/* *HIDDEN receives the states of the tokens of the continuations, as in nb_forward_run. */
enum nb_status nb_forward_run_branches(struct nb_forward *forward, const struct nb_model *model,
                                       const struct nb_branches *branches, const float **hidden,
                                       struct nb_error *err) NB_MUST_CHECK;

/*
 * A pass in steps, for callers that keep what a pass has between them, for many batches. A step changes both parts of it;
 * the order of steps is that of the blocks.
 */
struct nb_stream {
    float *x;   /* the residual stream: tokens x embedding */
    void *lent; /* the states that later blocks read: nb_forward_lent_bytes, aligned to 64; may be NULL if that is 0 */
};

/* For batches of up to CHUNKS chunks, which are those of nb_forward_new; UINT64_MAX if that exceeds the address space. */
uint64_t nb_forward_lent_bytes(const struct nb_model *model, uint32_t chunks, uint32_t chunk_tokens);
/* The blocks from FIRST up to the returned one make a step: one, or those that read the same stream. */
size_t nb_forward_step_end(const struct nb_model *model, size_t first);
/* Whether the step changes the lent part. */
bool nb_forward_step_lends(const struct nb_model *model, size_t first);
/* Makes the residual stream X of CHUNKS chunks; what the lent part has before the first step is of no matter. */
enum nb_status nb_forward_embed(struct nb_forward *forward, const struct nb_model *model, const int32_t *tokens,
                                int64_t bos, uint32_t chunks, float *x, struct nb_error *err) NB_MUST_CHECK;
/* An observer that returns a status ends the step with it. */
enum nb_status nb_forward_step(struct nb_forward *forward, const struct nb_model *model, const int32_t *tokens,
                               int64_t bos, uint32_t chunks, size_t first, const struct nb_stream *stream,
                               struct nb_error *err) NB_MUST_CHECK;
/* HIDDEN (tokens x embedding), which may be X, is what nb_forward_logits takes. */
enum nb_status nb_forward_end(struct nb_forward *forward, const struct nb_model *model, uint32_t chunks, const float *x,
                              float *hidden, struct nb_error *err) NB_MUST_CHECK;

/* The logits (ROWS x vocabulary) of ROWS states of MODEL. */
enum nb_status nb_forward_logits(struct nb_forward *forward, const struct nb_model *model, const float *hidden,
                                 size_t rows, float *logits, struct nb_error *err) NB_MUST_CHECK;

#endif
