/*
 * For LD_PRELOAD: the allocation number FAIL_AT of the program fails, the others
 * succeed. Counted from the program's start, after the libraries that it is linked
 * with have made themselves ready: what those do without memory is their affair.
 * glibc only.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);

static atomic_bool started;

typedef int main_fn(int argc, char **argv, char **environment);
typedef int start_fn(main_fn *program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                     void (*rtld_fini)(void), void *stack_end);

/* What glibc's start-up code calls when the libraries are ready. */
int
__libc_start_main(main_fn *program, int argc, char **argv, void (*init)(void), void (*fini)(void),
                  void (*rtld_fini)(void), void *stack_end)
{
    start_fn *next;
    void *symbol = dlsym(RTLD_NEXT, "__libc_start_main");

    memcpy(&next, &symbol, sizeof next);
    atomic_store(&started, true);
    return next(program, argc, argv, init, fini, rtld_fini, stack_end);
}

static int
fails(void)
{
    static atomic_long count;
    static long fail_at = -1;

    if (fail_at < 0) {
        const char *text = getenv("FAIL_AT");

        fail_at = text == NULL ? 0 : strtol(text, NULL, 10);
    }
    if (!atomic_load(&started) || atomic_fetch_add(&count, 1) + 1 != fail_at)
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
