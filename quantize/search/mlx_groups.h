/*
 * Groups of MLX's formats, NB_LANES of them side by side, and their planes: what the kernels of its formats share.
 */
#ifndef NB_MLX_GROUPS_H
#define NB_MLX_GROUPS_H

#include "formats/elements/halves.h"
#include "formats/elements/lanes.h"
#include "quantize/search/encode.h"

#include <stddef.h>

#define NB_MLX_LARGEST_GROUP 128
#define NB_MLX_LARGEST_CODES 128 /* bytes of the codes of a group */

/* The next NB_LANES groups; lanes after the last one read its weights, and write to DROPPED. */
struct nb_mlx_groups {
    const float *x[NB_LANES];
    const float *importance[NB_LANES]; /* of the group's columns; the caller's, if there is one */
    uint8_t *codes[NB_LANES];
    size_t first, used; /* the number of the first group; how many lanes are in use */
    uint8_t dropped[NB_MLX_LARGEST_CODES];
};

/* Sets the groups from FIRST on, of COUNT in rows of COLUMNS elements; OUT is the first plane. */
NB_INLINE void
nb_mlx_take_groups(struct nb_mlx_groups *g, const struct nb_encoding *e, const float *x, size_t first, size_t count,
                   size_t columns, const float *importance, uint8_t *out)
{
    g->first = first;
    g->used = count - first < NB_LANES ? count - first : NB_LANES;
    for (size_t k = 0; k < NB_LANES; k++) {
        const size_t group = first + (k < g->used ? k : g->used - 1);

        g->x[k] = x + group * e->block;
        g->codes[k] = k < g->used ? out + group * e->plane_bytes[0] : g->dropped;
        g->importance[k] = importance == NULL ? NULL : importance + group * e->block % columns;
    }
}

/* Stores words AT to AT + N of the codes of each group. */
NB_INLINE void
nb_mlx_store_words(const struct nb_mlx_groups *g, size_t at, const lu *words, int n)
{
    const int whole = n / 4 * 4;

    lu_store_blocks(g->codes, 4 * at, words, whole);
    for (int i = whole; i < n; i++) {
        uint32_t each[NB_LANES];

        lu_store(each, words[i]);
        for (int k = 0; k < NB_LANES; k++)
            memcpy(g->codes[k] + 4 * (at + (size_t)i), &each[k], sizeof each[k]);
    }
}

/* Packs 32 codes of BITS bits into as many words, lowest bits first. */
NB_INLINE void
nb_mlx_pack(const lu *code, const int bits, lu *words)
{
    for (int w = 0; w < bits; w++)
        words[w] = lu_set1(0);
    for (int i = 0; i < 32; i++) {
        const int word = i * bits / 32, shift = i * bits % 32;

        words[word] |= code[i] << shift;
        if (shift + bits > 32)
            words[word + 1] |= code[i] >> (32 - shift);
    }
}

/* The nearest value of type TYPE (F32, F16 or BF16), ties to even. */
NB_INLINE lf
nb_mlx_round(lf v, enum nb_type type)
{
    float f[NB_LANES];

    if (type == NB_F32)
        return v;
    if (type == NB_BF16) {
        const li bits = lf_bits(v);

        return li_as_float((bits + 0x7FFF + ((bits >> 16) & 1)) & (int32_t)0xFFFF0000);
    }
    lf_store(f, v);
    for (int k = 0; k < NB_LANES; k++)
        f[k] = nb_f16_to_f32(nb_f32_to_f16(f[k]));
    return lf_load(f);
}

/* Stores V as elements of TYPE, one for each group, in PLANE. */
NB_INLINE void
nb_mlx_store_floats(const struct nb_mlx_groups *g, lf v, enum nb_type type, uint8_t *plane)
{
    float f[NB_LANES];

    lf_store(f, v);
    for (size_t k = 0; k < g->used; k++) {
        const uint16_t half = type == NB_F16 ? nb_f32_to_f16(f[k]) : nb_f32_to_bf16(f[k]);

        if (type == NB_F32)
            memcpy(plane + (g->first + k) * sizeof f[k], &f[k], sizeof f[k]);
        else
            memcpy(plane + (g->first + k) * sizeof half, &half, sizeof half);
    }
}

#endif
