#include "quantize/search/encode.h"

#include "quantize/search/encoders.h"

#define DECLARE(tier) extern const struct nb_encoders nb_encoders_##tier;
#define POINT_TO(tier) &nb_encoders_##tier,

NB_TIERS(DECLARE)
static const struct nb_encoders *const tiers[] = { NB_TIERS(POINT_TO) };

bool
nb_can_encode(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && nb_encoders_scalar.encode[type] != NULL;
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
        .encode = tiers[nb_tier_index()]->encode[type],
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
