/* File names of a split set, as in llama.cpp: "PREFIX-00001-of-00003.gguf". */
#ifndef NB_SPLIT_NAME_H
#define NB_SPLIT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MAX_SPLITS 4096u

/* The name of part NUMBER (from 0) of COUNT, from malloc; PREFIX has LENGTH bytes. NULL if out of memory. */
char *nb_split_name(const char *prefix, size_t length, uint32_t number, uint32_t count);
/* Whether PATH is the name of part NUMBER of COUNT; *LENGTH receives the length of its prefix. */
bool nb_split_prefix(const char *path, uint32_t number, uint32_t count, size_t *length);

#endif
