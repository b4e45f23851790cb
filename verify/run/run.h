/*
 * What a block sees of the pass that it is run in, and the steps that blocks are made of. Rows are
 * tokens; a batch is some chunks of a text, one after the other, that do not see each other.
 */
#ifndef NB_RUN_H
#define NB_RUN_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "verify/run/model.h"
#include "verify/run/product.h"
#include "verify/run/rope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One piece of memory that the blocks of all layers use in turns: each finds in it what the block
 * before it has left there. To learn the size, the same calls are made with no memory behind them.
 */
struct nb_scratch {
    /* Of the largest batch; what is taken by the token, chunk or thread has so many rows. */
    size_t tokens, chunks, chunk_tokens, threads;
    void *memory;       /* NULL: only the size is asked */
    size_t used, size;  /* bytes */
    bool too_large;     /* for the address space */
};

/*
 * ROWS x COLUMNS floats, or other things of 4 bytes, aligned to 64 bytes. NULL where only the size is
 * asked, and where more is taken than was asked for.
 */
void *nb_scratch_take(struct nb_scratch *scratch, size_t rows, size_t columns);

struct nb_run {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_panels panels;
    struct nb_scratch scratch;
    float *x;         /* the residual stream: tokens x embedding */
    float *normed;    /* the last norm of it: tokens x embedding */
    float *rotations; /* tables of the model's rotary embeddings, for the positions of a chunk */
    size_t n;         /* tokens of this batch: whole chunks */
    uint32_t layer;   /* that is run */
    nb_observe *observe; /* may be NULL */
    void *observer;
};

/* Runs TASK, an elementwise step, on CONTEXT: each task does the tokens that nb_run_task_rows gives. */
enum nb_status nb_run_rows(const struct nb_run *run, nb_task *task, void *context, struct nb_error *err) NB_MUST_CHECK;
/* The tokens of a task: from FIRST up to the result. */
size_t nb_run_task_rows(const struct nb_run *run, size_t task, size_t *first);

/* The norm of the residual stream into NORMED. Refused: NaN and infinity in it. */
enum nb_status nb_run_norm(struct nb_run *run, const struct nb_norm *norm, struct nb_error *err) NB_MUST_CHECK;
/* COUNT products (at most 4) of one input, N rows, which the observer sees first. */
enum nb_status nb_run_multiply(struct nb_run *run, const float *in, size_t n, const struct nb_product *products,
                               size_t count, struct nb_error *err) NB_MUST_CHECK;
/* The table of ROPE: a row of dims floats for each position in a chunk. */
const float *nb_run_rotations(const struct nb_run *run, const struct nb_rope *rope);

#endif
