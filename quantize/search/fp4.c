/*
 * The formats of four-bit floats (E2M1): MXFP4, whose blocks of 32 share a power
 * of two (E8M0, OCP Microscaling Formats 1.0), and NVFP4, whose groups of 16
 * share an unsigned 8-bit float (UE4M3). Layouts and algorithms: ggml-quants.c
 * of llama.cpp v0.5.0, reproduced to the bit. One lane holds one block. Neither
 * uses importance.
 */
#include "formats/elements/block_layouts.h"
#include "formats/elements/four_bit.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

/*
 * The code of the nearest value times D; the lower one if two are equally near,
 * and 0 without a sign. The errors that the reference compares are exact near
 * the middle of two values, where it matters.
 */
NB_INLINE lu
nearest_value(lf x, lf d)
{
    const lf magnitude = lf_abs(x);
    const lm negative = lf_lt(x, lf_set1(0));
    li index = (li)lu_set1(0);

    for (int i = 0; i < 7; i++)
        index = li_count(index, lf_lt(d * lf_set1((nb_e2m1_values[i] + nb_e2m1_values[i + 1]) / 2), magnitude));
    return (lu)li_select(lm_and(negative, lf_lt(lf_set1(0), lf_from_int(index))), index + 8, index);
}

/*
 * The exponent floor(log2(max)) - 2 with a bias of 127, as a byte; for a max
 * below 2^-125 it wraps around, as in the reference. The reference's logarithm
 * is a float, so just below a power of two it rounds up to the next integer.
 */
static uint32_t
mxfp4_exponent(float max)
{
    int exponent = (int)(nb_float_bits(max) >> 23) - 127;

    if (!(max > 0))
        return 0;
    if (exponent == -127 || (nb_float_bits(max) & 0x7FFFFF) >= 0x7FFF00)
        exponent = (int)floorf((float)log2((double)max));
    return (uint32_t)(exponent - 2 + 127) & 0xFF;
}

NB_INLINE void
encode_mxfp4_strip(const struct nb_strip *s)
{
    lf x[32];
    lu words[4];
    float scale[NB_LANES];

    lf_load_blocks(x, s->x, 0, 32);
    lf_store(scale, nb_largest_magnitude(x, 32));
    for (int k = 0; k < NB_LANES; k++) {
        const uint32_t e = mxfp4_exponent(scale[k]);

        s->out[k][0] = (uint8_t)e;
        scale[k] = nb_mxfp4_scale(e);
    }
    for (int w = 0; w < 4; w++) {
        words[w] = lu_set1(0);
        for (int i = 4 * w; i < 4 * w + 4; i++)
            words[w] |= (nearest_value(x[i], lf_load(scale)) | nearest_value(x[i + 16], lf_load(scale)) << 4)
                        << i % 4 * 8;
    }
    lu_store_blocks(s->out, offsetof(struct block_mxfp4, qs), words, 4);
}

/* The nearest UE4M3, rounded as in the reference by the first dropped bit: ties away from zero. */
static uint8_t
to_ue4m3(float x)
{
    const uint32_t bits = nb_float_bits(x);
    const int exponent = (int)(bits >> 23) - 127 + 7;
    uint32_t code;

    if (!(x > 0))
        return 0;
    if (exponent <= 0) { /* subnormal: a multiple of 2^-9 */
        const int multiple = (int)(x * 512.0f + 0.5f);

        return (uint8_t)(multiple < 7 ? multiple : 7);
    }
    if (exponent >= 15)
        return 0x7E;
    code = (uint32_t)exponent << 3 | (bits >> 20 & 7);
    code += bits >> 19 & 1;
    return (uint8_t)(code < 0x78 ? code : 0x7E);
}

NB_INLINE void
encode_nvfp4_strip(const struct nb_strip *s)
{
    lu words[8];

    for (int g = 0; g < 4; g++) {
        float scale[NB_LANES];
        lf x[16], d;
        lm none;

        lf_load_blocks(x, s->x, (size_t)g * 16, 16);
        lf_store(scale, nb_largest_magnitude(x, 16) / lf_set1(6));
        for (int k = 0; k < NB_LANES; k++) {
            s->out[k][g] = to_ue4m3(scale[k]);
            scale[k] = nb_ue4m3_scale(s->out[k][g]);
        }
        d = lf_load(scale);
        none = lf_eq(d, lf_set1(0));
        for (int w = 0; w < 2; w++) {
            lu word = lu_set1(0);

            for (int i = 4 * w; i < 4 * w + 4; i++)
                word |= (nearest_value(x[i], d) | nearest_value(x[i + 8], d) << 4) << i % 4 * 8;
            words[2 * g + w] = (lu)li_select(none, (li)lu_set1(0), (li)word);
        }
    }
    lu_store_blocks(s->out, offsetof(struct block_nvfp4, qs), words, 8);
}

NB_ENCODER(nb_encode_mxfp4, 32, sizeof(struct block_mxfp4), false, strips, encode_mxfp4_strip)
NB_ENCODER(nb_encode_nvfp4, 64, sizeof(struct block_nvfp4), false, strips, encode_nvfp4_strip)
