#ifndef STUB_STDLIB_H
#define STUB_STDLIB_H
#include <stddef.h>
#include <sys/types.h>
#define EXIT_SUCCESS 0
#define EXIT_FAILURE 1
#define RAND_MAX 0x7FFFFFFF
void *malloc(size_t size), *calloc(size_t count, size_t size), *realloc(void *p, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **p, size_t alignment, size_t size);
void free(void *p), abort(void) __attribute__((noreturn)), exit(int code) __attribute__((noreturn));
int atexit(void (*last)(void)), abs(int x), atoi(const char *text), rand(void), system(const char *command);
long labs(long x), strtol(const char *text, char **end, int base);
long long llabs(long long x), strtoll(const char *text, char **end, int base);
unsigned long strtoul(const char *text, char **end, int base);
unsigned long long strtoull(const char *text, char **end, int base);
double strtod(const char *text, char **end), atof(const char *text);
float strtof(const char *text, char **end);
char *getenv(const char *name), *realpath(const char *path, char *resolved), *mkdtemp(char *pattern);
int setenv(const char *name, const char *value, int replace), unsetenv(const char *name), mkstemp(char *pattern);
int posix_openpt(int flags), grantpt(int fd), unlockpt(int fd);
char *ptsname(int fd);
void qsort(void *items, size_t count, size_t size, int (*compare)(const void *a, const void *b));
void *bsearch(const void *key, const void *items, size_t count, size_t size,
              int (*compare)(const void *a, const void *b));
#endif
