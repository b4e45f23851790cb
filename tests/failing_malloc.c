/*
 * For LD_PRELOAD: the allocation number FAIL_AT of the process fails, the others
 * succeed. glibc only.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);

static int
fails(void)
{
    static atomic_long count;
    static long fail_at = -1;

    if (fail_at < 0) {
        const char *text = getenv("FAIL_AT");

        fail_at = text == NULL ? 0 : strtol(text, NULL, 10);
    }
    if (atomic_fetch_add(&count, 1) + 1 != fail_at)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *
malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *p, size_t size)
{
    return fails() ? NULL : __libc_realloc(p, size);
}
