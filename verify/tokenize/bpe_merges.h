/*
 * Merging of adjacent pieces, the core of BPE and of SentencePiece: repeatedly
 * merges the pair with the lowest rank, the leftmost of equal ones, until no
 * pair can be merged. With a heap of pairs this takes O(n log n) for a text of
 * length n.
 */
#ifndef NB_MERGE_H
#define NB_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of text that becomes a token. */
struct nb_bpe_piece {
    int32_t symbol;      /* a number that the caller defines; -1 after it was merged into its left neighbour */
    uint32_t at, length; /* in the text; not used here */
    int32_t left, right; /* neighbours; -1 at the ends */
};

/* Returns the rank of the pair LEFT, RIGHT and the merged symbol; false if they cannot be merged. */
typedef bool nb_merge_rule(const void *context, const struct nb_bpe_piece *left, const struct nb_bpe_piece *right,
                           float *rank, int32_t *merged);

struct nb_merging {
    struct nb_bpe_piece *pieces;
    size_t count, room;
    struct nb_merge_candidate *heap;
    size_t candidates, heap_room;
};

/* Appends a piece; false if out of memory. */
bool nb_merging_add(struct nb_merging *m, int32_t symbol, uint32_t at, uint32_t length);
/* Merges all pieces by RULE. The remaining ones have a non-negative symbol. False if out of memory. */
bool nb_merging_run(struct nb_merging *m, nb_merge_rule *rule, const void *context);
/* Removes all pieces and keeps the memory. */
void nb_merging_clear(struct nb_merging *m);
void nb_merging_free(struct nb_merging *m);

#endif
