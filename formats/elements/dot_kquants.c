/* Products of rows of the K-quants: super-blocks of 256 weights whose groups have quantized scales. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/dot_lanes.h"
#include "formats/elements/dots.h"

#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

NB_INLINE uint64_t
eight_at(const void *from)
{
    uint64_t bytes;

    memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

NB_INLINE uint64_t
four_at(const void *from)
{
    uint32_t bytes;

    memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

/* Adds the products of a super-block with X to NB_SUMS sums. */
typedef void add_super_block(const void *block, const float *x, lf *sum);

NB_INLINE float
dot_super_blocks(const void *blocks, size_t bytes, size_t count, const float *x, add_super_block *add)
{
    const uint8_t *b = blocks;
    lf sum[NB_SUMS] = { lf_set1(0), lf_set1(0), lf_set1(0), lf_set1(0) };

    for (size_t i = 0; i < count; i += NB_SUPER_BLOCK, b += bytes)
        add(b, x + i, sum);
    return total_of(sum);
}

/* Eight bytes of CODES as floats, times FACTOR; SIGNED: from -128 to 127. They stay in registers, of which none is made of two. */
NB_INLINE void
store_eight(uint64_t codes, const bool is_signed, float factor, float *to)
{
#if NB_LANES >= 8
    const __m128i bytes = _mm_cvtsi64_si128((long long)codes);
    const __m256i words = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);

    _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(words), _mm256_set1_ps(factor)));
#else
    for (int i = 0; i < 8; i++, codes >>= 8)
        to[i] = factor * (float)(is_signed ? (int8_t)(codes & 0xFF) : (int)(codes & 0xFF));
#endif
}

/* Elements CODE * SCALE, where the code has a sign. */
NB_INLINE void
add_signed(lf *sum, li code, float scale, const float *x)
{
    *sum = lf_multiply_add(lf_from_int(code) * lf_load(x), lf_spread(scale), *sum);
}

/* --- Q2_K and Q3_K: groups of 16; of 128 elements, each byte has four at a distance of 32 ----------------------------- */

NB_INLINE void
add_q2_K(const void *block, const float *x, lf *sum)
{
    const struct block_q2_K *b = block;
    const float d = lf_half(b->d), minus_dmin = -lf_half(b->dmin);
    float scale[16], minus_min[16];

    for (int j = 0; j < 16; j += 8) {
        const uint64_t codes = eight_at(b->scales + j);

        store_eight(codes & EIGHT(0x0F), false, d, scale + j);
        store_eight(codes >> 4 & EIGHT(0x0F), false, minus_dmin, minus_min + j);
    }
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < 32; k += NB_LANES) {
            const li v = li_from_bytes(b->qs + 32 * half + k);

            for (int j = 0; j < 4; j++) {
                const int group = 8 * half + 2 * j + k / 16;

                add_products(&sum[j], v >> (2 * j) & 3, lf_spread(scale[group]), lf_spread(minus_min[group]),
                             x + 128 * half + 32 * j + k);
            }
        }
}

/* Six bits each: four low ones in halves of 8 bytes, two high ones in quarters of 4 bytes. */
NB_INLINE void
find_scales_q3_K(const struct block_q3_K *b, float *scale)
{
    const float d = lf_half(b->d);
    const uint64_t low = eight_at(b->scales), high = four_at(b->scales + 8);
    uint64_t codes[2];

    codes[0] = (low & EIGHT(0x0F)) | ((high << 4 | high << 34) & EIGHT(0x30));
    codes[1] = (low >> 4 & EIGHT(0x0F)) | ((high | high << 30) & EIGHT(0x30));
    for (int i = 0; i < 2;
         i++) /* less 32 in each byte; nothing is borrowed from the next one, as bit 7 is set for it */
        store_eight(((codes[i] | EIGHT(0x80)) - EIGHT(0x20)) ^ EIGHT(0x80), true, d, scale + 8 * i);
}

NB_INLINE void
add_q3_K(const void *block, const float *x, lf *sum)
{
    const struct block_q3_K *b = block;
    float scale[16];

    find_scales_q3_K(b, scale);
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < 32; k += NB_LANES) {
            const li v = li_from_bytes(b->qs + 32 * half + k), high = li_from_bytes(b->hmask + k) << 2 >> (4 * half);

            for (int j = 0; j < 4; j++)
                add_signed(&sum[j], ((v >> (2 * j) & 3) | (high >> j & 4)) - 4, scale[8 * half + 2 * j + k / 16],
                           x + 128 * half + 32 * j + k);
        }
}

/* --- Q4_K and Q5_K: groups of 32; each byte has two elements at that distance ------------------------------------------ */

struct steps {
    float scale[8], minus_min[8];
};

/* Six bits each, of eight scales and eight mins: four of each in 8 bytes, which also have the high bits of the others. */
NB_INLINE void
find_steps(uint16_t d, uint16_t dmin, const uint8_t *packed, struct steps *s)
{
    const uint64_t first = four_at(packed), second = four_at(packed + 4), last = four_at(packed + 8);
    const uint64_t scales = (first & EIGHT(0x3F)) | (last & EIGHT(0x0F)) << 32 | (first >> 2 & EIGHT(0x30)) << 32;
    const uint64_t mins = (second & EIGHT(0x3F)) | (last >> 4 & EIGHT(0x0F)) << 32 | (second >> 2 & EIGHT(0x30)) << 32;

    store_eight(scales, false, lf_half(d), s->scale);
    store_eight(mins, false, -lf_half(dmin), s->minus_min);
}

NB_INLINE void
add_code(lf *sum, li code, const struct steps *s, int group, const float *x)
{
    add_products(sum, code, lf_spread(s->scale[group]), lf_spread(s->minus_min[group]), x);
}

NB_INLINE void
add_q4_K(const void *block, const float *x, lf *sum)
{
    const struct block_q4_K *b = block;
    struct steps s;

    find_steps(b->d, b->dmin, b->scales, &s);
    for (int j = 0; j < 4; j++)
        for (int k = 0; k < 32; k += NB_LANES) {
            const li v = li_from_bytes(b->qs + 32 * j + k);

            add_code(&sum[k / NB_LANES % 2], v & 15, &s, 2 * j, x + 64 * j + k);
            add_code(&sum[k / NB_LANES % 2 + 2], v >> 4, &s, 2 * j + 1, x + 64 * j + 32 + k);
        }
}

NB_INLINE void
add_q5_K(const void *block, const float *x, lf *sum)
{
    const struct block_q5_K *b = block;
    struct steps s;

    find_steps(b->d, b->dmin, b->scales, &s);
    for (int k = 0; k < 32; k += NB_LANES) {
        const li high = li_from_bytes(b->qh + k) << 4;

        for (int j = 0; j < 4; j++) {
            const li v = li_from_bytes(b->qs + 32 * j + k);

            add_code(&sum[j % 2], (v & 15) | (high >> (2 * j) & 16), &s, 2 * j, x + 64 * j + k);
            add_code(&sum[j % 2 + 2], v >> 4 | (high >> (2 * j + 1) & 16), &s, 2 * j + 1, x + 64 * j + 32 + k);
        }
    }
}

/* --- Q6_K: groups of 16; of 128 elements, the low bits of two at a distance of 64 share a byte, the high ones of four --- */

NB_INLINE void
add_q6_K(const void *block, const float *x, lf *sum)
{
    const struct block_q6_K *b = block;
    float scale[16];

    for (int j = 0; j < 16; j += 8)
        store_eight(eight_at(b->scales + j), true, lf_half(b->d), scale + j);
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < 32; k += NB_LANES) {
            const li first = li_from_bytes(b->ql + 64 * half + k), second = li_from_bytes(b->ql + 64 * half + 32 + k);
            const li high = li_from_bytes(b->qh + 32 * half + k);
            const float *of_group = scale + 8 * half + k / 16, *at = x + 128 * half + k;

            add_signed(&sum[0], ((first & 15) | (high << 4 & 48)) - 32, of_group[0], at);
            add_signed(&sum[1], ((second & 15) | (high << 2 & 48)) - 32, of_group[2], at + 32);
            add_signed(&sum[2], (first >> 4 | (high & 48)) - 32, of_group[4], at + 64);
            add_signed(&sum[3], (second >> 4 | (high >> 2 & 48)) - 32, of_group[6], at + 96);
        }
}

float
NB_TIERED(nb_dot_q2_K)(const void *blocks, size_t count, const float *x)
{
    return dot_super_blocks(blocks, sizeof(struct block_q2_K), count, x, add_q2_K);
}

float
NB_TIERED(nb_dot_q3_K)(const void *blocks, size_t count, const float *x)
{
    return dot_super_blocks(blocks, sizeof(struct block_q3_K), count, x, add_q3_K);
}

float
NB_TIERED(nb_dot_q4_K)(const void *blocks, size_t count, const float *x)
{
    return dot_super_blocks(blocks, sizeof(struct block_q4_K), count, x, add_q4_K);
}

float
NB_TIERED(nb_dot_q5_K)(const void *blocks, size_t count, const float *x)
{
    return dot_super_blocks(blocks, sizeof(struct block_q5_K), count, x, add_q5_K);
}

float
NB_TIERED(nb_dot_q6_K)(const void *blocks, size_t count, const float *x)
{
    return dot_super_blocks(blocks, sizeof(struct block_q6_K), count, x, add_q6_K);
}
