/*
 * Decoding of float types. Plain loops without branches, which the compiler
 * vectorizes for each tier; tiers of 8 lanes or more use the instructions for
 * half floats.
 */
#include "formats/elements/decoders.h"
#include "formats/elements/halves.h"
#include "formats/elements/lanes.h"

#include <math.h>

#if NB_LANES == 16
NB_INLINE lf
floats_of(const uint16_t *h)
{
    return (lf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)h));
}
#elif NB_LANES == 8
NB_INLINE lf
floats_of(const uint16_t *h)
{
    return (lf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)h));
}
#endif

void
NB_TIERED(nb_decode_f32)(const void *from, size_t count, float *out)
{
    memcpy(out, from, count * sizeof *out);
}

void
NB_TIERED(nb_decode_f16)(const void *restrict from, size_t count, float *restrict out)
{
    const uint16_t *restrict h = from;
    size_t i = 0;

#if NB_LANES >= 8
    for (; i + NB_LANES <= count; i += NB_LANES)
        lf_store(out + i, floats_of(h + i));
#endif
    for (; i < count; i++)
        out[i] = nb_f16_to_f32(h[i]);
}

void
NB_TIERED(nb_decode_bf16)(const void *restrict from, size_t count, float *restrict out)
{
    const uint16_t *restrict h = from;

    for (size_t i = 0; i < count; i++)
        out[i] = nb_bf16_to_f32(h[i]);
}

void
NB_TIERED(nb_decode_f64)(const void *restrict from, size_t count, float *restrict out)
{
    const double *restrict d = from;

    for (size_t i = 0; i < count; i++)
        out[i] = (float)d[i];
}

/* OCP FP8 E4M3 without infinities: exponent bias 7, and only S.1111.111 is NaN. */
void
NB_TIERED(nb_decode_f8_e4m3)(const void *from, size_t count, float *out)
{
    const uint8_t *b = from;

    for (size_t i = 0; i < count; i++) {
        const uint32_t sign = (uint32_t)(b[i] & 0x80) << 24, rest = b[i] & 0x7F;
        /* Shifted into the bits of a half float, the exponent is too small by 8. */
        const float magnitude = rest == 0x7F ? NAN : nb_f16_to_f32((uint16_t)(rest << 7)) * 256.0f;

        out[i] = nb_bits_float(sign | nb_float_bits(magnitude));
    }
}

/* OCP FP8 E5M2: the upper byte of a half. */
void
NB_TIERED(nb_decode_f8_e5m2)(const void *from, size_t count, float *out)
{
    const uint8_t *b = from;

    for (size_t i = 0; i < count; i++)
        out[i] = nb_f16_to_f32((uint16_t)(b[i] << 8));
}

/* NaN and infinity have every exponent bit set. */
#define NONFINITE(name, integer, exponent)                            \
    int NB_TIERED(name)(const void *values, size_t count)             \
    {                                                                 \
        const integer *v = values;                                    \
        integer found = 0;                                            \
                                                                      \
        for (size_t i = 0; i < count; i++)                            \
            found |= (integer)(-((v[i] & (exponent)) == (exponent))); \
        return found != 0;                                            \
    }

NONFINITE(nb_nonfinite_f32, uint32_t, 0x7F800000u)
NONFINITE(nb_nonfinite_16f, uint16_t, 0x7C00u)
NONFINITE(nb_nonfinite_16b, uint16_t, 0x7F80u)
NONFINITE(nb_nonfinite_f8_e4m3, uint8_t, 0x7Fu)
NONFINITE(nb_nonfinite_f8_e5m2, uint8_t, 0x7Cu)

/* A double that is too large for a float becomes infinite, so it counts too. */
int
NB_TIERED(nb_nonfinite_f64)(const void *values, size_t count)
{
    const double *v = values;
    int found = 0;

    for (size_t i = 0; i < count; i++)
        found |= !(fabs(v[i]) < 0x1.ffffffp127);
    return found;
}
