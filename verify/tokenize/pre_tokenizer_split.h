/*
 * Pre-tokenizing: cutting text into the pieces that BPE never merges across, by
 * the regular expressions of the model's pre-tokenizer, one after the other.
 */
#ifndef NB_SPLIT_H
#define NB_SPLIT_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_splitter;

/* Ends of pieces in a text: piece i goes from end[i - 1] (or 0) to end[i]. */
struct nb_cuts {
    uint32_t *end;
    size_t count, room;
};

/*
 * STEPS as nb_pre_tokenizer_steps has them, or regular expressions alone, one a
 * line with "split:" before each.
 */
enum nb_status nb_splitter_new(struct nb_splitter **splitter, const char *steps, struct nb_error *err) NB_MUST_CHECK;
/*
 * Cuts TEXT, which must be UTF-8. CUTS is filled anew. Several threads may use one
 * splitter.
 */
enum nb_status nb_split(const struct nb_splitter *splitter, const char *text, size_t length, struct nb_cuts *cuts,
                        struct nb_error *err) NB_MUST_CHECK;
void nb_splitter_free(struct nb_splitter *splitter);

#endif
