/* The table of one tier's products of stored rows: functions of dot_*.c, used by dot.c. */
#ifndef NB_DOTS_H
#define NB_DOTS_H

#include "formats/elements/tier.h"
#include "formats/elements/types.h"

#include <stddef.h>

typedef float nb_dot_fn(const void *blocks, size_t count, const float *x);

struct nb_dots {
    nb_dot_fn *dot[NB_TYPES]; /* NULL: there is none */
};

#ifdef NB_TIER
nb_dot_fn NB_TIERED(nb_dot_f32), NB_TIERED(nb_dot_f16), NB_TIERED(nb_dot_bf16);
nb_dot_fn NB_TIERED(nb_dot_q4_0), NB_TIERED(nb_dot_q4_1), NB_TIERED(nb_dot_q5_0), NB_TIERED(nb_dot_q5_1),
    NB_TIERED(nb_dot_q8_0);
nb_dot_fn NB_TIERED(nb_dot_q2_K), NB_TIERED(nb_dot_q3_K), NB_TIERED(nb_dot_q4_K), NB_TIERED(nb_dot_q5_K),
    NB_TIERED(nb_dot_q6_K);
nb_dot_fn NB_TIERED(nb_dot_iq4_nl), NB_TIERED(nb_dot_iq4_xs), NB_TIERED(nb_dot_mxfp4);
extern const struct nb_dots NB_TIERED(nb_dots);
#endif

#endif
