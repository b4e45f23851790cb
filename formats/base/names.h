/* Lookup by name, for structures whose first member is "const char *name". */
#ifndef NB_NAMES_H
#define NB_NAMES_H

#include <stddef.h>

/* Pointers to the COUNT structures of SIZE bytes at ITEMS, sorted by name; the caller frees it. NULL: out of memory. */
const void **nb_list_by_name(const void *items, size_t count, size_t size);
/* The structure called NAME in a list from nb_list_by_name, or NULL. */
const void *nb_find_by_name(const void *const *list, size_t count, const char *name);

#endif
