/*
 * IQ1_S and IQ1_M: -1, 0 or 1, shifted by an eighth up or down, times a scale.
 * With three levels the best scale of a group can be found exactly: sort the
 * weights, and try every pair of positions (cuts) that divides them into three
 * parts. The resulting point is then replaced by the nearest entry of the
 * codebook. Layouts and algorithms: ggml-quants.c of llama.cpp v0.5.0,
 * reproduced to the bit. One lane holds one super-block; the search for the
 * nearest entry has one candidate per lane.
 */
#include "formats/elements/block_layouts.h"
#include "quantize/search/candidates.h"
#include "quantize/search/codebook.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

#define MAX_GROUP 32

/* The values of the three levels, shifted up and shifted down. */
static const float shifted[2][3] = { { -1 + IQ1_DELTA, IQ1_DELTA, 1 + IQ1_DELTA },
                                     { -1 - IQ1_DELTA, -IQ1_DELTA, 1 - IQ1_DELTA } };

/* One group per lane. */
struct group {
    int n; /* number of weights: 32 or 16 */
    lf x[MAX_GROUP], w[MAX_GROUP];
    li rank[MAX_GROUP]; /* the position of each weight in ascending order (stable) */
    lm flat;
    float plain_x[NB_LANES][MAX_GROUP], plain_w[NB_LANES][MAX_GROUP];
};

/* The best cuts. */
struct cuts {
    lf scale, merit;
    li first, second; /* positions below first have level 0, those below second level 1 */
    li shift;         /* IQ1_S: 0 up, 1 down; IQ1_M: 2 * shift of the first eight weights + shift of the others */
};

struct iq1_group {
    lf scale;
    li shift;
    lu index[4];
};

NB_INLINE void
rank_weights(struct group *g)
{
    for (int i = 0; i < g->n; i++)
        g->rank[i] = (li)lu_set1((uint32_t)i);
    for (int i = 0; i < g->n; i++) {
        li rank = g->rank[i];

        for (int j = i + 1; j < g->n; j++) {
            const li swapped = lm_int(lf_lt(g->x[j], g->x[i]));

            rank += swapped;
            g->rank[j] -= swapped;
        }
        g->rank[i] = rank;
    }
}

/* Converts from lanes to blocks: out[k][i] is lane k of V[i]. */
NB_INLINE void
unload(const lf *v, int n, float out[NB_LANES][MAX_GROUP])
{
    uint8_t *to[NB_LANES];
    lu words[MAX_GROUP];

    for (int k = 0; k < NB_LANES; k++)
        to[k] = (uint8_t *)out[k];
    memcpy(words, v, (size_t)n * sizeof *words);
    lu_store_blocks(to, 0, words, n);
}

NB_INLINE void
load_group(const struct nb_strip *s, const lf *x, int at, lf sigma2, float flat, struct group *g)
{
    lf importance[MAX_GROUP];

    for (int i = 0; i < g->n; i++) {
        g->x[i] = x[at + i];
        g->w[i] = x[at + i] * x[at + i];
    }
    if (s->has_importance) {
        lf_load_blocks(importance, s->importance, (size_t)at, g->n);
        nb_importance_weights(g->x, importance, sigma2, g->n, g->w);
    }
    g->flat = lf_lt(nb_largest_magnitude(g->x, g->n), lf_set1(flat));
    rank_weights(g);
    unload(g->x, g->n, g->plain_x);
    unload(g->w, g->n, g->plain_w);
}

/*
 * Prefix sums over the weights in ascending order: sums[i] is over the first i.
 * HALF: 0 or 1 includes only the first or the last eight of 16 weights; -1
 * includes all.
 */
NB_INLINE void
sum_in_order(const struct group *g, int half, lf *sum_wx, lf *sum_w)
{
    float wx[MAX_GROUP][NB_LANES] = { { 0 } }, w[MAX_GROUP][NB_LANES] = { { 0 } };
    const int from = half == 1 ? 8 : 0, to = half == 0 ? 8 : g->n;

    for (int i = from; i < to; i++) {
        int32_t rank[NB_LANES];
        float a[NB_LANES], b[NB_LANES];

        memcpy(rank, &g->rank[i], sizeof rank);
        lf_store(a, g->w[i] * g->x[i]);
        lf_store(b, g->w[i]);
        for (int k = 0; k < NB_LANES; k++) {
            wx[rank[k]][k] = a[k];
            w[rank[k]][k] = b[k];
        }
    }
    sum_wx[0] = sum_w[0] = lf_set1(0);
    for (int i = 0; i < g->n; i++) {
        sum_wx[i + 1] = sum_wx[i] + lf_load(wx[i]);
        sum_w[i + 1] = sum_w[i] + lf_load(w[i]);
    }
}

/* Keeps the cuts FIRST and SECOND with SHIFT if their sums are better. */
NB_INLINE void
take_better(struct cuts *best, lf qx, lf q2, int first, int second, int shift)
{
    const lm better = lm_and(lf_lt(lf_set1(0), q2), lf_lt(best->merit * q2, qx * qx));

    best->scale = lf_select(better, qx / q2, best->scale);
    best->merit = lf_select(better, best->scale * qx, best->merit);
    best->first = li_select(better, (li)lu_set1((uint32_t)first), best->first);
    best->second = li_select(better, (li)lu_set1((uint32_t)second), best->second);
    best->shift = li_select(better, (li)lu_set1((uint32_t)shift), best->shift);
}

/* Compares the COUNT shifts of one pair of cuts, in order, with the best. Most are not better in any lane. */
NB_INLINE void
judge(struct cuts *best, const lf *qx, const lf *q2, int count, int first, int second)
{
    lm any = lf_lt(best->merit * q2[0], qx[0] * qx[0]);

    for (int shift = 1; shift < count; shift++)
        any = lm_or(any, lf_lt(best->merit * q2[shift], qx[shift] * qx[shift]));
    if (!lm_any(any))
        return;
    for (int shift = 0; shift < count; shift++)
        take_better(best, qx[shift], q2[shift], first, second, shift);
}

NB_INLINE struct cuts
no_cuts(void)
{
    const li none = (li)lu_set1(0) - 1;

    return (struct cuts){ lf_set1(0), lf_set1(-FLT_MAX), none, none, (li)lu_set1(0) };
}

/*
 * A start for the search, from a sample of the cuts: no cuts yet, but a lower
 * bound for the merit. Cuts that are clearly worse than the best can be skipped
 * without changing the result, since they would be replaced later; skipping
 * them saves that work. The margin of 2^-16 is far above the rounding errors of
 * the merits, provided that nothing underflows.
 */
NB_INLINE struct cuts
start_above(lf sampled)
{
    const lm usable = lm_and(lf_lt(lf_set1(1e-20f), sampled), lf_lt(sampled, lf_set1(1e20f)));
    struct cuts start = no_cuts();

    start.merit = lf_select(usable, sampled * lf_set1(1 - 0x1p-16f), start.merit);
    return start;
}

/*
 * The merit of one sampled cut, if it is above MERIT. Cuts with nearly subnormal
 * squares are ignored: these have fewer significant bits, so a cut that looks
 * clearly worse may still be the best.
 */
NB_INLINE lf
sample(lf merit, lf qx, lf q2)
{
    const lf square = qx * qx;

    return lf_select(lf_lt(lf_set1(1e-30f), square), lf_max(square / q2, merit), merit);
}

/* The parts from which the sums of a pair of cuts of IQ1_S are computed. */
struct whole_sums {
    lf x[33], w[33];                 /* prefix sums of wx and of w */
    lf last_x[2][33], last_w[2][33]; /* the part after the second cut, by shift */
};

NB_INLINE void
sum_whole(const struct group *g, struct whole_sums *h)
{
    sum_in_order(g, -1, h->x, h->w);
    for (int i = 0; i <= 32; i++) {
        for (int s = 0; s < 2; s++) {
            const lf value = lf_set1(shifted[s][2]);

            h->last_x[s][i] = (h->x[32] - h->x[i]) * value;
            h->last_w[s][i] = (h->w[32] - h->w[i]) * value * value;
        }
    }
}

/* The sums for the cuts I and J with the shift up and down. */
NB_INLINE void
whole_pair(const struct whole_sums *h, int i, int j, lf *qx, lf *q2)
{
    /* The middle part differs between the shifts only in sign. */
    const lf middle_x = (h->x[j] - h->x[i]) * lf_set1(IQ1_DELTA);
    const lf middle_w = (h->w[j] - h->w[i]) * lf_set1(IQ1_DELTA) * lf_set1(IQ1_DELTA);

    for (int s = 0; s < 2; s++) {
        const lf value = lf_set1(shifted[s][0]), first_x = (h->x[i] - h->x[0]) * value;

        qx[s] = (s == 0 ? first_x + middle_x : first_x - middle_x) + h->last_x[s][j];
        q2[s] = (h->w[i] - h->w[0]) * value * value + middle_w + h->last_w[s][j];
    }
}

/* Every cut of 32 weights, with one shift for all. */
NB_INLINE struct cuts
cut_iq1_s(const struct group *g)
{
    struct whole_sums h;
    struct cuts best;
    lf qx[2], q2[2], merit = lf_set1(0);

    sum_whole(g, &h);
    for (int i = 2; i <= 30; i += 4) {
        for (int j = i + 4; j <= 30; j += 4) {
            whole_pair(&h, i, j, qx, q2);
            merit = sample(sample(merit, qx[0], q2[0]), qx[1], q2[1]);
        }
    }
    best = start_above(merit);
    for (int i = 0; i <= 32; i++) {
        for (int j = i; j <= 32; j++) {
            whole_pair(&h, i, j, qx, q2);
            judge(&best, qx, q2, 2, i, j);
        }
    }
    return best;
}

/* The sums of one half of a group of 16 for the two shifts, each made of parts that depend on one cut. */
struct half_sums {
    lf x[17];      /* prefix sums of wx */
    lf total_x[2]; /* the total times the highest value */
    lf first_w[2][17], second_w[2][17];
};

NB_INLINE void
sum_half(const struct group *g, int half, struct half_sums *h)
{
    lf w[17];

    sum_in_order(g, half, h->x, w);
    for (int s = 0; s < 2; s++) {
        const float *v = shifted[s];
        const lf first = lf_set1(v[0] * v[0] - v[1] * v[1]), second = lf_set1(v[1] * v[1] - v[2] * v[2]);
        const lf total_w = w[16] * lf_set1(v[2]) * lf_set1(v[2]);

        h->total_x[s] = h->x[16] * lf_set1(v[2]);
        for (int i = 0; i <= 16; i++) {
            h->first_w[s][i] = total_w + w[i] * first;
            h->second_w[s][i] = w[i] * second;
        }
    }
}

/* The sums for the cuts I and J with each of the four shifts. */
NB_INLINE void
half_pair(const struct half_sums *h, int i, int j, lf *qx, lf *q2)
{
    lf x[2][2], w[2][2]; /* half, shift */

    for (int k = 0; k < 2; k++) {
        for (int s = 0; s < 2; s++) {
            x[k][s] = h[k].total_x[s] - (h[k].x[i] + h[k].x[j]);
            w[k][s] = h[k].first_w[s][i] + h[k].second_w[s][j];
        }
    }
    for (int shift = 0; shift < 4; shift++) {
        qx[shift] = x[0][shift / 2] + x[1][shift % 2];
        q2[shift] = w[0][shift / 2] + w[1][shift % 2];
    }
}

/* Every cut of 16 weights, with a shift for each eight. */
NB_INLINE struct cuts
cut_iq1_m(const struct group *g)
{
    struct half_sums h[2];
    struct cuts best;
    lf qx[4], q2[4], merit = lf_set1(0);

    sum_half(g, 0, &h[0]);
    sum_half(g, 1, &h[1]);
    for (int i = 2; i <= 14; i += 3) {
        for (int j = i + 3; j <= 14; j += 3) {
            half_pair(h, i, j, qx, q2);
            for (int shift = 0; shift < 4; shift++)
                merit = sample(merit, qx[shift], q2[shift]);
        }
    }
    best = start_above(merit);
    for (int i = 0; i <= 16; i++) {
        for (int j = i; j <= 16; j++) {
            half_pair(h, i, j, qx, q2);
            judge(&best, qx, q2, 4, i, j);
        }
    }
    return best;
}

/* The row of SHIFTED for cell C of 8 weights. */
NB_INLINE int
shift_of(int n, int32_t shift, int c)
{
    return n == 32 ? shift : c == 0 ? shift / 2 : shift % 2;
}

/* The codes of the cells, from the level that the cuts give each weight. */
NB_INLINE void
cut_codes(const struct group *g, const struct cuts *cuts, lm mirrored, lu *code)
{
    for (int c = 0; c < g->n / 8; c++) {
        code[c] = lu_set1(0);
        for (int i = 0; i < 8; i++) {
            const li rank = g->rank[8 * c + i];
            const li level = li_count(lm_int(lm_not(li_lt(rank, cuts->first))), lm_not(li_lt(rank, cuts->second)));

            code[c] |= (lu)li_select(mirrored, 2 - level, level) << 2 * i;
        }
    }
}

/* Replaces the points of lane K that are not entries; returns whether there were any. */
NB_INLINE bool
replace_points(const struct nb_codebook *book, const struct group *g, int k, float scale, int32_t shift, uint32_t *code)
{
    bool replaced = false;

    for (int c = 0; c < g->n / 8; c++) {
        const uint32_t list = book->lists[nb_point_of_code(book, code[c])];
        const float *q = shifted[shift_of(g->n, shift, c)], values[3] = { scale * q[0], scale * q[1], scale * q[2] };

        if (list == 0)
            continue;
        replaced = true;
        code[c] = nb_nearest_of_8(g->plain_x[k] + 8 * c, g->plain_w[k] + 8 * c, values, book->codes + NB_LIST_AT(list),
                                  NB_LIST_LENGTH(list), false);
    }
    return replaced;
}

/* The least squares scale for the cells' codes; SCALE in lanes where there is none. */
NB_INLINE lf
refit_scale(const struct group *g, li shift, const lu *code, lf scale)
{
    const lf zero = lf_set1(0), up = lf_set1(IQ1_DELTA), down = lf_set1(-IQ1_DELTA);
    lf qx = zero, q2 = zero;

    for (int c = 0; c < g->n / 8; c++) {
        const li own = g->n == 32 ? shift : c == 0 ? shift >> 1 : shift & 1;
        const lf delta = lf_select(li_eq(own, (li)lu_set1(1)), down, up);

        for (int i = 0; i < 8; i++) {
            const lf q = lf_from_int((li)(code[c] >> 2 * i & 3) - 1) + delta, w = g->w[8 * c + i];

            qx += w * q * g->x[8 * c + i];
            q2 += w * q * q;
        }
    }
    return lf_select(lm_and(lf_lt(zero, qx), lf_lt(zero, q2)), qx / q2, scale);
}

/* Converts the best cuts of a group to entries of the codebook. */
NB_INLINE void
finish_group(const struct nb_codebook *book, const struct group *g, struct cuts *cuts, struct iq1_group *out)
{
    const lf zero = lf_set1(0);
    const lm none = lm_or(g->flat, li_lt(cuts->first, (li)lu_set1(0))), mirrored = lf_lt(cuts->scale, zero);
    uint32_t codes[4][NB_LANES], index[4][NB_LANES], shifts[NB_LANES], nones[NB_LANES], replaced[NB_LANES];
    float scales[NB_LANES];
    lu code[4];

    cut_codes(g, cuts, mirrored, code);
    out->shift = li_select(mirrored, (g->n == 32 ? 1 : 3) - cuts->shift, cuts->shift);
    out->scale = lf_abs(cuts->scale);
    for (int c = 0; c < g->n / 8; c++)
        lu_store(codes[c], code[c]);
    lf_store(scales, out->scale);
    lu_store(shifts, (lu)out->shift);
    lu_store(nones, (lu)lm_int(none));
    for (int k = 0; k < NB_LANES; k++) {
        uint32_t own[4];

        for (int c = 0; c < g->n / 8; c++)
            own[c] = codes[c][k];
        replaced[k] = nones[k] ? 0 : replace_points(book, g, k, scales[k], (int32_t)shifts[k], own);
        for (int c = 0; c < g->n / 8; c++) {
            codes[c][k] = own[c];
            index[c][k] = nones[k] ? 0 : book->indices[nb_point_of_code(book, own[c])];
        }
    }
    for (int c = 0; c < g->n / 8; c++) {
        code[c] = lu_load(codes[c]);
        out->index[c] = lu_load(index[c]);
    }
    out->scale = lf_select(li_eq((li)lu_load(replaced), (li)lu_set1(1)), refit_scale(g, out->shift, code, out->scale),
                           out->scale);
    out->scale = lf_select(none, zero, out->scale);
    out->shift = li_select(none, (li)lu_set1(0), out->shift);
}

/*
 * Encodes all groups of N weights of a strip; groups in which all weights are
 * below FLAT are zero. LEVEL receives three bits per scale. Returns d; EMPTY
 * receives the lanes without one.
 */
NB_INLINE lf
quantize_strip(const struct nb_codebook *book, const struct nb_strip *s, const lf *x, lf sigma2, int n, float flat,
               struct iq1_group *group, lu *level, lm *empty)
{
    lf scale[16];

    for (int j = 0; j < NB_SUPER_BLOCK / n; j++) {
        struct group g = { .n = n };
        struct cuts cuts;

        load_group(s, x, j * n, sigma2, flat, &g);
        cuts = n == 32 ? cut_iq1_s(&g) : cut_iq1_m(&g);
        finish_group(book, &g, &cuts, &group[j]);
        scale[j] = group[j].scale;
    }
    return nb_round_odd_scales(scale, NB_SUPER_BLOCK / n, 7, level, empty);
}

NB_INLINE void
encode_iq1_s_strip(const struct nb_strip *s)
{
    const struct nb_codebook *book = nb_codebook_ready(NB_CODEBOOK_IQ1);
    struct iq1_group group[8];
    lf x[NB_SUPER_BLOCK], sigma2, d;
    lu words[8], high[4], level[8];
    lm empty;

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    sigma2 = lf_set1(2) * nb_sum_of_squares(x, NB_SUPER_BLOCK) / lf_set1(NB_SUPER_BLOCK);
    d = quantize_strip(book, s, x, sigma2, 32, 1e-12f, group, level, &empty);
    for (int j = 0; j < 8; j++) {
        const lu *i = group[j].index;
        const lu bits = i[0] >> 8 | i[1] >> 8 << 3 | i[2] >> 8 << 6 | i[3] >> 8 << 9 | level[j] << 12 |
                        (lu)li_select(empty, (li)lu_set1(0), group[j].shift) << 15;

        words[j] = nb_bytes(i[0] & 255, i[1] & 255, i[2] & 255, i[3] & 255);
        high[j / 2] = j % 2 == 0 ? bits : high[j / 2] | bits << 16;
    }
    nb_store_u16(s, 0, nb_halves(d * lf_set1(1.125f)));
    lu_store_blocks(s->out, offsetof(struct block_iq1_s, qs), words, 8);
    lu_store_blocks(s->out, offsetof(struct block_iq1_s, qh), high, 4);
}

/* The least squares factor of all groups of IQ1_M with their rounded scales; D in lanes where there is none. */
NB_INLINE lf
refit_iq1_m(const struct nb_codebook *book, const struct nb_strip *s, const lf *x, lf sigma2,
            const struct iq1_group *group, const lu *level, lf d)
{
    lf qx = lf_set1(0), q2 = lf_set1(0);

    for (int i = 0; i < NB_SUPER_BLOCK; i += 8) {
        const struct iq1_group *g = &group[i / 16];
        const lm down = li_eq(i % 16 == 0 ? g->shift >> 1 : g->shift & 1, (li)lu_set1(1));
        const lf step = lf_from_int((li)(2 * level[i / 16] + 1));
        const lf delta = lf_select(down, lf_set1(-IQ1_DELTA), lf_set1(IQ1_DELTA));
        uint32_t code[NB_LANES];
        lf importance[8], w[8];

        lu_store(code, g->index[i / 8 % 2]);
        for (int k = 0; k < NB_LANES; k++)
            code[k] = book->entries[code[k]];
        if (s->has_importance) {
            lf_load_blocks(importance, s->importance, (size_t)i, 8);
            nb_importance_weights(x + i, importance, sigma2, 8, w);
        }
        for (int j = 0; j < 8; j++) {
            const lf value = lf_from_int((li)(lu_load(code) >> 2 * j & 3) - 1) + delta, q = value * step;
            const lf weight = s->has_importance ? w[j] : x[i + j] * x[i + j];

            qx += weight * q * x[i + j];
            q2 += weight * q * q;
        }
    }
    return lf_select(lf_lt(lf_set1(0), q2), qx / q2, d);
}

NB_INLINE void
encode_iq1_m_strip(const struct nb_strip *s)
{
    const struct nb_codebook *book = nb_codebook_ready(NB_CODEBOOK_IQ1);
    struct iq1_group group[16];
    lf x[NB_SUPER_BLOCK], sigma2, d;
    lu words[8], high[4], scales[2], level[16], half;
    lm empty;

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    sigma2 = lf_set1(2) * nb_sum_of_squares(x, NB_SUPER_BLOCK) / lf_set1(NB_SUPER_BLOCK);
    d = quantize_strip(book, s, x, sigma2, 16, 1e-7f, group, level, &empty);
    half = nb_halves(refit_iq1_m(book, s, x, sigma2, group, level, d) * lf_set1(1.1125f));
    half = (lu)li_select(empty, (li)lu_set1(0), (li)half);
    for (int j = 0; j < 8; j++)
        words[j] = nb_bytes(group[2 * j].index[0] & 255, group[2 * j].index[1] & 255, group[2 * j + 1].index[0] & 255,
                            group[2 * j + 1].index[1] & 255);
    for (int w = 0; w < 4; w++) {
        high[w] = lu_set1(0);
        for (int i = 0; i < 4; i++) {
            const struct iq1_group *g = &group[4 * w + i];
            const li shift = li_select(empty, (li)lu_set1(0), g->shift);

            high[w] |= (g->index[0] >> 8 | g->index[1] >> 8 << 4 | (lu)(shift >> 1) << 3 | (lu)(shift & 1) << 7)
                       << 8 * i;
        }
    }
    for (int w = 0; w < 2; w++) {
        scales[w] = lu_set1(0);
        for (int i = 0; i < 8; i++)
            scales[w] |= level[8 * w + i] << (i / 4 * 16 + i % 4 * 3);
        scales[w] |= (half >> 8 * w & 15) << 12 | (half >> (8 * w + 4) & 15) << 28;
    }
    lu_store_blocks(s->out, offsetof(struct block_iq1_m, qs), words, 8);
    lu_store_blocks(s->out, offsetof(struct block_iq1_m, qh), high, 4);
    nb_store_u32(s, offsetof(struct block_iq1_m, scales), scales[0]);
    nb_store_u32(s, offsetof(struct block_iq1_m, scales) + 4, scales[1]);
}

NB_ENCODER(nb_encode_iq1_s, NB_SUPER_BLOCK, sizeof(struct block_iq1_s), false, strips, encode_iq1_s_strip)
NB_ENCODER(nb_encode_iq1_m, NB_SUPER_BLOCK, sizeof(struct block_iq1_m), false, strips, encode_iq1_m_strip)
