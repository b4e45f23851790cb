/*
 * Decoding of types that are not quantization targets: plain integers, and
 * Q8_K, to which llama.cpp quantizes activations at run time.
 */
#include "formats/elements/block_layouts.h"
#include "formats/elements/decoders.h"

#include <stdint.h>

#define DECODE_INTEGERS(name, integer)                               \
    void NB_TIERED(name)(const void *from, size_t count, float *out) \
    {                                                                \
        const integer *v = from;                                     \
                                                                     \
        for (size_t i = 0; i < count; i++)                           \
            out[i] = (float)v[i];                                    \
    }

DECODE_INTEGERS(nb_decode_i8, int8_t)
DECODE_INTEGERS(nb_decode_i16, int16_t)
DECODE_INTEGERS(nb_decode_i32, int32_t)
DECODE_INTEGERS(nb_decode_i64, int64_t)

void
NB_TIERED(nb_decode_q8_K)(const void *blocks, size_t count, float *out)
{
    const struct block_q8_K *b = blocks;

    for (size_t i = 0; i < count / 256; i++, b++, out += 256)
        for (int k = 0; k < 256; k++)
            out[k] = b->d * (float)b->qs[k];
}
