/*
 * 64-bit arithmetic with overflow checks, for every size that is read from a
 * file.
 */
#ifndef NB_CHECKED_H
#define NB_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
