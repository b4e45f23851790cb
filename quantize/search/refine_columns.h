/* What all passes over the columns of a tile do. Included by what is compiled once per tier. */
#ifndef NB_REFINE_COLUMNS_H
#define NB_REFINE_COLUMNS_H

#include "formats/base/blas.h"
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

/* SCALE and MIN of the group of column J, for each row. */
static inline void
group_steps(const struct nb_tile *t, size_t j, float *restrict scale, float *restrict min)
{
    const size_t group = j / t->parts->group, block = j / t->parts->block;

    for (size_t r = 0; r < NB_TILE; r++) {
        scale[r] = t->d[block][r] * t->scale[group][r];
        min[r] = t->dmin[block][r] * t->min[group][r];
    }
}

/* G of the columns from FIRST up to END gains FACTOR times M (columns x columns) times X of COUNT columns from AT on. */
static inline void
add_products(const struct nb_tile *t, const float *m, float factor, size_t first, size_t end, size_t at, size_t count,
             nb_lane *x)
{
    const size_t n = t->refine->columns;

    if (end > first)
        nb_sgemm(&(struct nb_sgemm){ .m = end - first,
                                     .n = NB_TILE,
                                     .k = count,
                                     .alpha = factor,
                                     .beta = 1,
                                     .a = m + first * n + at,
                                     .b = x[0],
                                     .c = t->g[first],
                                     .a_row = n,
                                     .b_row = NB_TILE,
                                     .c_row = NB_TILE });
}

#endif
