#include "formats/elements/unpack.h"

#include "formats/elements/unpackers.h"

#define DECLARE(tier) extern const struct nb_unpackers nb_unpackers_##tier;
#define POINT_TO(tier) &nb_unpackers_##tier,

NB_TIERS(DECLARE)
static const struct nb_unpackers *const tiers[] = { NB_TIERS(POINT_TO) };

bool
nb_can_unpack(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && nb_unpackers_scalar.unpack[type] != NULL;
}

bool
nb_unpack_has_min(enum nb_type type)
{
    return type == NB_Q4_1 || type == NB_Q5_1 || type == NB_Q2_K || type == NB_Q4_K || type == NB_Q5_K;
}

void
nb_unpack(enum nb_type type, const void *from, size_t count, const struct nb_levels *to)
{
    tiers[nb_tier_index()]->unpack[type](from, count, to->level, to->scale, to->min);
}
