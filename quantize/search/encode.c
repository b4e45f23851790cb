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

void
nb_encode(enum nb_type type, const float *x, size_t rows, size_t columns, const float *importance, void *out)
{
    tiers[nb_tier_index()]->encode[type](x, rows, columns, importance, out);
}
