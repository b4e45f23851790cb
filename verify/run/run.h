/*
 * The state of a forward pass that blocks use, and the operations from which blocks are built. Rows
 * are tokens; a batch is several chunks of a text, which do not attend to one another.
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
 * A buffer that the blocks of all layers use in turn; its contents are undefined at the start of a
 * block. To compute its size, the same calls are made without a buffer.
 */
struct nb_scratch {
    /* The largest sizes, for arrays with one row per token of a batch, per chunk or its positions, or per thread. */
    size_t tokens, chunks, chunk_tokens, threads;
    void *memory;      /* NULL: only the size is computed */
    size_t used, size; /* bytes */
    bool too_large;    /* the size exceeds the address space */
    /* Is told of each array that is taken from MEMORY, to copy what is in it. NULL: nothing. */
    void (*on_take)(void *context, unsigned char *array, size_t bytes);
    void *context;
};

/*
 * ROWS x COLUMNS floats, or other elements of 4 bytes, aligned to 64 bytes. NULL if only the size is
 * computed, and if more is taken than was computed.
 */
void *nb_scratch_take(struct nb_scratch *scratch, size_t rows, size_t columns);
/*
 * The same with a row for each token of a batch, for products that nb_run_keep takes to where positions are kept; nothing
 * where the rows of a batch follow one another there.
 */
void *nb_scratch_take_made(struct nb_scratch *scratch, size_t columns);

struct nb_run {
    const struct nb_model *model;
    struct nb_pool *pool;
    struct nb_panels panels;
    struct nb_scratch scratch, state;
    struct nb_scratch lent; /* the states that later blocks read */
    float *x;               /* the residual stream: tokens x embedding */
    float *rotations;       /* tables of the model's rotary embeddings, for the positions of a chunk */
    size_t n;               /* tokens of this batch: as many of each chunk */
    size_t each;            /* tokens of a chunk in this batch */
    size_t first;           /* the position of the first of these in its chunk */
    const int32_t *tokens;  /* of this batch; see nb_run_token */
    int64_t bos;            /* replaces the first token of each chunk if it is not negative */
    const size_t *states;   /* offsets of the blocks' states, in LENT or in SCRATCH */
    uint32_t layer;         /* the current layer */
    const float *in;        /* the input of the current block: tokens x embedding */
    float *out;             /* to which it adds its result: tokens x embedding */
    nb_observe *observe;    /* may be NULL */
    void *observer;
    nb_observe_shares *observe_shares; /* may be NULL */
    void *shares_observer;
};

/* Runs TASK, an elementwise step, with CONTEXT: each task processes the tokens that nb_run_task_rows returns. */
enum nb_status nb_run_rows(const struct nb_run *run, nb_task *task, void *context, struct nb_error *err) NB_MUST_CHECK;
/* The tokens of a task: from FIRST up to, but not including, the return value. */
size_t nb_run_task_rows(const struct nb_run *run, size_t task, size_t *first);

/* The position of token I of the batch in its chunk. */
static inline size_t
nb_run_position(const struct nb_run *run, size_t i)
{
    return run->first + i % run->each;
}

/* The row of token I of the batch where positions are kept: chunks are as far apart as they have positions. */
static inline size_t
nb_run_kept_row(const struct nb_run *run, size_t i)
{
    return i / run->each * run->scratch.chunk_tokens + nb_run_position(run, i);
}

/* Whether the rows of the batch do not follow one another there: it has parts of several chunks. */
static inline bool
nb_run_is_apart(const struct nb_run *run)
{
    return run->n > run->each && run->each < run->scratch.chunk_tokens;
}

/* Where a product with rows of SIZE is to be written that is KEPT by position: there, or to MADE (nb_scratch_take_made). */
static inline float *
nb_run_made(const struct nb_run *run, float *kept, float *made, size_t size)
{
    return nb_run_is_apart(run) ? made : kept + run->first * size;
}

/* Takes row I of such a product to where it is KEPT, and returns that. */
float *nb_run_keep(const struct nb_run *run, size_t i, float *kept, const float *made, size_t size);

/* The identifier of token I of the batch. */
static inline int64_t
nb_run_token(const struct nb_run *run, size_t i)
{
    return run->bos >= 0 && nb_run_position(run, i) == 0 ? run->bos : run->tokens[i];
}

/* The state of BLOCK, or of an earlier one that lends it: the calls of its kind's STATE take the same memory again. */
struct nb_scratch nb_run_state_of(const struct nb_run *run, const struct nb_block *block);

/* OUT = the normalized row X of N elements, which may be the same. Returns the mean of squares, or the variance. */
double nb_norm_row(const struct nb_norm *norm, const float *x, size_t n, float *out);
/* Norms HEADS vectors of LENGTH at X: each of them, by weights for any or for each of them, or all as one. */
void nb_norm_heads(const struct nb_norm *norm, float *x, size_t heads, size_t length);
/* Whether the weights of NORM, which may be NULL, are for such vectors. */
bool nb_norm_fits(const struct nb_norm *norm, size_t heads, size_t length);
/*
 * Writes the normalized rows of X (tokens x embedding) to OUT;
 * NaN and infinity in X are an error.
 */
enum nb_status nb_run_norm(struct nb_run *run, const struct nb_norm *norm, const float *x, float *out,
                           struct nb_error *err) NB_MUST_CHECK;
/* COUNT products (at most NB_MAX_PRODUCTS) of one input with N rows, which is first passed to the observer. */
enum nb_status nb_run_multiply(struct nb_run *run, const float *in, size_t n, const struct nb_product *products,
                               size_t count, struct nb_error *err) NB_MUST_CHECK;
/* The table of ROPE: a row of dims floats for each position in a chunk. */
const float *nb_run_rotations(const struct nb_run *run, const struct nb_rope *rope);

#endif
