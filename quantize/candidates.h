/*
 * The search among a point's candidates: which of them is nearest to some
 * weights by weighted squared error? The error of one element can take as many
 * values as there are levels, so those are computed once; then a candidate is a
 * sum of table entries, and the lanes are candidates. Sums run over the elements
 * in order, and the first of equal candidates wins, as in the reference.
 */
#ifndef NB_CANDIDATES_H
#define NB_CANDIDATES_H

#include "codebook.h"
#include "lanes.h"

#include <float.h>

#if NB_LANES >= 8

/* The best candidate that each lane has seen. */
struct nb_best {
    lf error;
    lu code, place; /* place: in which vector of the list */
};

/* Of the lanes' best the smallest error; of equals the one that comes first in the list. */
NB_INLINE uint32_t
nb_best_code(const struct nb_best *best)
{
    uint32_t code[NB_LANES], place[NB_LANES];
    int k = 0;

#if NB_LANES == 16
    const float least = _mm512_reduce_min_ps((__m512)best->error);
    uint32_t equal = _mm512_cmp_ps_mask((__m512)best->error, _mm512_set1_ps(least), _CMP_EQ_OQ);
#else
    __m256 v = (__m256)best->error;
    uint32_t equal;

    v = _mm256_min_ps(v, _mm256_permute2f128_ps(v, v, 1));
    v = _mm256_min_ps(v, _mm256_permute_ps(v, 0x4E));
    v = _mm256_min_ps(v, _mm256_permute_ps(v, 0xB1));
    equal = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(v, (__m256)best->error, _CMP_EQ_OQ));

#endif
    lu_store(code, best->code);
    k = __builtin_ctz(equal);
    if ((equal & (equal - 1)) == 0)
        return code[k];
    lu_store(place, best->place);
    for (int i = k + 1; i < NB_LANES; i++)
        if ((equal >> i & 1) != 0 && place[i] < place[k])
            k = i;

    return code[k];
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

/* Takes candidates with these ERRORS and codes into account. */
NB_INLINE void
nb_take_better(struct nb_best *best, lf error, lu code, uint32_t place)
{
    const lm better = lf_lt(error, best->error);

    best->error = lf_select(better, error, best->error);
    best->code = (lu)li_select(better, (li)code, (li)best->code);
    best->place = (lu)li_select(better, (li)lu_set1(place), (li)best->place);
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

#endif

/*
 * The code, out of a list of COUNT, whose eight VALUES (by two-bit level; there
 * are three) are nearest to x by the weights w.
 */
NB_INLINE uint32_t
nb_nearest_of_8(const float *x, const float *w, const float *values, const uint16_t *codes, uint32_t count)
{
    float error[8][4] __attribute__((aligned(32)));
#if NB_LANES >= 8
    const __m256 xs = _mm256_loadu_ps(x), ws = _mm256_loadu_ps(w);
    struct nb_best best = { lf_set1(FLT_MAX), lu_set1(codes[0]), lu_set1(0) };
    __m256 e[3], low, high;

    for (int l = 0; l < 3; l++) {
        const __m256 difference = _mm256_sub_ps(_mm256_set1_ps(values[l]), xs);

        e[l] = _mm256_mul_ps(_mm256_mul_ps(ws, difference), difference);
    }
    /* Element i's three errors side by side. */
    for (int i = 0; i < 4; i += 2) {
        low = i == 0 ? _mm256_unpacklo_ps(e[0], e[1]) : _mm256_unpackhi_ps(e[0], e[1]);
        high = i == 0 ? _mm256_unpacklo_ps(e[2], e[2]) : _mm256_unpackhi_ps(e[2], e[2]);
        const __m256 even = _mm256_shuffle_ps(low, high, 0x44), odd = _mm256_shuffle_ps(low, high, 0xEE);

        _mm_store_ps(error[i], _mm256_castps256_ps128(even));
        _mm_store_ps(error[i + 4], _mm256_extractf128_ps(even, 1));
        _mm_store_ps(error[i + 1], _mm256_castps256_ps128(odd));
        _mm_store_ps(error[i + 5], _mm256_extractf128_ps(odd, 1));
    }
    for (uint32_t j = 0; j < count; j += NB_LANES) {
        const lu code = nb_load_codes(codes + j);
        lf sum = nb_lookup4(error[0], code);

        for (int i = 1; i < 8; i++)
            sum += nb_lookup4(error[i], code >> 2 * i);
        nb_take_better(&best, sum, code, j);
    }
    return nb_best_code(&best);
#else
    float least = FLT_MAX;
    uint32_t nearest = codes[0];

    for (int i = 0; i < 8; i++) {
        for (int l = 0; l < 3; l++) {
            const float difference = values[l] - x[i];

            error[i][l] = w[i] * difference * difference;
        }
    }
    for (uint32_t j = 0; j < count; j++) {
        const uint32_t code = codes[j];
        float sum = error[0][code & 3];

        /* No term is negative, so half the sum can be enough to tell. */
        for (int i = 1; i < 4; i++)
            sum += error[i][code >> 2 * i & 3];
        if (sum >= least)
            continue;
        for (int i = 4; i < 8; i++)
            sum += error[i][code >> 2 * i & 3];
        if (sum < least) {
            least = sum;
            nearest = code;
        }
    }
    return nearest;
#endif
}

/* The same for four VALUES by three-bit level, of which there are eight. */
NB_INLINE uint32_t
nb_nearest_of_4(const float *x, const float *w, const float *values, const uint16_t *codes, uint32_t count)
{
#if NB_LANES >= 8
    const __m256 v = _mm256_loadu_ps(values);
    struct nb_best best = { lf_set1(FLT_MAX), lu_set1(codes[0]), lu_set1(0) };
    float error[4][8] __attribute__((aligned(32)));

    for (int i = 0; i < 4; i++) {
        const __m256 difference = _mm256_sub_ps(v, _mm256_set1_ps(x[i]));

        _mm256_store_ps(error[i], _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(w[i]), difference), difference));
    }
    for (uint32_t j = 0; j < count; j += NB_LANES) {
        const lu code = nb_load_codes(codes + j);
        lf sum = lf_lookup8(error[0], (li)code);

        for (int i = 1; i < 4; i++)
            sum += lf_lookup8(error[i], (li)(code >> 3 * i));
        nb_take_better(&best, sum, code, j);
    }
    return nb_best_code(&best);
#else
    float error[4][8], least = FLT_MAX;
    uint32_t nearest = codes[0];

    for (int i = 0; i < 4; i++) {
        for (int l = 0; l < 8; l++) {
            const float difference = values[l] - x[i];

            error[i][l] = w[i] * difference * difference;
        }
    }
    for (uint32_t j = 0; j < count; j++) {
        const uint32_t code = codes[j];
        float sum = error[0][code & 7];

        for (int i = 1; i < 4; i++)
            sum += error[i][code >> 3 * i & 7];
        if (sum < least) {
            least = sum;
            nearest = code;
        }
    }
    return nearest;
#endif
}

#endif
