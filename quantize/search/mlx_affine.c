/*
 * MLX's affine formats: 2, 3, 4, 5, 6 or 8 bits times a scale plus a bias, for groups of 32, 64 or 128 weights.
 * The arithmetic is that of mlx.core.quantize on a CPU, in float32 whatever the weights' type; only the stored
 * scale and bias are rounded to it. One lane holds one group.
 */
#include "quantize/search/encoders.h"
#include "quantize/search/mlx.h"
#include "quantize/search/mlx_groups.h"

/* The nearest integer as a float, ties to even, for any float. */
NB_INLINE lf
nearest(lf v)
{
    const lf magic = lf_copysign(lf_set1(0x1p23f), v);

    return lf_select(lf_lt(lf_abs(v), lf_set1(0x1p23f)), (v + magic) - magic, v);
}

struct grid {
    lf scale, bias;
};

/*
 * The grid from the smallest to the largest weight, with the end of larger magnitude, and if possible zero, on
 * it. The scale is negative if that end is the largest weight.
 */
NB_INLINE struct grid
widest_grid(const lf *x, const int group, const float most)
{
    lf lo = x[0], hi = x[0], scale, edge, steps;
    lm below;

    for (int i = 1; i < group; i++) {
        lo = lf_min(x[i], lo);
        hi = lf_max(x[i], hi);
    }
    below = lf_lt(lf_abs(hi), lf_abs(lo));
    scale = lf_max((hi - lo) / lf_set1(most), lf_set1(1e-7f));
    scale = lf_select(below, scale, -scale);
    edge = lf_select(below, lo, hi);
    steps = nearest(edge / scale);
    below = lf_eq(steps, lf_set1(0));
    return (struct grid){ lf_select(below, scale, edge / lf_select(below, lf_set1(1), steps)),
                          lf_select(below, lf_set1(0), edge) };
}

NB_INLINE void
encode_groups(const struct nb_mlx_groups *g, const lf *x, const int group, const int bits, struct grid grid)
{
    const lf most = lf_set1((float)((1 << bits) - 1));

    for (int at = 0; at < group; at += 32) {
        lu code[32], words[8];

        for (int i = 0; i < 32; i++) {
            /* Clamped first: rounding does not leave the range, and NaN becomes 0. */
            const lf steps = lf_min(lf_max((x[at + i] - grid.bias) / grid.scale, lf_set1(0)), most);

            code[i] = (lu)lf_to_int(lf_round_small(steps));
        }
        nb_mlx_pack(code, bits, words);
        nb_mlx_store_words(g, (size_t)at / 32 * (size_t)bits, words, bits);
    }
}

/* --- with importance ------------------------------------------------------------------------------------------ */

/* The weights of a group, those of their errors, and sums of both that all grids share. */
struct group {
    const lf *x, *w;
    int size;
    lf sum_w, sum_wx, sum_wxx, most;
};

/* The code of the nearest point of the grid, as a float; NaN gives 0. */
NB_INLINE lf
nearest_code(lf x, struct grid grid, lf most)
{
    return lf_round_small(lf_min(lf_max((x - grid.bias) / grid.scale, lf_set1(0)), most));
}

/*
 * The grid of least weighted squared error for the codes that GRID gives, or GRID itself where all codes are equal;
 * ERROR is its error.
 */
NB_INLINE struct grid
fitted(const struct group *g, struct grid grid, lf *error)
{
    lf sum_q = lf_set1(0), sum_qq = lf_set1(0), sum_qx = lf_set1(0), determinant;
    struct grid out;
    lm good;

    for (int i = 0; i < g->size; i++) {
        const lf q = nearest_code(g->x[i], grid, g->most), wq = g->w[i] * q;

        sum_q += wq;
        sum_qq += wq * q;
        sum_qx += wq * g->x[i];
    }
    determinant = g->sum_w * sum_qq - sum_q * sum_q;
    out.scale = (g->sum_w * sum_qx - g->sum_wx * sum_q) / determinant;
    out.bias = (sum_qq * g->sum_wx - sum_q * sum_qx) / determinant;
    good = lm_and(lf_lt(lf_set1(0), determinant), lf_lt(lf_set1(1e-30f), lf_abs(out.scale)));
    out.scale = lf_select(good, out.scale, grid.scale);
    out.bias = lf_select(good, out.bias, grid.bias);
    *error = g->sum_wxx + out.scale * (out.scale * sum_qq + lf_set1(2) * (out.bias * sum_q - sum_qx)) +
             out.bias * (out.bias * g->sum_w - lf_set1(2) * g->sum_wx);
    return out;
}

/* The weighted squared error of the group on GRID. */
NB_INLINE lf
error_on(const struct group *g, struct grid grid)
{
    lf sum = lf_set1(0);

    for (int i = 0; i < g->size; i++) {
        const lf d = grid.scale * nearest_code(g->x[i], grid, g->most) + grid.bias - g->x[i];

        sum += g->w[i] * d * d;
    }
    return sum;
}

#define CUTS 3   /* how many steps the range is made smaller by, at most, on either side */
#define ROUNDS 6 /* codes for a grid, and a grid for the codes, in turn */

/*
 * The best grid that was found: from ranges that leave out the ends, which weights of little importance may be at.
 * Scale and bias are of TYPE, as they are stored, and never worse than those of the widest range.
 */
NB_INLINE struct grid
weighted_grid(const struct group *g, struct grid widest, enum nb_type type)
{
    const lf low = lf_min(widest.bias, widest.bias + widest.scale * g->most), range = lf_abs(widest.scale) * g->most;
    struct grid best = widest;
    lf least = lf_set1(INFINITY);
    lm better;

    for (int cut = 0; cut < CUTS * CUTS; cut++) {
        const lf step = range * lf_set1(0.5f) / g->most;
        const int from_low = cut % CUTS, from_high = cut / CUTS;
        const lf first = low + step * lf_set1((float)from_low), last = range + low - step * lf_set1((float)from_high);
        struct grid grid = { (last - first) / g->most, first };
        lf error;

        for (int round = 0; round < ROUNDS; round++)
            grid = fitted(g, grid, &error);
        better = lf_lt(error, least);
        least = lf_select(better, error, least);
        best.scale = lf_select(better, grid.scale, best.scale);
        best.bias = lf_select(better, grid.bias, best.bias);
    }
    widest = (struct grid){ nb_mlx_round(widest.scale, type), nb_mlx_round(widest.bias, type) };
    best = (struct grid){ nb_mlx_round(best.scale, type), nb_mlx_round(best.bias, type) };
    better = lm_and(lf_lt(error_on(g, best), error_on(g, widest)), lf_lt(lf_set1(0), lf_abs(best.scale)));
    return (struct grid){ lf_select(better, best.scale, widest.scale), lf_select(better, best.bias, widest.bias) };
}

/* Weights without importance, all zero, count as equally important. */
NB_INLINE struct group
weighted(const lf *x, lf *w, const int size, const float most)
{
    struct group g = { x, w, size, lf_set1(0), lf_set1(0), lf_set1(0), lf_set1(most) };
    lm none;

    for (int i = 0; i < size; i++)
        g.sum_w += w[i];
    none = lf_eq(g.sum_w, lf_set1(0));
    for (int i = 0; i < size; i++)
        w[i] = lf_select(none, lf_set1(1), w[i] / lf_select(none, lf_set1(1), g.sum_w));
    g.sum_w = lf_set1(0);
    for (int i = 0; i < size; i++) {
        g.sum_w += w[i];
        g.sum_wx += w[i] * x[i];
        g.sum_wxx += w[i] * x[i] * x[i];
    }
    return g;
}

NB_INLINE void
encode_bits(const struct nb_encoding *e, const float *x, size_t count, size_t columns, const float *importance,
            uint8_t *out, const int bits)
{
    uint8_t *scales = out + count * e->plane_bytes[0], *biases = scales + count * e->plane_bytes[1];
    const float most = (float)((1 << bits) - 1);
    struct nb_mlx_groups g;
    lf v[NB_MLX_LARGEST_GROUP], w[NB_MLX_LARGEST_GROUP];

    for (size_t at = 0; at < count; at += NB_LANES) {
        struct grid grid;

        nb_mlx_take_groups(&g, e, x, at, count, columns, importance, out);
        lf_load_blocks(v, g.x, 0, e->block);
        grid = widest_grid(v, e->block, most);
        if (importance != NULL) {
            struct group group;

            lf_load_blocks(w, g.importance, 0, e->block);
            group = weighted(v, w, e->block, most);
            grid = weighted_grid(&group, grid, e->computed_in);
        }
        encode_groups(&g, v, e->block, bits, grid);
        nb_mlx_store_floats(&g, grid.scale, e->computed_in, scales);
        nb_mlx_store_floats(&g, grid.bias, e->computed_in, biases);
    }
}

void
NB_TIERED(nb_encode_mlx_affine)(const struct nb_encoding *e, const float *x, size_t rows, size_t columns,
                                const float *importance, void *out)
{
    const size_t count = rows * columns / e->block;

    switch (e->bits) {
    case 2:
        encode_bits(e, x, count, columns, importance, out, 2);
        break;
    case 3:
        encode_bits(e, x, count, columns, importance, out, 3);
        break;
    case 4:
        encode_bits(e, x, count, columns, importance, out, 4);
        break;
    case 5:
        encode_bits(e, x, count, columns, importance, out, 5);
        break;
    case 6:
        encode_bits(e, x, count, columns, importance, out, 6);
        break;
    default:
        encode_bits(e, x, count, columns, importance, out, 8);
        break;
    }
}
