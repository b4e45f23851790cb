#ifndef STUB_LIMITS_H
#define STUB_LIMITS_H
#include_next <limits.h>
#define PATH_MAX 1024
#define NAME_MAX 255
#endif
