#include "formats/base/names.h"

#include <stdlib.h>
#include <string.h>

static const char *
name_of(const void *item)
{
    const char *name;

    memcpy(&name, item, sizeof name); /* the first member */
    return name;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(name_of(*(const void *const *)a), name_of(*(const void *const *)b));
}

const void **
nb_list_by_name(const void *items, size_t count, size_t size)
{
    const void **list = calloc(count + 1, sizeof *list);

    if (list == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        list[i] = (const char *)items + i * size;
    qsort(list, count, sizeof *list, compare_names);
    return list;
}

const void *
nb_find_by_name(const void *const *list, size_t count, const char *name)
{
    const void *key = &name, *const *found = NULL;

    if (count > 0)
        found = bsearch(&key, list, count, sizeof *list, compare_names);
    return found == NULL ? NULL : *found;
}
