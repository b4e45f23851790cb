#include "formats/elements/dot.h"

#include "formats/elements/dots.h"

#define DECLARE(tier) extern const struct nb_dots nb_dots_##tier;
#define POINT_TO(tier) &nb_dots_##tier,

NB_TIERS(DECLARE)
static const struct nb_dots *const tiers[] = { NB_TIERS(POINT_TO) };

bool
nb_can_dot(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && nb_dots_scalar.dot[type] != NULL;
}

float
nb_dot(enum nb_type type, const void *from, size_t count, const float *x)
{
    return tiers[nb_tier_index()]->dot[type](from, count, x);
}
