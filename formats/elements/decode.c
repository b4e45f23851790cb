#include "formats/elements/decode.h"

#include "formats/elements/decoders.h"

#include <stdint.h>
#include <string.h>

#define DECLARE(tier) extern const struct nb_decoders nb_decoders_##tier;
#define POINT_TO(tier) &nb_decoders_##tier,

NB_TIERS(DECLARE)
static const struct nb_decoders *const tiers[] = { NB_TIERS(POINT_TO) };

bool
nb_can_decode(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && nb_decoders_scalar.decode[type] != NULL;
}

void
nb_decode(enum nb_type type, const void *from, size_t count, float *out)
{
    tiers[nb_tier_index()]->decode[type](from, count, out);
}

/* Scales that are not a single half float; NVFP4's cannot be NaN, since readers decode its NaN as 0. */
static bool
is_bad_odd_scale(enum nb_type type, const unsigned char *block)
{
    uint32_t bits;

    switch (type) {
    case NB_MXFP4: /* the first byte is a power of two; 255 is NaN */
        return block[0] == 0xFF;
    case NB_Q8_K: /* begins with a float */
        memcpy(&bits, block, sizeof bits);
        return (bits & 0x7F800000) == 0x7F800000;
    case NB_IQ1_M: /* a half float in the top four bits of four words; the exponent is in the last two */
        return (block[55] & 0x70) == 0x70 && (block[53] & 0xC0) == 0xC0;
    default:
        return false;
    }
}

static bool
is_bad_half(const unsigned char *at)
{
    uint16_t half;

    memcpy(&half, at, sizeof half);
    return (half & 0x7C00) == 0x7C00;
}

static size_t
find_bad_scale(enum nb_type type, const unsigned char *blocks, size_t count)
{
    const struct nb_type_info *info = nb_type_info(type);
    const size_t n = count / info->block, step = info->block_bytes;
    const unsigned char *a = blocks + info->scale_at[0], *b = blocks + info->scale_at[1];

    switch (info->n_scales) {
    case 1:
        for (size_t i = 0; i < n; i++)
            if (is_bad_half(a + i * step))
                return i * info->block;
        return count;
    case 2:
        for (size_t i = 0; i < n; i++)
            if (is_bad_half(a + i * step) || is_bad_half(b + i * step))
                return i * info->block;
        return count;
    default:
        for (size_t i = 0; i < n; i++)
            if (is_bad_odd_scale(type, blocks + i * step))
                return i * info->block;
        return count;
    }
}

size_t
nb_find_bad_code(enum nb_type type, const void *from, size_t count)
{
    const struct nb_type_info *info = nb_type_info(type);
    const unsigned char *block = from;

    if (type != NB_NVFP4 && type != NB_TQ2_0)
        return count;
    for (size_t i = 0; i < count; i += info->block, block += info->block_bytes) {
        unsigned bad = 0;

        if (type == NB_NVFP4) /* begins with four scales */
            for (unsigned k = 0; k < 4; k++)
                bad |= block[k] >= 0x7F;
        else /* 64 bytes of four 2-bit codes each */
            for (unsigned k = 0; k < 64; k++)
                bad |= block[k] & (block[k] >> 1) & 0x55u;
        if (bad != 0)
            return i;
    }
    return count;
}

size_t
nb_find_nonfinite(enum nb_type type, const void *from, size_t count)
{
    const struct nb_type_info *info = nb_type_info(type);
    nb_nonfinite_fn *any = tiers[nb_tier_index()]->nonfinite[type];

    if (info->kind == NB_KIND_BLOCK)
        return type < NB_GGUF_TYPES ? find_bad_scale(type, from, count) : count;
    if (any == NULL || !any(from, count))
        return count;
    for (size_t i = 0; i < count; i++)
        if (any((const char *)from + i * info->block_bytes, 1))
            return i;
    return count;
}
