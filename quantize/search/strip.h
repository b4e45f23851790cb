/*
 * A strip is NB_LANES blocks, block k in lane k. Encoders process one strip at
 * a time; this file divides a tensor into strips.
 */
#ifndef NB_STRIP_H
#define NB_STRIP_H

#include "formats/elements/halves.h"
#include "formats/elements/lanes.h"

#include <stddef.h>

#define NB_LARGEST_BLOCK 256
#define NB_LARGEST_BLOCK_BYTES 256

struct nb_strip {
    const float *x[NB_LANES];          /* the weights of each block */
    const float *importance[NB_LANES]; /* only if has_importance */
    uint8_t *out[NB_LANES];            /* destination of each block */
    bool has_importance;
    lf row_mean_square; /* of each block's row; only if requested and with importance */
};

/*
 * The mean squares of the next NB_LANES of LEFT remaining rows, one row per
 * lane, summed in column order.
 */
NB_INLINE void
nb_row_mean_squares(const float *x, size_t left, size_t columns, float *out)
{
    const float *rows[NB_LANES];
    lf sum = lf_set1(0);

    for (size_t k = 0; k < NB_LANES; k++)
        rows[k] = k < left ? x + k * columns : x;
    for (size_t at = 0; at < columns; at += 32) {
        lf v[32];

        lf_load_blocks(v, rows, at, 32);
        for (int i = 0; i < 32; i++)
            sum += v[i] * v[i];
    }
    lf_store(out, sum / lf_set1((float)columns));
}

/* A tensor that is being divided into strips, and the position in it. */
struct nb_cutter {
    const float *x, *importance;
    size_t rows, columns;
    uint8_t *out;
    size_t count;            /* number of blocks */
    size_t at, row, column;  /* the next block */
    float of_rows[NB_LANES]; /* mean squares of rows */
    uint8_t dropped[NB_LARGEST_BLOCK_BYTES];
};

/*
 * The next strip; false at the end. Row limits matter only for importance,
 * which is per column, and for row_mean_square. Unused lanes of the last strip,
 * and all lanes after the end, read zeros, and their output is discarded.
 */
NB_INLINE bool
nb_next_strip(struct nb_cutter *c, const size_t block, const size_t block_bytes, const bool row_mean_square,
              struct nb_strip *s)
{
    static const float zeros[NB_LARGEST_BLOCK];
    const bool any = c->at < c->count;
    float of_lanes[NB_LANES];

    s->has_importance = c->importance != NULL;
    for (size_t k = 0; k < NB_LANES; k++) {
        const bool used = c->at < c->count;

        if (row_mean_square && s->has_importance && used && c->column == 0 && c->row % NB_LANES == 0)
            nb_row_mean_squares(c->x + c->row * c->columns, c->rows - c->row, c->columns, c->of_rows);
        of_lanes[k] = c->of_rows[c->row % NB_LANES];
        s->x[k] = used ? c->x + c->at * block : zeros;
        s->importance[k] = used && s->has_importance ? c->importance + c->column : zeros;
        s->out[k] = used ? c->out + c->at * block_bytes : c->dropped;
        if (!used)
            continue;
        c->at++;
        c->column += block;
        if (c->column == c->columns) {
            c->column = 0;
            c->row++;
        }
    }
    s->row_mean_square = lf_load(of_lanes);
    return any;
}

typedef void nb_encode_strip_fn(const struct nb_strip *strip);

NB_INLINE void
nb_encode_strips(const float *x, size_t rows, size_t columns, const float *importance, const size_t block,
                 const size_t block_bytes, void *out, const bool row_mean_square, nb_encode_strip_fn *encode)
{
    struct nb_cutter cutter = {
        .x = x, .importance = importance, .rows = rows, .columns = columns, .out = out, .count = rows * columns / block
    };
    struct nb_strip strip;

    while (nb_next_strip(&cutter, block, block_bytes, row_mean_square, &strip))
        encode(&strip);
}

/* The same for encoders that take two strips at once. */
NB_INLINE void
nb_encode_strip_pairs(const float *x, size_t rows, size_t columns, const float *importance, const size_t block,
                      const size_t block_bytes, void *out, const bool row_mean_square, nb_encode_strip_fn *encode)
{
    struct nb_cutter cutter = {
        .x = x, .importance = importance, .rows = rows, .columns = columns, .out = out, .count = rows * columns / block
    };
    struct nb_strip pair[2];

    while (nb_next_strip(&cutter, block, block_bytes, row_mean_square, &pair[0])) {
        (void)nb_next_strip(&cutter, block, block_bytes, row_mean_square, &pair[1]);
        encode(pair);
    }
}

/* Converts v to half floats in the low bits of each lane. */
NB_INLINE lu
nb_halves(lf v)
{
    float f[NB_LANES];
    uint32_t h[NB_LANES];

    lf_store(f, v);
    for (int k = 0; k < NB_LANES; k++)
        h[k] = nb_f32_to_f16(f[k]);
    return lu_load(h);
}

NB_INLINE lf
nb_from_halves(lu v)
{
    float f[NB_LANES];
    uint32_t h[NB_LANES];

    lu_store(h, v);
    for (int k = 0; k < NB_LANES; k++)
        f[k] = nb_f16_to_f32((uint16_t)h[k]);
    return lf_load(f);
}

/* Stores the low 16 bits of each lane at byte AT of its block. */
NB_INLINE void
nb_store_u16(const struct nb_strip *s, size_t at, lu v)
{
    uint32_t words[NB_LANES];

    lu_store(words, v);
    for (int k = 0; k < NB_LANES; k++)
        memcpy(s->out[k] + at, &words[k], 2);
}

/* Stores each lane at byte AT of its block. */
NB_INLINE void
nb_store_u32(const struct nb_strip *s, size_t at, lu v)
{
    uint32_t words[NB_LANES];

    lu_store(words, v);
    for (int k = 0; k < NB_LANES; k++)
        memcpy(s->out[k] + at, &words[k], sizeof words[k]);
}

/* Packs the low bytes of four vectors into one, per lane. */
NB_INLINE lu
nb_bytes(lu a, lu b, lu c, lu d)
{
    return a | b << 8 | c << 16 | d << 24;
}

/*
 * Packs two bits of each of 256 levels: for each 128 weights, byte l of 32 holds
 * weights l, l + 32, l + 64 and l + 96.
 */
NB_INLINE void
nb_pack_two_bits(const lu *level, lu *words)
{
    for (int w = 0; w < 16; w++) {
        const lu *l = level + w / 8 * 128 + w % 8 * 4;

        words[w] = lu_set1(0);
        for (int i = 0; i < 4; i++)
            words[w] |= ((l[i] & 3) | (l[i + 32] & 3) << 2 | (l[i + 64] & 3) << 4 | (l[i + 96] & 3) << 6) << 8 * i;
    }
}

/* Defines the kernel NAME from ENCODE, which takes one strip (HOW is strips) or two (HOW is strip_pairs). */
#define NB_ENCODER(name, block, block_bytes, row_mean_square, how, encode)                                   \
    void NB_TIERED(name)(const float *x, size_t rows, size_t columns, const float *importance, void *blocks) \
    {                                                                                                        \
        nb_encode_##how(x, rows, columns, importance, block, block_bytes, blocks, row_mean_square, encode);  \
    }

#endif
