/* Values of the codes and scales of the four-bit types: E2M1 (MXFP4, NVFP4) and the table of IQ4. */
#ifndef NB_FOUR_BIT_H
#define NB_FOUR_BIT_H

#include "formats/elements/halves.h"

#include <math.h>

/* The values of E2M1 times two; the scales are halved in return. */
static const float nb_e2m1_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static const float nb_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

/* Half of 2^(e - 127) */
static inline float
nb_mxfp4_scale(uint32_t e)
{
    return nb_bits_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

/* Half the value of a UE4M3; its NaN gives 0. */
static inline float
nb_ue4m3_scale(uint8_t code)
{
    const int exponent = code >> 3 & 15, mantissa = code & 7;

    if (code == 0 || code == 0x7F)
        return 0;
    return 0.5f * (exponent == 0 ? ldexpf((float)mantissa, -9) : ldexpf(1.0f + (float)mantissa / 8, exponent - 7));
}

#endif
