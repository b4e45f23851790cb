/* From the bytes of a token to its number: a hash table over texts that somebody else owns. */
#ifndef NB_TEXT_INDEX_H
#define NB_TEXT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_text_index {
    struct nb_text_slot *slots;
    size_t mask; /* slots less one; a power of two less one */
    size_t used;
    uint64_t seed; /* drawn anew for each index: nobody can write a vocabulary whose texts all collide */
};

/* An index that COUNT texts fit into without growing; false when memory is out. */
bool nb_text_index_new(struct nb_text_index *index, size_t count);
/* The number that TEXT has; it gets NUMBER if it is new. -1 when memory is out. */
int32_t nb_text_index_add(struct nb_text_index *index, const char *text, size_t length, int32_t number);
/* The number of TEXT, or -1. */
int32_t nb_text_index_find(const struct nb_text_index *index, const char *text, size_t length);
void nb_text_index_free(struct nb_text_index *index);

#endif
