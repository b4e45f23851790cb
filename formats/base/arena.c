#include "formats/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)64 * 1024)

struct nb_arena_block {
    struct nb_arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char bytes[];
};

static void *
fail(struct nb_arena *arena)
{
    arena->exhausted = true;
    return NULL;
}

void *
nb_arena_alloc(struct nb_arena *arena, uint64_t bytes)
{
    const size_t align = alignof(max_align_t);
    struct nb_arena_block *block = arena->blocks;
    size_t size;

    if (bytes > SIZE_MAX / 2)
        return fail(arena);
    size = ((size_t)bytes + align - 1) & ~(align - 1);
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;

        block = malloc(sizeof *block + room);
        if (block == NULL)
            return fail(arena);
        block->used = 0;
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    block->used += size;
    return block->bytes + block->used - size;
}

void *
nb_arena_calloc(struct nb_arena *arena, uint64_t count, uint64_t size)
{
    uint64_t total;
    void *p;

    if (__builtin_mul_overflow(count, size, &total))
        return fail(arena);
    p = nb_arena_alloc(arena, total);
    if (p != NULL)
        memset(p, 0, (size_t)total);
    return p;
}

char *
nb_arena_strndup(struct nb_arena *arena, const char *s, uint64_t length)
{
    char *copy = length == UINT64_MAX ? fail(arena) : nb_arena_alloc(arena, length + 1);

    if (copy != NULL) {
        if (length > 0)
            memcpy(copy, s, (size_t)length);
        copy[length] = '\0';
    }
    return copy;
}

char *
nb_arena_strdup(struct nb_arena *arena, const char *s)
{
    return nb_arena_strndup(arena, s, strlen(s));
}

void
nb_arena_free(struct nb_arena *arena)
{
    while (arena->blocks != NULL) {
        struct nb_arena_block *next = arena->blocks->next;

        free(arena->blocks);
        arena->blocks = next;
    }
    arena->exhausted = false;
}
