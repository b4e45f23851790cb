#ifndef STUB_STRINGS_H
#define STUB_STRINGS_H
#include <stddef.h>
int strcasecmp(const char *a, const char *b), strncasecmp(const char *a, const char *b, size_t size);
#endif
