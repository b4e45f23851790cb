/*
 * MLX's formats of small floats, as mlx.core.quantize writes them on a CPU: MXFP4 and MXFP8, whose groups of 32
 * share a power of two, and NVFP4, whose groups of 16 share an E4M3 number (and a matrix has no scale of its own).
 * Every step is computed in the type of the weights. One lane holds one group.
 */
#include "formats/elements/four_bit.h"
#include "quantize/search/encoders.h"
#include "quantize/search/mlx.h"
#include "quantize/search/mlx_groups.h"

#define LARGEST_GROUP 32

NB_INLINE lf
largest_magnitude(const lf *x, const int n)
{
    lf most = lf_abs(x[0]);

    for (int i = 1; i < n; i++)
        most = lf_max(lf_abs(x[i]), most);
    return most;
}

/* The code of the nearest E2M1 value; the smaller of two that are equally near, and zero without a sign. */
NB_INLINE lu
nearest_e2m1(lf v)
{
    const lf magnitude = lf_abs(v);
    li index = (li)lu_set1(0);

    for (int i = 0; i < 7; i++)
        index = li_count(index, lf_lt(lf_set1((nb_e2m1_values[i] + nb_e2m1_values[i + 1]) / 4), magnitude));
    return (lu)li_select(lm_and(lf_lt(v, lf_set1(0)), lf_lt(lf_set1(0), lf_from_int(index))), index + 8, index);
}

/*
 * The code of the nearest E4M3 number, ties to even; magnitudes from 448 on, infinity and NaN become 448. Below 2^-6
 * the codes are multiples of 2^-9: adding 2^14 rounds to them.
 */
NB_INLINE lu
nearest_e4m3(lf v)
{
    const li bits = lf_bits(v) & 0x7FFFFFFF, sign = (lf_bits(v) >> 24) & 0x80;
    const lf magnitude = li_as_float(bits);
    const li small = lf_bits(magnitude + lf_set1(0x1p14f)) - 0x46800000;
    const li large = (bits - (120 << 23) + 0x7FFFF + ((bits >> 20) & 1)) >> 20;
    const li code = li_select(lf_lt(magnitude, lf_set1(0x1p-6f)), small, large);

    return (lu)(li_select(lf_lt(magnitude, lf_set1(448)), code, (li)lu_set1(0x7E)) | sign);
}

/* The value of an E4M3 code without a sign that is no NaN. */
static float
e4m3_value(uint8_t code)
{
    return 2 * nb_ue4m3_scale(code);
}

/* The exponent of the smallest power of two that is not below V; 0 for zero. */
static int
exponent_above(float v)
{
    int exponent;
    const float fraction = frexpf(v, &exponent); /* 0.5 to 1 */

    return v > 0 ? exponent - (fraction == 0.5f) : 0;
}

/* Stores the scales of the groups, M being what the largest magnitude of codes should be times the scale. */
NB_INLINE lf
store_powers_of_two(const struct nb_mlx_groups *g, lf m, uint8_t *scales)
{
    float f[NB_LANES];

    lf_store(f, m);
    for (size_t k = 0; k < NB_LANES; k++) {
        const int exponent = exponent_above(f[k]);
        const int code = exponent < -127 ? 0 : exponent + 127;

        if (k < g->used)
            scales[g->first + k] = (uint8_t)code;
        f[k] = ldexpf(1, code - 127);
    }
    return lf_load(f);
}

NB_INLINE lf
store_e4m3(const struct nb_mlx_groups *g, lf m, uint8_t *scales)
{
    float f[NB_LANES];
    uint32_t code[NB_LANES];

    lu_store(code, nearest_e4m3(m));
    for (size_t k = 0; k < NB_LANES; k++) {
        if (k < g->used)
            scales[g->first + k] = (uint8_t)code[k];
        f[k] = e4m3_value((uint8_t)code[k]);
    }
    return lf_load(f);
}

NB_INLINE void
encode_fours(const struct nb_mlx_groups *g, const lf *x, const int group, lf scale, enum nb_type type)
{
    const lm none = lf_eq(scale, lf_set1(0));

    for (int at = 0; at < group; at += 16) {
        lu words[2];

        for (int w = 0; w < 2; w++) {
            words[w] = lu_set1(0);
            for (int i = 0; i < 8; i++)
                words[w] |= nearest_e2m1(nb_mlx_round(x[at + 8 * w + i] / scale, type)) << 4 * i;
            words[w] = (lu)li_select(none, (li)lu_set1(0), (li)words[w]);
        }
        nb_mlx_store_words(g, (size_t)at / 8, words, 2);
    }
}

NB_INLINE void
encode_eights(const struct nb_mlx_groups *g, const lf *x, const int group, lf scale, enum nb_type type)
{
    for (int at = 0; at < group; at += 16) {
        lu words[4];

        for (int w = 0; w < 4; w++) {
            words[w] = lu_set1(0);
            for (int i = 0; i < 4; i++)
                words[w] |= nearest_e4m3(nb_mlx_round(x[at + 4 * w + i] / scale, type)) << 8 * i;
        }
        nb_mlx_store_words(g, (size_t)at / 4, words, 4);
    }
}

NB_INLINE void
encode_in(const struct nb_encoding *e, const float *x, size_t count, uint8_t *out, const enum nb_type type)
{
    uint8_t *scales = out + count * e->plane_bytes[0];
    struct nb_mlx_groups g;
    lf v[LARGEST_GROUP];

    for (size_t at = 0; at < count; at += NB_LANES) {
        lf m, scale;

        nb_mlx_take_groups(&g, e, x, at, count, e->block, NULL, out);
        lf_load_blocks(v, g.x, 0, e->block);
        m = nb_mlx_round(largest_magnitude(v, e->block) / lf_set1(e->bits == 4 ? 6 : 448), type);
        scale = e->block == 16 ? store_e4m3(&g, m, scales) : store_powers_of_two(&g, m, scales);
        if (e->bits == 4)
            encode_fours(&g, v, e->block, scale, type);
        else
            encode_eights(&g, v, e->block, scale, type);
    }
}

void
NB_TIERED(nb_encode_mlx_floats)(const struct nb_encoding *e, const float *x, size_t rows, size_t columns,
                                const float *importance, void *out)
{
    const size_t count = rows * columns / e->block;

    (void)importance;
    if (e->computed_in == NB_F16)
        encode_in(e, x, count, out, NB_F16);
    else if (e->computed_in == NB_BF16)
        encode_in(e, x, count, out, NB_BF16);
    else
        encode_in(e, x, count, out, NB_F32);
}
