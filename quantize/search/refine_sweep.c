/*
 * One sweep of coordinate descent over the columns of a tile of rows. Loops over the rows are what compilers make
 * vectors of. Compiled once per tier.
 */
#include "formats/base/blas.h"
#include "formats/elements/halves.h"
#include "quantize/search/parts_fp4.h"
#include "quantize/search/refine_cells.h"
#include "quantize/search/refine_columns.h"
#include "quantize/search/refine_feed.h"
#include "quantize/search/refiners.h"

#include <math.h>
#include <string.h>

#define LARGEST_PANEL 128u /* a group of MLX */

/* --- products ------------------------------------------------------------------------------------------------ */

/* G of the columns from FIRST up to END loses H times the CHANGE of COUNT columns from AT on. */
static void
spread(const struct nb_tile *t, size_t first, size_t end, size_t at, size_t count, nb_lane *change)
{
    add_products(t, t->refine->h, -1, first, end, at, count, change);
}

/* --- codes --------------------------------------------------------------------------------------------------- */

/* Moves the elements of column J to their best levels; the gradients of the panel's COUNT columns from FIRST on follow. */
static void
visit_column(struct nb_tile *t, size_t j, size_t first, size_t count, nb_lane *restrict change,
             const float *restrict scale, const float *restrict min)
{
    const float *restrict h = t->refine->h + j * t->refine->columns;
    float *restrict w = t->w[j], *restrict g = t->g[j], *restrict level = t->level[j];
    const float inverse = 1.0f / h[j];
    nb_lane x, best, moved;
    unsigned changed = 0;

    for (size_t r = 0; r < NB_TILE; r++)
        x[r] = (w[r] + g[r] * inverse + min[r]) / (scale[r] != 0 ? scale[r] : 1);
    nearest_levels(t->parts, x, best);
    for (size_t r = 0; r < NB_TILE; r++) {
        const float to = scale[r] != 0 ? best[r] : level[r];

        moved[r] = (to - level[r]) * scale[r];
        changed += to != level[r];
        level[r] = to;
        w[r] += moved[r];
        change[j - first][r] += moved[r];
    }
    if (changed == 0)
        return;
    t->changed += changed;
    for (size_t k = first; k < first + count; k++) {
        const float factor = h[k];
        float *restrict of = t->g[k];

        for (size_t r = 0; r < NB_TILE; r++)
            of[r] -= factor * moved[r];
    }
}

/* --- scales --------------------------------------------------------------------------------------------------- */

/* What a change of u = a * l - b * m does to the error: -2 (a lg - b mg) + a a lhl - 2 a b lhm + b b mhm. */
struct quadratic {
    nb_lane lg, mg, lhl, lhm, mhm;
};

static void
best_change(const struct quadratic *q, bool has_min, float *restrict a)
{
    for (size_t r = 0; r < NB_TILE; r++) {
        const float cross = has_min && q->mhm[r] > 0 ? q->lhm[r] / q->mhm[r] : 0;
        const float curve = q->lhl[r] - cross * q->lhm[r];

        a[r] = curve > 1e-6f * q->lhl[r] ? (q->lg[r] - cross * q->mg[r]) / curve : 0;
    }
}

/* The best b for a given a. */
static inline float
best_min(const struct quadratic *q, size_t r, float a)
{
    return q->mhm[r] > 0 ? (a * q->lhm[r] - q->mg[r]) / q->mhm[r] : 0;
}

static inline bool
is_better(const struct quadratic *q, size_t r, float a, float b)
{
    return -2 * (a * q->lg[r] - b * q->mg[r]) + a * a * q->lhl[r] - 2 * a * b * q->lhm[r] + b * b * q->mhm[r] < 0;
}

/* X as TYPE can hold it. */
static inline float
stored(enum nb_type type, float x)
{
    if (type == NB_F16)
        return nb_f16_to_f32(nb_f32_to_f16(x));
    if (type == NB_F8_E8M0 || type == NB_F8_E4M3)
        return nb_fp4_step(type, nb_fp4_byte(type, x));
    return type == NB_BF16 ? nb_bf16_to_f32(nb_f32_to_bf16(x)) : x;
}

/*
 * How far STEP * INTEGER can be moved by CHANGE, as it is stored: to another integer from LOW to TOP, which are APART, or
 * to another STEP, which is of TYPE; NB_TYPE_NONE: the step stays.
 */
static inline float
stored_change(const float *integer, const float *step, enum nb_type type, float change, float low, float top,
              float apart)
{
    float to;

    if (type != NB_TYPE_NONE) {
        to = stored(type, *step + change);
        return isfinite(to) ? to - *step : 0;
    }
    if (*step == 0)
        return 0;
    to = low + apart * nearest((clamped(*integer + change / *step, low, top) - low) / apart);
    return (to - *integer) * *step;
}

static inline void
store_change(float *integer, float *step, enum nb_type type, float change)
{
    if (type != NB_TYPE_NONE)
        *step += change;
    else if (*step != 0)
        *integer = nearest(*integer + change / *step);
}

/* For the group of SIZE columns from AT on: HL = H times its levels, for the COUNT columns from FIRST on. */
static void
levels_times_h(const struct nb_tile *t, size_t at, size_t size, size_t first, size_t count, nb_lane *restrict hl)
{
    const size_t n = t->refine->columns;

    for (size_t k = 0; k < count; k++) {
        const float *restrict h = t->refine->h + (first + k) * n + at;

        memset(hl[k], 0, sizeof hl[k]);
        for (size_t i = 0; i < size; i++) {
            const float *restrict l = t->level[at + i];

            for (size_t r = 0; r < NB_TILE; r++)
                hl[k][r] += h[i] * l[r];
        }
    }
}

/* The sums for a group; H1 receives the sums of H over the group, for the COUNT columns from FIRST on. */
static void
group_sums(const struct nb_tile *t, size_t at, size_t size, size_t first, size_t count, nb_lane *restrict hl,
           float *restrict h1, struct quadratic *q)
{
    const size_t n = t->refine->columns;

    levels_times_h(t, at, size, first, count, hl);
    memset(q, 0, sizeof *q);
    for (size_t k = 0; k < count; k++) {
        h1[k] = 0;
        for (size_t i = 0; i < size; i++)
            h1[k] += t->refine->h[(first + k) * n + at + i];
    }
    for (size_t i = at; i < at + size; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            q->lg[r] += t->level[i][r] * t->g[i][r];
            q->mg[r] += t->g[i][r];
            q->lhl[r] += t->level[i][r] * hl[i - first][r];
            q->lhm[r] += t->level[i][r] * h1[i - first];
            q->mhm[r] += h1[i - first];
        }
}

/* Fits scale and minimum of the group at AT, and moves them to the best that can be stored. */
static void
fit_group(struct nb_tile *t, size_t at, size_t first, size_t count, nb_lane *restrict change)
{
    const struct nb_parts_type *p = t->parts;
    const size_t group = at / p->group, block = at / p->block;
    const enum nb_type type = p->scale_top == 1 ? p->step : NB_TYPE_NONE;
    const bool has_min = p->min_top > 0;
    nb_lane *hl = t->room;
    struct quadratic q;
    float h1[LARGEST_PANEL];
    nb_lane a, b;

    group_sums(t, at, p->group, first, count, hl, h1, &q);
    best_change(&q, has_min, a);
    for (size_t r = 0; r < NB_TILE; r++) {
        float *scale = &t->scale[group][r], *min = &t->min[group][r], *d = &t->d[block][r], *dmin = &t->dmin[block][r];

        a[r] = stored_change(scale, d, type, a[r], p->scale_low, p->scale_top, p->scale_step);
        b[r] = has_min ? stored_change(min, dmin, type, best_min(&q, r, a[r]), 0, p->min_top, 1) : 0;
        if (!is_better(&q, r, a[r], b[r]))
            a[r] = b[r] = 0;
        store_change(scale, d, type, a[r]);
        store_change(min, dmin, type, b[r]);
    }
    for (size_t i = at; i < at + p->group; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            const float u = a[r] * t->level[i][r] - b[r];

            t->w[i][r] += u;
            change[i - first][r] += u;
        }
    for (size_t k = 0; k < count; k++)
        for (size_t r = 0; r < NB_TILE; r++)
            t->g[first + k][r] -= a[r] * hl[k][r] - b[r] * h1[k];
}

/* --- steps of super-blocks ------------------------------------------------------------------------------------ */

/* OUT = H of the block's columns times X. */
static void
block_times_h(const struct nb_tile *t, size_t at, size_t size, nb_lane *x, nb_lane *out)
{
    const size_t n = t->refine->columns;

    nb_sgemm(&(struct nb_sgemm){ .m = size,
                                 .n = NB_TILE,
                                 .k = size,
                                 .alpha = 1,
                                 .a = t->refine->h + at * n + at,
                                 .b = x[0],
                                 .c = out[0],
                                 .a_row = n,
                                 .b_row = NB_TILE,
                                 .c_row = NB_TILE });
}

/* What the steps are multiplied with in each element: L for the scales and M for the minimums. */
static void
block_factors(const struct nb_tile *t, size_t at, nb_lane *restrict l, nb_lane *restrict m)
{
    const struct nb_parts_type *p = t->parts;

    for (size_t i = 0; i < p->block; i++) {
        const size_t group = (at + i) / p->group;

        for (size_t r = 0; r < NB_TILE; r++) {
            l[i][r] = t->scale[group][r] * t->level[at + i][r];
            m[i][r] = t->min[group][r];
        }
    }
}

static void
block_sums(const struct nb_tile *t, size_t at, nb_lane *restrict l, nb_lane *restrict hl, nb_lane *restrict m,
           nb_lane *restrict hm, struct quadratic *q)
{
    memset(q, 0, sizeof *q);
    for (size_t i = 0; i < t->parts->block; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            q->lg[r] += l[i][r] * t->g[at + i][r];
            q->mg[r] += m[i][r] * t->g[at + i][r];
            q->lhl[r] += l[i][r] * hl[i][r];
            q->lhm[r] += l[i][r] * hm[i][r];
            q->mhm[r] += m[i][r] * hm[i][r];
        }
}

/* Fits the steps of the super-block at column AT. */
static void
fit_steps(struct nb_tile *t, size_t at, nb_lane *restrict change)
{
    const struct nb_parts_type *p = t->parts;
    const size_t block = at / p->block;
    const bool has_min = p->min_top > 0;
    nb_lane *l = t->room, *hl = l + p->block, *m = hl + p->block, *hm = m + p->block;
    struct quadratic q;
    nb_lane a, b;
    float one = 1;

    block_factors(t, at, l, m);
    block_times_h(t, at, p->block, l, hl);
    block_times_h(t, at, p->block, m, hm);
    block_sums(t, at, l, hl, m, hm, &q);
    best_change(&q, has_min, a);
    for (size_t r = 0; r < NB_TILE; r++) {
        a[r] = stored_change(&one, &t->d[block][r], p->step, a[r], 0, 0, 1);
        b[r] = has_min ? stored_change(&one, &t->dmin[block][r], p->step, best_min(&q, r, a[r]), 0, 0, 1) : 0;
        if (!is_better(&q, r, a[r], b[r]))
            a[r] = b[r] = 0;
        t->d[block][r] += a[r];
        t->dmin[block][r] += b[r];
    }
    for (size_t i = 0; i < p->block; i++)
        for (size_t r = 0; r < NB_TILE; r++) {
            const float u = a[r] * l[i][r] - b[r] * m[i][r];

            t->w[at + i][r] += u;
            change[i][r] += u;
            t->g[at + i][r] -= a[r] * hl[i][r] - b[r] * hm[i][r];
        }
}

/* --- all ------------------------------------------------------------------------------------------------------- */

static void
visit_panel(struct nb_tile *t, size_t first, size_t count, nb_lane *change)
{
    const struct nb_parts_type *p = t->parts;
    nb_lane scale, min;

    for (size_t at = first; at < first + count; at += p->group) {
        group_steps(t, at, scale, min);
        for (size_t j = at; p->cell > 0 && j < at + p->group; j += NB_SIGNED)
            nb_visit_cells(t, j, first, count, change, scale);
        for (size_t j = at; p->cell == 0 && j < at + p->group; j++)
            visit_column(t, j, first, count, change, scale, min);
        fit_group(t, at, first, count, change);
    }
}

void
NB_TIERED(nb_refine_sweep)(struct nb_tile *t)
{
    const size_t n = t->refine->columns, panel = t->parts->group > NB_PANEL ? t->parts->group : NB_PANEL;

    t->changed = 0;
    for (size_t at = 0, size; at < n; at += size) {
        size = n - at < NB_STRIDE_COLUMNS ? n - at : NB_STRIDE_COLUMNS;
        memset(t->change, 0, size * sizeof *t->change);
        for (size_t first = at; first < at + size; first += panel) {
            nb_lane *change = t->change + (first - at);

            visit_panel(t, first, panel, change);
            spread(t, at, first, first, panel, change);
            spread(t, first + panel, at + size, first, panel, change);
        }
        if (t->parts->scale_top > 1)
            fit_steps(t, at, t->change);
        spread(t, 0, at, at, size, t->change);
        spread(t, at + size, n, at, size, t->change);
    }
}
