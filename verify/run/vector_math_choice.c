#include "verify/run/vector_math.h"

#include "formats/elements/tier.h"

#define DECLARE(tier) extern const struct nb_vector_math nb_vector_math_##tier;
#define POINT_TO(tier) &nb_vector_math_##tier,

NB_TIERS(DECLARE)
static const struct nb_vector_math *const tiers[] = { NB_TIERS(POINT_TO) };

const struct nb_vector_math *
nb_vector_math(void)
{
    return tiers[nb_tier_index()];
}
