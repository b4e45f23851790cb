/*
 * Finds added tokens in the text before it is tokenized: control tokens, and
 * words that were added to the vocabulary. The text between them is plain text.
 */
#ifndef NB_ADDED_TOKENS_H
#define NB_ADDED_TOKENS_H

#include "formats/tokenizer/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of plain text or, if ID is not negative, an added token. */
struct nb_fragment {
    size_t at, length;
    int32_t id;
};

struct nb_fragments {
    struct nb_fragment *item;
    size_t count, room;
};

struct nb_added_tokens; /* for searching */

/* Limit for the bytes of a model's added tokens together; every byte takes up to 40 bytes of memory. */
#define NB_ADDED_TOKENS_LIMIT ((size_t)4 << 20)

/* COUNT tokens, which must outlive the result; of equal texts the first counts. NULL if out of memory. */
struct nb_added_tokens *nb_added_tokens_new(const struct nb_added_token *token, size_t count);
void nb_added_tokens_free(struct nb_added_tokens *tokens);

bool nb_fragments_add(struct nb_fragments *f, size_t at, size_t length, int32_t id);

/*
 * llama.cpp's method: longer tokens are searched for in the whole text before
 * shorter ones. Special tokens only with SPECIAL. False if out of memory. Both
 * methods need 24 bytes for every place where a token begins.
 */
bool nb_added_tokens_longest_first(const struct nb_added_tokens *tokens, const char *text, size_t length, bool special,
                                   struct nb_fragments *out);
/* The tokenizers library's method: from left to right, the longest at each position, from FROM to TO of TEXT. */
bool nb_added_tokens_leftmost(const struct nb_added_tokens *tokens, const char *text, size_t from, size_t to,
                              bool special, struct nb_fragments *out);

#endif
