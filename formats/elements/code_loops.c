#include "formats/elements/code_loops.h"

#define DECLARE(tier) extern const struct nb_code_loops nb_code_loops_##tier;
#define POINT_TO(tier) &nb_code_loops_##tier,

NB_TIERS(DECLARE)
static const struct nb_code_loops *const tiers[] = { NB_TIERS(POINT_TO) };

const struct nb_code_loops *
nb_code_loops(void)
{
    return tiers[nb_tier_index()];
}
