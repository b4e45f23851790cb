/*
 * Tokens that are found in the text before it is cut: control tokens, and words
 * that the model's makers added. What is left between them are stretches of
 * plain text.
 */
#ifndef NB_ADDED_TOKENS_H
#define NB_ADDED_TOKENS_H

#include "formats/tokenizer/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stretch of text, or (ID not negative) an added token in its place. */
struct nb_fragment {
    size_t at, length;
    int32_t id;
};

struct nb_fragments {
    struct nb_fragment *item;
    size_t count, room;
};

struct nb_added_tokens; /* sorted for the search */

/* COUNT tokens, which must outlive the result; NULL when memory is out. */
struct nb_added_tokens *nb_added_tokens_new(const struct nb_added_token *token, size_t count);
void nb_added_tokens_free(struct nb_added_tokens *tokens);

bool nb_fragments_add(struct nb_fragments *f, size_t at, size_t length, int32_t id);

/*
 * llama.cpp's way: of the whole text, longer tokens take what they find before
 * shorter ones look. Special tokens only with SPECIAL. False when memory is out.
 */
bool nb_added_tokens_longest_first(const struct nb_added_tokens *tokens, const char *text, size_t length,
                                   bool special, struct nb_fragments *out);
/* The tokenizers library's way: from left to right, at each place the longest, from FROM to TO of TEXT. */
bool nb_added_tokens_leftmost(const struct nb_added_tokens *tokens, const char *text, size_t from, size_t to,
                              bool special, struct nb_fragments *out);

#endif
