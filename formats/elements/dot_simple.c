/* Products of rows of the types of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/dot_lanes.h"
#include "formats/elements/dots.h"

/* The low four bits of 16 bytes, then the high ones. QH, which may be NULL, has fifth bits. */
NB_INLINE void
add_nibbles(const uint8_t *qs, const uint8_t *qh, lf d, lf minus_min, const float *x, lf *sum)
{
    uint32_t fifth = 0;

    if (qh != NULL)
        memcpy(&fifth, qh, sizeof fifth);
    for (int k = 0; k < 16; k += NB_LANES) {
        const li v = li_from_bytes(qs + k);

        add_products(&sum[0], li_add_fifth_bits(v & 15, fifth, k), d, minus_min, x + k);
        add_products(&sum[1], li_add_fifth_bits(v >> 4, fifth, 16 + k), d, minus_min, x + 16 + k);
    }
}

NB_INLINE void
add_q4_0(const void *block, const float *x, lf *sum)
{
    const struct block_q4_0 *b = block;
    const lf d = lf_spread_half(b->d);

    add_nibbles(b->qs, NULL, d, d * lf_set1(-8), x, sum);
}

NB_INLINE void
add_q4_1(const void *block, const float *x, lf *sum)
{
    const struct block_q4_1 *b = block;

    add_nibbles(b->qs, NULL, lf_spread_half(b->d), lf_spread_half(b->m), x, sum);
}

NB_INLINE void
add_q5_0(const void *block, const float *x, lf *sum)
{
    const struct block_q5_0 *b = block;
    const lf d = lf_spread_half(b->d);

    add_nibbles(b->qs, b->qh, d, d * lf_set1(-16), x, sum);
}

NB_INLINE void
add_q5_1(const void *block, const float *x, lf *sum)
{
    const struct block_q5_1 *b = block;

    add_nibbles(b->qs, b->qh, lf_spread_half(b->d), lf_spread_half(b->m), x, sum);
}

NB_INLINE void
add_q8_0(const void *block, const float *x, lf *sum)
{
    const struct block_q8_0 *b = block;
    lf part = lf_from_bytes(b->qs) * lf_load(x);

    for (int k = NB_LANES; k < 32; k += NB_LANES)
        part = lf_multiply_add(lf_from_bytes(b->qs + k), lf_load(x + k), part);
    *sum = lf_multiply_add(part, lf_spread_half(b->d), *sum);
}

float
NB_TIERED(nb_dot_q4_0)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_q4_0), count, x, add_q4_0);
}

float
NB_TIERED(nb_dot_q4_1)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_q4_1), count, x, add_q4_1);
}

float
NB_TIERED(nb_dot_q5_0)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_q5_0), count, x, add_q5_0);
}

float
NB_TIERED(nb_dot_q5_1)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_q5_1), count, x, add_q5_1);
}

float
NB_TIERED(nb_dot_q8_0)(const void *blocks, size_t count, const float *x)
{
    return dot_blocks(blocks, sizeof(struct block_q8_0), count, x, add_q8_0);
}
