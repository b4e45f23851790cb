/* A hash table from the text of a token to its number. The caller owns the texts. */
#ifndef NB_TEXT_INDEX_H
#define NB_TEXT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_text_index {
    struct nb_text_slot *slots;
    size_t mask; /* number of slots - 1; the number is a power of two */
    size_t used;
    uint64_t seed; /* random for each index, so that a hostile vocabulary cannot make all texts collide */
};

/* Makes an index for COUNT texts, which does not grow; false if out of memory. */
bool nb_text_index_new(struct nb_text_index *index, size_t count);
/* Returns the number of TEXT; a new text gets NUMBER. -1 if out of memory. */
int32_t nb_text_index_add(struct nb_text_index *index, const char *text, size_t length, int32_t number);
/* The number of TEXT, or -1. */
int32_t nb_text_index_find(const struct nb_text_index *index, const char *text, size_t length);
void nb_text_index_free(struct nb_text_index *index);

#endif
