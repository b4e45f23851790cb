/*
 * The searches that the block formats share, over lanes of blocks: which scale
 * (and minimum) makes the weighted squared error of rounding smallest? The
 * algorithms and their order of operations are ggml's (ggml-quants.c:
 * make_qx_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants); bits
 * depend on every one of them.
 */
#ifndef NB_FIT_H
#define NB_FIT_H

#include "lanes.h"

/* Groups whose values are all smaller than this are taken for zero. */
#define NB_GROUP_EPSILON 1e-15f

/*
 * A fit's scale and minimum, and what its levels were made with:
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

/* SMALL promises |v| <= 2^22 in every lane, and saves the way over integers. */
NB_INLINE lf
nb_level(lf v, lf low, lf high, const bool small)
{
    return nb_clamp(small ? lf_round_small(v) : lf_from_int(lf_nearest(v)), low, high);
}

/* The weighted sums of levels that the least squares need. */
struct nb_level_sums {
    lf l, l2, xl;
};

NB_INLINE struct nb_level_sums
nb_affine_levels(const lf *x, const lf *w, lf *level, int n, lf scale, lf min, lf top, const bool small)
{
    struct nb_level_sums s = { lf_set1(0), lf_set1(0), lf_set1(0) };

    for (int i = 0; i < n; i++) {
        const lf l = nb_level(scale * (x[i] - min), lf_set1(0), top, small);
        const lf wl = w[i] * l;

        level[i] = l;
        s.l += wl;
        s.l2 += wl * l;
        s.xl += wl * x[i];
    }
    return s;
}

NB_INLINE lf
nb_affine_error(const lf *x, const lf *w, const lf *level, int n, lf scale, lf min)
{
    lf error = lf_set1(0);

    for (int i = 0; i < n; i++) {
        const lf difference = scale * level[i] + min - x[i];

        error += w[i] * (difference * difference);
    }
    return error;
}

/*
 * x ~ scale * level + min with levels 0 to TOP and min <= 0: a first guess, then
 * STEPS + 1 trials with the scale that (first + step * t + TOP) / range rounds
 * with, each solved for scale and min by weighted least squares. The returned
 * minimum is that of the fit, not negated.
 */
NB_INLINE struct nb_fit
nb_fit_affine(const lf *x, const lf *w, int n, float top, float first, float step, int steps)
{
    const lf zero = lf_set1(0), tops = lf_set1(top), limit = lf_set1(4000000.0f);
    lf level[32], lowest = x[0], highest = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    struct nb_fit fit;
    lf min, range, error;

    for (int i = 1; i < n; i++) {
        lowest = lf_min(x[i], lowest);
        highest = lf_max(x[i], highest);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    min = lf_select(lf_lt(zero, lowest), zero, lowest);
    fit.flat = lf_eq(highest, min);
    /* A flat lane has x = min throughout: any range gives it levels of 0, and no trial is accepted. */
    range = lf_select(fit.flat, lf_set1(1), highest - min);
    fit.level_scale = tops / range;
    fit.level_min = fit.min = min;
    fit.scale = lf_set1(1) / fit.level_scale;
    nb_affine_levels(x, w, level, n, fit.level_scale, min, tops, false);
    error = nb_affine_error(x, w, level, n, fit.scale, min);

    for (int t = 0; t <= steps; t++) {
        const lf scale = lf_set1(first + step * (float)t + top) / range;
        /* Rounding is monotone, so the extremes tell whether every value of the group is small. */
        const lm small = lm_and(lf_le(lf_abs(scale * (lowest - min)), limit),
                                lf_le(lf_abs(scale * (highest - min)), limit));
        const struct nb_level_sums s = lm_all(small)
                                           ? nb_affine_levels(x, w, level, n, scale, min, tops, true)
                                           : nb_affine_levels(x, w, level, n, scale, min, tops, false);
        const lf determinant = sum_w * s.l2 - s.l * s.l;
        lf new_scale = (sum_w * s.xl - sum_x * s.l) / determinant;
        lf new_min = (s.l2 * sum_x - s.l * s.xl) / determinant;
        const lm above = lf_lt(zero, new_min);
        lf new_error;
        lm better;

        new_min = lf_select(above, zero, new_min);
        new_scale = lf_select(above, s.xl / s.l2, new_scale);
        new_error = nb_affine_error(x, w, level, n, new_scale, new_min);
        better = lm_and(lf_lt(zero, determinant), lf_lt(new_error, error));
        error = lf_select(better, new_error, error);
        fit.scale = lf_select(better, new_scale, fit.scale);
        fit.level_scale = lf_select(better, scale, fit.level_scale);
        fit.level_min = lf_select(better, min, fit.level_min);
        min = lf_select(better, new_min, min);
        range = lf_select(fit.flat, lf_set1(1), highest - min);
    }
    fit.min = min;
    fit.scale = lf_select(fit.flat, zero, fit.scale);
    return fit;
}

/* The levels of FIT, 0 to TOP. */
NB_INLINE void
nb_affine_fit_levels(const struct nb_fit *fit, const lf *x, int n, float top, li *level)
{
    for (int i = 0; i < n; i++) {
        const lf l = nb_level(fit->level_scale * (x[i] - fit->level_min), lf_set1(0), lf_set1(top), false);

        level[i] = lf_nearest(lf_select(fit->flat, lf_set1(0), l));
    }
}

/*
 * x ~ scale * level with levels -TOP to TOP - 1: the largest value, sign
 * included, is put at -TOP, then at -(TOP + 0.1 t) for t from -9 to 9, and the
 * best scale by weighted least squares is kept.
 */
NB_INLINE struct nb_fit
nb_fit_linear(const lf *x, const lf *w, int n, float top)
{
    const lf zero = lf_set1(0), low = lf_set1(-top), high = lf_set1(top - 1);
    lf largest = zero, absolute = zero, best = zero;
    struct nb_fit fit;

    for (int i = 0; i < n; i++) {
        const lf a = lf_abs(x[i]);
        const lm more = lf_lt(absolute, a);

        absolute = lf_select(more, a, absolute);
        largest = lf_select(more, x[i], largest);
    }
    fit.flat = lf_lt(absolute, lf_set1(NB_GROUP_EPSILON));
    largest = lf_select(fit.flat, lf_set1(1), largest);
    fit.scale = fit.level_scale = fit.min = fit.level_min = zero;
    for (int t = -10; t <= 9; t++) {
        const bool guess = t == -10; /* the plain scale comes first */
        const lf scale = lf_set1(guess ? -top : -(top + 0.1f * (float)t)) / largest;
        lf xl = zero, l2 = zero, quotient;
        lm better;

        if (t == 0)
            continue;
        /* |x| <= |largest|, so |scale * x| stays near TOP. */
        for (int i = 0; i < n; i++) {
            const lf l = nb_level(scale * x[i], low, high, true);

            xl += w[i] * x[i] * l;
            l2 += w[i] * l * l;
        }
        quotient = lf_select(lf_eq(l2, zero), zero, xl / l2);
        if (guess) {
            fit.scale = quotient;
            fit.level_scale = scale;
            best = quotient * xl;
            continue;
        }
        better = lm_and(lf_lt(zero, l2), lf_lt(best * l2, xl * xl));
        fit.scale = lf_select(better, quotient, fit.scale);
        fit.level_scale = lf_select(better, scale, fit.level_scale);
        best = lf_select(better, quotient * xl, best);
    }
    fit.scale = lf_select(fit.flat, zero, fit.scale);
    return fit;
}

/* The levels of FIT as they are stored, 0 to 2 TOP - 1; a flat group's are 0. */
NB_INLINE void
nb_linear_fit_levels(const struct nb_fit *fit, const lf *x, int n, float top, li *level)
{
    for (int i = 0; i < n; i++) {
        const lf l = nb_level(fit->level_scale * x[i], lf_set1(-top), lf_set1(top - 1), false) + lf_set1(top);

        level[i] = lf_nearest(lf_select(fit->flat, lf_set1(0), l));
    }
}

/* One float's nearest integer; see lf_nearest. */
static inline int
nb_nearest(float v)
{
    const float shifted = v + NB_ROUND_MAGIC;
    int32_t bits;

    memcpy(&bits, &shifted, sizeof bits);
    return (bits & 0x007FFFFF) - 0x00400000;
}

static inline int
nb_min_int(int a, int b)
{
    return a < b ? a : b;
}

/*
 * x ~ scale * level for N values that are not negative, levels 0 to TOP: eight
 * scales around the plain one by weighted error, then up to five rounds that
 * move one level at a time. For the scales of a super-block, so not over lanes.
 */
static inline float
nb_fit_positive(int n, int top, const float *x, uint8_t *level, const float *w)
{
    float max = 0, scale, best = 0, xl = 0, l2 = 0;

    for (int i = 0; i < n; i++)
        max = max > x[i] ? max : x[i];
    if (max < NB_GROUP_EPSILON) {
        memset(level, 0, (size_t)n);
        return 0;
    }
    scale = (float)top / max;
    for (int i = 0; i < n; i++) {
        const float difference = x[i] - 1 / scale * (float)(uint8_t)nb_nearest(scale * x[i]);

        best += w[i] * difference * difference;
    }
    for (int t = -4; t <= 4; t++) {
        const float trial = (0.1f * (float)t + (float)top) / max, inverse = 1 / trial;
        float error = 0;

        if (t == 0)
            continue;
        for (int i = 0; i < n; i++) {
            const float difference = x[i] - inverse * (float)nb_min_int(top, nb_nearest(trial * x[i]));

            error += w[i] * difference * difference;
        }
        if (error < best) {
            best = error;
            scale = trial;
        }
    }
    for (int i = 0; i < n; i++) {
        level[i] = (uint8_t)nb_min_int(top, nb_nearest(scale * x[i]));
        xl += w[i] * x[i] * (float)level[i];
        l2 += w[i] * (float)level[i] * (float)level[i];
    }
    for (int round = 0; round < 5; round++) {
        bool changed = false;

        for (int i = 0; i < n; i++) {
            const float old = (float)level[i];
            float rest_xl = xl - w[i] * x[i] * old, rest_l2 = l2 - w[i] * old * old;
            int l;

            if (!(rest_xl > 0 && rest_l2 > 0))
                continue;
            l = nb_min_int(top, nb_nearest(x[i] * rest_l2 / rest_xl));
            if (l == level[i])
                continue;
            rest_xl += w[i] * x[i] * (float)l;
            rest_l2 += w[i] * (float)l * (float)l;
            if (rest_xl * rest_xl * l2 > xl * xl * rest_l2) {
                level[i] = (uint8_t)l;
                xl = rest_xl;
                l2 = rest_l2;
                changed = true;
            }
        }
        if (!changed)
            break;
    }
    return l2 > 0 ? xl / l2 : 0;
}

#endif
