/*
 * Conversion of F16 and BF16. Only integer and exact float operations, without
 * branches, so that compilers vectorize loops over them and every CPU gives
 * the same bits, NaN included.
 */
#ifndef NB_HALVES_H
#define NB_HALVES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t
nb_float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float
nb_bits_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float
nb_bf16_to_f32(uint16_t h)
{
    return nb_bits_float((uint32_t)h << 16);
}

/* Rounds to nearest even; NaN becomes a quiet NaN. */
static inline uint16_t
nb_f32_to_bf16(float f)
{
    const uint32_t bits = nb_float_bits(f);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const uint32_t is_nan = -(uint32_t)((bits & 0x7FFFFFFF) > 0x7F800000);

    return (uint16_t)((rounded & ~is_nan) | (((bits >> 16) | 64) & is_nan));
}

/* NaN becomes a quiet one, as in hardware. */
static inline float
nb_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t rest = (uint32_t)(h & 0x7FFF) << 13;
    /* Exponents are biased by 15 and 127. */
    const uint32_t normal = rest + ((127u - 15u) << 23);
    /* Made from a float of 2^-14 and more: CPUs take a hundred cycles for arithmetic with subnormal floats. */
    const uint32_t subnormal = nb_float_bits(nb_bits_float(rest + ((128u - 15u) << 23)) - 0x1p-14f);
    const uint32_t is_small = -(uint32_t)(rest < 0x00800000);
    const uint32_t special = -(uint32_t)(rest >= 0x0F800000), quiet = (uint32_t)(rest > 0x0F800000) << 22;
    const uint32_t finite = (subnormal & is_small) | (normal & ~is_small);

    return nb_bits_float(sign | (finite & ~special) | ((rest | 0x7F800000 | quiet) & special));
}

/*
 * Rounds to nearest even, as hardware does; NaN becomes the quiet NaN 0x7E00
 * with its sign, as in the reference.
 */
static inline uint16_t
nb_f32_to_f16(float f)
{
    const uint32_t bits = nb_float_bits(f);
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFF;
    /* Normal halves: rebias the exponent, round at bit 13. Overflow gives infinity without a special case... */
    const uint32_t normal = (rest - 0x38000000 + 0xFFF + ((rest >> 13) & 1)) >> 13;
    /* Subnormal halves are multiples of 2^-24: adding 0.5 rounds them and moves them to the low mantissa bits. */
    const uint32_t tiny = nb_float_bits(nb_bits_float(rest) + 0.5f) - 0x3F000000;
    const uint32_t is_tiny = -(uint32_t)(rest < 0x38800000);
    /* ...except from 2^16 on. */
    const uint32_t is_inf = -(uint32_t)(rest >= 0x47800000), is_nan = -(uint32_t)(rest > 0x7F800000);
    uint32_t half = (normal & ~is_tiny) | (tiny & is_tiny);

    half = (half & ~is_inf) | (0x7C00 & is_inf);
    half = (half & ~is_nan) | (0x7E00 & is_nan);
    return (uint16_t)(sign | half);
}

#endif
