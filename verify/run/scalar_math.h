/* Functions that gates, routers and recurrences of several blocks have in common. */
#ifndef NB_SCALAR_MATH_H
#define NB_SCALAR_MATH_H

#include <math.h>

/* ln(1 + e^x); beyond 20 that is x in float32. */
static inline float
nb_softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}

static inline float
nb_sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

#endif
