/* The names of the files of a split set: "PREFIX-00001-of-00003.gguf", as llama.cpp has them. */
#ifndef NB_SPLIT_NAME_H
#define NB_SPLIT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MAX_SPLITS 4096u

/* The name of part NUMBER (from 0) of COUNT, from malloc; PREFIX has LENGTH bytes. NULL when memory is out. */
char *nb_split_name(const char *prefix, size_t length, uint32_t number, uint32_t count);
/* Whether PATH is such a name of part NUMBER of COUNT; *LENGTH is then that of its prefix. */
bool nb_split_prefix(const char *path, uint32_t number, uint32_t count, size_t *length);

#endif
