#include "formats/gguf/split_name.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define END_SIZE 48

static size_t
write_end(char *end, uint32_t number, uint32_t count)
{
    return (size_t)snprintf(end, END_SIZE, "-%05u-of-%05u.gguf", (unsigned)number + 1, (unsigned)count);
}

char *
nb_split_name(const char *prefix, size_t length, uint32_t number, uint32_t count)
{
    char *name = malloc(length + END_SIZE);

    if (name != NULL) {
        memcpy(name, prefix, length);
        write_end(name + length, number, count);
    }
    return name;
}

bool
nb_split_prefix(const char *path, uint32_t number, uint32_t count, size_t *length)
{
    char end[END_SIZE];
    const size_t n = write_end(end, number, count);

    *length = strlen(path) - (strlen(path) > n ? n : 0);
    return strlen(path) > n && nb_ends_with(path, end);
}
