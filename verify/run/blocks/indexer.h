/*
 * The indexer of sparse attention (DeepSeek V3.2): a small attention of its own, by whose scores each token chooses the
 * positions that it looks at.
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
    struct nb_linear q, k;  /* q reads what the queries of attention are made from */
    struct nb_linear weigh; /* a weight for the scores of each head */
    struct nb_norm k_norm;
    uint32_t heads, length, most; /* MOST positions are chosen */
    struct nb_rope rope;          /* of the first elements of a head */
};

/* Rows are tokens. */
struct nb_indexer_memory {
    float *q, *weights;
    float *scores; /* per thread: of each head, of all, and these in order */
};

/* What lasts: the keys of all positions, and the choice of each token of the batch, a row of bits. */
struct nb_indexer_kept {
    float *k;
    uint32_t *chosen;
};

/* Whether the current layer has one. */
bool nb_has_indexer(const struct nb_loader *loader);
/* Loads "blk.%l.indexer.*" for queries that are made from RANK elements; ROPE is that of attention. */
enum nb_status nb_load_indexer(struct nb_loader *loader, size_t rank, const struct nb_rope *rope,
                               struct nb_indexer *out) NB_MUST_CHECK;
struct nb_indexer_memory nb_indexer_take(const struct nb_indexer *indexer, struct nb_scratch *scratch);
struct nb_indexer_kept nb_indexer_take_kept(const struct nb_indexer *indexer, struct nb_scratch *state);
/*
 * Makes the choice of each token, once the products with its three matrices are there: those of K where the keys of the
 * batch are kept.
 */
enum nb_status nb_index(const struct nb_indexer *indexer, const struct nb_indexer_memory *memory,
                        const struct nb_indexer_kept *kept, struct nb_run *run, struct nb_error *err) NB_MUST_CHECK;

#endif
