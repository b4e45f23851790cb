/* Four-bit floats: MXFP4 and NVFP4. */
#include "formats/elements/block_layouts.h"
#include "formats/elements/decoders.h"
#include "formats/elements/four_bit.h"

void
NB_TIERED(nb_decode_mxfp4)(const void *blocks, size_t count, float *out)
{
    const struct block_mxfp4 *b = blocks;

    for (size_t i = 0; i < count / 32; i++, b++, out += 32) {
        const float d = nb_mxfp4_scale(b->e);

        for (int j = 0; j < 16; j++) {
            out[j] = nb_e2m1_values[b->qs[j] & 15] * d;
            out[j + 16] = nb_e2m1_values[b->qs[j] >> 4] * d;
        }
    }
}

void
NB_TIERED(nb_decode_nvfp4)(const void *blocks, size_t count, float *out)
{
    const struct block_nvfp4 *b = blocks;

    for (size_t i = 0; i < count / 64; i++, b++, out += 64) {
        for (int g = 0; g < 4; g++) {
            const float d = nb_ue4m3_scale(b->d[g]);

            for (int j = 0; j < 8; j++) {
                out[16 * g + j] = nb_e2m1_values[b->qs[8 * g + j] & 15] * d;
                out[16 * g + j + 8] = nb_e2m1_values[b->qs[8 * g + j] >> 4] * d;
            }
        }
    }
}
