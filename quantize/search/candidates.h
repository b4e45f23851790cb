/*
 * Finds the candidate of a point with the smallest weighted squared error. The
 * error of an element depends only on its level, so these errors are computed
 * once; the error of a candidate is then a sum of table entries, with one
 * candidate per lane. Sums are in element order, and the first of equal
 * candidates wins, as in the reference.
 */
#ifndef NB_CANDIDATES_H
#define NB_CANDIDATES_H

#include "formats/elements/lanes.h"
#include "quantize/search/codebook.h"

#include <float.h>

#if NB_LANES >= 8

/* The smallest of eight. */
NB_INLINE __m256
nb_least_of_8(__m256 v)
{
    v = _mm256_min_ps(v, _mm256_permute2f128_ps(v, v, 1));
    v = _mm256_min_ps(v, _mm256_permute_ps(v, 0x4E));
    return _mm256_min_ps(v, _mm256_permute_ps(v, 0xB1));
}

/* The smallest of all lanes, in every lane. */
NB_INLINE lf
nb_least_lane(lf v)
{
#if NB_LANES == 16
    const __m256 eight = _mm256_min_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));

    return (lf)_mm512_broadcast_f32x8(nb_least_of_8(eight));
#else
    return (lf)nb_least_of_8((__m256)v);
#endif
}

/* 0, 1, 2... */
NB_INLINE li
nb_lane_numbers(void)
{
#if NB_LANES == 16
    return (li){ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
#else
    return (li){ 0, 1, 2, 3, 4, 5, 6, 7 };
#endif
}

/* The first lane that holds the minimum. */
NB_INLINE uint32_t
nb_first_least(lf v)
{
#if NB_LANES == 16
    return (uint32_t)__builtin_ctz(lf_eq(v, nb_least_lane(v)));
#else
    return (uint32_t)__builtin_ctz((unsigned)_mm256_movemask_ps((__m256)lf_eq(v, nb_least_lane(v))));
#endif
}

/* The smallest PLACE of the lanes in which ERROR is the minimum. */
NB_INLINE uint32_t
nb_first_place(lf error, li place)
{
    const li last = (li)lu_set1(INT32_MAX), of_least = li_select(lf_eq(error, nb_least_lane(error)), place, last);
#if NB_LANES == 16
    return (uint32_t)_mm512_reduce_min_epi32((__m512i)of_least);
#else
    __m256i v = (__m256i)of_least;

    v = _mm256_min_epi32(v, _mm256_permute2x128_si256(v, v, 1));
    v = _mm256_min_epi32(v, _mm256_shuffle_epi32(v, 0x4E));
    v = _mm256_min_epi32(v, _mm256_shuffle_epi32(v, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(v));
#endif
}

NB_INLINE lu
nb_load_codes(const uint16_t *codes)
{
#if NB_LANES == 16
    return (lu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)(const void *)codes));
#else
    return (lu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)codes));
#endif
}

/* table[index & 3] for a table of four floats. */
NB_INLINE lf
nb_lookup4(const float *table, lu index)
{
#if NB_LANES == 16
    return (lf)_mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_load_ps(table)), (__m512i)index);
#else
    return (lf)_mm256_permutevar_ps(_mm256_broadcast_ps((const __m128 *)(const void *)table), (__m256i)index);
#endif
}

/* Lists up to this length are searched without a branch, in the same time. */
#define NB_SHORT_LIST NB_LANES

/* The errors of NB_LANES candidates. */
NB_INLINE lf
nb_candidate_errors(const float *error, const int dimensions, const uint16_t *codes)
{
    const lu code = nb_load_codes(codes);
    lf sum = dimensions == 8 ? nb_lookup4(error, code) : lf_lookup8(error, (li)code);

    for (int i = 1; i < dimensions; i++)
        sum += dimensions == 8 ? nb_lookup4(error + 4 * i, code >> 2 * i)
                               : lf_lookup8(error + 8 * i, (li)(code >> 3 * i));
    return sum;
}

#else

#define NB_SHORT_LIST (NB_CANDIDATES * 64u) /* applies to all lists */

#endif

/*
 * The code, out of COUNT, with the smallest error. ERROR has 32 entries: for
 * each of 8 or 4 DIMENSIONS the errors of 4 or 8 levels. SHORT_LIST: COUNT is
 * known to be at most NB_SHORT_LIST.
 */
NB_INLINE uint32_t
nb_least_error(const float *error, const int dimensions, const uint16_t *codes, uint32_t count, const bool short_list)
{
#if NB_LANES >= 8
    lf least = lf_min(nb_candidate_errors(error, dimensions, codes), lf_set1(FLT_MAX));
    li place = nb_lane_numbers();

    if (short_list || count <= NB_SHORT_LIST)
        return codes[nb_first_least(least)];
    for (uint32_t j = NB_LANES; j < count; j += NB_LANES) {
        const lf sum = nb_candidate_errors(error, dimensions, codes + j);
        const lm better = lf_lt(sum, least);

        least = lf_min(sum, least);
        place = li_select(better, nb_lane_numbers() + (int32_t)j, place);
    }
    return codes[nb_first_place(least, place)];
#else
    const int bits = dimensions == 8 ? 2 : 3, levels = 1 << bits;
    float least = FLT_MAX;
    uint32_t nearest = codes[0];

    (void)short_list;
    for (uint32_t j = 0; j < count; j++) {
        const uint32_t code = codes[j];
        float sum = 0;

        for (int i = 0; i < dimensions / 2; i++)
            sum += error[levels * i + (int)(code >> bits * i & (uint32_t)(levels - 1))];
        if (sum >= least) /* errors are not negative, so half the sum may be enough */
            continue;
        for (int i = dimensions / 2; i < dimensions; i++)
            sum += error[levels * i + (int)(code >> bits * i & (uint32_t)(levels - 1))];
        if (sum < least) {
            least = sum;
            nearest = code;
        }
    }
    return nearest;
#endif
}

/*
 * The code, out of a list of COUNT, whose eight values are nearest to x with
 * weights w. VALUES are the values of the three levels.
 */
NB_INLINE uint32_t
nb_nearest_of_8(const float *x, const float *w, const float *values, const uint16_t *codes, uint32_t count,
                const bool short_list)
{
    float error[32] __attribute__((aligned(32)));
#if NB_LANES >= 8
    const __m256 xs = _mm256_loadu_ps(x), ws = _mm256_loadu_ps(w);
    __m256 e[3];

    for (int l = 0; l < 3; l++) {
        const __m256 difference = _mm256_sub_ps(_mm256_set1_ps(values[l]), xs);

        e[l] = _mm256_mul_ps(_mm256_mul_ps(ws, difference), difference);
    }
    /* Store the three errors of each element next to one another. */
    for (int i = 0; i < 4; i += 2) {
        const __m256 low = i == 0 ? _mm256_unpacklo_ps(e[0], e[1]) : _mm256_unpackhi_ps(e[0], e[1]);
        const __m256 high = i == 0 ? _mm256_unpacklo_ps(e[2], e[2]) : _mm256_unpackhi_ps(e[2], e[2]);
        const __m256 even = _mm256_shuffle_ps(low, high, 0x44), odd = _mm256_shuffle_ps(low, high, 0xEE);

        _mm_store_ps(error + 4 * i, _mm256_castps256_ps128(even));
        _mm_store_ps(error + 4 * (i + 4), _mm256_extractf128_ps(even, 1));
        _mm_store_ps(error + 4 * (i + 1), _mm256_castps256_ps128(odd));
        _mm_store_ps(error + 4 * (i + 5), _mm256_extractf128_ps(odd, 1));
    }
#else
    for (int i = 0; i < 8; i++) {
        for (int l = 0; l < 3; l++) {
            const float difference = values[l] - x[i];

            error[4 * i + l] = w[i] * difference * difference;
        }
    }
#endif
    return nb_least_error(error, 8, codes, count, short_list);
}

/* The same for four values of eight levels. */
NB_INLINE uint32_t
nb_nearest_of_4(const float *x, const float *w, const float *values, const uint16_t *codes, uint32_t count,
                const bool short_list)
{
    float error[32] __attribute__((aligned(32)));
#if NB_LANES >= 8
    const __m256 v = _mm256_loadu_ps(values);

    for (int i = 0; i < 4; i++) {
        const __m256 difference = _mm256_sub_ps(v, _mm256_set1_ps(x[i]));

        _mm256_store_ps(error + 8 * i, _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(w[i]), difference), difference));
    }
#else
    for (int i = 0; i < 4; i++) {
        for (int l = 0; l < 8; l++) {
            const float difference = values[l] - x[i];

            error[8 * i + l] = w[i] * difference * difference;
        }
    }
#endif
    return nb_least_error(error, 4, codes, count, short_list);
}

#endif
