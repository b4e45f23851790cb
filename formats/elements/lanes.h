/*
 * Vectors whose lanes are independent blocks.
 *
 * The reference quantizers add floats strictly in element order. Splitting one
 * sum over lanes would change the bits; computing many sums side by side does
 * not. So each vector holds one float of each of NB_LANES blocks, and a kernel
 * is written once and reads like the scalar algorithm. It is compiled at width
 * 1, the portable reference, and at 4, 8 and 16.
 *
 * Every operation is IEEE arithmetic on each lane, so the bits are the same at
 * any width, provided that nothing is contracted (-ffp-contract=off).
 */
#ifndef NB_LANES_H
#define NB_LANES_H

#ifndef NB_LANES
#error "NB_LANES says how many lanes to compile for"
#endif

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if NB_LANES > 1 && (defined(__x86_64__) || defined(__i386__))
#include <immintrin.h>
#elif NB_LANES > 1 && defined(__aarch64__)
#include <arm_neon.h>
#endif

#define NB_INLINE static inline __attribute__((always_inline))

#if NB_LANES == 1
typedef float lf;    /* a float in each lane */
typedef int32_t li;  /* an integer in each lane */
typedef uint32_t lu; /* 32 bits in each lane */
#else
typedef float lf __attribute__((vector_size(4 * NB_LANES)));
typedef int32_t li __attribute__((vector_size(4 * NB_LANES)));
typedef uint32_t lu __attribute__((vector_size(4 * NB_LANES)));
#endif
#if NB_LANES == 16
typedef __mmask16 lm; /* a boolean in each lane */
#else
typedef li lm; /* a boolean in each lane: all bits set or none */
#endif

NB_INLINE lf
lf_set1(float a)
{
#if NB_LANES == 1
    return a;
#else
    lf v;
    for (int i = 0; i < NB_LANES; i++)
        v[i] = a;
    return v;
#endif
}

NB_INLINE void
lf_store(float *to, lf v)
{
    memcpy(to, &v, sizeof v);
}

NB_INLINE li
lf_bits(lf v)
{
    li bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

NB_INLINE lf
li_as_float(li bits)
{
    lf v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

NB_INLINE void
lu_store(uint32_t *to, lu v)
{
    memcpy(to, &v, sizeof v);
}

NB_INLINE lf
lf_load(const float *from)
{
    lf v;
    memcpy(&v, from, sizeof v);
    return v;
}

NB_INLINE lu
lu_load(const uint32_t *from)
{
    lu v;
    memcpy(&v, from, sizeof v);
    return v;
}

NB_INLINE lu
lu_set1(uint32_t a)
{
    return (lu){ 0 } + a;
}

NB_INLINE lf
lf_from_int(li v)
{
#if NB_LANES == 1
    return (float)v;
#else
    return __builtin_convertvector(v, lf);
#endif
}

/* Rounds towards zero, for floats in the range of 32-bit integers. */
NB_INLINE li
lf_to_int(lf v)
{
#if NB_LANES == 1
    return (int32_t)v;
#else
    return __builtin_convertvector(v, li);
#endif
}

/* Comparisons and selection. */

/* clang-format off */
#if NB_LANES == 16
NB_INLINE lm lf_lt(lf a, lf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
NB_INLINE lm lf_le(lf a, lf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ); }
NB_INLINE lm lf_eq(lf a, lf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ); }
NB_INLINE lf lf_select(lm yes, lf a, lf b) { return (lf)_mm512_mask_blend_ps(yes, (__m512)b, (__m512)a); }
NB_INLINE li li_select(lm yes, li a, li b) { return (li)_mm512_mask_blend_epi32(yes, (__m512i)b, (__m512i)a); }
NB_INLINE lm li_eq(li a, li b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
NB_INLINE lm li_lt(li a, li b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
NB_INLINE li lm_int(lm m) { return (li)_mm512_maskz_set1_epi32(m, 1); } /* 1 or 0 */
NB_INLINE li
li_count(li n, lm m) /* n + 1 where m */
{
    return (li)_mm512_mask_add_epi32((__m512i)n, m, (__m512i)n, _mm512_set1_epi32(1));
}
NB_INLINE bool lm_all(lm m) { return m == 0xFFFF; }
NB_INLINE bool lm_any(lm m) { return m != 0; }
NB_INLINE lm lm_and(lm a, lm b) { return (lm)(a & b); }
NB_INLINE lm lm_or(lm a, lm b) { return (lm)(a | b); }
NB_INLINE lm lm_not(lm a) { return (lm)~a; }
#else
#if NB_LANES == 1
NB_INLINE lm lf_lt(lf a, lf b) { return -(a < b); }
NB_INLINE lm lf_le(lf a, lf b) { return -(a <= b); }
NB_INLINE lm lf_eq(lf a, lf b) { return -(a == b); }
NB_INLINE lm li_eq(li a, li b) { return -(a == b); }
NB_INLINE lm li_lt(li a, li b) { return -(a < b); }
#else
NB_INLINE lm lf_lt(lf a, lf b) { return a < b; }
NB_INLINE lm lf_le(lf a, lf b) { return a <= b; }
NB_INLINE lm lf_eq(lf a, lf b) { return a == b; }
NB_INLINE lm li_eq(li a, li b) { return a == b; }
NB_INLINE lm li_lt(li a, li b) { return a < b; }
#endif
NB_INLINE li lm_int(lm m) { return m & 1; } /* 1 or 0 */
NB_INLINE li li_count(li n, lm m) { return n - m; } /* n + 1 where m */
NB_INLINE li li_select(lm yes, li a, li b) { return (a & yes) | (b & ~yes); }
NB_INLINE lf
lf_select(lm yes, lf a, lf b)
{
    return li_as_float(li_select(yes, lf_bits(a), lf_bits(b)));
}
NB_INLINE bool
lm_all(lm m)
{
#if NB_LANES == 1
    return m != 0;
#elif NB_LANES == 8
    return _mm256_movemask_ps((__m256)m) == 0xFF;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)m) == 0xF;
#elif defined(__aarch64__)
    return vminvq_u32((uint32x4_t)m) != 0;
#else
    for (int i = 0; i < NB_LANES; i++)
        if (m[i] == 0)
            return false;
    return true;
#endif
}
NB_INLINE bool
lm_any(lm m)
{
#if NB_LANES == 1
    return m != 0;
#elif NB_LANES == 8
    return _mm256_movemask_ps((__m256)m) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)m) != 0;
#elif defined(__aarch64__)
    return vmaxvq_u32((uint32x4_t)m) != 0;
#else
    return !lm_all(~m);
#endif
}
NB_INLINE lm lm_and(lm a, lm b) { return a & b; }
NB_INLINE lm lm_or(lm a, lm b) { return a | b; }
NB_INLINE lm lm_not(lm a) { return ~a; }
#endif

#if NB_LANES == 16
NB_INLINE li li_min(li a, li b) { return (li)_mm512_min_epi32((__m512i)a, (__m512i)b); }
NB_INLINE li li_max(li a, li b) { return (li)_mm512_max_epi32((__m512i)a, (__m512i)b); }
#elif NB_LANES == 8
NB_INLINE li li_min(li a, li b) { return (li)_mm256_min_epi32((__m256i)a, (__m256i)b); }
NB_INLINE li li_max(li a, li b) { return (li)_mm256_max_epi32((__m256i)a, (__m256i)b); }
#else
NB_INLINE li li_min(li a, li b) { return li_select(li_lt(b, a), b, a); }
NB_INLINE li li_max(li a, li b) { return li_select(li_lt(a, b), b, a); }
#endif
/* clang-format on */

/* Exactly a < b ? a : b and a > b ? a : b: the result is b if they are equal or one is NaN. */
NB_INLINE lf
lf_min(lf a, lf b)
{
#if NB_LANES == 16
    return (lf)_mm512_min_ps((__m512)a, (__m512)b);
#elif NB_LANES == 8
    return (lf)_mm256_min_ps((__m256)a, (__m256)b);
#elif NB_LANES == 4 && defined(__SSE2__)
    return (lf)_mm_min_ps((__m128)a, (__m128)b);
#else
    return lf_select(lf_lt(a, b), a, b);
#endif
}

NB_INLINE lf
lf_max(lf a, lf b)
{
#if NB_LANES == 16
    return (lf)_mm512_max_ps((__m512)a, (__m512)b);
#elif NB_LANES == 8
    return (lf)_mm256_max_ps((__m256)a, (__m256)b);
#elif NB_LANES == 4 && defined(__SSE2__)
    return (lf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return lf_select(lf_lt(b, a), a, b);
#endif
}

NB_INLINE lf
lf_abs(lf v)
{
    return li_as_float(lf_bits(v) & 0x7FFFFFFF);
}

/* |magnitude| with the sign of SIGN */
NB_INLINE lf
lf_copysign(lf magnitude, lf sign)
{
    return li_as_float((lf_bits(magnitude) & 0x7FFFFFFF) | (lf_bits(sign) & INT32_MIN));
}

NB_INLINE lf
lf_sqrt(lf v)
{
#if NB_LANES == 1
    return sqrtf(v);
#elif NB_LANES == 16
    return (lf)_mm512_sqrt_ps((__m512)v);
#elif NB_LANES == 8
    return (lf)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
    return (lf)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
    return (lf)vsqrtq_f32((float32x4_t)v);
#else
    for (int i = 0; i < NB_LANES; i++)
        v[i] = sqrtf(v[i]);
    return v;
#endif
}

/* 1.5 * 2^23: after adding it, the low bits are the nearest integer of a small number, ties to even. */
#define NB_ROUND_MAGIC 12582912.0f

/*
 * The nearest integer as the reference computes it, from the bits of v + magic;
 * for |v| > 2^22 or NaN the result is meaningless, but the same at any width.
 */
NB_INLINE li
lf_nearest(lf v)
{
    return (lf_bits(v + lf_set1(NB_ROUND_MAGIC)) & 0x007FFFFF) - 0x00400000;
}

/*
 * The same as a float, for |v| <= 2^22 only: one instruction, or two additions.
 * A zero may have either sign.
 */
NB_INLINE lf
lf_round_small(lf v)
{
#if NB_LANES == 16
    return (lf)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif NB_LANES == 8
    return (lf)_mm256_round_ps((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif NB_LANES == 4 && defined(__aarch64__)
    return (lf)vrndnq_f32((float32x4_t)v);
#else
    const lf magic = lf_set1(NB_ROUND_MAGIC);

    return v + magic - magic;
#endif
}

/* Rounds towards zero; INT32_MIN if the result is not a 32-bit integer, as on x86. */
NB_INLINE li
lf_truncate(lf v)
{
#if NB_LANES == 16
    return (li)_mm512_cvttps_epi32((__m512)v);
#elif NB_LANES == 8
    return (li)_mm256_cvttps_epi32((__m256)v);
#elif NB_LANES == 4 && defined(__SSE2__)
    return (li)_mm_cvttps_epi32((__m128)v);
#else
    const lm fits = lm_and(lf_le(lf_set1(-2147483648.0f), v), lf_lt(v, lf_set1(2147483648.0f)));
    const lf safe = lf_select(fits, v, lf_set1(-2147483648.0f));
#if NB_LANES == 1
    return (int32_t)safe;
#else
    return __builtin_convertvector(safe, li);
#endif
#endif
}

/* The nearest integer, halves away from zero; INT32_MIN as in lf_truncate. */
NB_INLINE li
lf_round_away(lf v)
{
    /* The float below 0.5: with 0.5 itself, 0.5 - 2^-25 would round up to 1. */
    return lf_truncate(v + lf_copysign(lf_set1(0x1.fffffep-2f), v));
}

/* table[index[k]] in each lane k. */
NB_INLINE lu
lu_gather(const uint32_t *table, lu index)
{
#if NB_LANES == 1
    return table[index];
#elif NB_LANES == 16
    return (lu)_mm512_i32gather_epi32((__m512i)index, table, 4);
#elif NB_LANES == 8
    return (lu)_mm256_i32gather_epi32((const int *)table, (__m256i)index, 4);
#else
    lu v;

    for (int k = 0; k < NB_LANES; k++)
        v[k] = table[index[k]];
    return v;
#endif
}

/* table[index[k]] in each lane k, for indices of 0 to 7. */
NB_INLINE lf
lf_lookup8(const float *table, li index)
{
#if NB_LANES == 1
    return table[index];
#elif NB_LANES == 16
    const __m512 twice = _mm512_broadcast_f32x8(_mm256_loadu_ps(table));

    return (lf)_mm512_permutexvar_ps((__m512i)index, twice);
#elif NB_LANES == 8
    return (lf)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index);
#else
    lf v;

    for (int k = 0; k < NB_LANES; k++)
        v[k] = table[index[k]];
    return v;
#endif
}

/* table[index[k]] in each lane k, for indices of 0 to 15. */
NB_INLINE lf
lf_lookup16(const float *table, li index)
{
#if NB_LANES == 1
    return table[index];
#elif NB_LANES == 16
    return (lf)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(table));
#elif NB_LANES == 8
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), (__m256i)index);

    return (lf)_mm256_blendv_ps(low, high, (__m256)(index << 28)); /* by bit 3 */
#else
    lf v;

    for (int k = 0; k < NB_LANES; k++)
        v[k] = table[index[k]];
    return v;
#endif
}

/* Fifteen ascending thresholds, grouped by index: even ones; 1, 5, 9, 13; 3 and 11; 7. */
struct nb_thresholds {
    float eight[8], four[8], two[8], one;
};

/* The number of thresholds that are not above v; 15 for NaN. */
NB_INLINE li
lf_rank(const struct nb_thresholds *t, lf v)
{
#if NB_LANES == 4 /* no efficient lookups */
    li n = li_count((li)lu_set1(0), lm_not(lf_lt(v, lf_set1(t->one))));

    for (int i = 0; i < 8; i++)
        n = li_count(n, lm_not(lf_lt(v, lf_set1(t->eight[i]))));
    for (int i = 0; i < 4; i++)
        n = li_count(n, lm_not(lf_lt(v, lf_set1(t->four[i]))));
    for (int i = 0; i < 2; i++)
        n = li_count(n, lm_not(lf_lt(v, lf_set1(t->two[i]))));
    return n;
#else
    li n = lm_int(lm_not(lf_lt(v, lf_set1(t->one))));

    n = li_count(n + n, lm_not(lf_lt(v, lf_lookup8(t->two, n))));
    n = li_count(n + n, lm_not(lf_lt(v, lf_lookup8(t->four, n))));
    return li_count(n + n, lm_not(lf_lt(v, lf_lookup8(t->eight, n))));
#endif
}

/*
 * Conversion between memory, where the elements of a block are contiguous, and
 * lanes, where a vector holds the same element of all blocks. A vector is
 * NB_LANES / 4 slots of 16 bytes: 16 bytes of each block are loaded, then 4 x 4
 * elements are transposed within each slot, so that lane k is always block k.
 */
#if NB_LANES > 1
#define NB_LOW_PAIRS(s) 4 * (s), NB_LANES + 4 * (s), 4 * (s) + 1, NB_LANES + 4 * (s) + 1
#define NB_HIGH_PAIRS(s) 4 * (s) + 2, NB_LANES + 4 * (s) + 2, 4 * (s) + 3, NB_LANES + 4 * (s) + 3
#define NB_LOW_HALVES(s) 4 * (s), 4 * (s) + 1, NB_LANES + 4 * (s), NB_LANES + 4 * (s) + 1
#define NB_HIGH_HALVES(s) 4 * (s) + 2, 4 * (s) + 3, NB_LANES + 4 * (s) + 2, NB_LANES + 4 * (s) + 3
#if NB_LANES == 4
#define NB_EACH_SLOT(m) m(0)
#elif NB_LANES == 8
#define NB_EACH_SLOT(m) m(0), m(1)
#else
#define NB_EACH_SLOT(m) m(0), m(1), m(2), m(3)
#endif

/* Transposes the 4 x 4 words of each slot. */
NB_INLINE void
lu_transpose_slots(lu *v)
{
    const lu a = __builtin_shufflevector(v[0], v[1], NB_EACH_SLOT(NB_LOW_PAIRS));
    const lu b = __builtin_shufflevector(v[2], v[3], NB_EACH_SLOT(NB_LOW_PAIRS));
    const lu c = __builtin_shufflevector(v[0], v[1], NB_EACH_SLOT(NB_HIGH_PAIRS));
    const lu d = __builtin_shufflevector(v[2], v[3], NB_EACH_SLOT(NB_HIGH_PAIRS));

    v[0] = __builtin_shufflevector(a, b, NB_EACH_SLOT(NB_LOW_HALVES));
    v[1] = __builtin_shufflevector(a, b, NB_EACH_SLOT(NB_HIGH_HALVES));
    v[2] = __builtin_shufflevector(c, d, NB_EACH_SLOT(NB_LOW_HALVES));
    v[3] = __builtin_shufflevector(c, d, NB_EACH_SLOT(NB_HIGH_HALVES));
}

/* Loads slot s from the 16 bytes at from[4 s + R] + AT floats. */
NB_INLINE lu
lu_load_slots(const float *const *from, size_t at, int r)
{
#if NB_LANES == 16
    const __m128i a = _mm_loadu_si128((const __m128i_u *)(const void *)(from[r] + at));
    const __m128i b = _mm_loadu_si128((const __m128i_u *)(const void *)(from[4 + r] + at));
    const __m128i c = _mm_loadu_si128((const __m128i_u *)(const void *)(from[8 + r] + at));
    const __m128i d = _mm_loadu_si128((const __m128i_u *)(const void *)(from[12 + r] + at));
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);

    return (lu)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
#elif NB_LANES == 8
    const __m128i a = _mm_loadu_si128((const __m128i_u *)(const void *)(from[r] + at));
    const __m128i b = _mm_loadu_si128((const __m128i_u *)(const void *)(from[4 + r] + at));

    return (lu)_mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
#else
    lu v;

    memcpy(&v, from[r] + at, sizeof v);
    return v;
#endif
}
#endif

/* Loads element AT + i of every block into out[i]; block k begins at from[k]. N is a multiple of 4. */
NB_INLINE void
lf_load_blocks(lf *out, const float *const *from, size_t at, int n)
{
#if NB_LANES == 1
    memcpy(out, *from + at, (size_t)n * sizeof *out);
#else
    for (int i = 0; i < n; i += 4) {
        lu v[4];

        for (int r = 0; r < 4; r++)
            v[r] = lu_load_slots(from, at + (size_t)i, r);
        lu_transpose_slots(v);
        memcpy(out + i, v, sizeof v);
    }
#endif
}

/* The reverse, for 32-bit words of encoded blocks: stores in[i] at byte AT + 4 i of each. N is a multiple of 4. */
NB_INLINE void
lu_store_blocks(uint8_t *const *to, size_t at, const lu *in, int n)
{
#if NB_LANES == 1
    memcpy(*to + at, in, (size_t)n * sizeof *in);
#else
    for (int i = 0; i < n; i += 4) {
        lu v[4];

        memcpy(v, in + i, sizeof v);
        lu_transpose_slots(v);
        for (int r = 0; r < 4; r++)
            for (int s = 0; s < NB_LANES / 4; s++)
                memcpy(to[4 * s + r] + at + 4 * i, (const char *)&v[r] + 16 * s, 16);
    }
#endif
}

#endif
