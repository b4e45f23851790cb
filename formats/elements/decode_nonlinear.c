/* IQ4_NL and IQ4_XS: four bits are an index into a table of sixteen values. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/decoders.h"
#include "formats/elements/four_bit.h"
#include "formats/elements/halves.h"

#include <stddef.h>

static void
decode_group(const uint8_t *qs, float d, float *out)
{
    for (int k = 0; k < 16; k++) {
        out[k] = d * nb_iq4_values[qs[k] & 15];
        out[k + 16] = d * nb_iq4_values[qs[k] >> 4];
    }
}

void
NB_TIERED(nb_decode_iq4_nl)(const void *blocks, size_t count, float *out)
{
    const struct block_iq4_nl *b = blocks;

    for (size_t i = 0; i < count; i += 32, b++)
        decode_group(b->qs, nb_f16_to_f32(b->d), out + i);
}

void
NB_TIERED(nb_decode_iq4_xs)(const void *blocks, size_t count, float *out)
{
    const struct block_iq4_xs *b = blocks;

    for (size_t i = 0; i < count; i += NB_SUPER_BLOCK, b++) {
        const float d = nb_f16_to_f32(b->d);

        for (int j = 0; j < 8; j++) {
            const int scale = (b->scales_l[j / 2] >> (j % 2 * 4) & 15) | (b->scales_h >> (2 * j) & 3) << 4;

            decode_group(b->qs + 16 * j, d * (float)(scale - 32), out + i + (size_t)j * 32);
        }
    }
}
