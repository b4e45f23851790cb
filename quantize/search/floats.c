/*
 * Encoding of float types. Plain loops without branches, which the compiler
 * vectorizes for each tier; tiers of 8 lanes or more use the instructions for
 * half floats.
 */
#include "formats/elements/halves.h"
#include "formats/elements/lanes.h"
#include "quantize/search/encoders.h"

void
NB_TIERED(nb_encode_f32)(const float *x, size_t rows, size_t columns, const float *importance, void *out)
{
    (void)importance;
    memcpy(out, x, rows * columns * sizeof *x);
}

#if NB_LANES == 16
NB_INLINE __m256i
halves_of(const float *x)
{
    return _mm512_cvtps_ph(_mm512_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#elif NB_LANES == 8
NB_INLINE __m128i
halves_of(const float *x)
{
    return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#endif

void
NB_TIERED(nb_encode_f16)(const float *restrict x, size_t rows, size_t columns, const float *importance,
                         void *restrict out)
{
    uint16_t *restrict to = out;
    size_t i = 0;

    (void)importance;
#if NB_LANES >= 8
    for (; i + NB_LANES <= rows * columns; i += NB_LANES) {
        const lf v = lf_load(x + i);

        if (lm_all(lf_eq(v, v))) { /* the instruction would keep the payload of a NaN */
            const __typeof__(halves_of(x)) h = halves_of(x + i);

            memcpy(to + i, &h, sizeof h);
        } else {
            for (size_t k = i; k < i + NB_LANES; k++)
                to[k] = nb_f32_to_f16(x[k]);
        }
    }
#endif
    for (; i < rows * columns; i++)
        to[i] = nb_f32_to_f16(x[i]);
}

void
NB_TIERED(nb_encode_bf16)(const float *restrict x, size_t rows, size_t columns, const float *importance,
                          void *restrict out)
{
    uint16_t *restrict to = out;

    (void)importance;
    for (size_t i = 0; i < rows * columns; i++)
        to[i] = nb_f32_to_bf16(x[i]);
}
