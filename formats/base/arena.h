/*
 * An arena: allocations that are freed all at once. What a reader gets from a
 * file (names, shapes, metadata) has the lifetime of the reader.
 */
#ifndef NB_ARENA_H
#define NB_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_arena_block;

struct nb_arena {
    struct nb_arena_block *blocks;
    bool exhausted; /* an allocation has failed; set because some callers get NULL for other reasons, too */
};

/* SIZE bytes aligned for any type, or NULL if out of memory or if SIZE exceeds the address space. */
void *nb_arena_alloc(struct nb_arena *arena, uint64_t size);
/* COUNT zeroed elements of SIZE bytes; NULL if out of memory or if the product overflows. */
void *nb_arena_calloc(struct nb_arena *arena, uint64_t count, uint64_t size);
/* A copy of LENGTH bytes, with a terminating NUL. */
char *nb_arena_strndup(struct nb_arena *arena, const char *s, uint64_t length);
char *nb_arena_strdup(struct nb_arena *arena, const char *s);
void nb_arena_free(struct nb_arena *arena);

#endif
