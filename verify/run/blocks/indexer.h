/*
 * The indexer of sparse attention: a small attention of its own, by whose scores each token chooses what it looks at:
 * positions, by the weighted sum of all its heads (DeepSeek V3.2), or blocks of positions, each head for itself (MiniMax M3).
 */
#ifndef NB_INDEXER_H
#define NB_INDEXER_H

#include "formats/base/status.h"
#include "verify/run/load.h"
#include "verify/run/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_indexer {
    struct nb_linear q, k;
    struct nb_linear weigh; /* a weight for the scores of each head, which then choose together; absent: each chooses */
    struct nb_norm q_norm, k_norm; /* of no rows: none */
    uint32_t heads, length, most;  /* MOST positions or blocks are chosen */
    uint32_t block, local;         /* positions in a block, and how many of the last blocks are always chosen */
    struct nb_rope rope;           /* of the first elements of a head */
};

/* Rows are tokens. */
struct nb_indexer_memory {
    float *q, *weights;
    float *k;      /* on their way to where they are kept */
    float *scores; /* per thread: of each head, of all, and these in order */
};

/* What lasts: the keys of all positions, and the choices of each token of the batch, rows of bits. */
struct nb_indexer_kept {
    float *k;
    uint32_t *chosen;
};

/* Whether the current layer has one that chooses positions. */
bool nb_has_indexer(const struct nb_loader *loader);
/* Loads it; its queries are made from RANK elements, ROPE is that of attention. */
enum nb_status nb_load_indexer(struct nb_loader *loader, size_t rank, const struct nb_rope *rope,
                               struct nb_indexer *out) NB_MUST_CHECK;
/* Whether the current layer has one that chooses blocks. */
bool nb_has_block_indexer(const struct nb_loader *loader);
enum nb_status nb_load_block_indexer(struct nb_loader *loader, const struct nb_rope *rope,
                                     struct nb_indexer *out) NB_MUST_CHECK;
/* The choices of a token: one, or one of each head. */
size_t nb_indexer_choices(const struct nb_indexer *indexer);
/* Whether all of so many positions are chosen. */
bool nb_indexer_takes_all(const struct nb_indexer *indexer, size_t positions);
struct nb_indexer_memory nb_indexer_take(const struct nb_indexer *indexer, struct nb_scratch *scratch);
struct nb_indexer_kept nb_indexer_take_kept(const struct nb_indexer *indexer, struct nb_scratch *state);
/*
 * Makes the choices of each token, once the products with its matrices are there: those of K where nb_run_made says.
 */
enum nb_status nb_index(const struct nb_indexer *indexer, const struct nb_indexer_memory *memory,
                        const struct nb_indexer_kept *kept, struct nb_run *run, struct nb_error *err) NB_MUST_CHECK;

#endif
