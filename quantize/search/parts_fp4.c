#include "quantize/search/parts_fp4.h"

#include "formats/elements/four_bit.h"

#include <math.h>

const float nb_fp4_levels[NB_FP4_LEVELS] = { -12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12 };

#define ZERO 7 /* the number of its level */
#define SIGN 8 /* of a code */

void
nb_fp4_to_levels(uint8_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        codes[i] = (uint8_t)(codes[i] & SIGN ? ZERO - (codes[i] & 7) : ZERO + codes[i]);
}

void
nb_fp4_to_codes(uint8_t *levels, size_t count)
{
    for (size_t i = 0; i < count; i++)
        levels[i] = (uint8_t)(levels[i] < ZERO ? SIGN | (ZERO - levels[i]) : levels[i] - ZERO);
}

float
nb_fp4_step(enum nb_type type, uint8_t byte)
{
    return type == NB_F8_E8M0 ? nb_mxfp4_scale(byte) : nb_ue4m3_scale(byte);
}

#define LARGEST_E8M0 254
#define LARGEST_E4M3 0x7E

uint8_t
nb_fp4_byte(enum nb_type type, float step)
{
    unsigned low = 0, high = type == NB_F8_E8M0 ? LARGEST_E8M0 : LARGEST_E4M3;

    while (high - low > 1) { /* the step is between those of both */
        const unsigned middle = (low + high) / 2;

        if (nb_fp4_step(type, (uint8_t)middle) <= step)
            low = middle;
        else
            high = middle;
    }
    return (uint8_t)(step - nb_fp4_step(type, (uint8_t)low) <= nb_fp4_step(type, (uint8_t)high) - step ? low : high);
}
