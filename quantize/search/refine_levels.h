/* The levels of a type. Included by what is compiled once per tier. */
#ifndef NB_REFINE_LEVELS_H
#define NB_REFINE_LEVELS_H

#include "quantize/search/refiners.h"

/* Rounds to the nearest integer; |x| < 2^22. */
static inline float
nearest(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: the sum has no bits for a fraction */

    return (x + magic) - magic;
}

static inline float
clamped(float x, float low, float top)
{
    x = x < low ? low : x;
    return x > top ? top : x;
}

/* The nearest of the type's levels to each X. */
static inline void
nearest_levels(const struct nb_parts_type *p, const float *restrict x, float *restrict level)
{
    if (p->levels == NULL) {
        const float low = p->first, top = (float)(p->first + p->codes - 1);

        for (size_t r = 0; r < NB_TILE; r++)
            level[r] = nearest(clamped(x[r], low, top));
        return;
    }
    for (size_t r = 0; r < NB_TILE; r++)
        level[r] = p->levels[0];
    for (int i = 1; i < p->codes; i++) {
        const float middle = 0.5f * ((float)p->levels[i - 1] + (float)p->levels[i]);
        const float step = (float)p->levels[i] - (float)p->levels[i - 1];

        for (size_t r = 0; r < NB_TILE; r++)
            level[r] += x[r] >= middle ? step : 0.0f;
    }
}

#endif
