/*
 * Merging neighbours, the heart of BPE and of SentencePiece's cutting: of all
 * pairs of neighbours that may be merged, the one of lowest rank is, and of
 * equals the leftmost; until no pair may be merged. A heap of pairs makes that n
 * log n in the length of the text.
 */
#ifndef NB_MERGE_H
#define NB_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stretch of text on its way to become a token. */
struct nb_bpe_piece {
    int32_t symbol; /* what stands there: a number of the caller's; -1 once it is merged into its left neighbour */
    uint32_t at, length; /* in the text; the caller's */
    int32_t left, right; /* neighbours, -1 at the ends */
};

/* What may be merged: the rank of LEFT with RIGHT, and what they become. False where they may not be. */
typedef bool nb_merge_rule(const void *context, const struct nb_bpe_piece *left, const struct nb_bpe_piece *right,
                           float *rank, int32_t *merged);

struct nb_merging {
    struct nb_bpe_piece *pieces;
    size_t count, room;
    struct nb_merge_candidate *heap;
    size_t candidates, heap_room;
};

/* Adds a piece behind the others; false when memory is out. */
bool nb_merging_add(struct nb_merging *m, int32_t symbol, uint32_t at, uint32_t length);
/* Merges all pieces by RULE. Those that are left have a symbol that is not negative. False when memory is out. */
bool nb_merging_run(struct nb_merging *m, nb_merge_rule *rule, const void *context);
/* Empties M, which keeps its memory. */
void nb_merging_clear(struct nb_merging *m);
void nb_merging_free(struct nb_merging *m);

#endif
