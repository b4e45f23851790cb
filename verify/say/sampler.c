#include "verify/say/sampler.h"

#include "verify/run/vector_math.h"

#include <math.h>

/* The next number of SplitMix64 (Steele, Lea and Flood 2014). */
double
nb_sample_fraction(struct nb_sampler *s)
{
    uint64_t z = s->state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

int32_t
nb_sample(struct nb_sampler *s, const float *logits, size_t n)
{
    size_t most_likely;
    const double max = (double)nb_vector_math()->largest(logits, n, &most_likely);
    double sum = 0, wanted;

    if (s->temperature == 0)
        return (int32_t)most_likely;
    for (size_t i = 0; i < n; i++)
        sum += exp(((double)logits[i] - max) / s->temperature);
    wanted = nb_sample_fraction(s) * sum;
    for (size_t i = 0; i < n; i++) {
        wanted -= exp(((double)logits[i] - max) / s->temperature);
        if (wanted < 0)
            return (int32_t)i;
    }
    return (int32_t)most_likely; /* rounding left a rest */
}
