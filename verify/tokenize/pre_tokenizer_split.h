/*
 * Pre-tokenization: splits text into pieces, across which BPE never merges, with
 * the regular expressions of the model's pre-tokenizer, one after the other.
 */
#ifndef NB_SPLIT_H
#define NB_SPLIT_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_splitter;

/* The ends of the pieces of a text: piece i is from end[i - 1] (or 0) to end[i]. */
struct nb_cuts {
    uint32_t *end;
    size_t count, room;
};

/*
 * STEPS are in the format of nb_pre_tokenizer_steps, or only regular expressions,
 * one per line, each with the prefix "split:".
 */
enum nb_status nb_splitter_new(struct nb_splitter **splitter, const char *steps, struct nb_error *err) NB_MUST_CHECK;
/*
 * Splits TEXT, which must be UTF-8. The contents of CUTS are replaced. Several
 * threads may use one splitter.
 */
enum nb_status nb_split(const struct nb_splitter *splitter, const char *text, size_t length, struct nb_cuts *cuts,
                        struct nb_error *err) NB_MUST_CHECK;
void nb_splitter_free(struct nb_splitter *splitter);

#endif
