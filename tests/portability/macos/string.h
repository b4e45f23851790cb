#ifndef STUB_STRING_H
#define STUB_STRING_H
#include <stddef.h>
#include <strings.h>
void *memcpy(void *to, const void *from, size_t size), *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size), *memchr(const void *in, int byte, size_t size);
void *memmem(const void *in, size_t size, const void *what, size_t length);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s), strnlen(const char *s, size_t size);
size_t strspn(const char *s, const char *set), strcspn(const char *s, const char *set);
int strcmp(const char *a, const char *b), strncmp(const char *a, const char *b, size_t size);
char *strchr(const char *s, int c), *strrchr(const char *s, int c), *strstr(const char *s, const char *what);
char *strpbrk(const char *s, const char *set), *strtok(char *s, const char *set);
char *strtok_r(char *s, const char *set, char **rest);
char *strcasestr(const char *s, const char *what), *strsep(char **s, const char *set);
char *strcpy(char *to, const char *from), *strncpy(char *to, const char *from, size_t size);
char *strcat(char *to, const char *from), *stpcpy(char *to, const char *from);
char *strdup(const char *s), *strndup(const char *s, size_t size), *strerror(int code), *strsignal(int number);
int strerror_r(int code, char *text, size_t size);
#endif
