/*
 * Numbers that everyone can make again: splitmix64 (Steele, Lea, Flood, 2014), and
 * from it a bell curve that needs no libm. The golden inputs are made of these.
 */
#ifndef NB_SPLITMIX_H
#define NB_SPLITMIX_H

#include <stdint.h>

static inline uint64_t
splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The sum of twelve uniform numbers, minus 6: near enough to a Gaussian, and exact everywhere. */
static inline double
splitmix_gaussian(uint64_t *state)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += (double)(splitmix(state) >> 40) * 0x1p-24;
    return sum - 6;
}

#endif
