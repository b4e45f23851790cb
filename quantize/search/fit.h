/*
 * The searches that the block formats share, with one block per lane: find the
 * scale (and minimum) with the smallest weighted squared rounding error. The
 * algorithms and their order of operations are those of ggml-quants.c
 * (make_qx_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants); any
 * change of the order changes the resulting bits.
 */
#ifndef NB_FIT_H
#define NB_FIT_H

#include "formats/elements/lanes.h"

/* Groups whose values are all smaller than this are treated as zero. */
#define NB_GROUP_EPSILON 1e-15f

/*
 * The scale and minimum of a fit, and the parameters of its levels:
 * level = clamp(round(level_scale * (x - level_min))).
 */
struct nb_fit {
    lf scale, min, level_scale, level_min;
    lm flat; /* nothing to fit: every level is 0 */
};

NB_INLINE lf
nb_clamp(lf v, lf low, lf high)
{
    return lf_max(lf_min(v, high), low);
}

/* SMALL: |v| <= 2^22 in every lane, so no conversion to integers is needed. */
NB_INLINE lf
nb_level(lf v, lf low, lf high, const bool small)
{
    return nb_clamp(small ? lf_round_small(v) : lf_from_int(lf_nearest(v)), low, high);
}

/* The scales that an affine fit tries: (first + step * t + top) / range for t from 0 to steps. */
struct nb_affine_search {
    float top, first, step;
    int steps;
    bool absolute; /* minimize absolute errors instead of squared ones */
};

/* The state of an affine fit of a group of weights. */
struct nb_affine_group {
    const lf *x, *w;
    lf level[32];             /* levels of the trial */
    lf lowest, highest;       /* extremes of x */
    lf sum_w, sum_x;          /* sums of w and of w * x */
    lf scale;                 /* the trial's scale for rounding */
    lf sum_l, sum_l2, sum_xl; /* the trial's weighted sums */
    lf new_scale, new_min;    /* computed from these sums */
    lf min, range, error;     /* of the best trial so far */
    struct nb_fit fit;
};

/*
 * Groups are fitted two at a time: each addition of a sum depends on the one
 * before, so with one group the processor would be idle half of the time.
 */
#define NB_PAIR 2
#define NB_MAX_FITTED 4

NB_INLINE void
nb_affine_start(struct nb_affine_group *pair, int n, const struct nb_affine_search search)
{
    const lf zero = lf_set1(0);

    for (struct nb_affine_group *g = pair; g < pair + NB_PAIR; g++) {
        const lf *x = g->x, *w = g->w;

        g->lowest = g->highest = x[0];
        g->sum_w = w[0];
        g->sum_x = w[0] * x[0];
        for (int i = 1; i < n; i++) {
            g->lowest = lf_min(x[i], g->lowest);
            g->highest = lf_max(x[i], g->highest);
            g->sum_w += w[i];
            g->sum_x += w[i] * x[i];
        }
        g->min = lf_select(lf_lt(zero, g->lowest), zero, g->lowest);
        g->fit.flat = lf_eq(g->highest, g->min);
        /* In a flat lane all x = min: any range gives levels of 0, and no trial is accepted. */
        g->range = lf_select(g->fit.flat, lf_set1(1), g->highest - g->min);
        g->scale = g->fit.level_scale = lf_set1(search.top) / g->range;
        g->fit.level_min = g->fit.min = g->min;
        g->fit.scale = lf_set1(1) / g->fit.level_scale;
    }
}

/* Computes the trial's levels and their sums. CAPPED: a level could exceed TOP and is clamped. */
NB_INLINE void
nb_affine_levels(struct nb_affine_group *pair, int n, float top, const bool small, const bool capped)
{
    lf l1[NB_PAIR], l2[NB_PAIR], xl[NB_PAIR], scale[NB_PAIR], min[NB_PAIR];

    for (int k = 0; k < NB_PAIR; k++) {
        l1[k] = l2[k] = xl[k] = lf_set1(0);
        scale[k] = pair[k].scale;
        min[k] = pair[k].min;
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < NB_PAIR; k++) {
            const lf x = pair[k].x[i];
            const lf v = scale[k] * (x - min[k]);
            const lf l = capped ? nb_level(v, lf_set1(0), lf_set1(top), small) : lf_max(lf_round_small(v), lf_set1(0));
            const lf wl = pair[k].w[i] * l;

            pair[k].level[i] = l;
            l1[k] += wl;
            l2[k] += wl * l;
            xl[k] += wl * x;
        }
    }
    for (int k = 0; k < NB_PAIR; k++) {
        pair[k].sum_l = l1[k];
        pair[k].sum_l2 = l2[k];
        pair[k].sum_xl = xl[k];
    }
}

/* The weighted errors of the trial's levels with NEW_SCALE and NEW_MIN. */
NB_INLINE void
nb_affine_errors(const struct nb_affine_group *pair, int n, const bool absolute, lf *error)
{
    lf scale[NB_PAIR], min[NB_PAIR];

    for (int k = 0; k < NB_PAIR; k++) {
        error[k] = lf_set1(0);
        scale[k] = pair[k].new_scale;
        min[k] = pair[k].new_min;
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < NB_PAIR; k++) {
            const lf difference = scale[k] * pair[k].level[i] + min[k] - pair[k].x[i];

            error[k] += pair[k].w[i] * (absolute ? lf_abs(difference) : difference * difference);
        }
    }
}

/* Whether all values of the pair are small: rounding is monotonic, so the extremes suffice. */
NB_INLINE bool
nb_affine_is_small(const struct nb_affine_group *pair)
{
    const lf limit = lf_set1(4000000.0f);
    bool small = true;

    for (const struct nb_affine_group *g = pair; g < pair + NB_PAIR; g++)
        small &= lm_all(lm_and(lf_le(lf_abs(g->scale * (g->lowest - g->min)), limit),
                               lf_le(lf_abs(g->scale * (g->highest - g->min)), limit)));
    return small;
}

/* Scale and min by weighted least squares; *SOLVED is false in lanes where there is no minimum. */
NB_INLINE void
nb_affine_solve(struct nb_affine_group *g, lm *solved)
{
    const lf zero = lf_set1(0), determinant = g->sum_w * g->sum_l2 - g->sum_l * g->sum_l;
    const lf scale = (g->sum_w * g->sum_xl - g->sum_x * g->sum_l) / determinant;
    const lf min = (g->sum_l2 * g->sum_x - g->sum_l * g->sum_xl) / determinant;
    const lm above = lf_lt(zero, min);

    g->new_min = lf_select(above, zero, min);
    g->new_scale = lf_select(above, g->sum_xl / g->sum_l2, scale);
    *solved = lf_lt(zero, determinant);
}

/* Keeps the trial in lanes where it is BETTER, with its ERROR. */
NB_INLINE void
nb_affine_keep(struct nb_affine_group *g, lm better, lf error)
{
    g->error = lf_select(better, error, g->error);
    g->fit.scale = lf_select(better, g->new_scale, g->fit.scale);
    g->fit.level_scale = lf_select(better, g->scale, g->fit.level_scale);
    g->fit.level_min = lf_select(better, g->min, g->fit.level_min);
    g->min = lf_select(better, g->new_min, g->min);
    g->range = lf_select(g->fit.flat, lf_set1(1), g->highest - g->min);
}

/* The first part of a trial of two groups: computes its sums. The scale for rounding is FACTOR / range. */
NB_INLINE void
nb_affine_trial(struct nb_affine_group *pair, int n, float top, float factor, lm *solved)
{
    for (int k = 0; k < NB_PAIR; k++)
        pair[k].scale = lf_set1(factor) / pair[k].range;
    if (!nb_affine_is_small(pair))
        nb_affine_levels(pair, n, top, false, true);
    else if (factor < top + 0.45f) /* the highest value is mapped to the factor */
        nb_affine_levels(pair, n, top, true, false);
    else
        nb_affine_levels(pair, n, top, true, true);
    for (int k = 0; k < NB_PAIR; k++)
        nb_affine_solve(&pair[k], &solved[k]);
}

/*
 * Fits x ~ scale * level + min with levels 0 to TOP and min <= 0: an initial
 * guess, then the trials, each solved for scale and min by weighted least
 * squares. N is up to 32, COUNT is one or two pairs. The minimum in FIT is not
 * negated. With two pairs, the processor works on one while the other waits for
 * its division.
 */
NB_INLINE void
nb_fit_affine(struct nb_affine_group *group, const int count, int n, const struct nb_affine_search search)
{
    for (struct nb_affine_group *pair = group; pair < group + count; pair += NB_PAIR) {
        lf error[NB_PAIR];

        nb_affine_start(pair, n, search);
        nb_affine_levels(pair, n, search.top, false, true);
        for (int k = 0; k < NB_PAIR; k++) {
            pair[k].new_scale = pair[k].fit.scale;
            pair[k].new_min = pair[k].min;
        }
        nb_affine_errors(pair, n, search.absolute, error);
        for (int k = 0; k < NB_PAIR; k++)
            pair[k].error = error[k];
    }
    for (int t = 0; t <= search.steps; t++) {
        const float factor = search.first + search.step * (float)t + search.top;
        lm solved[NB_MAX_FITTED];

        for (int k = 0; k < count; k += NB_PAIR)
            nb_affine_trial(group + k, n, search.top, factor, solved + k);
        for (int k = 0; k < count; k += NB_PAIR) {
            lf error[NB_PAIR];

            nb_affine_errors(group + k, n, search.absolute, error);
            for (int i = 0; i < NB_PAIR; i++)
                nb_affine_keep(&group[k + i], lm_and(solved[k + i], lf_lt(error[i], group[k + i].error)), error[i]);
        }
    }
    for (struct nb_affine_group *g = group; g < group + count; g++) {
        g->fit.min = g->min;
        g->fit.scale = lf_select(g->fit.flat, lf_set1(0), g->fit.scale);
    }
}

/* The levels of FIT, 0 to TOP. */
NB_INLINE void
nb_affine_fit_levels(const struct nb_fit *fit, const lf *x, int n, float top, li *level)
{
    for (int i = 0; i < n; i++) {
        const lf l = nb_level(fit->level_scale * (x[i] - fit->level_min), lf_set1(0), lf_set1(top), false);

        level[i] = lf_to_int(lf_select(fit->flat, lf_set1(0), l));
    }
}

NB_INLINE lf
nb_largest_magnitude(const lf *x, int n)
{
    lf max = lf_set1(0);

    for (int i = 0; i < n; i++)
        max = lf_max(lf_abs(x[i]), max);
    return max;
}

/* The value of largest magnitude, with its sign; the first of equal ones. */
NB_INLINE lf
nb_largest(const lf *x, int n)
{
    lf largest = lf_set1(0), absolute = lf_set1(0);

    for (int i = 0; i < n; i++) {
        const lf a = lf_abs(x[i]);

        largest = lf_select(lf_lt(absolute, a), x[i], largest);
        absolute = lf_max(a, absolute);
    }
    return largest;
}

/* A trial of a linear fit: its scale for rounding, and the weighted sums by which it is compared. */
struct nb_linear_trial {
    lf level_scale, xl, l2;
};

/*
 * The sums of COUNT trials at once, because the additions of one trial depend on
 * one another. LOW, HIGH: whether a level can exceed the limit on that side.
 */
NB_INLINE void
nb_linear_sums(const lf *x, const lf *w, const lf *wx, int n, float top, const bool low, const bool high,
               struct nb_linear_trial *trial, const int count)
{
    for (int k = 0; k < count; k++)
        trial[k].xl = trial[k].l2 = lf_set1(0);
#pragma GCC unroll 2
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < count; k++) {
            lf l = lf_round_small(trial[k].level_scale * x[i]); /* |x| <= |largest|, so it is near TOP at most */

            if (high)
                l = lf_min(l, lf_set1(top - 1));
            if (low)
                l = lf_max(l, lf_set1(-top));
            trial[k].xl += wx[i] * l;
            trial[k].l2 += w[i] * l * l;
        }
    }
}

/* Keeps TRIAL if it is better than FIT, whose merit is *BEST. */
NB_INLINE void
nb_linear_judge(const struct nb_linear_trial *trial, struct nb_fit *fit, lf *best)
{
    const lf quotient = trial->xl / trial->l2;
    const lm better = lm_and(lf_lt(lf_set1(0), trial->l2), lf_lt(*best * trial->l2, trial->xl * trial->xl));

    fit->scale = lf_select(better, quotient, fit->scale);
    fit->level_scale = lf_select(better, trial->level_scale, fit->level_scale);
    *best = lf_select(better, quotient * trial->xl, *best);
}

/* COUNT trials of nb_fit_linear from T on: two, or a last single one. */
NB_INLINE void
nb_linear_pair(const lf *x, const lf *w, const lf *wx, int n, float top, lf largest, const int t, const int count,
               struct nb_fit *fit, lf *best)
{
    struct nb_linear_trial trial[2];

    for (int k = 0; k < count; k++)
        trial[k].level_scale = lf_set1(-(top + 0.1f * (float)(t + k))) / largest;
    /* Values up to top + 0.4 round to top, values up to top - 0.6 to top - 1. */
    nb_linear_sums(x, w, wx, n, top, t + count - 1 > 4, t + count - 1 > -6, trial, count);
    for (int k = 0; k < count; k++)
        nb_linear_judge(&trial[k], fit, best);
}

/*
 * Fits x ~ scale * level with levels -TOP to TOP - 1: the value of largest
 * magnitude is mapped to -TOP, then to -(TOP + 0.1 t) for t from -9 to 9, and
 * the best scale by weighted least squares is kept.
 */
NB_INLINE struct nb_fit
nb_fit_linear(const lf *x, const lf *w, int n, float top)
{
    const lf zero = lf_set1(0);
    lf largest = nb_largest(x, n), best, wx[32];
    struct nb_linear_trial plain;
    struct nb_fit fit;

    fit.flat = lf_lt(lf_abs(largest), lf_set1(NB_GROUP_EPSILON));
    largest = lf_select(fit.flat, lf_set1(1), largest);
    fit.min = fit.level_min = zero;
    for (int i = 0; i < n; i++)
        wx[i] = w[i] * x[i];
    plain.level_scale = fit.level_scale = lf_set1(-top) / largest;
    nb_linear_sums(x, w, wx, n, top, false, true, &plain, 1);
    fit.scale = lf_select(lf_eq(plain.l2, zero), zero, plain.xl / plain.l2);
    best = fit.scale * plain.xl;
    nb_linear_pair(x, w, wx, n, top, largest, -9, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, -7, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, -5, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, -3, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, -1, 1, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, 1, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, 3, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, 5, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, 7, 2, &fit, &best);
    nb_linear_pair(x, w, wx, n, top, largest, 9, 1, &fit, &best);
    fit.scale = lf_select(fit.flat, zero, fit.scale);
    return fit;
}

/* The levels of FIT in stored form, 0 to 2 TOP - 1; those of a flat group are 0. */
NB_INLINE void
nb_linear_fit_levels(const struct nb_fit *fit, const lf *x, int n, float top, li *level)
{
    for (int i = 0; i < n; i++) {
        const lf l = nb_level(fit->level_scale * x[i], lf_set1(-top), lf_set1(top - 1), false) + lf_set1(top);

        level[i] = lf_to_int(lf_select(fit->flat, lf_set1(0), l));
    }
}

/*
 * Fits x ~ scale * level with levels -TOP to TOP - 1, errors weighted by x^2: it
 * maps the value of largest magnitude to -TOP, then does up to five rounds that
 * re-optimize one level at a time. Returns the scale; TOP is added to the
 * levels, those of a flat group are 0.
 */
NB_INLINE lf
nb_fit_linear_descent(const lf *x, int n, float top, li *level)
{
    const lf zero = lf_set1(0), low = lf_set1(-top), high = lf_set1(top - 1);
    lf largest = nb_largest(x, n), l[16], w[16], xl = zero, l2 = zero, scale;
    const lm flat = lf_lt(lf_abs(largest), lf_set1(NB_GROUP_EPSILON));

    scale = lf_set1(-top) / lf_select(flat, lf_set1(1), largest);
    for (int i = 0; i < n; i++) {
        w[i] = x[i] * x[i];
        l[i] = nb_level(scale * x[i], low, high, true);
        xl += w[i] * x[i] * l[i];
        l2 += w[i] * l[i] * l[i];
    }
    for (int round = 0; round < 5; round++) {
        bool changed = false;

        for (int i = 0; i < n; i++) {
            const lf wx = w[i] * x[i];
            lf rest_xl = xl - wx * l[i], rest_l2 = l2 - w[i] * l[i] * l[i];
            const lf fresh = nb_level(x[i] * rest_l2 / rest_xl, low, high, false);
            lm better = lm_and(lf_lt(zero, rest_xl), lm_not(lf_eq(fresh, l[i])));

            if (!lm_any(better))
                continue;
            rest_xl += wx * fresh;
            rest_l2 += w[i] * fresh * fresh;
            better = lm_and(better, lm_and(lf_lt(zero, rest_l2), lf_lt(xl * xl * rest_l2, rest_xl * rest_xl * l2)));
            l[i] = lf_select(better, fresh, l[i]);
            xl = lf_select(better, rest_xl, xl);
            l2 = lf_select(better, rest_l2, l2);
            changed |= lm_any(better);
        }
        if (!changed)
            break;
    }
    for (int i = 0; i < n; i++)
        level[i] = lf_to_int(lf_select(flat, zero, l[i] + lf_set1(top)));
    return lf_select(lm_or(flat, lm_not(lf_lt(zero, l2))), zero, xl / l2);
}

/* The level in the reference's byte: 0 to 255. */
NB_INLINE lf
nb_byte_level(lf v)
{
    return lf_from_int(lf_nearest(v) & 0xFF);
}

/* The best of nine scales around TOP / max, by weighted error. */
NB_INLINE lf
nb_positive_scale(const lf *x, const lf *w, int n, float top, lf max)
{
    lf scale = lf_set1(top) / max, best = lf_set1(0);

    for (int i = 0; i < n; i++) {
        const lf difference = x[i] - lf_set1(1) / scale * nb_byte_level(scale * x[i]);

        best += w[i] * difference * difference;
    }
    for (int t = -4; t <= 4; t++) {
        const lf trial = lf_set1(0.1f * (float)t + top) / max, inverse = lf_set1(1) / trial;
        lf error = lf_set1(0);
        lm better;

        if (t == 0)
            continue;
        for (int i = 0; i < n; i++) {
            const lf level = lf_min(lf_from_int(lf_nearest(trial * x[i])), lf_set1(top));
            const lf difference = x[i] - inverse * level;

            error += w[i] * difference * difference;
        }
        better = lf_lt(error, best);
        best = lf_select(better, error, best);
        scale = lf_select(better, trial, scale);
    }
    return scale;
}

/*
 * Fits x ~ scale * level for N <= 32 non-negative values, levels 0 to TOP: the
 * best of nine scales, then up to five rounds that re-optimize one level at a
 * time. Returns the scale. A negative value is possible; its level is converted
 * to a byte, as in the reference.
 */
NB_INLINE lf
nb_fit_positive(const lf *x, const lf *w, int n, float top, li *level)
{
    const lf zero = lf_set1(0), tops = lf_set1(top);
    lf l[32], max = zero, scale, xl = zero, l2 = zero;
    lm flat;

    for (int i = 0; i < n; i++)
        max = lf_max(max, x[i]);
    flat = lf_lt(max, lf_set1(NB_GROUP_EPSILON));
    scale = nb_positive_scale(x, w, n, top, lf_select(flat, lf_set1(1), max));
    for (int i = 0; i < n; i++) {
        const li signed_level = li_min(lf_nearest(scale * x[i]), lf_to_int(tops));

        l[i] = lf_from_int(signed_level & 0xFF);
        xl += w[i] * x[i] * lf_from_int(signed_level);
        l2 += w[i] * lf_from_int(signed_level) * lf_from_int(signed_level);
    }
    for (int round = 0; round < 5; round++) {
        bool changed = false;

        for (int i = 0; i < n; i++) {
            lf rest_xl = xl - w[i] * x[i] * l[i], rest_l2 = l2 - w[i] * l[i] * l[i];
            const li fresh = li_min(lf_nearest(x[i] * rest_l2 / rest_xl), lf_to_int(tops));
            const lf fresh_level = lf_from_int(fresh);
            lm better = lm_and(lm_and(lf_lt(zero, rest_xl), lf_lt(zero, rest_l2)), lm_not(lf_eq(fresh_level, l[i])));

            if (!lm_any(better))
                continue;
            rest_xl += w[i] * x[i] * fresh_level;
            rest_l2 += w[i] * fresh_level * fresh_level;
            better = lm_and(better, lf_lt(xl * xl * rest_l2, rest_xl * rest_xl * l2));
            l[i] = lf_select(better, lf_from_int(fresh & 0xFF), l[i]);
            xl = lf_select(better, rest_xl, xl);
            l2 = lf_select(better, rest_l2, l2);
            changed |= lm_any(better);
        }
        if (!changed)
            break;
    }
    for (int i = 0; i < n; i++)
        level[i] = lf_to_int(lf_select(flat, zero, l[i]));
    return lf_select(lm_or(flat, lm_not(lf_lt(zero, l2))), zero, xl / l2);
}

/*
 * Quantizes COUNT non-negative scales as odd multiples of d: LEVEL is 0 to TOP
 * for 1 to 2 TOP + 1 times d. Returns d; EMPTY receives the lanes in which all
 * scales, and so all levels, are 0.
 */
NB_INLINE lf
nb_round_odd_scales(const lf *scale, int count, float top, lu *level, lm *empty)
{
    lf max = lf_set1(0), d, inverse;

    for (int j = 0; j < count; j++)
        max = lf_max(max, scale[j]);
    *empty = lf_eq(max, lf_set1(0));
    d = max / lf_set1(2 * top + 1);
    inverse = lf_set1(1) / lf_select(*empty, lf_set1(1), d);
    for (int j = 0; j < count; j++) {
        const lf v = lf_set1(0.5f) * (inverse * scale[j] - lf_set1(1));

        level[j] = (lu)li_select(*empty, (li)lu_set1(0), lf_to_int(nb_level(v, lf_set1(0), lf_set1(top), false)));
    }
    return d;
}

/* w = importance * sqrt(sigma2 + x^2) */
NB_INLINE void
nb_importance_weights(const lf *x, const lf *importance, lf sigma2, int n, lf *w)
{
    for (int i = 0; i < n; i++)
        w[i] = importance[i] * lf_sqrt(sigma2 + x[i] * x[i]);
}

/* The sum of squares in element order. */
NB_INLINE lf
nb_sum_of_squares(const lf *x, int n)
{
    lf sum = lf_set1(0);

    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

#endif
