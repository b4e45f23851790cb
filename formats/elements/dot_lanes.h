/*
 * What products of stored rows are made of: codes in lanes, and sums. A vector holds NB_LANES elements of one row, unlike in
 * encoders, where it holds one element of as many blocks.
 *
 * An element is code * scale - min in all types with scales, also where the format says (code - shift) * scale: both are
 * exact up to the last step, so they are the same float, and one instruction computes the first.
 */
#ifndef NB_DOT_LANES_H
#define NB_DOT_LANES_H

#include "formats/elements/halves.h"
#include "formats/elements/lanes.h"

#include <stddef.h>

/* Sums that do not wait for one another: an addition takes four cycles, of which two may begin in each. */
#define NB_SUMS 4

/* A * B + C, rounded once where the tier has an instruction for it. */
NB_INLINE lf
lf_multiply_add(lf a, lf b, lf c)
{
#if NB_LANES == 16
    return (lf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif NB_LANES == 8
    return (lf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif NB_LANES == 4 && defined(__aarch64__)
    return (lf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* A in each lane; lf_set1 of what is not constant goes through memory in GCC 12. */
NB_INLINE lf
lf_spread(float a)
{
#if NB_LANES == 16
    return (lf)_mm512_set1_ps(a);
#elif NB_LANES == 8
    return (lf)_mm256_set1_ps(a);
#else
    return lf_set1(a);
#endif
}

NB_INLINE float
lf_half(uint16_t h)
{
#if NB_LANES >= 8
    return _cvtsh_ss(h);
#else
    return nb_f16_to_f32(h);
#endif
}

/* The half float H in each lane. */
NB_INLINE lf
lf_spread_half(uint16_t h)
{
#if NB_LANES == 16
    return (lf)_mm512_cvtph_ps(_mm256_set1_epi16((short)h));
#elif NB_LANES == 8
    return (lf)_mm256_cvtph_ps(_mm_set1_epi16((short)h));
#else
    return lf_spread(nb_f16_to_f32(h));
#endif
}

/* The bytes from FROM on, one in each lane. */
NB_INLINE li
li_from_bytes(const uint8_t *from)
{
#if NB_LANES == 16
    return (li)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)from));
#elif NB_LANES == 8
    return (li)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)from));
#elif NB_LANES == 4 && defined(__SSE2__)
    int32_t bytes;

    memcpy(&bytes, from, sizeof bytes);
    return (li)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), _mm_setzero_si128()),
                                  _mm_setzero_si128());
#elif NB_LANES == 1
    return *from;
#else
    li v;

    for (int i = 0; i < NB_LANES; i++)
        v[i] = from[i];
    return v;
#endif
}

/* The bytes from FROM on as floats. */
NB_INLINE lf
lf_from_bytes(const int8_t *from)
{
#if NB_LANES == 16
    return (lf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)from)));
#elif NB_LANES == 8
    return (lf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)from)));
#elif NB_LANES == 4 && defined(__x86_64__)
    int32_t bytes;
    __m128i v;
    memcpy(&bytes, from, sizeof bytes);
    v = _mm_cvtsi32_si128(bytes);
    v = _mm_unpacklo_epi8(v, v);
    return (lf)_mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(v, v), 24));
#elif NB_LANES == 1
    return (float)*from;
#else
    lf v;
    for (int i = 0; i < NB_LANES; i++)
        v[i] = (float)from[i];
    return v;
#endif
}

/* CODE, with 16 added in those lanes whose bit of BITS is set, which begin with bit FIRST. */
NB_INLINE li
li_add_fifth_bits(li code, uint32_t bits, int first)
{
#if NB_LANES == 16
    return (li)_mm512_mask_or_epi32((__m512i)code, (__mmask16)(bits >> first), (__m512i)code, _mm512_set1_epi32(16));
#elif NB_LANES == 1
    return code | (int32_t)(bits >> first & 1) << 4;
#else
    lu own;

    for (int i = 0; i < NB_LANES; i++)
        own[i] = UINT32_C(1) << (first + i);
    return code | (li_eq((li)(lu_set1(bits) & own), (li)own) & 16);
#endif
}

/* Adds to *SUM the products of elements CODE * SCALE - MIN with the floats from X on. */
NB_INLINE void
add_products(lf *sum, li code, lf scale, lf minus_min, const float *x)
{
    *sum = lf_multiply_add(lf_multiply_add(lf_from_int(code), scale, minus_min), lf_load(x), *sum);
}

/* The total of NB_SUMS sums. */
NB_INLINE float
total_of(const lf *sum)
{
    const lf all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    float lanes[NB_LANES], total;

    lf_store(lanes, all);
    total = lanes[0];
    for (int i = 1; i < NB_LANES; i++)
        total += lanes[i];
    return total;
}

/* Adds the products of a block with X to two sums. */
typedef void nb_add_block(const void *block, const float *x, lf *sum);

/* The product of COUNT elements in blocks of 32, of BYTES each. */
NB_INLINE float
dot_blocks(const void *blocks, size_t bytes, size_t count, const float *x, nb_add_block *add)
{
    const uint8_t *b = blocks;
    lf sum[NB_SUMS] = { lf_set1(0), lf_set1(0), lf_set1(0), lf_set1(0) };
    size_t i = 0;

    for (; i + 64 <= count; i += 64, b += 2 * bytes) {
        add(b, x + i, sum);
        add(b + bytes, x + i + 32, sum + 2);
    }
    if (i < count)
        add(b, x + i, sum);
    return total_of(sum);
}

#endif
