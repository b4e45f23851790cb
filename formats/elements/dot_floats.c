/* Products of rows of floats: F32, F16, BF16. */
#include "formats/elements/dot_lanes.h"
#include "formats/elements/dots.h"

#define AT_ONCE ((size_t)NB_SUMS * NB_LANES)

NB_INLINE lf
from_f32(const void *at)
{
    return lf_load(at);
}

NB_INLINE lf
from_f16(const void *at)
{
#if NB_LANES == 16
    return (lf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)at));
#elif NB_LANES == 8
    return (lf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)at));
#else
    const uint16_t *h = at;
    float f[NB_LANES];

    for (int i = 0; i < NB_LANES; i++)
        f[i] = nb_f16_to_f32(h[i]);
    return lf_load(f);
#endif
}

NB_INLINE lf
from_bf16(const void *at)
{
#if NB_LANES == 16
    return li_as_float((li)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)at)) << 16);
#elif NB_LANES == 8
    return li_as_float((li)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)at)) << 16);
#else
    const uint16_t *h = at;
    float f[NB_LANES];

    for (int i = 0; i < NB_LANES; i++)
        f[i] = nb_bf16_to_f32(h[i]);
    return lf_load(f);
#endif
}

/* The product of COUNT floats of BYTES each, of which FROM makes a vector. */
NB_INLINE float
dot_floats(const uint8_t *restrict at, size_t bytes, size_t count, const float *x, lf (*from)(const void *))
{
    lf sum[NB_SUMS] = { lf_set1(0), lf_set1(0), lf_set1(0), lf_set1(0) };
    uint8_t rest[NB_LANES * sizeof(float)] = { 0 };
    float of_x[NB_LANES] = { 0 };
    size_t i = 0;

    for (; i + AT_ONCE <= count; i += AT_ONCE)
        for (size_t k = 0; k < NB_SUMS; k++)
            sum[k] = lf_multiply_add(from(at + (i + k * NB_LANES) * bytes), lf_load(x + i + k * NB_LANES), sum[k]);
    for (; i + NB_LANES <= count; i += NB_LANES)
        sum[0] = lf_multiply_add(from(at + i * bytes), lf_load(x + i), sum[0]);
    if (i < count) {
        memcpy(rest, at + i * bytes, (count - i) * bytes);
        memcpy(of_x, x + i, (count - i) * sizeof *x);
        sum[1] = lf_multiply_add(from(rest), lf_load(of_x), sum[1]);
    }
    return total_of(sum);
}

float
NB_TIERED(nb_dot_f32)(const void *row, size_t count, const float *x)
{
    return dot_floats(row, sizeof(float), count, x, from_f32);
}

float
NB_TIERED(nb_dot_f16)(const void *row, size_t count, const float *x)
{
    return dot_floats(row, sizeof(uint16_t), count, x, from_f16);
}

float
NB_TIERED(nb_dot_bf16)(const void *row, size_t count, const float *x)
{
    return dot_floats(row, sizeof(uint16_t), count, x, from_bf16);
}
