#include "quantize/search/encode.h"

#include "quantize/search/encoders.h"
#include "quantize/search/mlx.h"

#define DECLARE(tier) extern const struct nb_encoders nb_encoders_##tier;
#define POINT_TO(tier) &nb_encoders_##tier,

NB_TIERS(DECLARE)
static const struct nb_encoders *const tiers[] = { NB_TIERS(POINT_TO) };

bool
nb_can_encode(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && nb_encoders_scalar.encode[type] != NULL;
}

static void
encode_type(const struct nb_encoding *e, const float *x, size_t rows, size_t columns, const float *importance,
            void *out)
{
    nb_encode(e->type, x, rows, columns, importance, out);
}

struct nb_encoding
nb_encoding_of(enum nb_type type)
{
    const struct nb_type_info *info = nb_type_info(type);
    struct nb_encoding e = {
        .name = info->name,
        .type = type,
        .block = info->block,
        .n_planes = info->n_planes,
        .uses_importance = info->importance != NB_IMPORTANCE_IGNORED,
        .encode = nb_can_encode(type) ? encode_type : NULL,
    };

    for (unsigned i = 0; i < e.n_planes; i++)
        e.plane_bytes[i] = e.n_planes == 1 ? info->block_bytes : info->plane_bytes[i];
    return e;
}

void
nb_encode(enum nb_type type, const float *x, size_t rows, size_t columns, const float *importance, void *out)
{
    tiers[nb_tier_index()]->encode[type](x, rows, columns, importance, out);
}

/* --- planes of MLX ---------------------------------------------------------------------------------------- */

static void
encode_mlx(const struct nb_encoding *e, const float *x, size_t rows, size_t columns, const float *importance, void *out)
{
    const struct nb_encoders *tier = tiers[nb_tier_index()];

    if (e->n_planes == 3)
        tier->mlx_affine(e, x, rows, columns, importance, out);
    else
        tier->mlx_floats(e, x, rows, columns, importance, out);
}

/* NVFP4's blocks without a scale: it would be smaller than any. */
static size_t
count_lost(const struct nb_encoding *e, const float *x, size_t count, const void *out)
{
    const unsigned char *scales = (const unsigned char *)out + count / e->block * e->plane_bytes[0];
    size_t lost = 0;

    for (size_t b = 0; b < count / e->block; b++) {
        size_t i = 0;

        while (scales[b] == 0 && i < e->block && x[b * e->block + i] == 0)
            i++;
        lost += scales[b] == 0 && i < e->block;
    }
    return lost;
}

struct nb_encoding
nb_mlx_encoding(const struct nb_mlx_format *format, enum nb_type computed_in)
{
    const uint16_t codes = (uint16_t)(format->group * format->bits / 8);
    const uint16_t scale = format->mode == NB_MLX_AFFINE ? nb_type_info(computed_in)->block_bytes : 1;

    return (struct nb_encoding){ .name = nb_mlx_mode_name(format->mode),
                                 .type = NB_TYPE_NONE,
                                 .block = format->group,
                                 .n_planes = format->mode == NB_MLX_AFFINE ? 3 : 2,
                                 .plane_bytes = { codes, scale, scale },
                                 .uses_importance = format->mode == NB_MLX_AFFINE,
                                 .bits = format->bits,
                                 .computed_in = computed_in,
                                 .encode = encode_mlx,
                                 .count_lost = format->mode == NB_MLX_NVFP4 ? count_lost : NULL };
}
