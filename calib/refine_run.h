/* A run of nb_refine_file, as the files that do its parts see it. */
#ifndef NB_REFINE_RUN_H
#define NB_REFINE_RUN_H

#include "calib/moments.h"
#include "calib/refine.h"
#include "formats/base/file_out.h"
#include "formats/base/pool.h"
#include "formats/base/spill.h"
#include "formats/models/source.h"
#include "quantize/search/encode.h"
#include "verify/run/forward.h"
#include "verify/run/product.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_HELD_OUT 5u       /* one batch of so many */
#define NB_REFINE_GROUPS 16u /* in a step */

/* What tokens count for in the moments of an input. */
enum nb_refine_weighting {
    NB_ALL_ALIKE,
    NB_BY_SHARES, /* keys and values: the attention that a token gets */
    NB_BY_STREAM, /* what is added to the stream: one over the mean square of what is then there, by which it will be divided */
};

/* Matrices that are multiplied with the same input, and for which tokens count alike. */
struct nb_refine_group {
    const struct nb_linear *matrix[NB_MAX_PRODUCTS];
    struct nb_encoding encoding[NB_MAX_PRODUCTS];
    size_t count;
    const char *key; /* the name of the first matrix of the product */
    enum nb_refine_weighting weighting;
    bool repairs; /* the product is added to the stream as it is, and can repair it */
    bool is_last; /* of the step: the original model has then done it */
};

struct nb_refine_run {
    const struct nb_model *original;
    const struct nb_refine_options *options;
    struct nb_source source; /* the quantized file, or folder */
    struct nb_model quantized;
    struct nb_file_out *files; /* its files, to be written in place; the names are not their own */
    struct nb_pool *pool;
    struct nb_pool_watch watch;
    volatile sig_atomic_t break_off;
    struct nb_forward *of_original, *of_quantized;
    struct nb_view_reader *readers; /* one per thread */
    int32_t *tokens;
    uint32_t chunks, batch;     /* chunks */
    struct nb_spill streams[2]; /* of the original and of the quantized model: nb_refine_stream */
    float *stream;              /* a batch's copy, */
    unsigned char *lent;        /* and of what its blocks lend, */
    size_t lent_bytes;          /* so many */
    struct nb_refine_summary *summary;
    uint64_t fingerprint; /* of all that must be equal for a run to be taken up again */
    size_t resumed;       /* the step that a stopped run was in; SIZE_MAX: there was none */

    size_t step; /* the first block of the current one */
    struct nb_refine_group groups[NB_REFINE_GROUPS];
    size_t n_groups;

    /* The group whose moments are gathered. */
    const struct nb_refine_group *wanted;
    struct nb_moments *fit, *held;         /* of experts from FIRST_EXPERT on, or of the only one */
    struct nb_moments fit_pool, held_pool; /* of all experts */
    uint32_t first_expert, experts;
    bool is_held, seen;
    float *input; /* of the original model */
    float *room, *error, *weights;
    float *shares; /* of attention that the tokens of a batch get from each head: heads x tokens */
    size_t heads;
};

static inline size_t
nb_refine_embedding(const struct nb_refine_run *r)
{
    return nb_model_embedding(r->original);
}

/* --- batches -------------------------------------------------------------------------------------------------- */

static inline uint32_t
nb_refine_batches(const struct nb_refine_run *r)
{
    return (r->chunks + r->batch - 1) / r->batch;
}

static inline uint32_t
nb_refine_chunks_in(const struct nb_refine_run *r, uint32_t batch)
{
    const uint32_t left = r->chunks - batch * r->batch;

    return left < r->batch ? left : r->batch;
}

static inline size_t
nb_refine_tokens_in(const struct nb_refine_run *r, uint32_t batch)
{
    return (size_t)nb_refine_chunks_in(r, batch) * r->options->chunk_tokens;
}

/* The first token of BATCH. */
static inline size_t
nb_refine_start_of(const struct nb_refine_run *r, uint32_t batch)
{
    return (size_t)batch * r->batch * r->options->chunk_tokens;
}

static inline bool
nb_refine_is_held_out(const struct nb_refine_run *r, uint32_t batch)
{
    return nb_refine_batches(r) < NB_HELD_OUT ? batch + 1 == nb_refine_batches(r)
                                              : batch % NB_HELD_OUT == NB_HELD_OUT - 1;
}

/* The chunks of a batch. */
uint32_t nb_refine_batch(size_t count, const struct nb_refine_options *options);

/* refine_streams.c */
/* The bytes of both streams of COUNT tokens; UINT64_MAX if there are more. */
uint64_t nb_refine_streams_bytes(const struct nb_model *model, size_t count, const struct nb_refine_options *options);
enum nb_status nb_refine_new_streams(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;
void nb_refine_free_streams(struct nb_refine_run *run);
/* BATCH of the original model's stream, or of the other. */
struct nb_stream nb_refine_stream(const struct nb_refine_run *run, bool is_original, uint32_t batch);
/* A copy, on which the current step can be run without a change. It lasts until the next one. */
struct nb_stream nb_refine_copy(const struct nb_refine_run *run, bool is_original, uint32_t batch);
/* Makes the copy, on which the step has been run, the stream. */
void nb_refine_take_copy(const struct nb_refine_run *run, bool is_original, uint32_t batch);

/* refine_rows.c */
/* How MATRIX is quantized; false if it cannot be refined. */
bool nb_refine_encoding(const struct nb_linear *matrix, struct nb_encoding *encoding);
/* COUNT rows of MATRIX from row FIRST on (parts_rows.h), between memory and the files; those of all experts are counted. */
enum nb_status nb_refine_read(struct nb_refine_run *run, const struct nb_linear *matrix, uint64_t first, size_t count,
                              void *rows, struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_refine_write(struct nb_refine_run *run, const struct nb_linear *matrix, uint64_t first, size_t count,
                               void *rows, struct nb_error *err) NB_MUST_CHECK;

/* refine_groups.c */
/* NULL: it has no such matrix. */
const struct nb_linear *nb_refine_original_of(const struct nb_refine_run *run, const struct nb_linear *matrix);
/* As nb_refine_encoding; false too for a copy of what the original model has, which has lost nothing. */
bool nb_refine_can(const struct nb_refine_run *run, const struct nb_linear *matrix, struct nb_encoding *encoding);
/* Finds the groups of the current step, in the order in which they are used. */
enum nb_status nb_refine_find_groups(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;

/* refine_moments.c */
/* For r->wanted, from expert FIRST on: as many as memory is meant for. */
enum nb_status nb_refine_new_moments(struct nb_refine_run *run, uint32_t first, bool with_original,
                                     struct nb_error *err) NB_MUST_CHECK;
void nb_refine_free_moments(struct nb_refine_run *run);
/* Fills them from all batches. */
enum nb_status nb_refine_gather(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;

/* refine_blocks.c */
/* Refines the matrices of r->wanted by the moments that were gathered. */
enum nb_status nb_refine_experts(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;

/* refine_judge.c */
/*
 * The mean KL divergence, in nats a token, of the file as it is from the original, on at most 16 of the chunks that are held
 * out; 0 if there is only one.
 */
enum nb_status nb_refine_judge(const struct nb_refine_run *run, double *kld, struct nb_error *err) NB_MUST_CHECK;

/* refine_state.c; without a file for the state nothing is done */
/* Before the current step changes anything. */
enum nb_status nb_refine_state_write(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;
/* Sets r->resumed, and the summary to what was done. A state of another run is an error. */
enum nb_status nb_refine_state_read(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;
/* Puts the blocks of the current step back, which is the one that was stopped. */
enum nb_status nb_refine_state_restore(struct nb_refine_run *run, struct nb_error *err) NB_MUST_CHECK;

#endif
