/* Products of rows whose codes of four bits stand for values of a table: IQ4_NL, IQ4_XS, MXFP4. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/dot_lanes.h"
#include "formats/elements/dots.h"
#include "formats/elements/four_bit.h"

/* The low four bits of 16 bytes, then the high ones. */
NB_INLINE void
add_values(const float *values, const uint8_t *qs, lf d, const float *x, lf *sum)
{
    lf low = lf_set1(0), high = lf_set1(0);

    for (int k = 0; k < 16; k += NB_LANES) {
        const li v = li_from_bytes(qs + k);

        low = lf_multiply_add(lf_lookup16(values, v & 15), lf_load(x + k), low);
        high = lf_multiply_add(lf_lookup16(values, v >> 4), lf_load(x + 16 + k), high);
    }
    sum[0] = lf_multiply_add(low, d, sum[0]);
    sum[1] = lf_multiply_add(high, d, sum[1]);
}

NB_INLINE void
add_iq4_nl(const void *block, const float *x, lf *sum)
{
    const struct block_iq4_nl *b = block;

    add_values(nb_iq4_values, b->qs, lf_spread_half(b->d), x, sum);
}

NB_INLINE void
add_mxfp4(const void *block, const float *x, lf *sum)
{
    const struct block_mxfp4 *b = block;

    add_values(nb_e2m1_values, b->qs, lf_spread(nb_mxfp4_scale(b->e)), x, sum);
}

float
NB_TIERED(nb_dot_iq4_nl)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_iq4_nl), count, x, add_iq4_nl);
}

float
NB_TIERED(nb_dot_mxfp4)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_mxfp4), count, x, add_mxfp4);
}

float
NB_TIERED(nb_dot_iq4_xs)(const void *blocks, size_t count, const float *x)
{
    const struct block_iq4_xs *b = blocks;
    lf sum[NB_SUMS] = { lf_set1(0), lf_set1(0), lf_set1(0), lf_set1(0) };

    for (size_t i = 0; i < count; i += NB_SUPER_BLOCK, b++) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 8; j++) {
            const int scale = (b->scales_l[j / 2] >> (j % 2 * 4) & 15) | (b->scales_h >> (2 * j) & 3) << 4;

            add_values(nb_iq4_values, b->qs + 16 * j, lf_spread(d * (float)(scale - 32)), x + i + (size_t)j * 32,
                       sum + j % 2 * 2);
        }
    }
    return total_of(sum);
}
