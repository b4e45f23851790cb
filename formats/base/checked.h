/*
 * 64-bit arithmetic with overflow checks, for every size that is read from a
 * file.
 */
#ifndef NB_CHECKED_H
#define NB_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* *out = a + b; false on overflow. */
static inline bool
nb_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* *out = a * b; false on overflow. */
static inline bool
nb_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* *out = a rounded up to a multiple of ALIGNMENT (a power of two); false on overflow. */
static inline bool
nb_align_u64(uint64_t a, uint64_t alignment, uint64_t *out)
{
    if (!nb_add_u64(a, alignment - 1, out))
        return false;
    *out &= ~(alignment - 1);
    return true;
}

/*
 * malloc, calloc and realloc for sizes that were read from a file: NULL also if they exceed a 32-bit size_t.
 * Such a size is converted to size_t only here, in the arena, or after its memory was allocated.
 */
static inline void *
nb_malloc(uint64_t size)
{
    return size > SIZE_MAX ? NULL : malloc((size_t)size);
}

static inline void *
nb_calloc(uint64_t count, uint64_t size)
{
    return count > SIZE_MAX || size > SIZE_MAX ? NULL : calloc((size_t)count, (size_t)size);
}

static inline void *
nb_realloc(void *p, uint64_t size)
{
    return size > SIZE_MAX ? NULL : realloc(p, (size_t)size);
}

/* SIZE bytes aligned to 64, the longest vector. */
static inline void *
nb_aligned(uint64_t size)
{
    return size > SIZE_MAX - 64 ? NULL : aligned_alloc(64, ((size_t)size + 63) / 64 * 64);
}

#endif
