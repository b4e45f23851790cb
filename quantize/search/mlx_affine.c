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
        nb_mlx_store_words(g, (size_t)(at / 32 * bits), words, bits);
    }
}

NB_INLINE void
encode_bits(const struct nb_encoding *e, const float *x, size_t count, size_t columns, const float *importance,
            uint8_t *out, const int bits)
{
    uint8_t *scales = out + count * e->plane_bytes[0], *biases = scales + count * e->plane_bytes[1];
    struct nb_mlx_groups g;
    lf v[NB_MLX_LARGEST_GROUP];

    for (size_t at = 0; at < count; at += NB_LANES) {
        struct grid grid;

        nb_mlx_take_groups(&g, e, x, at, count, columns, importance, out);
        lf_load_blocks(v, g.x, 0, e->block);
        grid = widest_grid(v, e->block, (float)((1 << bits) - 1));
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
