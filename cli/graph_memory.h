/*
 * How much memory the intermediate results of a computation take when every result is freed after its
 * last use: the memory manager of ggml's graphs (ggml/src/ggml-alloc.c of llama.cpp v0.5.0), without
 * memory. What fragmentation costs there is counted here, too.
 */
#ifndef NB_GRAPH_MEMORY_H
#define NB_GRAPH_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define GRAPH_GAPS 64 /* at the same time; a transformer has fewer than ten */

struct graph_block {
    uint64_t at, size;
};

struct graph_memory {
    uint64_t alignment;
    uint64_t end;                       /* nothing is in use from here on */
    uint64_t peak;                      /* the largest END so far */
    struct graph_block gap[GRAPH_GAPS]; /* free below END; by place, never adjacent */
    size_t gaps;
};

/* Takes SIZE bytes: the smallest gap that is large enough (of equal ones the last), or else those from the end on. */
struct graph_block graph_take(struct graph_memory *memory, uint64_t size);
/* Returns what was taken; a block of no bytes is nothing. */
void graph_give(struct graph_memory *memory, struct graph_block block);

#endif
