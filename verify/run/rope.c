#include "verify/run/rope.h"

#include <math.h>

void
nb_rope_table(const struct nb_model *m, size_t positions, float *table)
{
    for (size_t position = 0; position < positions; position++) {
        for (size_t i = 0; i < m->rope_dims / 2; i++) {
            const double angle = (double)position * m->rope_frequencies[i];

            *table++ = (float)(cos(angle) * m->rope_magnitude);
            *table++ = (float)(sin(angle) * m->rope_magnitude);
        }
    }
}

void
nb_rope_turn(const struct nb_model *m, const float *turns, float *x, size_t heads)
{
    const bool halves = m->arch->rope == NB_ROPE_HALVES;
    const size_t pairs = m->rope_dims / 2;

    for (size_t h = 0; h < heads; h++, x += m->head_dim) {
        for (size_t i = 0; i < pairs; i++) {
            float *a = halves ? &x[i] : &x[2 * i], *b = halves ? &x[i + pairs] : &x[2 * i + 1];
            const float c = turns[2 * i], s = turns[2 * i + 1], u = *a, v = *b;

            *a = u * c - v * s;
            *b = u * s + v * c;
        }
    }
}
