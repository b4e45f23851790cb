/* The tokens by which a model ends what it says. */
#ifndef NB_ENDINGS_H
#define NB_ENDINGS_H

#include "formats/gguf/metadata.h"
#include "formats/tokenizer/vocabulary.h"

#include <stdbool.h>
#include <stdint.h>

#define NB_MAX_ENDINGS 32

struct nb_endings {
    int32_t id[NB_MAX_ENDINGS];
    unsigned count;
};

/*
 * Those that META names as the end of a text, of a turn or of a message, and those with a name by which llama.cpp knows
 * them (llama-vocab.cpp, special_eog_ids).
 */
void nb_endings_find(struct nb_endings *endings, const struct nb_metadata *meta,
                     const struct nb_vocabulary *vocabulary);
bool nb_ends(const struct nb_endings *endings, int32_t id);

#endif
