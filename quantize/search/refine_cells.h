/*
 * Coordinate descent for types with codebooks: eight columns at a time, which have signs of their own (an even number of
 * negative ones, where the type has it so) and the magnitudes of one entry, or two. What would be best for the eight,
 * given all others, is replaced by the nearest that can be stored, if that lowers the error. Included by refine_sweep.c,
 * which is compiled once per tier.
 */
#ifndef NB_REFINE_CELLS_H
#define NB_REFINE_CELLS_H

#include "formats/base/blas.h"
#include "quantize/search/refiners.h"

#include <math.h>
#include <string.h>

#define NB_SIGNED 8 /* elements with signs of their own */

/* INVERSE = the inverse of the block of H at column AT, by elimination; H is positive definite. */
static void
invert_block(const struct nb_tile *t, size_t at, float inverse[NB_SIGNED][NB_SIGNED])
{
    double a[NB_SIGNED][2 * NB_SIGNED] = { { 0 } };

    for (size_t i = 0; i < NB_SIGNED; i++) {
        for (size_t k = 0; k < NB_SIGNED; k++)
            a[i][k] = (double)t->refine->h[(at + i) * t->refine->columns + at + k];
        a[i][NB_SIGNED + i] = 1;
    }
    for (size_t i = 0; i < NB_SIGNED; i++) {
        const double pivot = 1 / a[i][i];

        for (size_t k = 0; k < 2 * NB_SIGNED; k++)
            a[i][k] *= pivot;
        for (size_t j = 0; j < NB_SIGNED; j++) {
            const double factor = a[j][i];

            for (size_t k = 0; k < 2 * NB_SIGNED && j != i; k++)
                a[j][k] -= factor * a[i][k];
        }
    }
    for (size_t i = 0; i < NB_SIGNED; i++)
        for (size_t k = 0; k < NB_SIGNED; k++)
            inverse[i][k] = (float)a[i][NB_SIGNED + k];
}

/* The best values for the eight columns at AT, given all others: magnitudes, and signs of 1 or -1. */
static void
best_values(const struct nb_tile *t, size_t at, nb_lane *restrict magnitude, nb_lane *restrict sign)
{
    float inverse[NB_SIGNED][NB_SIGNED];

    invert_block(t, at, inverse);
    for (size_t i = 0; i < NB_SIGNED; i++) {
        nb_lane v;

        memcpy(v, t->w[at + i], sizeof v);
        for (size_t k = 0; k < NB_SIGNED; k++)
            for (size_t r = 0; r < NB_TILE; r++)
                v[r] += inverse[i][k] * t->g[at + k][r];
        for (size_t r = 0; r < NB_TILE; r++) {
            sign[i][r] = v[r] < 0 ? -1.0f : 1.0f;
            magnitude[i][r] = v[r] < 0 ? -v[r] : v[r];
        }
    }
}

/* Where an odd number of signs is negative, the one whose magnitude weighs least is flipped. */
static void
even_out(const float *restrict weight, nb_lane *restrict magnitude, nb_lane *restrict sign)
{
    nb_lane product, least, where;

    for (size_t r = 0; r < NB_TILE; r++) {
        product[r] = sign[0][r];
        least[r] = weight[0] * magnitude[0][r] * magnitude[0][r];
        where[r] = 0;
    }
    for (size_t i = 1; i < NB_SIGNED; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            const float cost = weight[i] * magnitude[i][r] * magnitude[i][r];

            product[r] *= sign[i][r];
            where[r] = cost < least[r] ? (float)i : where[r];
            least[r] = cost < least[r] ? cost : least[r];
        }
    for (size_t i = 0; i < NB_SIGNED; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            const float flip = product[r] < 0 && where[r] == (float)i ? -1.0f : 1.0f;

            sign[i][r] *= flip;
            magnitude[i][r] *= flip;
        }
}

/* The magnitudes of COUNT entries from FIRST on, one row for each. */
static void
unpack_entries(const struct nb_parts_type *p, size_t first, size_t count, float *restrict values)
{
    for (size_t e = 0; e < count; e++)
        for (size_t i = 0; i < p->cell; i++)
            values[e * p->cell + i] = p->levels[p->entries[first + e] >> (i * p->bits) & ((1u << p->bits) - 1)];
}

#define AT_ONCE 256u /* entries */

/* BEST receives, for each row, the entry whose magnitudes times SCALE are nearest to those of a cell, by WEIGHT. */
static void
nearest_entries(const struct nb_tile *t, const float *restrict weight, nb_lane *restrict magnitude,
                const float *restrict scale, float *restrict best)
{
    const struct nb_parts_type *p = t->parts;
    nb_lane *products = t->room, weighted[NB_SIGNED], least;
    float values[AT_ONCE * NB_SIGNED];

    for (size_t i = 0; i < p->cell; i++)
        for (size_t r = 0; r < NB_TILE; r++)
            weighted[i][r] = weight[i] * magnitude[i][r];
    for (size_t r = 0; r < NB_TILE; r++) {
        least[r] = INFINITY;
        best[r] = 0;
    }
    for (size_t first = 0; first < p->n_entries; first += AT_ONCE) {
        const size_t count = p->n_entries - first < AT_ONCE ? p->n_entries - first : AT_ONCE;

        unpack_entries(p, first, count, values);
        nb_sgemm(&(struct nb_sgemm){ .m = count,
                                     .n = NB_TILE,
                                     .k = p->cell,
                                     .alpha = 1,
                                     .a = values,
                                     .b = weighted[0],
                                     .c = products[0],
                                     .a_row = p->cell,
                                     .b_row = NB_TILE,
                                     .c_row = NB_TILE });
        for (size_t e = 0; e < count; e++) {
            float square = 0;

            for (size_t i = 0; i < p->cell; i++)
                square += weight[i] * values[e * p->cell + i] * values[e * p->cell + i];
            for (size_t r = 0; r < NB_TILE; r++) {
                const float cost = scale[r] * (scale[r] * square - 2 * products[e][r]);

                best[r] = cost < least[r] ? (float)(first + e) : best[r];
                least[r] = cost < least[r] ? cost : least[r];
            }
        }
    }
}

/* MOVED: the changes of the elements; 0 in rows where the error would not be less. */
static void
keep_better(const struct nb_tile *t, size_t at, nb_lane *restrict moved)
{
    const size_t n = t->refine->columns;
    nb_lane change = { 0 };

    for (size_t i = 0; i < NB_SIGNED; i++) {
        nb_lane product = { 0 };

        for (size_t k = 0; k < NB_SIGNED; k++)
            for (size_t r = 0; r < NB_TILE; r++)
                product[r] += t->refine->h[(at + i) * n + at + k] * moved[k][r];
        for (size_t r = 0; r < NB_TILE; r++)
            change[r] += moved[i][r] * (product[r] - 2 * t->g[at + i][r]);
    }
    for (size_t i = 0; i < NB_SIGNED; i++)
        for (size_t r = 0; r < NB_TILE; r++)
            moved[i][r] = change[r] < 0 ? moved[i][r] : 0;
}

/* Moves the eight columns at AT, whose rows have SCALE; the gradients of the panel's COUNT columns from FIRST on follow. */
static void
nb_visit_cells(struct nb_tile *t, size_t at, size_t first, size_t count, nb_lane *restrict change,
               const float *restrict scale)
{
    const struct nb_parts_type *p = t->parts;
    const size_t n = t->refine->columns;
    nb_lane magnitude[NB_SIGNED], sign[NB_SIGNED], moved[NB_SIGNED], entry;
    float weight[NB_SIGNED];

    for (size_t i = 0; i < NB_SIGNED; i++)
        weight[i] = t->refine->h[(at + i) * n + at + i];
    best_values(t, at, magnitude, sign);
    if (p->even_signs)
        even_out(weight, magnitude, sign);
    for (size_t c = 0; c < NB_SIGNED; c += p->cell) {
        nearest_entries(t, weight + c, magnitude + c, scale, entry);
        for (size_t i = c; i < c + p->cell; i++)
            for (size_t r = 0; r < NB_TILE; r++) {
                const unsigned all = p->entries[(size_t)entry[r]];
                const unsigned level = all >> ((i - c) * p->bits) & ((1u << p->bits) - 1);

                moved[i][r] = scale[r] * (sign[i][r] * p->levels[level] - t->level[at + i][r]);
            }
    }
    keep_better(t, at, moved);
    for (size_t i = 0; i < NB_SIGNED; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            const float to = moved[i][r] != 0 ? rintf(t->level[at + i][r] + moved[i][r] / scale[r])
                                              : t->level[at + i][r];

            t->changed += moved[i][r] != 0;
            t->level[at + i][r] = to;
            t->w[at + i][r] += moved[i][r];
            change[at + i - first][r] += moved[i][r];
        }
    for (size_t k = first; k < first + count; k++)
        for (size_t i = 0; i < NB_SIGNED; i++)
            for (size_t r = 0; r < NB_TILE; r++)
                t->g[k][r] -= t->refine->h[k * n + at + i] * moved[i][r];
}

#endif
