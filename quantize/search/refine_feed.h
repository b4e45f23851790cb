/*
 * Where descent begins: columns are rounded one by one, each to what makes up for the errors of those before it, with the
 * scales as they are. With H = U D U', U with ones on its diagonal and zeros below it, the error of a row e = target - w is
 * the sum of D times the squares of e U, which so become as small as levels allow: GPTQ (Frantar et al. 2023), in the form
 * that Chee et al. 2023 ("QuIP") give it. Included by refine_sweep.c, which is compiled once per tier.
 */
#ifndef NB_REFINE_FEED_H
#define NB_REFINE_FEED_H

#include "quantize/search/refine_columns.h"
#include "quantize/search/refiners.h"

#include <string.h>

/* Rounds column J, to which t->g says what is to be added; the columns behind it up to END follow. */
static void
feed_column(struct nb_tile *t, size_t j, size_t end, float *restrict error, const float *restrict scale,
            const float *restrict min)
{
    const float *restrict u = t->refine->feedback + j * t->refine->columns;
    float *restrict w = t->w[j], *restrict level = t->level[j];
    nb_lane x, best;

    for (size_t r = 0; r < NB_TILE; r++)
        x[r] = (w[r] + error[r] + t->g[j][r] + min[r]) / (scale[r] != 0 ? scale[r] : 1);
    nearest_levels(t->parts, x, best);
    for (size_t r = 0; r < NB_TILE; r++) {
        const float to = scale[r] != 0 ? best[r] : level[r], moved = (to - level[r]) * scale[r];

        level[r] = to;
        w[r] += moved;
        error[r] -= moved;
    }
    for (size_t k = j + 1; k < end; k++) {
        const float factor = u[k];
        float *restrict of = t->g[k];

        for (size_t r = 0; r < NB_TILE; r++)
            of[r] += factor * error[r];
    }
}

static void
feed_panel(struct nb_tile *t, size_t first, size_t count, nb_lane *error)
{
    nb_lane scale, min;

    for (size_t j = first; j < first + count; j++) {
        if (j == first || j % t->parts->group == 0)
            group_steps(t, j, scale, min);
        feed_column(t, j, first + count, error[j], scale, min);
    }
}

/* ERROR is target - w. */
void
NB_TIERED(nb_refine_feed)(struct nb_tile *t, nb_lane *error)
{
    const size_t n = t->refine->columns;
    const float *u = t->refine->feedback; /* its lower half, U', says what errors add to the columns behind them */

    memset(t->g, 0, n * sizeof *t->g);
    for (size_t at = 0, size; at < n; at += size) {
        size = n - at < NB_STRIDE_COLUMNS ? n - at : NB_STRIDE_COLUMNS;
        for (size_t first = at; first < at + size; first += NB_PANEL) {
            feed_panel(t, first, NB_PANEL, error);
            add_products(t, u, 1, first + NB_PANEL, at + size, first, NB_PANEL, error + first);
        }
        add_products(t, u, 1, at + size, n, at, size, error + at);
    }
}

#endif
